// What all kernels share; it stands before each of them.
//
// Tensors are bound as words of 32 bits. An f16 tensor has two elements a word, the even one in the
// lower half.
//
// WGSL lets a device take NaN and infinities for impossible and compare NaN as it likes. So what
// must be right for them is done on the bits.

const QUIET_NAN = 0x7fc00000u;
const INFINITY_BITS = 0x7f800000u;

// The number of a workgroup in a grid that was folded to keep its extents within limits.
fn flat_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// A float that the compiler does not know: constants may be neither NaN nor infinite.
fn float_of(bits: u32) -> f32 {
    var hidden = bits;
    return bitcast<f32>(hidden);
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > INFINITY_BITS;
}

fn is_infinite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == INFINITY_BITS;
}

// Unsigned numbers in the order of floats that are not NaN; both zeros are one.
fn order(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let joined = select(bits, 0u, bits == 0x80000000u);
    return select(joined | 0x80000000u, ~joined, joined > 0x7fffffffu);
}

// a < b; neither may be NaN.
fn less(a: f32, b: f32) -> bool {
    return order(a) < order(b);
}

// The larger one; NaN where either is.
fn maximum(a: f32, b: f32) -> f32 {
    if (is_nan(a)) { return a; }
    if (is_nan(b)) { return b; }
    return select(b, a, less(b, a));
}

// The smaller one; NaN where either is.
fn minimum(a: f32, b: f32) -> f32 {
    if (is_nan(a)) { return a; }
    if (is_nan(b)) { return b; }
    return select(b, a, less(a, b));
}

// max(x, 0); NaN stays. The bits of numbers below zero, and -0 and -infinity, are one range.
fn relu(x: f32) -> f32 {
    return select(x, 0.0, bitcast<u32>(x) - 0x80000000u <= INFINITY_BITS);
}

// The float of a half-precision number's 16 bits. Exact; the multiplication by 2^-24 of a subnormal
// one gives a normal float, which no device flushes.
fn half_to_float(half: u32) -> f32 {
    let sign = (half & 0x8000u) << 16u;
    let magnitude = half & 0x7fffu;
    let normal = (magnitude << 13u) + 0x38000000u;
    let special = (magnitude << 13u) | INFINITY_BITS;
    let small = bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8);
    let bits = select(select(normal, small, magnitude < 0x400u), special, magnitude >= 0x7c00u);
    return bitcast<f32>(bits | sign);
}

// The 16 bits of the nearest half-precision number, ties to even, on integers: pack2x16float may
// round either way.
fn float_to_half(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    // Normal: add half a unit, less one where the result would be odd.
    let normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u;
    // Subnormal: the mantissa, shifted to units of 2^-24. Others have no use for it.
    let shift = 126u - clamp(magnitude >> 23u, 102u, 125u);
    let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    let cut = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let small = cut + u32(rest + (cut & 1u) > (1u << (shift - 1u)));
    // At most half of the smallest one is 0; 65520 and beyond round to infinity.
    var half = select(normal, small, magnitude < 0x38800000u);
    half = select(half, 0u, magnitude <= 0x33000000u);
    half = select(half, 0x7c00u, magnitude >= 0x477ff000u);
    half = select(half, 0x7e00u, magnitude > INFINITY_BITS);
    return sign | half;
}

// Element i of the word it lies in.
fn half_of(word: u32, i: u32) -> u32 {
    return (word >> ((i & 1u) * 16u)) & 0xffffu;
}

// Where element i of a tensor lies, and its value from the word there.
fn word_of(i: u32, half: bool) -> u32 {
    return select(i, i >> 1u, half);
}

fn widen(word: u32, i: u32, half: bool) -> f32 {
    if (half) { return half_to_float(half_of(word, i)); }
    return bitcast<f32>(word);
}

// As an unsigned integer: cut toward zero, kept in range, NaN becoming 0.
fn float_to_unsigned(x: f32) -> u32 {
    if (is_nan(x) || !less(0.0, x)) { return 0u; }
    if (bitcast<u32>(x) >= 0x4f800000u) { return 0xffffffffu; }
    return u32(x);
}

// 2^k; k from -126 to 127.
fn power_of_two(k: i32) -> f32 {
    return bitcast<f32>(u32(k + 127) << 23u);
}

// e^x and its like are computed here, not by the device: its own may be off by hundreds of units in
// the last place.

