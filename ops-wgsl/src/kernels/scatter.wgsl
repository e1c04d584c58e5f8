// y = x [outer, extent, inner], where entries named by indices [outer, n, inner] are those of the source
// (bits are moved), or have them added (y is f32). Each element looks through the indices of its line, in
// their order.

override HALF: bool;
override ADD: bool;

struct Params {
    // The elements of this window: from `first` on, `count` of them.
    first: u32,
    count: u32,
    n: u32,
    extent: u32,
    inner: u32,
    skip_x: u32,
    skip_indices: u32,
    skip_source: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read> indices: array<u32>;
@group(0) @binding(4) var<storage, read> source: array<u32>;

// The place of the first index of an element's line.
fn line_start(place: u32) -> u32 {
    let outer = place / params.inner / params.extent;
    return outer * params.n * params.inner + place % params.inner;
}

fn replaced(i: u32) -> u32 {
    let place = params.first + i;
    let entry = place / params.inner % params.extent;
    var at = params.skip_x + i;
    var word = x[word_of(at, HALF)];
    var bits = select(word, half_of(word, at), HALF);
    let start = line_start(place);
    for (var j = 0u; j < params.n; j++) {
        let here = start + j * params.inner;
        if (indices[params.skip_indices + here] == entry) {
            at = params.skip_source + here;
            word = source[word_of(at, HALF)];
            bits = select(word, half_of(word, at), HALF);
        }
    }
    return bits;
}

fn added(i: u32) -> u32 {
    let place = params.first + i;
    let entry = place / params.inner % params.extent;
    var at = params.skip_x + i;
    var sum = widen(x[word_of(at, HALF)], at, HALF);
    let start = line_start(place);
    for (var j = 0u; j < params.n; j++) {
        let here = start + j * params.inner;
        if (indices[params.skip_indices + here] == entry) {
            at = params.skip_source + here;
            sum += widen(source[word_of(at, HALF)], at, HALF);
        }
    }
    return bitcast<u32>(sum);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = flat_group(group, groups) * 256u + local;
    if (ADD) {
        if (word >= params.count) { return; }
        y[params.skip_y + word] = added(word);
    } else if (HALF) {
        // A window of halves begins at a whole word.
        if (word * 2u >= params.count) { return; }
        let low = replaced(word * 2u);
        var high = 0u;
        if (word * 2u + 1u < params.count) { high = replaced(word * 2u + 1u); }
        y[params.skip_y / 2u + word] = low | (high << 16u);
    } else {
        if (word >= params.count) { return; }
        y[params.skip_y + word] = replaced(word);
    }
}
