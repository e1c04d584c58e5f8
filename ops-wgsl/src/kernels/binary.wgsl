// y = f(a, b), or whether a and b compare, element by element, with broadcasting.

// BINARY_ADD and so on, or COMPARE_EQ: the numbers come from the tables of kinds.
override KIND: u32;
// The type of a and b: 0 f32, 1 f16, 2 u32.
override TYPE: u32;
// y is a truth value.
override COMPARES: bool;

struct Params {
    // The elements of this window: from `first` on, `count` of them.
    first: u32,
    count: u32,
    // The first elements of a and b that are bound.
    first_a: u32,
    first_b: u32,
    rank: u32,
    // The axes of y, the last one first: extent, strides in a and b.
    axes: array<vec4<u32>, 8>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> a: array<u32>;
@group(0) @binding(3) var<storage, read> b: array<u32>;

fn float(a: f32, b: f32) -> f32 {
    switch (KIND) {
        case BINARY_ADD: { return a + b; }
        case BINARY_SUB: { return a - b; }
        case BINARY_MUL: { return a * b; }
        case BINARY_DIV: {
            // By the letter: a device may give anything for a quotient by 0.
            if ((bitcast<u32>(b) << 1u) == 0u && !is_nan(a)) {
                if ((bitcast<u32>(a) << 1u) == 0u) { return float_of(QUIET_NAN); }
                let sign = (bitcast<u32>(a) ^ bitcast<u32>(b)) & 0x80000000u;
                return float_of(INFINITY_BITS | sign);
            }
            return a / b;
        }
        case BINARY_MAXIMUM: { return maximum(a, b); }
        case BINARY_MINIMUM: { return minimum(a, b); }
        case BINARY_POW: { return power(a, b); }
        case BINARY_PRELU: {
            if (is_nan(a) || less(0.0, a)) { return a; }
            return b * a;
        }
        default: { return float_of(QUIET_NAN); }
    }
}

fn unsigned(a: u32, b: u32) -> u32 {
    switch (KIND) {
        case BINARY_ADD: { return a + b; }
        case BINARY_SUB: { return a - b; }
        case BINARY_MUL: { return a * b; }
        case BINARY_MAXIMUM: { return max(a, b); }
        case BINARY_MINIMUM: { return min(a, b); }
        default: { return 0u; }
    }
}

// a and b in an order of unsigned integers, and whether either is NaN.
fn holds(a: u32, b: u32, nan: bool) -> u32 {
    var result: bool;
    switch (KIND) {
        case COMPARE_EQ: { result = a == b && !nan; }
        case COMPARE_NE: { result = a != b || nan; }
        case COMPARE_LT: { result = a < b && !nan; }
        case COMPARE_LE: { result = a <= b && !nan; }
        case COMPARE_GT: { result = a > b && !nan; }
        case COMPARE_GE: { result = a >= b && !nan; }
        default: { result = false; }
    }
    return select(0u, 1u, result);
}

// The bits of element i of y.
fn element(i: u32) -> u32 {
    var rest = params.first + i;
    var at = vec2<u32>(0u, 0u) - vec2<u32>(params.first_a, params.first_b);
    for (var axis = 0u; axis + 1u < params.rank; axis++) {
        let extent = params.axes[axis].x;
        at += (rest % extent) * params.axes[axis].yz;
        rest /= extent;
    }
    at += rest * params.axes[params.rank - 1u].yz;
    let word_a = a[word_of(at.x, TYPE == 1u)];
    let word_b = b[word_of(at.y, TYPE == 1u)];
    if (TYPE == 2u) {
        if (COMPARES) { return holds(word_a, word_b, false); }
        return unsigned(word_a, word_b);
    }
    let float_a = widen(word_a, at.x, TYPE == 1u);
    let float_b = widen(word_b, at.y, TYPE == 1u);
    if (COMPARES) {
        return holds(order(float_a), order(float_b), is_nan(float_a) || is_nan(float_b));
    }
    let result = float(float_a, float_b);
    if (TYPE == 1u) { return float_to_half(result); }
    return bitcast<u32>(result);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = flat_group(group, groups) * 256u + local;
    if (TYPE == 1u && !COMPARES) {
        if (word * 2u >= params.count) { return; }
        // The last word of an odd count has one element.
        let low = element(word * 2u);
        let high = element(min(word * 2u + 1u, params.count - 1u));
        y[word] = low | (high << 16u);
    } else {
        if (word >= params.count) { return; }
        y[word] = element(word);
    }
}
