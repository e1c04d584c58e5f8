// Joins what parts of the rows gave for each channel, pairs [parts, 2, channels], into y [2, channels]. A
// workgroup takes COLS channels, and its lanes the parts in turn.

// 0 moments, whose means are measured from an origin; 1 sums.
override KIND: u32;
// The origins are f16.
override HALF: bool;

struct Params {
    channels: u32,
    parts: u32,
    // The share that a part has of the rows, and that of the last one.
    share: f32,
    last_share: f32,
    skip_pairs: u32,
    skip_origins: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> pairs: array<f32>;
@group(0) @binding(3) var<storage, read> origins: array<u32>;

fn share_of(part: u32) -> f32 {
    return select(params.share, params.last_share, part + 1u == params.parts);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let column = flat_group(group, groups) * COLS + local % COLS;
    let channel = min(column, params.channels - 1u);
    let start = params.skip_pairs + channel;
    let row = 2u * params.channels;
    var a = 0.0;
    var b = 0.0;
    for (var part = local / COLS; part < params.parts; part += 256u / COLS) {
        let at = start + part * row;
        if (KIND == 0u) {
            a += share_of(part) * pairs[at];
        } else {
            a += pairs[at];
            b += pairs[at + params.channels];
        }
    }
    var both = joined(a, b, local);
    if (KIND == 0u) {
        // The variances in the parts, and that of their means.
        let estimate = both.a;
        a = 0.0;
        b = 0.0;
        for (var part = local / COLS; part < params.parts; part += 256u / COLS) {
            let at = start + part * row;
            let share = share_of(part);
            let d = pairs[at] - estimate;
            a += share * d;
            b += share * (pairs[at + params.channels] + d * d);
        }
        both = joined(a, b, local);
        // What the estimate is off by is corrected in both.
        let off = both.a;
        // Beside an infinite mean, every difference is infinite.
        let mean = select(estimate + off, estimate, are_not_finite(off));
        let at = channel + params.skip_origins;
        let zero = origin(widen(origins[word_of(at, HALF)], at, HALF));
        both = Pair(zero + mean, not_below_zero(both.b - off * off));
    }
    if (local < COLS && column < params.channels) {
        y[params.skip_y + channel] = both.a;
        y[params.skip_y + params.channels + channel] = both.b;
    }
}
