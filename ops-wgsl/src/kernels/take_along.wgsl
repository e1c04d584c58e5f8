// y = x at an index each along one axis: y [outer, n, inner], x [outer, extent, inner]. It moves bits.
// x may be bound in part: elements from elsewhere are left as they are, for another dispatch.

override HALF: bool;

struct Params {
    // The elements of this window: from `first` on, `count` of them.
    first: u32,
    count: u32,
    n: u32,
    extent: u32,
    inner: u32,
    // The elements of x that are bound: from `first_x` on, `bound` of them.
    first_x: u32,
    bound: u32,
    // The bits of what an index beyond the axis gives.
    beyond: u32,
    skip_indices: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read> indices: array<u32>;

fn element(i: u32, before: u32) -> u32 {
    let place = params.first + i;
    let inner = place % params.inner;
    let line = place / params.inner;
    let index = indices[params.skip_indices + i];
    if (index >= params.extent) { return params.beyond; }
    let at = ((line / params.n) * params.extent + index) * params.inner + inner - params.first_x;
    if (at >= params.bound) { return before; }
    let word = x[word_of(at, HALF)];
    if (HALF) { return half_of(word, at); }
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
        let before = y[word];
        let low = element(word * 2u, before & 0xffffu);
        let high = element(min(word * 2u + 1u, params.count - 1u), before >> 16u);
        y[word] = low | (high << 16u);
    } else {
        if (word >= params.count) { return; }
        y[word] = element(word, y[word]);
    }
}
