// dx = inverse (scale dy - of_dy - (x - mean) of_products) of x [images, pixels, channels], mean and
// inverse those of the element's group, of_dy and of_products the means that group_means.wgsl gives.

override HALF: bool;
// dy is f16.
override HALF_DY: bool;

struct Params {
    count: u32,
    pixels: u32,
    channels: u32,
    groups: u32,
    skip: u32,
    skip_dy: u32,
    skip_moments: u32,
    skip_means: u32,
    skip_scale: u32,
    skip_dx: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read> dy: array<u32>;
// [images, groups, 2]
@group(0) @binding(4) var<storage, read> moments: array<f32>;
// [images, groups, 2]
@group(0) @binding(5) var<storage, read> means: array<f32>;
@group(0) @binding(6) var<storage, read> scale: array<f32>;

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
    let of_dy = means[params.skip_means + 2u * line];
    let of_products = means[params.skip_means + 2u * line + 1u];
    let at = i + params.skip;
    let at_dy = i + params.skip_dy;
    let difference = widen(x[word_of(at, HALF)], at, HALF) - mean;
    let slope = scale[params.skip_scale + channel] * widen(dy[word_of(at_dy, HALF_DY)], at_dy, HALF_DY);
    dx[params.skip_dx + i] = inverse * (slope - of_dy - difference * of_products);
}
