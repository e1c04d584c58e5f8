// y [outer, inner] = the index of the largest or smallest of x [outer, extent, inner]: of equals the
// first, the first NaN where there is one.

override MIN: bool;
override HALF: bool;

struct Params {
    count: u32,
    extent: u32,
    inner: u32,
    skip: u32,
    skip_y: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

fn load(i: u32) -> f32 {
    let at = i + params.skip;
    return widen(x[word_of(at, HALF)], at, HALF);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i >= params.count) { return; }
    let start = (i / params.inner) * params.extent * params.inner + i % params.inner;
    var best = 0u;
    var value = load(start);
    for (var j = 1u; j < params.extent; j++) {
        if (is_nan(value)) { break; }
        let other = load(start + j * params.inner);
        if (is_nan(other) || (select(less(value, other), less(other, value), MIN))) {
            best = j;
            value = other;
        }
    }
    y[params.skip_y + i] = best;
}
