// The gradient of batch normalization in its scale: of each channel the sum of dy (x - mean), row 1 of
// sums [2, channels], divided by sqrt(variance + epsilon); the variance is row 1 of moments [2, channels].

struct Params {
    channels: u32,
    epsilon: f32,
    skip_sums: u32,
    skip_moments: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read> moments: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channel = flat_group(group, groups) * 256u + local;
    if (channel >= params.channels) { return; }
    let sum = sums[params.skip_sums + params.channels + channel];
    let variance = moments[params.skip_moments + params.channels + channel];
    let root = square_root(variance + params.epsilon);
    y[params.skip_y + channel] = sum / root;
}
