// y = (x - mean) inverse scale + shift of x [images, pixels, channels], mean and inverse those of the
// element's group.

override HALF: bool;

struct Params {
    count: u32,
    pixels: u32,
    channels: u32,
    groups: u32,
    skip: u32,
    skip_moments: u32,
    skip_scale: u32,
    skip_shift: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
// [images, groups, 2]
@group(0) @binding(3) var<storage, read> moments: array<f32>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;
@group(0) @binding(5) var<storage, read> shift: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i >= params.count) { return; }
    let channel = i % params.channels;
    let image = i / params.channels / params.pixels;
    let line = image * params.groups + channel / (params.channels / params.groups);
    let mean = moments[params.skip_moments + 2u * line];
    let inverse = moments[params.skip_moments + 2u * line + 1u];
    let at = i + params.skip;
    let value = (widen(x[word_of(at, HALF)], at, HALF) - mean) * inverse;
    y[params.skip_y + i] =
        value * scale[params.skip_scale + channel] + shift[params.skip_shift + channel];
}
