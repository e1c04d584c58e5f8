// dx [outer, extent, inner] = for each entry the sum, in order, of those of dy [outer, n, inner] whose
// index names it. dy may be bound in part: the others add to what is there.

override HALF: bool;

struct Params {
    // The elements of this window: from `first` on, `count` of them.
    first: u32,
    count: u32,
    n: u32,
    extent: u32,
    inner: u32,
    // The elements of dy that are bound: from `first_dy` on, `bound` of them.
    first_dy: u32,
    bound: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<u32>;
@group(0) @binding(3) var<storage, read> indices: array<u32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i >= params.count) { return; }
    let place = params.first + i;
    let line = place / params.inner;
    let start = (line / params.extent) * params.n * params.inner + place % params.inner;
    let entry = line % params.extent;
    var sum = 0.0;
    if (params.first_dy != 0u) { sum = dx[i]; }
    for (var j = 0u; j < params.n; j++) {
        let at = start + j * params.inner - params.first_dy;
        if (indices[j] == entry && at < params.bound) {
            sum += widen(dy[word_of(at, HALF)], at, HALF);
        }
    }
    dx[i] = sum;
}
