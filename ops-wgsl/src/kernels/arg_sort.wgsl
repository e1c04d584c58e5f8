// y [outer, kept, inner] = the indices of the first entries of x [outer, extent, inner] in order. Each
// entry counts those that come before it, and writes its index there. Of equals the first comes first;
// NaN is larger than all numbers.

// The bits are integers, not floats.
override WORDS: bool;
override HALF: bool;
override DESCENDING: bool;

struct Params {
    // Elements of x.
    count: u32,
    extent: u32,
    inner: u32,
    kept: u32,
    skip: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

// What comes first has the smaller key.
fn key(i: u32) -> u32 {
    let at = i + params.skip;
    let word = x[word_of(at, HALF)];
    var key = word;
    if (!WORDS) {
        let value = widen(word, at, HALF);
        key = select(order(value), 0xffffffffu, is_nan(value));
    }
    return select(key, ~key, DESCENDING);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i >= params.count) { return; }
    let column = i % params.inner;
    let line = i / params.inner;
    let own = line % params.extent;
    let outer = line / params.extent;
    let start = outer * params.extent * params.inner + column;
    let mine = key(i);
    var place = 0u;
    for (var j = 0u; j < params.extent; j++) {
        let other = key(start + j * params.inner);
        place += select(0u, 1u, other < mine || (other == mine && j < own));
    }
    if (place < params.kept) {
        y[params.skip_y + (outer * params.kept + place) * params.inner + column] = own;
    }
}
