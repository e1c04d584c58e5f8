// y = a b (+ bias) by implicit GEMM for GPUs: a workgroup computes a tile of y, whose rows are pixels
// (or rows of a matrix) and whose columns are outputs. 16 steps of the depth of both operands are
// brought to workgroup memory at a time, along the depth outside and four rows (columns) a vector
// inside; an invocation then takes 4 or 8 rows by 4 or 8 columns from there.
//
// Written out rather than looped over: some compilers below WGSL do not unroll, and a register that
// is indexed by a variable is no register.

// What lies next to each other at a multiple of four elements: nothing (0), four steps of the depth
// (1), four rows of a or columns of b (2).
override VECTOR_A: u32;
override VECTOR_B: u32;
// The windows are those of b: its columns are the cells of a kernel and their channels, and the depth
// goes through the pixels. The gradient of a convolution in its weights.
override WINDOWS_B: bool;
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

// Vectors of a step are swapped about: see `turn`.
var<workgroup> tile_a: array<vec4<f32>, DEPTH * ROWS>;
var<workgroup> tile_b: array<vec4<f32>, DEPTH * COLS>;
// Of each row of the tile: the first row and column of its window, where its image begins. With
// WINDOWS_B, of each step of the depth: those in use, and those that come next.
var<workgroup> windows: array<vec3<u32>, 4u * ROWS>;

// What the vectors of the steps 4 j to 4 j + 3 have their places xor-ed with. Workgroup memory has
// 8 banks of vectors. Eight invocations that load along the depth store two vectors of each of four
// such steps, whose places are the same but for a multiple of 8: they would meet in two banks.
fn turn(step: u32) -> u32 {
    return step / 4u * 2u;
}

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

// Loads have no branches. An element in the padding or beyond the depth is zero: it is read from the
// first place instead, and not used.

// The place of an element, and whether there is one: padding wraps around to beyond the image, and so do
// rows below the last one.
struct Place {
    at: u32,
    inside: bool,
}

fn place_a(first: u32, window: vec3<u32>, cell: vec3<u32>) -> Place {
    let own = window.xy + cell.yz;
    let inside = own.x < params.rows && own.y < params.cols && !beyond(cell);
    let pixel = window.z + (own.x * params.cols + own.y) * params.pixel_a;
    return Place(select(first, first + pixel + cell.x * params.step_a, inside), inside);
}

fn element_a(first: u32, window: vec3<u32>, cell: vec3<u32>) -> f32 {
    let place = place_a(first, window, cell);
    return select(0.0, load_a(place.at), place.inside);
}

fn elements_a(first: u32, window: vec3<u32>, cell: vec3<u32>) -> vec4<f32> {
    let place = place_a(first, window, cell);
    return select(vec4<f32>(), vector_a(place.at), place.inside);
}

