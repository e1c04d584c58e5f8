// y = a b (+ bias) by implicit GEMM for GPUs: a workgroup computes a tile of y, whose rows are pixels
// (or rows of a matrix) and whose columns are outputs. 16 steps of the depth of both operands are
// brought to workgroup memory at a time, along the depth outside and four rows (columns) a vector
// inside; an invocation then takes 4 or 8 rows by 4 or 8 columns from there.
//
// Written out rather than looped over: some compilers below WGSL do not unroll, and a register that
// is indexed by a variable is no register.

// Four steps of the depth lie next to each other, at a multiple of four elements.
override VECTOR_A: bool;
override VECTOR_B: bool;
// Invocations across the columns and down the rows of a tile.
override ACROSS: u32;
override DOWN: u32;
// 8 rows an invocation, not 4; 8 columns.
override TALL: bool;
override WIDE: bool;
// Vectors of 4 rows and of 4 columns in a tile: as many as invocations, or twice as many.
override ROWS: u32;
override COLS: u32;

// The operands again, for loads of vectors.
@group(0) @binding(6) var<storage, read> a4: array<vec4<u32>>;
@group(0) @binding(7) var<storage, read> b4: array<vec4<u32>>;

// Steps of the depth at a time.
const DEPTH = 16u;
// Of which so many are written out.
const UNROLL = 4u;

var<workgroup> tile_a: array<vec4<f32>, DEPTH * ROWS>;
var<workgroup> tile_b: array<vec4<f32>, DEPTH * COLS>;
// Of each row of the tile: the first row and column of its window, where its image begins.
var<workgroup> windows: array<vec3<u32>, 4u * ROWS>;

fn load_a(place: u32) -> f32 {
    return widen(a[word_of(place, HALF_A)], place, HALF_A);
}

fn load_b(place: u32) -> f32 {
    return widen(b[word_of(place, HALF_B)], place, HALF_B);
}

fn vector_a(place: u32) -> vec4<f32> {
    if (HALF_A) {
        let low = a[place >> 1u];
        let high = a[(place >> 1u) + 1u];
        return vec4<f32>(
            half_to_float(low & 0xffffu), half_to_float(low >> 16u),
            half_to_float(high & 0xffffu), half_to_float(high >> 16u),
        );
    }
    return bitcast<vec4<f32>>(a4[place >> 2u]);
}

fn vector_b(place: u32) -> vec4<f32> {
    if (HALF_B) {
        let low = b[place >> 1u];
        let high = b[(place >> 1u) + 1u];
        return vec4<f32>(
            half_to_float(low & 0xffffu), half_to_float(low >> 16u),
            half_to_float(high & 0xffffu), half_to_float(high >> 16u),
        );
    }
    return bitcast<vec4<f32>>(b4[place >> 2u]);
}

// A step of the depth as a channel, and a row and column of the window.
fn cell(k: u32) -> vec3<u32> {
    let number = k / params.channels;
    return vec3<u32>(
        k % params.channels,
        vec2<u32>(number / params.kernel.y, number % params.kernel.y) * params.dilation);
}

// Whether a cell is below the last row of the kernel.
fn beyond(cell: vec3<u32>) -> bool {
    return cell.y >= params.kernel.x * params.dilation.x;
}

// An element of a; zero in the padding and beyond the depth.
fn element_a(first: u32, window: vec3<u32>, cell: vec3<u32>) -> f32 {
    let at = window.xy + cell.yz;
    // Padding wraps around to beyond the image; so do rows below the last one.
    if (at.x >= params.rows || at.y >= params.cols || beyond(cell)) { return 0.0; }
    let pixel = window.z + (at.x * params.cols + at.y) * params.pixel_a;
    return load_a(first + pixel + cell.x * params.step_a);
}

fn elements_a(first: u32, window: vec3<u32>, cell: vec3<u32>) -> vec4<f32> {
    let at = window.xy + cell.yz;
    if (at.x >= params.rows || at.y >= params.cols || beyond(cell)) {
        return vec4<f32>();
    }
    return vector_a(first + window.z + (at.x * params.cols + at.y) * params.pixel_a + cell.x);
}

// Four steps of the depth of four rows of a; each vector is a row.
fn block_a(first: u32, row: u32, k: u32) -> mat4x4<f32> {
    let w0 = windows[row];
    let w1 = windows[row + 1u];
    let w2 = windows[row + 2u];
    let w3 = windows[row + 3u];
    let c0 = cell(k);
    if (VECTOR_A) {
        return mat4x4<f32>(
            elements_a(first, w0, c0), elements_a(first, w1, c0),
            elements_a(first, w2, c0), elements_a(first, w3, c0),
        );
    }
    let c1 = cell(k + 1u);
    let c2 = cell(k + 2u);
    let c3 = cell(k + 3u);
    return mat4x4<f32>(
        element_a(first, w0, c0), element_a(first, w0, c1),
        element_a(first, w0, c2), element_a(first, w0, c3),
        element_a(first, w1, c0), element_a(first, w1, c1),
        element_a(first, w1, c2), element_a(first, w1, c3),
        element_a(first, w2, c0), element_a(first, w2, c1),
        element_a(first, w2, c2), element_a(first, w2, c3),
        element_a(first, w3, c0), element_a(first, w3, c1),
        element_a(first, w3, c2), element_a(first, w3, c3),
    );
}

