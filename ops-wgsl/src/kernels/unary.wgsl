// y = f(x), element by element. Four words an invocation: what is bound ends with whole vectors, and
// nobody reads beyond the last element.

override KIND: u32;
override HALF: bool;

struct Params {
    count: u32,
    a: f32,
    b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<u32>>;

// A word of y, from that of x.
fn result(word: u32) -> u32 {
    if (HALF) {
        let low = float_to_half(apply(half_to_float(word & 0xffffu)));
        let high = float_to_half(apply(half_to_float(word >> 16u)));
        return low | (high << 16u);
    }
    return bitcast<u32>(apply(bitcast<f32>(word)));
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i * select(4u, 8u, HALF) >= params.count) { return; }
    let words = x[i];
    y[i] = vec4<u32>(result(words.x), result(words.y), result(words.z), result(words.w));
}
