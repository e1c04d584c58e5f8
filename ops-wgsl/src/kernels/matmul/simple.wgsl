// y = a b (+ bias), an invocation an element. Both are addressed by strides, so any storage order,
// and any part of a larger product, is the same to it.

override HALF_A: bool;
override HALF_B: bool;
override HALF_BIAS: bool;
override BIAS: bool;
// Adds to what y holds.
override ACCUMULATE: bool;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    // Elements before the first one of each, as bound.
    skip_a: u32,
    skip_b: u32,
    skip_bias: u32,
    skip_y: u32,
    // Between rows of y; between rows and columns of a and b.
    row_y: u32,
    row_a: u32,
    col_a: u32,
    row_b: u32,
    col_b: u32,
    rank: u32,
    // The bounds of a clamp.
    low: f32,
    high: f32,
    // The leading axes, the last one first: extent, strides in a, b and y.
    axes: array<vec4<u32>, 6>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> a: array<u32>;
@group(0) @binding(3) var<storage, read> b: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let across = (params.n + 7u) / 8u;
    let down = (params.m + 7u) / 8u;
    var tile = flat_group(group, groups);
    let col = (tile % across) * 8u + local.x;
    tile /= across;
    let row = (tile % down) * 8u + local.y;
    var rest = tile / down;
    var at_a = params.skip_a + row * params.row_a;
    var at_b = params.skip_b + col * params.col_b;
    var at_y = params.skip_y + row * params.row_y + col;
    for (var axis = 0u; axis < params.rank; axis++) {
        let own = params.axes[axis];
        let index = rest % own.x;
        rest /= own.x;
        at_a += index * own.y;
        at_b += index * own.z;
        at_y += index * own.w;
    }
    // What is left beyond the last matrix comes from folding.
    if (row >= params.m || col >= params.n || rest > 0u) { return; }
    var sum = 0.0;
    for (var p = 0u; p < params.k; p++) {
        let left = widen(a[word_of(at_a, HALF_A)], at_a, HALF_A);
        sum += left * widen(b[word_of(at_b, HALF_B)], at_b, HALF_B);
        at_a += params.col_a;
        at_b += params.row_b;
    }
    if (ACCUMULATE) { sum += y[at_y]; }
    if (BIAS) {
        let at = params.skip_bias + col;
        sum += widen(bias[word_of(at, HALF_BIAS)], at, HALF_BIAS);
    }
    y[at_y] = activate(sum);
}
