// Two numbers for each group of x [images, pixels, channels], the channels of an image falling into
// groups: its moments, or the means that its gradient is made of. A line is a group of an image; LANES
// invocations take its elements in turn, and their sums are joined in a tree. The order is the same
// every time.

// 0 the mean and 1 / sqrt(variance + epsilon); 1 the means of scale dy, and of scale dy (x - mean)
// inverse^2.
override KIND: u32;
override HALF: bool;
// dy is f16.
override HALF_DY: bool;
// Invocations of a line: a power of two, up to 256.
override LANES: u32;

struct Params {
    // Images here times groups.
    lines: u32,
    pixels: u32,
    channels: u32,
    groups: u32,
    epsilon: f32,
    skip: u32,
    skip_dy: u32,
    skip_scale: u32,
    skip_moments: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [lines, 2]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read> dy: array<u32>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;
// [lines, 2], where the kind is 1.
@group(0) @binding(5) var<storage, read> moments: array<f32>;

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

// The sums over the lanes of a line.
fn joined(a: f32, b: f32, local: u32) -> vec2<f32> {
    workgroupBarrier();
    first[local] = a;
    second[local] = b;
    let lane = local % LANES;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            first[local] += first[local + half];
            second[local] += second[local + half];
        }
    }
    workgroupBarrier();
    return vec2<f32>(first[local - lane], second[local - lane]);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = flat_group(group, groups) * (256u / LANES) + local / LANES;
    // Those beyond the end do what the last one does: all of a workgroup have to reach its barriers.
    let line = min(number, params.lines - 1u);
    let lane = local % LANES;
    let per_group = params.channels / params.groups;
    let start = (line / params.groups) * params.pixels * params.channels
        + (line % params.groups) * per_group;
    let together = params.pixels * per_group;
    let count = f32(together);

    // Sums of some elements first, so that long ones lose fewer digits.
    var a = 0.0;
    var b = 0.0;
    var a_near = 0.0;
    var b_near = 0.0;
    var center = 0.0;
    var turn = 0u;
    if (KIND == 0u) {
        // A first estimate of the mean, from one of the elements on.
        let origin = load(start);
        for (var i = lane; i < together; i += LANES) {
            a_near += load(start + i / per_group * params.channels + i % per_group) - origin;
            turn += 1u;
            if (turn % 32u == 0u) { a += a_near; a_near = 0.0; }
        }
        center = origin + joined(a + a_near, 0.0, local).x / count;
        a = 0.0;
        a_near = 0.0;
        turn = 0u;
    } else {
        center = moments[params.skip_moments + 2u * line];
    }
    for (var i = lane; i < together; i += LANES) {
        let channel = i % per_group;
        let at = start + i / per_group * params.channels + channel;
        let d = load(at) - center;
        if (KIND == 0u) {
            a_near += d;
            b_near += d * d;
        } else {
            let of_channel = (line % params.groups) * per_group + channel;
            let slope = scale[params.skip_scale + of_channel] * load_dy(at);
            a_near += slope;
            b_near += slope * d;
        }
        turn += 1u;
        if (turn % 32u == 0u) {
            a += a_near;
            b += b_near;
            a_near = 0.0;
            b_near = 0.0;
        }
    }
    let sums = joined(a + a_near, b + b_near, local);
    if (lane != 0u || number >= params.lines) { return; }
    let to = params.skip_y + 2u * line;
    if (KIND == 0u) {
        // What the estimate is off by is corrected in both.
        let off = sums.x / count;
        let variance = maximum(sums.y - sums.x * off, 0.0) / count;
        y[to] = center + off;
        y[to + 1u] = 1.0 / square_root(variance + params.epsilon);
    } else {
        let inverse = moments[params.skip_moments + 2u * line + 1u];
        y[to] = sums.x / count;
        y[to + 1u] = sums.y / count * inverse * inverse;
    }
}
