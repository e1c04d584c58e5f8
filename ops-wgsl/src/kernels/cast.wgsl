// Another element type: f32 0, f16 1, u32 2.

override FROM: u32;
override TO: u32;

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

// The bits of a float by rounding a whole number to nearest, ties to even.
fn unsigned_to_float(n: u32) -> u32 {
    if (n == 0u) { return 0u; }
    let zeros = countLeadingZeros(n);
    let shifted = n << zeros;
    let mantissa = shifted >> 8u;
    let rest = shifted & 0xffu;
    let up = select(0u, 1u, rest > 0x80u || (rest == 0x80u && (mantissa & 1u) == 1u));
    // A carry out of the mantissa goes on in the exponent, as it should.
    return ((157u - zeros) << 23u) + mantissa + up;
}

fn element(i: u32) -> u32 {
    let word = x[word_of(i, FROM == 1u)];
    if (FROM == TO) {
        if (TO == 1u) { return half_of(word, i); }
        return word;
    }
    if (FROM == 2u) {
        if (TO == 0u) { return unsigned_to_float(word); }
        // Every number that a half can be near to is exact in a float.
        return float_to_half(bitcast<f32>(unsigned_to_float(min(word, 0x20000u))));
    }
    let value = widen(word, i, FROM == 1u);
    if (TO == 0u) { return bitcast<u32>(value); }
    if (TO == 1u) { return float_to_half(value); }
    return float_to_unsigned(value);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = flat_group(group, groups) * 256u + local;
    if (TO == 1u) {
        if (word * 2u >= params.count) { return; }
        let low = element(word * 2u);
        let high = element(min(word * 2u + 1u, params.count - 1u));
        y[word] = low | (high << 16u);
    } else {
        if (word >= params.count) { return; }
        y[word] = element(word);
    }
}