// Four steps of the depth of four rows of a; each vector is a row.
fn block_a(first: u32, row: u32, k: u32) -> mat4x4<f32> {
    let w0 = windows[row];
    let w1 = windows[row + 1u];
    let w2 = windows[row + 2u];
    let w3 = windows[row + 3u];
    let c0 = cell(k);
    if (VECTOR_A == 1u) {
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

fn place_b(first: u32, col: u32, k: u32, depth: u32) -> Place {
    let inside = col < params.n && k < depth;
    return Place(select(first, first + col * params.col_b + k * params.step_b, inside), inside);
}

fn element_b(first: u32, col: u32, k: u32, depth: u32) -> f32 {
    let place = place_b(first, col, k, depth);
    return select(0.0, load_b(place.at), place.inside);
}

// Four steps of the depth of a column of b.
fn column_b(first: u32, col: u32, k: u32, depth: u32) -> vec4<f32> {
    if (VECTOR_B == 1u) {
        let place = place_b(first, col, k, depth);
        return select(vec4<f32>(), vector_b(place.at), place.inside);
    }
    return vec4<f32>(
        element_b(first, col, k, depth), element_b(first, col, k + 1u, depth),
        element_b(first, col, k + 2u, depth), element_b(first, col, k + 3u, depth),
    );
}

// A step of the depth of four rows of a, which is no image.
fn rows_a(first: u32, row: u32, k: u32, end: u32) -> vec4<f32> {
    let step = first + k * params.step_a;
    if (VECTOR_A == 2u) {
        let inside = row < params.m && k < end;
        return select(vec4<f32>(), vector_a(select(first, step + row, inside)), inside);
    }
    return vec4<f32>(
        row_a(first, step, row, k < end), row_a(first, step, row + 1u, k < end),
        row_a(first, step, row + 2u, k < end), row_a(first, step, row + 3u, k < end),
    );
}

fn row_a(first: u32, step: u32, row: u32, inside: bool) -> f32 {
    let own = inside && row < params.m;
    return select(0.0, load_a(select(first, step + row * params.pixel_a, own)), own);
}

// A pixel under the cell of a column of b; zero in the padding.
fn pixel_b(first: u32, window: vec3<u32>, col: u32) -> f32 {
    let own = cell(col);
    let at = window.xy + own.yz;
    let inside = at.x < params.rows && at.y < params.cols && col < params.n;
    let place = first + window.z + (at.x * params.cols + at.y) * params.col_b + own.x;
    return select(0.0, load_b(select(first, place, inside)), inside);
}

// A step of the depth of four columns of b.
fn columns_b(first: u32, slot: u32, col: u32, k: u32, end: u32) -> vec4<f32> {
    if (!WINDOWS_B) {
        let inside = col < params.n && k < end;
        let at = select(first, first + k * params.step_b + col, inside);
        return select(vec4<f32>(), vector_b(at), inside);
    }
    let window = windows[slot];
    if (VECTOR_B == 2u) {
        let own = cell(col);
        let at = window.xy + own.yz;
        let inside = at.x < params.rows && at.y < params.cols && col < params.n;
        let pixel = window.z + (at.x * params.cols + at.y) * params.col_b + own.x;
        return select(vec4<f32>(), vector_b(select(first, first + pixel, inside)), inside);
    }
    return vec4<f32>(
        pixel_b(first, window, col), pixel_b(first, window, col + 1u),
        pixel_b(first, window, col + 2u), pixel_b(first, window, col + 3u),
    );
}

// The first row and column of a pixel's window, and where its image begins. Beyond the last pixel: a
// window that is nowhere in the image, whatever the cell.
fn window_of(pixel: u32, end: u32, image_pixel: u32) -> vec3<u32> {
    let line = pixel / params.out_cols;
    let start = vec2<u32>(line % params.out_rows, pixel % params.out_cols) * params.stride
        - params.padding;
    let image = (line / params.out_rows) * params.rows * params.cols * image_pixel;
    return vec3<u32>(select(vec2<u32>(0x80000000u), start, pixel < end), image);
}

fn finish_row(
    at: Places,
    row: u32,
    left: Columns,
    left_sums: vec4<f32>,
    right: Columns,
    right_sums: vec4<f32>,
) {
    if (row >= params.m) { return; }
    let line = at.y + row_of_y(row);
    finish4(line, left, left_sums);
    if (WIDE) { finish4(line, right, right_sums); }
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

    let depth = min(at.first + params.part, params.depth);
    if (WINDOWS_B) {
        if (index < DEPTH) { windows[index] = window_of(at.first + index, depth, params.col_b); }
    } else {
        for (var i = index; i < 4u * ROWS; i += ACROSS * DOWN) {
            windows[i] = window_of(row + i, params.m, params.pixel_a);
        }
    }
    // Which half of the windows is in use.
    var half = 0u;
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

    for (var k = at.first; k < depth; k += DEPTH) {
        // Also: everybody has used the last ones.
        workgroupBarrier();
        for (var i = index; i < (ROWS + COLS) * (DEPTH / 4u); i += ACROSS * DOWN) {
            // Four steps of the depth of four rows (columns), a vector a step. Invocations take blocks
            // that are next to each other as the operand is in memory.
            if (i < ROWS * (DEPTH / 4u)) {
                var step = (i % (DEPTH / 4u)) * 4u;
                var four = i / (DEPTH / 4u);
                var block: mat4x4<f32>;
                if (WINDOWS_B || VECTOR_A == 2u) {
                    step = i / ROWS * 4u;
                    four = i % ROWS;
                    let first = row + 4u * four;
                    block = mat4x4<f32>(
                        rows_a(at.a, first, k + step, depth),
                        rows_a(at.a, first, k + step + 1u, depth),
                        rows_a(at.a, first, k + step + 2u, depth),
                        rows_a(at.a, first, k + step + 3u, depth),
                    );
                } else {
                    block = transpose(block_a(at.a, 4u * four, k + step));
                }
                let to = step * ROWS + (four ^ turn(step));
                tile_a[to] = block[0];
                tile_a[to + ROWS] = block[1];
                tile_a[to + 2u * ROWS] = block[2];
                tile_a[to + 3u * ROWS] = block[3];
            } else {
                let own = i - ROWS * (DEPTH / 4u);
                var step = (own % (DEPTH / 4u)) * 4u;
                var four = own / (DEPTH / 4u);
                var block: mat4x4<f32>;
                if (WINDOWS_B || VECTOR_B == 2u) {
                    step = own / COLS * 4u;
                    four = own % COLS;
                    let first = col + 4u * four;
                    let slot = half + step;
                    block = mat4x4<f32>(
                        columns_b(at.b, slot, first, k + step, depth),
                        columns_b(at.b, slot + 1u, first, k + step + 1u, depth),
                        columns_b(at.b, slot + 2u, first, k + step + 2u, depth),
                        columns_b(at.b, slot + 3u, first, k + step + 3u, depth),
                    );
                } else {
                    let first = col + 4u * four;
                    block = transpose(mat4x4<f32>(
                        column_b(at.b, first, k + step, depth),
                        column_b(at.b, first + 1u, k + step, depth),
                        column_b(at.b, first + 2u, k + step, depth),
                        column_b(at.b, first + 3u, k + step, depth),
                    ));
                }
                let to = step * COLS + (four ^ turn(step));
                tile_b[to] = block[0];
                tile_b[to + COLS] = block[1];
                tile_b[to + 2u * COLS] = block[2];
                tile_b[to + 3u * COLS] = block[3];
            }
        }
        if (WINDOWS_B) {
            half = DEPTH - half;
            if (index < DEPTH) {
                windows[half + index] = window_of(k + DEPTH + index, depth, params.col_b);
            }
        }
        workgroupBarrier();
        for (var step = 0u; step < DEPTH; step += UNROLL) {
            var at_a = step * ROWS + (local.y ^ turn(step));
            var at_b = step * COLS + (local.x ^ turn(step));
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
    let left = columns(at, y_col);
    var right = left;
    if (WIDE) { right = columns(at, y_col + 4u * ACROSS); }
    finish_row(at, y_row + 0u, left, s0_0, right, s0_1);
    finish_row(at, y_row + 1u, left, s1_0, right, s1_1);
    finish_row(at, y_row + 2u, left, s2_0, right, s2_1);
    finish_row(at, y_row + 3u, left, s3_0, right, s3_1);
    if (TALL) {
        let low = y_row + 4u * DOWN;
        finish_row(at, low + 0u, left, s4_0, right, s4_1);
        finish_row(at, low + 1u, left, s5_0, right, s5_1);
        finish_row(at, low + 2u, left, s6_0, right, s6_1);
        finish_row(at, low + 3u, left, s7_0, right, s7_1);
    }
}
