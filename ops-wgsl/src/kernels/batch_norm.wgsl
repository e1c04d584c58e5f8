// y = (x - mean) scale / sqrt(variance + epsilon) + shift along the channels of x [rows, channels], then an
// addend and an activation where asked. An invocation takes LANES channels of some rows, one after another.

override HALF: bool;
// There is an addend, of the type of x.
override RESIDUAL: bool;

struct Params {
    rows: u32,
    channels: u32,
    // Rows of an invocation.
    block: u32,
    epsilon: f32,
    // The bounds of a clamp.
    low: f32,
    high: f32,
    skip: u32,
    skip_moments: u32,
    skip_scale: u32,
    skip_shift: u32,
    skip_residual: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<Floats>;
@group(0) @binding(2) var<storage, read> x: array<Words>;
@group(0) @binding(3) var<storage, read> moments: array<Floats>;
@group(0) @binding(4) var<storage, read> scale: array<Floats>;
@group(0) @binding(5) var<storage, read> shift: array<Floats>;
@group(0) @binding(6) var<storage, read> residual: array<Words>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    let columns = params.channels / LANES;
    let first = (i / columns) * params.block;
    if (first >= params.rows) { return; }
    let channel = (i % columns) * LANES;
    let mean = moments[(params.skip_moments + channel) / LANES];
    let variance = moments[(params.skip_moments + params.channels + channel) / LANES];
    let slope = scale[(params.skip_scale + channel) / LANES] / roots(variance + params.epsilon);
    let offset = shift[(params.skip_shift + channel) / LANES];
    let end = min(first + params.block, params.rows);
    for (var row = first; row < end; row++) {
        let here = row * params.channels + channel;
        let at = params.skip + here;
        var value = (loaded(x[place_of(at, HALF)], at, HALF) - mean) * slope + offset;
        if (RESIDUAL) {
            let added = params.skip_residual + here;
            value += loaded(residual[place_of(added, HALF)], added, HALF);
        }
        y[(params.skip_y + here) / LANES] = activated(value, params.low, params.high);
    }
}
