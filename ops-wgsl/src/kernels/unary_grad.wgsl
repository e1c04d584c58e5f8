// dx = dy * slope of a function, element by element, from x or y of it: what is kept. Four words an
// invocation: what is bound ends with whole vectors, and nobody reads beyond the last element.

override KIND: u32;
override HALF: bool;

struct Params {
    count: u32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> kept: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<u32>>;

fn is_positive(x: f32) -> bool {
    return !is_nan(x) && less(0.0, x);
}

// By the letter: a device may give anything for a quotient by 0.
fn quotient(a: f32, b: f32) -> f32 {
    if ((bitcast<u32>(b) << 1u) == 0u) {
        if (is_nan(a) || (bitcast<u32>(a) << 1u) == 0u) { return float_of(QUIET_NAN); }
        return float_of(((bitcast<u32>(a) ^ bitcast<u32>(b)) & 0x80000000u) | INFINITY_BITS);
    }
    return a / b;
}

// x kept between two bounds; NaN stays.
fn bounded(x: f32, low: f32, high: f32) -> f32 {
    return minimum(maximum(x, low), high);
}

// sigmoid(u), and sigmoid(u) (1 - sigmoid(u)), both from the nearer end.
fn sigmoid_and_slope(u: f32) -> vec2<f32> {
    let e = exponent(-abs(u));
    let near = 1.0 / (1.0 + e);
    let far = e * near;
    return vec2<f32>(select(near, far, bitcast<u32>(u) > 0x7fffffffu), near * far);
}

// Whether x is between -3 and 3, where the hard sigmoid is neither 0 nor 1.
fn is_bent(x: f32) -> bool {
    return !is_nan(x) && less(abs(x), 3.0);
}

// The functions, by the names of their kinds: the table of kinds makes `apply` of them. `x` is what is
// kept, or `y` where that is the output.

fn grad_abs(x: f32, dy: f32) -> f32 {
    if (is_nan(x) || (bitcast<u32>(x) << 1u) == 0u) { return dy * x; }
    return select(dy, -dy, bitcast<u32>(x) > 0x7fffffffu);
}

// Twice dy first: where a device flushes subnormal numbers, dy x may become 0 though twice of it is normal. A
// dy beyond half of the largest number overflows for it.
fn grad_square(x: f32, dy: f32) -> f32 {
    return (2.0 * dy) * x;
}

fn grad_sqrt(y: f32, dy: f32) -> f32 {
    return quotient(0.5 * dy, y);
}

fn grad_rsqrt(y: f32, dy: f32) -> f32 {
    return -0.5 * dy * y * y * y;
}

fn grad_recip(y: f32, dy: f32) -> f32 {
    return -(dy * y * y);
}

fn grad_exp(y: f32, dy: f32) -> f32 {
    return dy * y;
}

fn grad_log(x: f32, dy: f32) -> f32 {
    return quotient(dy, x);
}

fn grad_sin(x: f32, dy: f32) -> f32 {
    return dy * sine(x, 1);
}

fn grad_cos(x: f32, dy: f32) -> f32 {
    return -(dy * sine(x, 0));
}

fn grad_tanh(y: f32, dy: f32) -> f32 {
    return dy * ((1.0 - y) * (1.0 + y));
}

fn grad_sigmoid(y: f32, dy: f32) -> f32 {
    return dy * (y * (1.0 - y));
}

fn grad_leaky_relu(x: f32, dy: f32) -> f32 {
    if (is_positive(x)) { return dy; }
    return params.a * dy;
}

fn grad_elu(x: f32, dy: f32) -> f32 {
    if (is_positive(x)) { return dy; }
    return dy * (params.a * exponent(x));
}

// s + x s (1 - s), s = sigmoid(x). Beyond the bounds it is 0 or 1; an infinity times 0 would be NaN.
fn grad_silu(x: f32, dy: f32) -> f32 {
    let near = bounded(x, -120.0, 120.0);
    let s = sigmoid_and_slope(near);
    return dy * (s.x + near * s.y);
}

// As SiLU, of the argument of the sigmoid in it, times the argument's own slope.
fn grad_gelu(x: f32, dy: f32) -> f32 {
    let near = bounded(x, -20.0, 20.0);
    let square = near * near;
    let s = sigmoid_and_slope(1.5957691216 * (near + 0.044715 * (square * near)));
    return dy * (s.x + near * s.y * (1.5957691216 * (1.0 + 0.134145 * square)));
}

// The share of a normal distribution below x, and x times its density.
fn grad_gelu_erf(x: f32, dy: f32) -> f32 {
    let near = bounded(x, -20.0, 20.0);
    let tail = normal_tail(abs(near));
    let share = select(1.0 - tail, tail, bitcast<u32>(near) > 0x7fffffffu);
    return dy * (share + near * (0.3989422804 * exponent(-0.5 * (near * near))));
}

// Outside the bend the slope is 0 or 1, which the hard sigmoid is there.
fn grad_hard_swish(x: f32, dy: f32) -> f32 {
    if (is_bent(x)) { return dy * (x * (1.0 / 3.0) + 0.5); }
    return dy * (bounded(x + 3.0, 0.0, 6.0) / 6.0);
}

fn grad_hard_sigmoid(x: f32, dy: f32) -> f32 {
    if (is_bent(x)) { return dy * (1.0 / 6.0); }
    return 0.0;
}

fn grad_softplus(x: f32, dy: f32) -> f32 {
    return dy * sigmoid_and_slope(x).x;
}

// With w = e^x and n = w (w + 2), t = tanh(ln(1 + w)) is n / (n + 2), and sigmoid(x) (1 - t^2) is
// 4 w (w + 1) / (n + 2)^2. Beyond the bounds the slope is 0 or 1.
fn grad_mish(x: f32, dy: f32) -> f32 {
    let near = bounded(x, -120.0, 20.0);
    let w = exponent(near);
    let n = w * (w + 2.0);
    let rest = 1.0 / (n + 2.0);
    return dy * (n * rest + near * ((2.0 * w * rest) * (2.0 * (w + 1.0) * rest)));
}

fn grad_erf(x: f32, dy: f32) -> f32 {
    return dy * (1.1283791671 * exponent(-(x * x)));
}

fn grad_powf(x: f32, dy: f32) -> f32 {
    return dy * (params.a * power(x, params.a - 1.0));
}

fn grad_clamp(x: f32, dy: f32) -> f32 {
    if (is_nan(x) || less(x, params.a) || less(params.b, x)) { return 0.0; }
    return dy;
}

// A word of dx.
fn result(word: u32, dy_word: u32) -> u32 {
    if (HALF) {
        let low = apply(half_to_float(word & 0xffffu), half_to_float(dy_word & 0xffffu));
        let high = apply(half_to_float(word >> 16u), half_to_float(dy_word >> 16u));
        return float_to_half(low) | (float_to_half(high) << 16u);
    }
    return bitcast<u32>(apply(bitcast<f32>(word), bitcast<f32>(dy_word)));
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i * select(4u, 8u, HALF) >= params.count) { return; }
    let x = kept[i];
    let g = dy[i];
    dx[i] = vec4<u32>(
        result(x.x, g.x),
        result(x.y, g.y),
        result(x.z, g.z),
        result(x.w, g.w),
    );
}
