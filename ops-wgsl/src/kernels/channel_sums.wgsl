// Two sums for each channel over parts of the rows of x and dy [rows, channels], of dy and of
// dy (x - mean): sums [parts, 2, channels]. A workgroup takes COLS columns of a part. With an activation of
// (x - mean) scale / sqrt(variance + epsilon) + shift, dy is the gradient after it.

override HALF: bool;
// dy is f16.
override HALF_DY: bool;

struct Params {
    rows: u32,
    channels: u32,
    // Rows of a part, of which the last may have fewer, and how many parts there are.
    part: u32,
    parts: u32,
    epsilon: f32,
    // The bounds of a clamp.
    low: f32,
    high: f32,
    skip: u32,
    skip_dy: u32,
    skip_means: u32,
    skip_scale: u32,
    skip_shift: u32,
    skip_sums: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> sums: array<Floats>;
@group(0) @binding(2) var<storage, read> x: array<Words>;
@group(0) @binding(3) var<storage, read> dy: array<Words>;
// With an activation the variances follow.
@group(0) @binding(4) var<storage, read> means: array<Floats>;
@group(0) @binding(5) var<storage, read> scale: array<Floats>;
@group(0) @binding(6) var<storage, read> shift: array<Floats>;

fn load(i: u32) -> Floats {
    let at = i + params.skip;
    return loaded(x[place_of(at, HALF)], at, HALF);
}

fn load_dy(i: u32) -> Floats {
    let at = i + params.skip_dy;
    return loaded(dy[place_of(at, HALF_DY)], at, HALF_DY);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let columns = params.channels / LANES;
    let strips = (columns + COLS - 1u) / COLS;
    let number = flat_group(group, groups);
    // Those beyond the end do what the last one does: all of a workgroup have to reach its barriers.
    let part = min(number / strips, params.parts - 1u);
    let column = (number % strips) * COLS + local % COLS;
    let channel = min(column, columns - 1u) * LANES;
    let lane = local / COLS;
    let mean = means[(params.skip_means + channel) / LANES];
    var slope = Floats(0.0);
    var offset = Floats(0.0);
    if (ACTIVATION != 0u) {
        let variance = means[(params.skip_means + params.channels + channel) / LANES];
        slope = scale[(params.skip_scale + channel) / LANES] / roots(variance + params.epsilon);
        offset = shift[(params.skip_shift + channel) / LANES];
    }
    let end = min((part + 1u) * params.part, params.rows);
    var a = Floats(0.0);
    var b = Floats(0.0);
    for (var row = part * params.part + lane; row < end; row += 256u / COLS) {
        let i = row * params.channels + channel;
        let difference = load(i) - mean;
        let own = passed(load_dy(i), difference * slope + offset, params.low, params.high);
        a += own;
        b += own * difference;
    }
    let both = joined(a, b, local);
    if (lane == 0u && column < columns && number / strips < params.parts) {
        let at = params.skip_sums + part * 2u * params.channels + channel;
        sums[at / LANES] = both.a;
        sums[(at + params.channels) / LANES] = both.b;
    }
}
