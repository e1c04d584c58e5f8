// The sum of the parts of a weight gradient, from the first to the last.

// Adds to what dw holds.
override ACCUMULATE: bool;

struct Params {
    // Elements of dw, and parts of as many.
    count: u32,
    parts: u32,
    skip_sums: u32,
    skip_dw: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dw: array<f32>;
@group(0) @binding(2) var<storage, read> sums: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 64u + local;
    if (i >= params.count) { return; }
    var sum = 0.0;
    if (ACCUMULATE) { sum = dw[params.skip_dw + i]; }
    for (var part = 0u; part < params.parts; part++) {
        sum += sums[params.skip_sums + part * params.count + i];
    }
    dw[params.skip_dw + i] = sum;
}
