// The windows of local response normalization, across the channels of x [pixels, channels], and
// s = kappa + alpha * sum of x^2 over the window.

// beta: 0 any, 1 3/4, 2 1/2.
override BETA: u32;
override HALF: bool;

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
    skip_y: u32,
    // Elements whose gradients a workgroup computes.
    own: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

fn load(i: u32) -> f32 {
    let at = i + params.skip;
    return widen(x[word_of(at, HALF)], at, HALF);
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

// The first and the last element of the window of element i.
fn window_of(i: u32) -> vec2<u32> {
    let place = i % params.channels % params.group;
    let ahead = params.group - 1u - place;
    return vec2<u32>(i - min(place, params.reach), i + min(ahead, params.reach));
}

// s, over a window.
fn denominator(window: vec2<u32>) -> f32 {
    var squares = 0.0;
    for (var j = window.x; j <= window.y; j++) {
        let value = load(j);
        squares += value * value;
    }
    return params.kappa + params.alpha * squares;
}