// e^(n ln 2 + r), |r| <= ln(2) / 2 and a little, by Taylor's series: its rest is below 1e-8.
fn exponential(n: f32, r: f32) -> f32 {
    var series = 1.0 / 5040.0;
    series = fma(series, r, 1.0 / 720.0);
    series = fma(series, r, 1.0 / 120.0);
    series = fma(series, r, 1.0 / 24.0);
    series = fma(series, r, 1.0 / 6.0);
    series = fma(series, r, 0.5);
    series = fma(series, r, 1.0);
    series = fma(series, r, 1.0);
    // In two steps: 2^n alone may be beyond the range where the product is not.
    let k = i32(n);
    let first = k >> 1u;
    return series * power_of_two(first) * power_of_two(k - first);
}

// ln 2 in two parts; a whole number below 2^15 times the first is exact.
const LN_2_HIGH = 0.69140625;
const LN_2_LOW = 0.0017409306019544601;

// Without branches: at the end of a product it stands many times. Every NaN is beyond one of the bounds.
fn exponent(x: f32) -> f32 {
    let place = order(x);
    let above = place > order(88.7228394);
    let below = place < order(-103.98);
    let own = select(x, 0.0, above | below);
    let n = round(own * 1.44269504);
    let inside = exponential(n, fma(n, -LN_2_LOW, fma(n, -LN_2_HIGH, own)));
    let bounded = select(select(inside, float_of(INFINITY_BITS), above), 0.0, below);
    return select(bounded, x, is_nan(x));
}

// A positive, finite number as 2^e m with m from 1/sqrt(2) to sqrt(2): e and ln m.
// ln m = 2 artanh(s), s = (m - 1) / (m + 1): the series' rest is below 1e-9.
fn split_logarithm(x: f32) -> vec2<f32> {
    let subnormal = bitcast<u32>(x) < 0x00800000u;
    let bits = bitcast<u32>(select(x, x * 8388608.0, subnormal));
    let shifted = bits - 0x3f3504f3u;
    let e = bitcast<i32>(shifted) >> 23u;
    let f = bitcast<f32>((shifted & 0x7fffffu) + 0x3f3504f3u) - 1.0;
    let s = f / (2.0 + f);
    let t = s * s;
    var series = 2.0 / 9.0;
    series = fma(series, t, 2.0 / 7.0);
    series = fma(series, t, 2.0 / 5.0);
    series = fma(series, t, 2.0 / 3.0);
    // 2 s = f - f s, of which f is exact.
    let rest = fma(s * t, series, -f * s);
    return vec2<f32>(f32(e - select(0, 23, subnormal)), f + rest);
}

fn logarithm(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    if (bitcast<u32>(x) << 1u == 0u) { return -float_of(INFINITY_BITS); }
    if (less(x, 0.0)) { return float_of(QUIET_NAN); }
    if (is_infinite(x)) { return x; }
    let parts = split_logarithm(x);
    return fma(parts.x, LN_2_HIGH, fma(parts.x, LN_2_LOW, parts.y));
}

// x^y: a negative x has whole powers only.
fn power(x: f32, y: f32) -> f32 {
    if (y == 0.0 || x == 1.0) { return 1.0; }
    if (is_nan(x) || is_nan(y)) { return float_of(QUIET_NAN); }
    let base = abs(x);
    var result: f32;
    if (base == 0.0 || is_infinite(base) || is_infinite(y)) {
        let grows = less(1.0, base) == less(0.0, y);
        result = select(0.0, float_of(INFINITY_BITS), grows);
        if (base == 1.0) { result = 1.0; }
    } else {
        // y ln x = y (e ln 2 + ln m) = n ln 2 + r, where y e is kept with its rounding error.
        let parts = split_logarithm(base);
        let high = y * parts.x;
        let low = fma(y, parts.x, -high);
        let rest = y * parts.y;
        let n = round(fma(rest, 1.44269504, high));
        if (less(128.0, n)) {
            result = float_of(INFINITY_BITS);
        } else if (less(n, -151.0)) {
            result = 0.0;
        } else {
            let d = (high - n) + low;
            result = exponential(n, fma(d, LN_2_HIGH, fma(d, LN_2_LOW, rest)));
        }
    }
    if (bitcast<u32>(x) > 0x7fffffffu) {
        // From 2^24 on every float is an even number.
        let whole = is_infinite(y) || floor(y) == y;
        let odd = whole && abs(y) < 16777216.0 && (i32(y) & 1) == 1;
        if (!whole && base != 0.0 && !is_infinite(base)) { return float_of(QUIET_NAN); }
        if (odd) { return -result; }
    }
    return result;
}

