// Functions of one number, by the names of their kinds, with the parameters of the kind. They stand here
// once: element by element (`unary.wgsl`), and at the end of convolutions and products.

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exponent(-x));
}

fn unary_neg(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    return bitcast<f32>(bits ^ 0x80000000u);
}

fn unary_abs(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    return bitcast<f32>(bits & 0x7fffffffu);
}

fn unary_sign(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    if (is_nan(x) || (bits << 1u) == 0u) { return x; }
    return select(1.0, -1.0, bits > 0x7fffffffu);
}

fn unary_square(x: f32) -> f32 {
    return x * x;
}

fn unary_sqrt(x: f32) -> f32 {
    return square_root(x);
}

fn unary_rsqrt(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    if (is_infinite(x) && bits < 0x80000000u) { return 0.0; }
    if ((bits << 1u) == 0u) { return float_of(INFINITY_BITS); }
    return 1.0 / square_root(x);
}

fn unary_recip(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    if ((bits << 1u) == 0u) { return bitcast<f32>(bits | INFINITY_BITS); }
    return 1.0 / x;
}

fn unary_exp(x: f32) -> f32 {
    return exponent(x);
}

fn unary_log(x: f32) -> f32 {
    return logarithm(x);
}

fn unary_sin(x: f32) -> f32 {
    return sine(x, 0);
}

fn unary_cos(x: f32) -> f32 {
    return sine(x, 1);
}

fn unary_tanh(x: f32) -> f32 {
    return hyperbolic_tangent(x);
}

fn unary_sigmoid(x: f32) -> f32 {
    return sigmoid(x);
}

fn unary_relu(x: f32) -> f32 {
    return relu(x);
}

fn unary_leaky_relu(x: f32, slope: f32) -> f32 {
    if (is_nan(x) || less(0.0, x)) { return x; }
    return slope * x;
}

fn unary_elu(x: f32, alpha: f32) -> f32 {
    if (is_nan(x) || less(0.0, x)) { return x; }
    return alpha * (exponent(x) - 1.0);
}

fn unary_silu(x: f32) -> f32 {
    return x * sigmoid(x);
}

fn unary_gelu(x: f32) -> f32 {
    let inner = 0.7978845608 * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + hyperbolic_tangent(inner));
}

// x times the share of a normal distribution below x, taken from the nearer end.
fn unary_gelu_erf(x: f32) -> f32 {
    let tail = normal_tail(abs(x));
    if (is_nan(x) || less(x, 0.0)) { return x * tail; }
    return x * (1.0 - tail);
}

fn unary_hard_swish(x: f32) -> f32 {
    return x * unary_hard_sigmoid(x);
}

fn unary_hard_sigmoid(x: f32) -> f32 {
    return unary_clamp(x + 3.0, 0.0, 6.0) / 6.0;
}

// The larger of x and 0, and ln(1 + w) with w = e^-|x|: 2 artanh(s), s = w / (2 + w), at most 1/3. The
// series' rest is below 2e-9.
fn unary_softplus(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let w = exponent(-abs(x));
    let s = w / (2.0 + w);
    let z = s * s;
    var series = 1.0 / 17.0;
    series = fma(series, z, 1.0 / 15.0);
    series = fma(series, z, 1.0 / 13.0);
    series = fma(series, z, 1.0 / 11.0);
    series = fma(series, z, 1.0 / 9.0);
    series = fma(series, z, 1.0 / 7.0);
    series = fma(series, z, 1.0 / 5.0);
    series = fma(series, z, 1.0 / 3.0);
    series = fma(series, z, 1.0);
    return fma(2.0 * s, series, relu(x));
}

// With w = e^x and n = w (w + 2), tanh(ln(1 + w)) is n / (n + 2). From 20 on that is 1.
fn unary_mish(x: f32) -> f32 {
    let w = exponent(minimum(x, 20.0));
    let n = w * (w + 2.0);
    return x * (n / (n + 2.0));
}

fn unary_erf(x: f32) -> f32 {
    return error_function(x);
}

fn unary_floor(x: f32) -> f32 {
    return floor(x);
}

fn unary_ceil(x: f32) -> f32 {
    return ceil(x);
}

fn unary_round(x: f32) -> f32 {
    return round(x);
}

fn unary_affine(x: f32, scale: f32, shift: f32) -> f32 {
    return scale * x + shift;
}

fn unary_powf(x: f32, y: f32) -> f32 {
    return power(x, y);
}

// NaN stays; without branches, since the ends of products have many of them.
fn unary_clamp(x: f32, low: f32, high: f32) -> f32 {
    let place = order(x);
    let held = select(select(x, high, place > order(high)), low, place < order(low));
    return select(held, x, is_nan(x));
}
