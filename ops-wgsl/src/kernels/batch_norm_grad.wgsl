// dx = scale inverse (dy - of_dy / rows - (x - mean) inverse^2 of_products / rows) along the channels
// of x [rows, channels], where inverse = 1 / sqrt(variance + epsilon), and of_dy and of_products are
// the sums over all rows, of which these may be some. With an activation dy is the gradient after it. An
// invocation takes LANES channels of some rows, one after another.

override HALF: bool;
// dy is f16.
override HALF_DY: bool;

struct Params {
    // Rows here.
    rows: u32,
    channels: u32,
    // Rows of an invocation.
    block: u32,
    // Rows of the whole.
    count: f32,
    epsilon: f32,
    // The bounds of a clamp.
    low: f32,
    high: f32,
    skip: u32,
    skip_dy: u32,
    skip_moments: u32,
    skip_sums: u32,
    skip_scale: u32,
    skip_shift: u32,
    skip_dx: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dx: array<Floats>;
@group(0) @binding(2) var<storage, read> x: array<Words>;
@group(0) @binding(3) var<storage, read> dy: array<Words>;
@group(0) @binding(4) var<storage, read> moments: array<Floats>;
@group(0) @binding(5) var<storage, read> sums: array<Floats>;
@group(0) @binding(6) var<storage, read> scale: array<Floats>;
// With an activation.
@group(0) @binding(7) var<storage, read> shift: array<Floats>;

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
    let spread = variance + params.epsilon;
    let slope = scale[(params.skip_scale + channel) / LANES] / roots(spread);
    let of_dy = sums[(params.skip_sums + channel) / LANES] / params.count;
    let of_products = sums[(params.skip_sums + params.channels + channel) / LANES];
    let along = of_products / params.count / spread;
    var offset = Floats(0.0);
    if (ACTIVATION != 0u) { offset = shift[(params.skip_shift + channel) / LANES]; }
    let end = min(first + params.block, params.rows);
    for (var row = first; row < end; row++) {
        let here = row * params.channels + channel;
        let at = params.skip + here;
        let at_dy = params.skip_dy + here;
        let difference = loaded(x[place_of(at, HALF)], at, HALF) - mean;
        let after = loaded(dy[place_of(at_dy, HALF_DY)], at_dy, HALF_DY);
        let own = passed(after, difference * slope + offset, params.low, params.high);
        dx[(params.skip_dx + here) / LANES] = slope * (own - of_dy - difference * along);
    }
}
