// Elements of y are elements of x: permute, slice, flip, pad, concatenate. It moves bits.
//
// Along each axis, index i of y is index i - low of x where that is below the extent of x there;
// elsewhere y is the border, which is filled or left as it is. x may be bound in part: elements
// from elsewhere are left as they are, for another dispatch.

override HALF: bool;

struct Axis {
    // The extent of y.
    count: u32,
    low: u32,
    // The extent of x.
    extent: u32,
    // Between neighbours in x; may be negative, modulo 2^32.
    stride: u32,
}

struct Params {
    // The elements of this window: from `first` on, `count` of them.
    first: u32,
    count: u32,
    // Where index 0 of every axis lies in x, as bound; modulo 2^32.
    origin: u32,
    // Elements of x that are bound, from `skip` on.
    skip: u32,
    bound: u32,
    // The bits of the border, and whether it is filled.
    border: u32,
    fills: u32,
    rank: u32,
    // The last one first.
    axes: array<Axis, 8>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

// Element i of y, or what it was before.
fn element(i: u32, before: u32) -> u32 {
    var rest = params.first + i;
    var at = params.origin;
    var inside = true;
    for (var axis = 0u; axis < params.rank; axis++) {
        let own = params.axes[axis];
        var index = rest;
        if (axis + 1u < params.rank) {
            index = rest % own.count;
            rest /= own.count;
        }
        index -= own.low;
        inside = inside && index < own.extent;
        at += index * own.stride;
    }
    if (!inside) { return select(before, params.border, params.fills != 0u); }
    if (at >= params.bound) { return before; }
    at += params.skip;
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