// The sine of x + quarters pi/2. The parts of pi/2 are such that whole numbers below 2^13 times
// the first two are exact.
fn sine(x: f32, quarters: i32) -> f32 {
    if (is_nan(x) || is_infinite(x)) { return float_of(QUIET_NAN); }
    let k = round(x * 0.636619772);
    let r = fma(k, -7.549790126404332e-8, fma(k, -0.0004837512969970703, fma(k, -1.5703125, x)));
    let q = (i32(clamp(k, -2e9, 2e9)) + quarters) & 3;
    let t = r * r;
    var y: f32;
    if ((q & 1) == 0) {
        var series = 1.0 / 362880.0;
        series = fma(series, t, -1.0 / 5040.0);
        series = fma(series, t, 1.0 / 120.0);
        series = fma(series, t, -1.0 / 6.0);
        y = fma(r * t, series, r);
    } else {
        var series = -1.0 / 3628800.0;
        series = fma(series, t, 1.0 / 40320.0);
        series = fma(series, t, -1.0 / 720.0);
        series = fma(series, t, 1.0 / 24.0);
        series = fma(series, t, -0.5);
        y = fma(series, t, 1.0);
    }
    return select(y, -y, (q & 2) != 0);
}

fn square_root(x: f32) -> f32 {
    if (is_nan(x) || is_infinite(x) || x == 0.0) {
        return select(x, float_of(QUIET_NAN), less(x, 0.0));
    }
    if (less(x, 0.0)) { return float_of(QUIET_NAN); }
    return sqrt(x);
}

fn hyperbolic_tangent(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let a = abs(x);
    var y: f32;
    if (less(a, 0.25)) {
        // The series' rest is below 1e-7 of x.
        let t = a * a;
        var series = -17.0 / 315.0;
        series = fma(series, t, 2.0 / 15.0);
        series = fma(series, t, -1.0 / 3.0);
        y = fma(a * t, series, a);
    } else if (less(10.0, a)) {
        y = 1.0;
    } else {
        y = 1.0 - 2.0 / (exponent(2.0 * a) + 1.0);
    }
    return select(y, -y, bitcast<u32>(x) > 0x7fffffffu);
}

// The share of a normal distribution above a, which is not negative: e^(-a^2 / 2) times a polynomial in
// t = 1 / (1 + 0.35 a), fitted for the least relative error up to 15, which is 3.2e-8. Beyond, the
// result is 0.
fn normal_tail(a: f32) -> f32 {
    if (is_nan(a)) { return a; }
    if (less(15.0, a)) { return 0.0; }
    let t = 1.0 / (1.0 + 0.35 * a);
    var series = -0.029163793;
    series = fma(series, t, 0.14406018);
    series = fma(series, t, -0.25590062);
    series = fma(series, t, 0.15939154);
    series = fma(series, t, -0.023262937);
    series = fma(series, t, 0.105574444);
    series = fma(series, t, 0.11981558);
    series = fma(series, t, 0.13986433);
    series = fma(series, t, 0.13962126);
    return series * t * exponent(-0.5 * (a * a));
}

// Up to 1 x times a polynomial in x^2, fitted for the least relative error, which is 1.3e-9; beyond by
// the tail of the normal distribution.
fn error_function(x: f32) -> f32 {
    if (is_nan(x)) { return x; }
    let a = abs(x);
    var y: f32;
    if (less(a, 1.0)) {
        let z = a * a;
        var series = 7.853854e-5;
        series = fma(series, z, -8.0101915e-4);
        series = fma(series, z, 5.1883273e-3);
        series = fma(series, z, -2.6853811e-2);
        series = fma(series, z, 1.12835854e-1);
        series = fma(series, z, -3.7612626e-1);
        series = fma(series, z, 1.1283791);
        y = series * a;
    } else {
        y = 1.0 - 2.0 * normal_tail(1.41421356 * a);
    }
    return select(y, -y, bitcast<u32>(x) > 0x7fffffffu);
}

// Philox4x32-10: the random numbers 4 block to 4 block + 3 of a sequence.

fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let cross_a = (a >> 16u) * (b & 0xffffu);
    let cross_b = (a & 0xffffu) * (b >> 16u);
    let middle = (low >> 16u) + (cross_a & 0xffffu) + (cross_b & 0xffffu);
    let high = (a >> 16u) * (b >> 16u) + (cross_a >> 16u) + (cross_b >> 16u) + (middle >> 16u);
    return vec2<u32>(a * b, high);
}

fn philox(block: u32, stream: vec2<u32>, seed: vec2<u32>) -> vec4<u32> {
    var counter = vec4<u32>(block, 0u, stream.x, stream.y);
    var key = seed;
    for (var round = 0u; round < 10u; round++) {
        let a = wide_product(counter.x, 0xD2511F53u);
        let b = wide_product(counter.z, 0xCD9E8D57u);
        counter = vec4<u32>(b.y ^ counter.y ^ key.x, b.x, a.y ^ counter.w ^ key.y, a.x);
        key += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}

// The upper 24 bits of a random number as a float in [0, 1); exact.
fn unit_float(bits: u32) -> f32 {
    return f32(bits >> 8u) * 5.9604644775390625e-8;
}
