// y = f(x), element by element.

override KIND: u32;
override HALF: bool;

struct Params {
    count: u32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exponent(-x));
}

fn apply(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    switch (KIND) {
        case 0u: { return bitcast<f32>(bits ^ 0x80000000u); }
        case 1u: { return bitcast<f32>(bits & 0x7fffffffu); }
        case 2u: {
            if (is_nan(x) || (bits << 1u) == 0u) { return x; }
            return select(1.0, -1.0, bits > 0x7fffffffu);
        }
        case 3u: { return x * x; }
        case 4u: { return square_root(x); }
        case 5u: {
            if (is_infinite(x) && bits < 0x80000000u) { return 0.0; }
            if ((bits << 1u) == 0u) { return float_of(INFINITY_BITS); }
            return 1.0 / square_root(x);
        }
        case 6u: {
            if ((bits << 1u) == 0u) { return bitcast<f32>(bits | INFINITY_BITS); }
            return 1.0 / x;
        }
        case 7u: { return exponent(x); }
        case 8u: { return logarithm(x); }
        case 9u: { return sine(x, 0); }
        case 10u: { return sine(x, 1); }
        case 11u: { return hyperbolic_tangent(x); }
        case 12u: { return sigmoid(x); }
        case 13u: { return relu(x); }
        case 14u: {
            if (is_nan(x) || less(0.0, x)) { return x; }
            return params.a * x;
        }
        case 15u: {
            if (is_nan(x) || less(0.0, x)) { return x; }
            return params.a * (exponent(x) - 1.0);
        }
        case 16u: { return x * sigmoid(x); }
        case 17u: {
            let inner = 0.7978845608 * (x + 0.044715 * x * x * x);
            return 0.5 * x * (1.0 + hyperbolic_tangent(inner));
        }
        case 18u: { return floor(x); }
        case 19u: { return ceil(x); }
        case 20u: { return round(x); }
        case 21u: { return params.a * x + params.b; }
        case 22u: { return power(x, params.a); }
        default: { return minimum(maximum(x, params.a), params.b); }
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = flat_group(group, groups) * 256u + local;
    if (HALF) {
        if (word * 2u >= params.count) { return; }
        let pair = x[word];
        let low = float_to_half(apply(half_to_float(pair & 0xffffu)));
        let high = float_to_half(apply(half_to_float(pair >> 16u)));
        y[word] = low | (high << 16u);
    } else {
        if (word >= params.count) { return; }
        y[word] = bitcast<u32>(apply(bitcast<f32>(x[word])));
    }
}
