// dx = dy * (p - 1 at the label) for p [n, classes] and labels, dy [n]; NaN where the label is no
// class.

override HALF_DY: bool;

struct Params {
    // n * classes.
    count: u32,
    classes: u32,
    skip: u32,
    skip_labels: u32,
    skip_dy: u32,
    skip_dx: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;
@group(0) @binding(2) var<storage, read> p: array<f32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read> dy: array<u32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i >= params.count) { return; }
    let row = i / params.classes;
    let label = labels[params.skip_labels + row];
    let at = params.skip_dy + row;
    let weight = widen(dy[word_of(at, HALF_DY)], at, HALF_DY);
    var slope = p[params.skip + i];
    if (label == i % params.classes) { slope -= 1.0; }
    if (label >= params.classes) { slope = float_of(QUIET_NAN); }
    dx[params.skip_dx + i] = weight * slope;
}
