// Running moments [2, channels], one mini-batch on: a share of them is kept, and those of the mini-batch
// are added, means and variances each by their own factor.

struct Params {
    channels: u32,
    kept: f32,
    of_mean: f32,
    of_variance: f32,
    skip_running: u32,
    skip_batch: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> running: array<f32>;
@group(0) @binding(3) var<storage, read> batch: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i >= 2u * params.channels) { return; }
    let factor = select(params.of_variance, params.of_mean, i < params.channels);
    let kept = params.kept * running[params.skip_running + i];
    y[params.skip_y + i] = kept + factor * batch[params.skip_batch + i];
}
