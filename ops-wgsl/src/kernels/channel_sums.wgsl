// Two sums for each channel over parts of the rows of x and dy [rows, channels], of dy and of
// dy (x - mean): sums [parts, 2, channels]. A workgroup takes COLS channels of a part.

override HALF: bool;
// dy is f16.
override HALF_DY: bool;

struct Params {
    rows: u32,
    channels: u32,
    // Rows of a part, of which the last may have fewer, and how many parts there are.
    part: u32,
    parts: u32,
    skip: u32,
    skip_dy: u32,
    skip_means: u32,
    skip_sums: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read> dy: array<u32>;
@group(0) @binding(4) var<storage, read> means: array<f32>;

fn load(i: u32) -> f32 {
    let at = i + params.skip;
    return widen(x[word_of(at, HALF)], at, HALF);
}

fn load_dy(i: u32) -> f32 {
    let at = i + params.skip_dy;
    return widen(dy[word_of(at, HALF_DY)], at, HALF_DY);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let strips = (params.channels + COLS - 1u) / COLS;
    let number = flat_group(group, groups);
    // Those beyond the end do what the last one does: all of a workgroup have to reach its barriers.
    let part = min(number / strips, params.parts - 1u);
    let column = (number % strips) * COLS + local % COLS;
    let channel = min(column, params.channels - 1u);
    let lane = local / COLS;
    let mean = means[params.skip_means + channel];
    let end = min((part + 1u) * params.part, params.rows);
    var a = 0.0;
    var b = 0.0;
    for (var row = part * params.part + lane; row < end; row += 256u / COLS) {
        let i = row * params.channels + channel;
        let slope = load_dy(i);
        a += slope;
        b += slope * (load(i) - mean);
    }
    let both = joined(a, b, local);
    if (lane == 0u && column < params.channels && number / strips < params.parts) {
        let at = params.skip_sums + part * 2u * params.channels + channel;
        sums[at] = both.x;
        sums[at + params.channels] = both.y;
    }
}
