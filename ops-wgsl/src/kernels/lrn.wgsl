// Local response normalization across the channels of x [pixels, channels], and its gradient:
// with s = kappa + alpha * sum of x^2 over the window,
// y = x s^-beta, and dx = dy s^-beta - 2 alpha beta x * sum over the window of dy x s^(-beta - 1).

// 0 forward; 1 the terms dy x s^(-beta - 1); 2 the gradient, given these terms.
override KIND: u32;
// beta: 0 any, 1 3/4, 2 1/2.
override BETA: u32;
override HALF: bool;
// dy is f16.
override HALF_DY: bool;

struct Params {
    count: u32,
    channels: u32,
    // Of a group.
    group: u32,
    // Channels of the window on either side.
    reach: u32,
    kappa: f32,
    alpha: f32,
    beta: f32,
    skip: u32,
    skip_dy: u32,
    skip_terms: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read> dy: array<u32>;
@group(0) @binding(4) var<storage, read> terms: array<f32>;

fn load(i: u32) -> f32 {
    let at = i + params.skip;
    return widen(x[word_of(at, HALF)], at, HALF);
}

fn load_dy(i: u32) -> f32 {
    let at = i + params.skip_dy;
    return widen(dy[word_of(at, HALF_DY)], at, HALF_DY);
}

// s^-beta.
fn scale(s: f32) -> f32 {
    switch (BETA) {
        case 1u: {
            let root = square_root(s);
            return 1.0 / (root * square_root(root));
        }
        case 2u: { return 1.0 / square_root(s); }
        default: { return power(s, -params.beta); }
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i >= params.count) { return; }
    let channel = i % params.channels;
    let low = channel - min(channel % params.group, params.reach);
    let ahead = params.group - 1u - channel % params.group;
    let high = channel + min(ahead, params.reach);
    let pixel = i - channel;
    var squares = 0.0;
    for (var c = low; c <= high; c++) {
        let value = load(pixel + c);
        squares += value * value;
    }
    let s = params.kappa + params.alpha * squares;
    let own = load(i);
    if (KIND == 0u) {
        y[params.skip_y + i] = own * scale(s);
    } else if (KIND == 1u) {
        y[params.skip_y + i] = load_dy(i) * own * scale(s) / s;
    } else {
        var sum = 0.0;
        for (var c = low; c <= high; c++) { sum += terms[params.skip_terms + pixel + c]; }
        y[params.skip_y + i] = load_dy(i) * scale(s) - 2.0 * params.alpha * params.beta * own * sum;
    }
}
