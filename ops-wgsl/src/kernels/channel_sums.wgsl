// Two sums for each channel over parts of the rows of x [rows, channels]: sums [parts, 2, channels].
// A workgroup takes COLS channels of a part; its lanes take the rows in turn, and their sums are
// joined in a tree. The order is the same every time.

// 0 d and d^2, 1 dy and dy d; d = x - mean.
override KIND: u32;
override HALF: bool;
// dy is f16.
override HALF_DY: bool;
// Channels of a workgroup: a power of two, up to 64.
override COLS: u32;

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

var<workgroup> first: array<f32, 256>;
var<workgroup> second: array<f32, 256>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let lanes = 256u / COLS;
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
    for (var row = part * params.part + lane; row < end; row += lanes) {
        let i = row * params.channels + channel;
        let d = load(i) - mean;
        if (KIND == 0u) {
            a += d;
            b += d * d;
        } else {
            let slope = load_dy(i);
            a += slope;
            b += slope * d;
        }
    }
    first[local] = a;
    second[local] = b;
    for (var half = lanes / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            first[local] += first[local + half * COLS];
            second[local] += second[local + half * COLS];
        }
    }
    if (lane == 0u && column < params.channels && number / strips < params.parts) {
        let at = params.skip_sums + part * 2u * params.channels + channel;
        sums[at] = first[local];
        sums[at + params.channels] = second[local];
    }
}
