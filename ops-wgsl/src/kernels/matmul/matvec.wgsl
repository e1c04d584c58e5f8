// y = a b (+ bias) for few rows of a and columns of b that lie along the depth, as the weights of a
// full-connect layer do: bound by reading b, which is read once for all rows. A workgroup makes 4
// columns: its invocations take every 64th vector of the depth, then add up their sums in a tree.
// The order depends on the depth alone, so the bits are the same every time.

override HALF_A: bool;
override HALF_B: bool;
override HALF_BIAS: bool;
override BIAS: bool;
// Adds to what y holds.
override ACCUMULATE: bool;
// 1, 2, 4, 8 or 16; at least the rows of a.
override ROWS: u32;

struct Params {
    m: u32,
    n: u32,
    // Vectors of 4 elements: the depth.
    depth: u32,
    // Between rows of a, columns of b, rows of y.
    row_a: u32,
    col_b: u32,
    row_y: u32,
    // Elements before the first one of each, as bound.
    skip_a: u32,
    skip_b: u32,
    skip_bias: u32,
    skip_y: u32,
    // The bounds of a clamp.
    low: f32,
    high: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
// As words where they are f16, and the same as vectors.
@group(0) @binding(2) var<storage, read> a: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> b: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
@group(0) @binding(5) var<storage, read> a4: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> b4: array<vec4<u32>>;

const INVOCATIONS = 64u;

var<workgroup> sums: array<vec4<f32>, INVOCATIONS * ROWS>;

fn halves(words: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(
        half_to_float(words.x & 0xffffu), half_to_float(words.x >> 16u),
        half_to_float(words.y & 0xffffu), half_to_float(words.y >> 16u),
    );
}

// A vector of 4 elements, by its number.
fn vector_a(place: u32) -> vec4<f32> {
    if (HALF_A) { return halves(a[place]); }
    return bitcast<vec4<f32>>(a4[place]);
}

fn vector_b(place: u32) -> vec4<f32> {
    if (HALF_B) { return halves(b[place]); }
    return bitcast<vec4<f32>>(b4[place]);
}

@compute @workgroup_size(INVOCATIONS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let col = flat_group(group, groups) * 4u;
    // Columns and rows beyond the last are computed as the last one, and not written.
    let last = params.n - 1u;
    let b0 = (params.skip_b + min(col, last) * params.col_b) / 4u;
    let b1 = (params.skip_b + min(col + 1u, last) * params.col_b) / 4u;
    let b2 = (params.skip_b + min(col + 2u, last) * params.col_b) / 4u;
    let b3 = (params.skip_b + min(col + 3u, last) * params.col_b) / 4u;
    let low = params.m - 1u;
    let a0 = (params.skip_a + min(0u, low) * params.row_a) / 4u;
    let a1 = (params.skip_a + min(1u, low) * params.row_a) / 4u;
    let a2 = (params.skip_a + min(2u, low) * params.row_a) / 4u;
    let a3 = (params.skip_a + min(3u, low) * params.row_a) / 4u;
    let a4 = (params.skip_a + min(4u, low) * params.row_a) / 4u;
    let a5 = (params.skip_a + min(5u, low) * params.row_a) / 4u;
    let a6 = (params.skip_a + min(6u, low) * params.row_a) / 4u;
    let a7 = (params.skip_a + min(7u, low) * params.row_a) / 4u;
    let a8 = (params.skip_a + min(8u, low) * params.row_a) / 4u;
    let a9 = (params.skip_a + min(9u, low) * params.row_a) / 4u;
    let a10 = (params.skip_a + min(10u, low) * params.row_a) / 4u;
    let a11 = (params.skip_a + min(11u, low) * params.row_a) / 4u;
    let a12 = (params.skip_a + min(12u, low) * params.row_a) / 4u;
    let a13 = (params.skip_a + min(13u, low) * params.row_a) / 4u;
    let a14 = (params.skip_a + min(14u, low) * params.row_a) / 4u;
    let a15 = (params.skip_a + min(15u, low) * params.row_a) / 4u;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var s4 = vec4<f32>();
    var s5 = vec4<f32>();
    var s6 = vec4<f32>();
    var s7 = vec4<f32>();
    var s8 = vec4<f32>();
    var s9 = vec4<f32>();
    var s10 = vec4<f32>();
    var s11 = vec4<f32>();
    var s12 = vec4<f32>();
    var s13 = vec4<f32>();
    var s14 = vec4<f32>();
    var s15 = vec4<f32>();
    for (var k = index; k < params.depth; k += INVOCATIONS) {
        // One vector of the depth to a row, one column to a component.
        let w = transpose(mat4x4<f32>(
            vector_b(b0 + k), vector_b(b1 + k), vector_b(b2 + k), vector_b(b3 + k),
        ));
        let x0 = vector_a(a0 + k);
        s0 = fma(w[0], x0.xxxx, fma(w[1], x0.yyyy, s0));
        s0 = fma(w[2], x0.zzzz, fma(w[3], x0.wwww, s0));
        if (ROWS > 1u) {
            let x1 = vector_a(a1 + k);
            s1 = fma(w[0], x1.xxxx, fma(w[1], x1.yyyy, s1));
            s1 = fma(w[2], x1.zzzz, fma(w[3], x1.wwww, s1));
        }
        if (ROWS > 2u) {
            let x2 = vector_a(a2 + k);
            s2 = fma(w[0], x2.xxxx, fma(w[1], x2.yyyy, s2));
            s2 = fma(w[2], x2.zzzz, fma(w[3], x2.wwww, s2));
            let x3 = vector_a(a3 + k);
            s3 = fma(w[0], x3.xxxx, fma(w[1], x3.yyyy, s3));
            s3 = fma(w[2], x3.zzzz, fma(w[3], x3.wwww, s3));
        }
        if (ROWS > 4u) {
            let x4 = vector_a(a4 + k);
            s4 = fma(w[0], x4.xxxx, fma(w[1], x4.yyyy, s4));
            s4 = fma(w[2], x4.zzzz, fma(w[3], x4.wwww, s4));
            let x5 = vector_a(a5 + k);
            s5 = fma(w[0], x5.xxxx, fma(w[1], x5.yyyy, s5));
            s5 = fma(w[2], x5.zzzz, fma(w[3], x5.wwww, s5));
            let x6 = vector_a(a6 + k);
            s6 = fma(w[0], x6.xxxx, fma(w[1], x6.yyyy, s6));
            s6 = fma(w[2], x6.zzzz, fma(w[3], x6.wwww, s6));
            let x7 = vector_a(a7 + k);
            s7 = fma(w[0], x7.xxxx, fma(w[1], x7.yyyy, s7));
            s7 = fma(w[2], x7.zzzz, fma(w[3], x7.wwww, s7));
        }
        if (ROWS > 8u) {
            let x8 = vector_a(a8 + k);
            s8 = fma(w[0], x8.xxxx, fma(w[1], x8.yyyy, s8));
            s8 = fma(w[2], x8.zzzz, fma(w[3], x8.wwww, s8));
            let x9 = vector_a(a9 + k);
            s9 = fma(w[0], x9.xxxx, fma(w[1], x9.yyyy, s9));
            s9 = fma(w[2], x9.zzzz, fma(w[3], x9.wwww, s9));
            let x10 = vector_a(a10 + k);
            s10 = fma(w[0], x10.xxxx, fma(w[1], x10.yyyy, s10));
            s10 = fma(w[2], x10.zzzz, fma(w[3], x10.wwww, s10));
            let x11 = vector_a(a11 + k);
            s11 = fma(w[0], x11.xxxx, fma(w[1], x11.yyyy, s11));
            s11 = fma(w[2], x11.zzzz, fma(w[3], x11.wwww, s11));
            let x12 = vector_a(a12 + k);
            s12 = fma(w[0], x12.xxxx, fma(w[1], x12.yyyy, s12));
            s12 = fma(w[2], x12.zzzz, fma(w[3], x12.wwww, s12));
            let x13 = vector_a(a13 + k);
            s13 = fma(w[0], x13.xxxx, fma(w[1], x13.yyyy, s13));
            s13 = fma(w[2], x13.zzzz, fma(w[3], x13.wwww, s13));
            let x14 = vector_a(a14 + k);
            s14 = fma(w[0], x14.xxxx, fma(w[1], x14.yyyy, s14));
            s14 = fma(w[2], x14.zzzz, fma(w[3], x14.wwww, s14));
            let x15 = vector_a(a15 + k);
            s15 = fma(w[0], x15.xxxx, fma(w[1], x15.yyyy, s15));
            s15 = fma(w[2], x15.zzzz, fma(w[3], x15.wwww, s15));
        }
    }

    sums[index] = s0;
    if (ROWS > 1u) {
        sums[1u * INVOCATIONS + index] = s1;
    }
    if (ROWS > 2u) {
        sums[2u * INVOCATIONS + index] = s2;
        sums[3u * INVOCATIONS + index] = s3;
    }
    if (ROWS > 4u) {
        sums[4u * INVOCATIONS + index] = s4;
        sums[5u * INVOCATIONS + index] = s5;
        sums[6u * INVOCATIONS + index] = s6;
        sums[7u * INVOCATIONS + index] = s7;
    }
    if (ROWS > 8u) {
        sums[8u * INVOCATIONS + index] = s8;
        sums[9u * INVOCATIONS + index] = s9;
        sums[10u * INVOCATIONS + index] = s10;
        sums[11u * INVOCATIONS + index] = s11;
        sums[12u * INVOCATIONS + index] = s12;
        sums[13u * INVOCATIONS + index] = s13;
        sums[14u * INVOCATIONS + index] = s14;
        sums[15u * INVOCATIONS + index] = s15;
    }
    for (var half = INVOCATIONS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (index < half) {
            for (var row = 0u; row < ROWS; row++) {
                let at = row * INVOCATIONS + index;
                sums[at] += sums[at + half];
            }
        }
    }
    workgroupBarrier();

    // An invocation a sum: 16 rows of 4 columns at most.
    let row = index / 4u;
    let own = col + index % 4u;
    if (row >= params.m || own >= params.n) { return; }
    let place = params.skip_y + row * params.row_y + own;
    var value = sums[row * INVOCATIONS][index % 4u];
    if (ACCUMULATE) { value += y[place]; }
    if (BIAS) {
        let i = params.skip_bias + own;
        value += widen(bias[word_of(i, HALF_BIAS)], i, HALF_BIAS);
    }
    y[place] = activate(value);
}
