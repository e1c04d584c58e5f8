// v = momentum v - decay rate w - rate scale gradient, then w = w + v; in place. Four elements an
// invocation: what is bound ends with whole vectors, and nobody reads beyond the last element.

struct Params {
    count: u32,
    momentum: f32,
    // decay * rate
    decay: f32,
    // rate * scale
    rate: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (4u * i >= params.count) { return; }
    let step = params.momentum * v[i] - params.decay * w[i] - params.rate * gradient[i];
    v[i] = step;
    w[i] += step;
}
