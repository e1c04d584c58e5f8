// The moments [2, channels] of channels, from first estimates of the means, and from the sums of d
// and d^2, d = x - estimate. What the estimate is off by is corrected in both.

struct Params {
    channels: u32,
    count: f32,
    skip_means: u32,
    skip_sums: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> means: array<f32>;
@group(0) @binding(3) var<storage, read> sums: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channel = flat_group(group, groups) * 256u + local;
    if (channel >= params.channels) { return; }
    let estimate = means[params.skip_means + channel];
    let sum = sums[params.skip_sums + channel];
    let squares = sums[params.skip_sums + params.channels + channel];
    let off = sum / params.count;
    // Beside an infinite mean, every difference is infinite.
    let mean = select(estimate + off, estimate, is_nan(off) || is_infinite(off));
    y[params.skip_y + channel] = mean;
    y[params.skip_y + params.channels + channel] = maximum(squares - sum * off, 0.0) / params.count;
}
