// dx = scale inverse (dy - of_dy / rows - (x - mean) inverse^2 of_products / rows) along the channels
// of x [rows, channels], where inverse = 1 / sqrt(variance + epsilon), and of_dy and of_products are
// the sums over all rows, of which these may be some.

override HALF: bool;
// dy is f16.
override HALF_DY: bool;

struct Params {
    // Elements here.
    count: u32,
    channels: u32,
    // Of the whole.
    rows: f32,
    epsilon: f32,
    skip: u32,
    skip_dy: u32,
    skip_moments: u32,
    skip_sums: u32,
    skip_scale: u32,
    skip_dx: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read> dy: array<u32>;
@group(0) @binding(4) var<storage, read> moments: array<f32>;
@group(0) @binding(5) var<storage, read> sums: array<f32>;
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
    let mean = moments[params.skip_moments + channel];
    let spread = moments[params.skip_moments + params.channels + channel] + params.epsilon;
    let slope = scale[params.skip_scale + channel] / square_root(spread);
    let of_dy = sums[params.skip_sums + channel];
    let of_products = sums[params.skip_sums + params.channels + channel];
    let at = i + params.skip;
    let at_dy = i + params.skip_dy;
    let difference = widen(x[word_of(at, HALF)], at, HALF) - mean;
    let own = widen(dy[word_of(at_dy, HALF_DY)], at_dy, HALF_DY);
    let along = of_products / params.rows / spread;
    dx[params.skip_dx + i] = slope * (own - of_dy / params.rows - difference * along);
}