fn element_b(first: u32, col: u32, k: u32, depth: u32) -> f32 {
    if (col >= params.n || k >= depth) { return 0.0; }
    return load_b(first + col * params.col_b + k * params.step_b);
}

// Four steps of the depth of a column of b.
fn column_b(first: u32, col: u32, k: u32, depth: u32) -> vec4<f32> {
    if (VECTOR_B) {
        if (col >= params.n || k >= depth) { return vec4<f32>(); }
        return vector_b(first + col * params.col_b + k);
    }
    return vec4<f32>(
        element_b(first, col, k, depth), element_b(first, col, k + 1u, depth),
        element_b(first, col, k + 2u, depth), element_b(first, col, k + 3u, depth),
    );
}

@compute @workgroup_size(ACROSS, DOWN)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let across = (params.n + 4u * COLS - 1u) / (4u * COLS);
    let down = (params.m + 4u * ROWS - 1u) / (4u * ROWS);
    var tile = flat_group(group, groups);
    let col = (tile % across) * 4u * COLS;
    tile /= across;
    let row = (tile % down) * 4u * ROWS;
    let at = places(tile / down);
    if (at.beyond) { return; }

    for (var i = index; i < 4u * ROWS; i += ACROSS * DOWN) {
        let pixel = row + i;
        let line = pixel / params.out_cols;
        var start = vec2<u32>(line % params.out_rows, pixel % params.out_cols) * params.stride
            - params.padding;
        // Beyond the last row: a window that is nowhere in the image, whatever the cell.
        if (pixel >= params.m) { start = vec2<u32>(0x80000000u); }
        let image = (line / params.out_rows) * params.rows * params.cols * params.pixel_a;
        windows[i] = vec3<u32>(start, image);
    }
    let depth = params.kernel.x * params.kernel.y * params.channels;
    var s0_0 = vec4<f32>();
    var s0_1 = vec4<f32>();
    var s1_0 = vec4<f32>();
    var s1_1 = vec4<f32>();
    var s2_0 = vec4<f32>();
    var s2_1 = vec4<f32>();
    var s3_0 = vec4<f32>();
    var s3_1 = vec4<f32>();
    var s4_0 = vec4<f32>();
    var s4_1 = vec4<f32>();
    var s5_0 = vec4<f32>();
    var s5_1 = vec4<f32>();
    var s6_0 = vec4<f32>();
    var s6_1 = vec4<f32>();
    var s7_0 = vec4<f32>();
    var s7_1 = vec4<f32>();

    for (var k = 0u; k < depth; k += DEPTH) {
        // Also: everybody has used the last ones.
        workgroupBarrier();
        for (var i = index; i < (ROWS + COLS) * (DEPTH / 4u); i += ACROSS * DOWN) {
            // Next to each other along the depth, as both operands mostly are in memory.
            let step = (i % (DEPTH / 4u)) * 4u;
            let four = i / (DEPTH / 4u);
            if (four < ROWS) {
                let block = transpose(block_a(at.a, 4u * four, k + step));
                tile_a[step * ROWS + four] = block[0];
                tile_a[(step + 1u) * ROWS + four] = block[1];
                tile_a[(step + 2u) * ROWS + four] = block[2];
                tile_a[(step + 3u) * ROWS + four] = block[3];
            } else {
                let own = four - ROWS;
                let first = col + 4u * own;
                let block = transpose(mat4x4<f32>(
                    column_b(at.b, first, k + step, depth),
                    column_b(at.b, first + 1u, k + step, depth),
                    column_b(at.b, first + 2u, k + step, depth),
                    column_b(at.b, first + 3u, k + step, depth),
                ));
                tile_b[step * COLS + own] = block[0];
                tile_b[(step + 1u) * COLS + own] = block[1];
                tile_b[(step + 2u) * COLS + own] = block[2];
                tile_b[(step + 3u) * COLS + own] = block[3];
            }
        }
        workgroupBarrier();
        for (var step = 0u; step < DEPTH; step += UNROLL) {
            var at_a = step * ROWS + local.y;
            var at_b = step * COLS + local.x;
            {
                let a0 = tile_a[at_a];
                let b0 = tile_b[at_b];
                s0_0 = fma(vec4<f32>(a0.x), b0, s0_0);
                s1_0 = fma(vec4<f32>(a0.y), b0, s1_0);
                s2_0 = fma(vec4<f32>(a0.z), b0, s2_0);
                s3_0 = fma(vec4<f32>(a0.w), b0, s3_0);
                if (WIDE) {
                    let b1 = tile_b[at_b + ACROSS];
                    s0_1 = fma(vec4<f32>(a0.x), b1, s0_1);
                    s1_1 = fma(vec4<f32>(a0.y), b1, s1_1);
                    s2_1 = fma(vec4<f32>(a0.z), b1, s2_1);
                    s3_1 = fma(vec4<f32>(a0.w), b1, s3_1);
                    if (TALL) {
                        let a1 = tile_a[at_a + DOWN];
                        s4_0 = fma(vec4<f32>(a1.x), b0, s4_0);
                        s4_1 = fma(vec4<f32>(a1.x), b1, s4_1);
                        s5_0 = fma(vec4<f32>(a1.y), b0, s5_0);
                        s5_1 = fma(vec4<f32>(a1.y), b1, s5_1);
                        s6_0 = fma(vec4<f32>(a1.z), b0, s6_0);
                        s6_1 = fma(vec4<f32>(a1.z), b1, s6_1);
                        s7_0 = fma(vec4<f32>(a1.w), b0, s7_0);
                        s7_1 = fma(vec4<f32>(a1.w), b1, s7_1);
                    }
                } else if (TALL) {
                    let a1 = tile_a[at_a + DOWN];
                    s4_0 = fma(vec4<f32>(a1.x), b0, s4_0);
                    s5_0 = fma(vec4<f32>(a1.y), b0, s5_0);
                    s6_0 = fma(vec4<f32>(a1.z), b0, s6_0);
                    s7_0 = fma(vec4<f32>(a1.w), b0, s7_0);
                }
                at_a += ROWS;
                at_b += COLS;
            }
            {
                let a0 = tile_a[at_a];
                let b0 = tile_b[at_b];
                s0_0 = fma(vec4<f32>(a0.x), b0, s0_0);
                s1_0 = fma(vec4<f32>(a0.y), b0, s1_0);
                s2_0 = fma(vec4<f32>(a0.z), b0, s2_0);
                s3_0 = fma(vec4<f32>(a0.w), b0, s3_0);
                if (WIDE) {
                    let b1 = tile_b[at_b + ACROSS];
                    s0_1 = fma(vec4<f32>(a0.x), b1, s0_1);
                    s1_1 = fma(vec4<f32>(a0.y), b1, s1_1);
                    s2_1 = fma(vec4<f32>(a0.z), b1, s2_1);
                    s3_1 = fma(vec4<f32>(a0.w), b1, s3_1);
                    if (TALL) {
                        let a1 = tile_a[at_a + DOWN];
                        s4_0 = fma(vec4<f32>(a1.x), b0, s4_0);
                        s4_1 = fma(vec4<f32>(a1.x), b1, s4_1);
                        s5_0 = fma(vec4<f32>(a1.y), b0, s5_0);
                        s5_1 = fma(vec4<f32>(a1.y), b1, s5_1);
                        s6_0 = fma(vec4<f32>(a1.z), b0, s6_0);
                        s6_1 = fma(vec4<f32>(a1.z), b1, s6_1);
                        s7_0 = fma(vec4<f32>(a1.w), b0, s7_0);
                        s7_1 = fma(vec4<f32>(a1.w), b1, s7_1);
                    }
                } else if (TALL) {
                    let a1 = tile_a[at_a + DOWN];
                    s4_0 = fma(vec4<f32>(a1.x), b0, s4_0);
                    s5_0 = fma(vec4<f32>(a1.y), b0, s5_0);
                    s6_0 = fma(vec4<f32>(a1.z), b0, s6_0);
                    s7_0 = fma(vec4<f32>(a1.w), b0, s7_0);
                }
                at_a += ROWS;
                at_b += COLS;
            }
            {
                let a0 = tile_a[at_a];
                let b0 = tile_b[at_b];
                s0_0 = fma(vec4<f32>(a0.x), b0, s0_0);
                s1_0 = fma(vec4<f32>(a0.y), b0, s1_0);
                s2_0 = fma(vec4<f32>(a0.z), b0, s2_0);
                s3_0 = fma(vec4<f32>(a0.w), b0, s3_0);
                if (WIDE) {
                    let b1 = tile_b[at_b + ACROSS];
                    s0_1 = fma(vec4<f32>(a0.x), b1, s0_1);
                    s1_1 = fma(vec4<f32>(a0.y), b1, s1_1);
                    s2_1 = fma(vec4<f32>(a0.z), b1, s2_1);
                    s3_1 = fma(vec4<f32>(a0.w), b1, s3_1);
                    if (TALL) {
                        let a1 = tile_a[at_a + DOWN];
                        s4_0 = fma(vec4<f32>(a1.x), b0, s4_0);
                        s4_1 = fma(vec4<f32>(a1.x), b1, s4_1);
                        s5_0 = fma(vec4<f32>(a1.y), b0, s5_0);
                        s5_1 = fma(vec4<f32>(a1.y), b1, s5_1);
                        s6_0 = fma(vec4<f32>(a1.z), b0, s6_0);
                        s6_1 = fma(vec4<f32>(a1.z), b1, s6_1);
                        s7_0 = fma(vec4<f32>(a1.w), b0, s7_0);
                        s7_1 = fma(vec4<f32>(a1.w), b1, s7_1);
                    }
                } else if (TALL) {
                    let a1 = tile_a[at_a + DOWN];
                    s4_0 = fma(vec4<f32>(a1.x), b0, s4_0);
                    s5_0 = fma(vec4<f32>(a1.y), b0, s5_0);
                    s6_0 = fma(vec4<f32>(a1.z), b0, s6_0);
                    s7_0 = fma(vec4<f32>(a1.w), b0, s7_0);
                }
                at_a += ROWS;
                at_b += COLS;
            }
            {
                let a0 = tile_a[at_a];
                let b0 = tile_b[at_b];
                s0_0 = fma(vec4<f32>(a0.x), b0, s0_0);
                s1_0 = fma(vec4<f32>(a0.y), b0, s1_0);
                s2_0 = fma(vec4<f32>(a0.z), b0, s2_0);
                s3_0 = fma(vec4<f32>(a0.w), b0, s3_0);
                if (WIDE) {
                    let b1 = tile_b[at_b + ACROSS];
                    s0_1 = fma(vec4<f32>(a0.x), b1, s0_1);
                    s1_1 = fma(vec4<f32>(a0.y), b1, s1_1);
                    s2_1 = fma(vec4<f32>(a0.z), b1, s2_1);
                    s3_1 = fma(vec4<f32>(a0.w), b1, s3_1);
                    if (TALL) {
                        let a1 = tile_a[at_a + DOWN];
                        s4_0 = fma(vec4<f32>(a1.x), b0, s4_0);
                        s4_1 = fma(vec4<f32>(a1.x), b1, s4_1);
                        s5_0 = fma(vec4<f32>(a1.y), b0, s5_0);
                        s5_1 = fma(vec4<f32>(a1.y), b1, s5_1);
                        s6_0 = fma(vec4<f32>(a1.z), b0, s6_0);
                        s6_1 = fma(vec4<f32>(a1.z), b1, s6_1);
                        s7_0 = fma(vec4<f32>(a1.w), b0, s7_0);
                        s7_1 = fma(vec4<f32>(a1.w), b1, s7_1);
                    }
                } else if (TALL) {
                    let a1 = tile_a[at_a + DOWN];
                    s4_0 = fma(vec4<f32>(a1.x), b0, s4_0);
                    s5_0 = fma(vec4<f32>(a1.y), b0, s5_0);
                    s6_0 = fma(vec4<f32>(a1.z), b0, s6_0);
                    s7_0 = fma(vec4<f32>(a1.w), b0, s7_0);
                }
            }
        }
    }

    let y_row = row + 4u * local.y;
    let y_col = col + 4u * local.x;
    finish4(at, y_row + 0u, y_col, s0_0);
    finish4(at, y_row + 1u, y_col, s1_0);
    finish4(at, y_row + 2u, y_col, s2_0);
    finish4(at, y_row + 3u, y_col, s3_0);
    if (WIDE) {
        finish4(at, y_row + 0u, y_col + 4u * ACROSS, s0_1);
        finish4(at, y_row + 1u, y_col + 4u * ACROSS, s1_1);
        finish4(at, y_row + 2u, y_col + 4u * ACROSS, s2_1);
        finish4(at, y_row + 3u, y_col + 4u * ACROSS, s3_1);
    }
    if (TALL) {
        let low = y_row + 4u * DOWN;
        finish4(at, low + 0u, y_col, s4_0);
        finish4(at, low + 1u, y_col, s5_0);
        finish4(at, low + 2u, y_col, s6_0);
        finish4(at, low + 3u, y_col, s7_0);
    }
    if (WIDE && TALL) {
        let low = y_row + 4u * DOWN;
        finish4(at, low + 0u, y_col + 4u * ACROSS, s4_1);
        finish4(at, low + 1u, y_col + 4u * ACROSS, s5_1);
        finish4(at, low + 2u, y_col + 4u * ACROSS, s6_1);
        finish4(at, low + 3u, y_col + 4u * ACROSS, s7_1);
    }
}
