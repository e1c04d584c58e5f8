// dx = 0 where y <= 0, dy elsewhere. It moves the bits of dy.

override HALF_Y: bool;
override HALF: bool;

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dx: array<u32>;
@group(0) @binding(2) var<storage, read> y: array<u32>;
@group(0) @binding(3) var<storage, read> dy: array<u32>;

fn element(i: u32) -> u32 {
    let word = dy[word_of(i, HALF)];
    // Zeros, and what is below: on bits, which no device flushes, and of which NaN is no part.
    var bits = y[word_of(i, HALF_Y)];
    var infinity = INFINITY_BITS;
    var sign = 0x80000000u;
    if (HALF_Y) {
        bits = half_of(bits, i);
        infinity = 0x7c00u;
        sign = 0x8000u;
    }
    if (bits == 0u || (bits >= sign && bits <= (sign | infinity))) { return 0u; }
    if (HALF) { return half_of(word, i); }
    return word;
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
        let low = element(word * 2u);
        let high = element(min(word * 2u + 1u, params.count - 1u));
        dx[word] = low | (high << 16u);
    } else {
        if (word >= params.count) { return; }
        dx[word] = element(word);
    }
}
