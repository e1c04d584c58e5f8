// What the steps of optimizers share: weights, and the gradient with the pull of decay in it. Four
// elements an invocation: what is bound ends with whole vectors, and nobody reads beyond the last element.

struct Params {
    count: u32,
    scale: f32,
    decay: f32,
    shrink: f32,
    first: f32,
    first_takes: f32,
    second: f32,
    second_takes: f32,
    root: f32,
    epsilon: f32,
    rate: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (4u * i >= params.count) { return; }
    step(i);
}
