// The moments of each channel over parts of the rows of x [rows, channels]: pairs [parts, 2, channels], the
// means less the channel's origin, and the variances. A workgroup takes COLS columns of a part, and goes
// through it twice, the second time from a cache. Where there is one part alone, these are the moments.

override HALF: bool;

struct Params {
    rows: u32,
    channels: u32,
    // Rows of a part, of which the last may have fewer, and how many parts there are.
    part: u32,
    parts: u32,
    // Whether the one part is all rows.
    whole: u32,
    skip: u32,
    skip_origins: u32,
    skip_pairs: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> pairs: array<Floats>;
@group(0) @binding(2) var<storage, read> x: array<Words>;
// The first row of all.
@group(0) @binding(3) var<storage, read> origins: array<Words>;

fn load(i: u32) -> Floats {
    let at = i + params.skip;
    return loaded(x[place_of(at, HALF)], at, HALF);
}

fn origin_of(channel: u32) -> Floats {
    let at = channel + params.skip_origins;
    return origin(loaded(origins[place_of(at, HALF)], at, HALF));
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
    let start = part * params.part + local / COLS;
    let end = min((part + 1u) * params.part, params.rows);
    let count = f32(end - part * params.part);
    let zero = origin_of(channel);

    var sum = Floats(0.0);
    for (var row = start; row < end; row += 256u / COLS) {
        sum += load(row * params.channels + channel) - zero;
    }
    let estimate = joined(sum, Floats(0.0), local).a / count;

    var a = Floats(0.0);
    var b = Floats(0.0);
    for (var row = start; row < end; row += 256u / COLS) {
        let d = (load(row * params.channels + channel) - zero) - estimate;
        a += d;
        b += d * d;
    }
    let sums = joined(a, b, local);
    if (local < COLS && column < columns && number / strips < params.parts) {
        // What the estimate is off by is corrected in both.
        let off = sums.a / count;
        // Beside an infinite mean, every difference is infinite.
        let mean = select(estimate + off, estimate, are_not_finite(off));
        let at = params.skip_pairs + part * 2u * params.channels + channel;
        pairs[at / LANES] = select(mean, zero + mean, params.whole != 0u);
        pairs[(at + params.channels) / LANES] = not_below_zero(sums.b - sums.a * off) / count;
    }
}
