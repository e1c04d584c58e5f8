// y = a b (+ bias) by implicit GEMM, for drivers that run shaders on a processor: 16 rows by 16
// columns an invocation, and nothing shared.
//
// Such a driver turns a load of an invocation's own into a loop over the lanes of its vectors, which
// costs some ten times a multiplication, and a barrier into a switch between stacks. What it does
// well is arithmetic on many values with constant places: those that exceed the registers are on
// the stack, where a vector is loaded at once. So the tile is far larger than a GPU's registers allow:
// 32 loads for 256 multiply-adds.
//
// Sums are of blocks of the depth, and then of these: what rounding loses grows with the length of a sum.

// Steps of the depth in a block.
const BLOCK = 64u;

// Loads at places that may lie in the padding: those read the first element, and count as zero.
fn load_a(inside: bool, at: u32) -> f32 {
    let place = select(params.skip_a, at, inside);
    return select(0.0, widen(a[word_of(place, HALF_A)], place, HALF_A), inside);
}

fn load_b(at: u32) -> f32 {
    return widen(b[word_of(at, HALF_B)], at, HALF_B);
}

// Of a row of y: the first row and column of its window, and where its image begins.
fn window(row: u32) -> vec3<u32> {
    let pixel = min(row, params.m - 1u);
    let across = pixel / params.out_cols;
    let start = vec2<u32>(across % params.out_rows, pixel % params.out_cols) * params.stride
        - params.padding;
    let image = (across / params.out_rows) * params.rows * params.cols * params.pixel_a;
    return vec3<u32>(start, image);
}

// The place of a cell of a window, and whether it is in the image: padding wraps around to beyond it.
fn cell(start: vec3<u32>, offset: vec2<u32>) -> vec2<u32> {
    let at = start.xy + offset;
    let place = start.z + (at.x * params.cols + at.y) * params.pixel_a;
    return vec2<u32>(place, u32(at.x < params.rows && at.y < params.cols));
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let across = (params.n + 15u) / 16u;
    let down = (params.m + 15u) / 16u;
    var tile = flat_group(group, groups) * 8u + local;
    let col = (tile % across) * 16u;
    tile /= across;
    let row = (tile % down) * 16u;
    let at = places(tile / down);
    // Rows and columns beyond the last are computed as the last one, and not written.
    let last = params.n - 1u;
    let window0 = window(row + 0u);
    let window1 = window(row + 1u);
    let window2 = window(row + 2u);
    let window3 = window(row + 3u);
    let window4 = window(row + 4u);
    let window5 = window(row + 5u);
    let window6 = window(row + 6u);
    let window7 = window(row + 7u);
    let window8 = window(row + 8u);
    let window9 = window(row + 9u);
    let window10 = window(row + 10u);
    let window11 = window(row + 11u);
    let window12 = window(row + 12u);
    let window13 = window(row + 13u);
    let window14 = window(row + 14u);
    let window15 = window(row + 15u);
    var b0 = at.b + min(col + 0u, last) * params.col_b;
    var b1 = at.b + min(col + 1u, last) * params.col_b;
    var b2 = at.b + min(col + 2u, last) * params.col_b;
    var b3 = at.b + min(col + 3u, last) * params.col_b;
    var b4 = at.b + min(col + 4u, last) * params.col_b;
    var b5 = at.b + min(col + 5u, last) * params.col_b;
    var b6 = at.b + min(col + 6u, last) * params.col_b;
    var b7 = at.b + min(col + 7u, last) * params.col_b;
    var b8 = at.b + min(col + 8u, last) * params.col_b;
    var b9 = at.b + min(col + 9u, last) * params.col_b;
    var b10 = at.b + min(col + 10u, last) * params.col_b;
    var b11 = at.b + min(col + 11u, last) * params.col_b;
    var b12 = at.b + min(col + 12u, last) * params.col_b;
    var b13 = at.b + min(col + 13u, last) * params.col_b;
    var b14 = at.b + min(col + 14u, last) * params.col_b;
    var b15 = at.b + min(col + 15u, last) * params.col_b;
    var s0_0 = vec4<f32>();
    var s0_1 = vec4<f32>();
    var s0_2 = vec4<f32>();
    var s0_3 = vec4<f32>();
    var s1_0 = vec4<f32>();
    var s1_1 = vec4<f32>();
    var s1_2 = vec4<f32>();
    var s1_3 = vec4<f32>();
    var s2_0 = vec4<f32>();
    var s2_1 = vec4<f32>();
    var s2_2 = vec4<f32>();
    var s2_3 = vec4<f32>();
    var s3_0 = vec4<f32>();
    var s3_1 = vec4<f32>();
    var s3_2 = vec4<f32>();
    var s3_3 = vec4<f32>();
    var s4_0 = vec4<f32>();
    var s4_1 = vec4<f32>();
    var s4_2 = vec4<f32>();
    var s4_3 = vec4<f32>();
    var s5_0 = vec4<f32>();
    var s5_1 = vec4<f32>();
    var s5_2 = vec4<f32>();
    var s5_3 = vec4<f32>();
    var s6_0 = vec4<f32>();
    var s6_1 = vec4<f32>();
    var s6_2 = vec4<f32>();
    var s6_3 = vec4<f32>();
    var s7_0 = vec4<f32>();
    var s7_1 = vec4<f32>();
    var s7_2 = vec4<f32>();
    var s7_3 = vec4<f32>();
    var s8_0 = vec4<f32>();
    var s8_1 = vec4<f32>();
    var s8_2 = vec4<f32>();
    var s8_3 = vec4<f32>();
    var s9_0 = vec4<f32>();
    var s9_1 = vec4<f32>();
    var s9_2 = vec4<f32>();
    var s9_3 = vec4<f32>();
    var s10_0 = vec4<f32>();
    var s10_1 = vec4<f32>();
    var s10_2 = vec4<f32>();
    var s10_3 = vec4<f32>();
    var s11_0 = vec4<f32>();
    var s11_1 = vec4<f32>();
    var s11_2 = vec4<f32>();
    var s11_3 = vec4<f32>();
    var s12_0 = vec4<f32>();
    var s12_1 = vec4<f32>();
    var s12_2 = vec4<f32>();
    var s12_3 = vec4<f32>();
    var s13_0 = vec4<f32>();
    var s13_1 = vec4<f32>();
    var s13_2 = vec4<f32>();
    var s13_3 = vec4<f32>();
    var s14_0 = vec4<f32>();
    var s14_1 = vec4<f32>();
    var s14_2 = vec4<f32>();
    var s14_3 = vec4<f32>();
    var s15_0 = vec4<f32>();
    var s15_1 = vec4<f32>();
    var s15_2 = vec4<f32>();
    var s15_3 = vec4<f32>();
    var t0_0 = vec4<f32>(); var t0_1 = vec4<f32>(); var t0_2 = vec4<f32>(); var t0_3 = vec4<f32>();
    var t1_0 = vec4<f32>(); var t1_1 = vec4<f32>(); var t1_2 = vec4<f32>(); var t1_3 = vec4<f32>();
    var t2_0 = vec4<f32>(); var t2_1 = vec4<f32>(); var t2_2 = vec4<f32>(); var t2_3 = vec4<f32>();
    var t3_0 = vec4<f32>(); var t3_1 = vec4<f32>(); var t3_2 = vec4<f32>(); var t3_3 = vec4<f32>();
    var t4_0 = vec4<f32>(); var t4_1 = vec4<f32>(); var t4_2 = vec4<f32>(); var t4_3 = vec4<f32>();
    var t5_0 = vec4<f32>(); var t5_1 = vec4<f32>(); var t5_2 = vec4<f32>(); var t5_3 = vec4<f32>();
    var t6_0 = vec4<f32>(); var t6_1 = vec4<f32>(); var t6_2 = vec4<f32>(); var t6_3 = vec4<f32>();
    var t7_0 = vec4<f32>(); var t7_1 = vec4<f32>(); var t7_2 = vec4<f32>(); var t7_3 = vec4<f32>();
    var t8_0 = vec4<f32>(); var t8_1 = vec4<f32>(); var t8_2 = vec4<f32>(); var t8_3 = vec4<f32>();
    var t9_0 = vec4<f32>(); var t9_1 = vec4<f32>(); var t9_2 = vec4<f32>(); var t9_3 = vec4<f32>();
    var t10_0 = vec4<f32>(); var t10_1 = vec4<f32>(); var t10_2 = vec4<f32>(); var t10_3 = vec4<f32>();
    var t11_0 = vec4<f32>(); var t11_1 = vec4<f32>(); var t11_2 = vec4<f32>(); var t11_3 = vec4<f32>();
    var t12_0 = vec4<f32>(); var t12_1 = vec4<f32>(); var t12_2 = vec4<f32>(); var t12_3 = vec4<f32>();
    var t13_0 = vec4<f32>(); var t13_1 = vec4<f32>(); var t13_2 = vec4<f32>(); var t13_3 = vec4<f32>();
    var t14_0 = vec4<f32>(); var t14_1 = vec4<f32>(); var t14_2 = vec4<f32>(); var t14_3 = vec4<f32>();
    var t15_0 = vec4<f32>(); var t15_1 = vec4<f32>(); var t15_2 = vec4<f32>(); var t15_3 = vec4<f32>();
    // Steps until the sums of a block are added to those of all blocks.
    var left = BLOCK;
    // Beyond the last group there is nothing to read.
    let cells = select(params.kernel.x, 0u, at.beyond);
    for (var kernel_row = 0u; kernel_row < cells; kernel_row++) {
        for (var kernel_col = 0u; kernel_col < params.kernel.y; kernel_col++) {
            let offset = vec2<u32>(kernel_row, kernel_col) * params.dilation;
            let cell0 = cell(window0, offset);
            let in0 = cell0.y == 1u;
            let cell1 = cell(window1, offset);
            let in1 = cell1.y == 1u;
            let cell2 = cell(window2, offset);
            let in2 = cell2.y == 1u;
            let cell3 = cell(window3, offset);
            let in3 = cell3.y == 1u;
            let cell4 = cell(window4, offset);
            let in4 = cell4.y == 1u;
            let cell5 = cell(window5, offset);
            let in5 = cell5.y == 1u;
            let cell6 = cell(window6, offset);
            let in6 = cell6.y == 1u;
            let cell7 = cell(window7, offset);
            let in7 = cell7.y == 1u;
            let cell8 = cell(window8, offset);
            let in8 = cell8.y == 1u;
            let cell9 = cell(window9, offset);
            let in9 = cell9.y == 1u;
            let cell10 = cell(window10, offset);
            let in10 = cell10.y == 1u;
            let cell11 = cell(window11, offset);
            let in11 = cell11.y == 1u;
            let cell12 = cell(window12, offset);
            let in12 = cell12.y == 1u;
            let cell13 = cell(window13, offset);
            let in13 = cell13.y == 1u;
            let cell14 = cell(window14, offset);
            let in14 = cell14.y == 1u;
            let cell15 = cell(window15, offset);
            let in15 = cell15.y == 1u;
            var at_a = at.a;
            for (var c = 0u; c < params.channels;) {
                let end = c + min(left, params.channels - c);
                left -= end - c;
                for (; c < end; c++) {
                    let w0 = vec4<f32>(
                        load_b(b0), load_b(b1), load_b(b2), load_b(b3),
                    );
                    let w1 = vec4<f32>(
                        load_b(b4), load_b(b5), load_b(b6), load_b(b7),
                    );
                    let w2 = vec4<f32>(
                        load_b(b8), load_b(b9), load_b(b10), load_b(b11),
                    );
                    let w3 = vec4<f32>(
                        load_b(b12), load_b(b13), load_b(b14), load_b(b15),
                    );
                    let x0 = vec4<f32>(load_a(in0, at_a + cell0.x));
                    s0_0 = fma(x0, w0, s0_0);
                    s0_1 = fma(x0, w1, s0_1);
                    s0_2 = fma(x0, w2, s0_2);
                    s0_3 = fma(x0, w3, s0_3);
                    let x1 = vec4<f32>(load_a(in1, at_a + cell1.x));
                    s1_0 = fma(x1, w0, s1_0);
                    s1_1 = fma(x1, w1, s1_1);
                    s1_2 = fma(x1, w2, s1_2);
                    s1_3 = fma(x1, w3, s1_3);
                    let x2 = vec4<f32>(load_a(in2, at_a + cell2.x));
                    s2_0 = fma(x2, w0, s2_0);
                    s2_1 = fma(x2, w1, s2_1);
                    s2_2 = fma(x2, w2, s2_2);
                    s2_3 = fma(x2, w3, s2_3);
                    let x3 = vec4<f32>(load_a(in3, at_a + cell3.x));
                    s3_0 = fma(x3, w0, s3_0);
                    s3_1 = fma(x3, w1, s3_1);
                    s3_2 = fma(x3, w2, s3_2);
                    s3_3 = fma(x3, w3, s3_3);
                    let x4 = vec4<f32>(load_a(in4, at_a + cell4.x));
                    s4_0 = fma(x4, w0, s4_0);
                    s4_1 = fma(x4, w1, s4_1);
                    s4_2 = fma(x4, w2, s4_2);
                    s4_3 = fma(x4, w3, s4_3);
                    let x5 = vec4<f32>(load_a(in5, at_a + cell5.x));
                    s5_0 = fma(x5, w0, s5_0);
                    s5_1 = fma(x5, w1, s5_1);
                    s5_2 = fma(x5, w2, s5_2);
                    s5_3 = fma(x5, w3, s5_3);
                    let x6 = vec4<f32>(load_a(in6, at_a + cell6.x));
                    s6_0 = fma(x6, w0, s6_0);
                    s6_1 = fma(x6, w1, s6_1);
                    s6_2 = fma(x6, w2, s6_2);
                    s6_3 = fma(x6, w3, s6_3);
                    let x7 = vec4<f32>(load_a(in7, at_a + cell7.x));
                    s7_0 = fma(x7, w0, s7_0);
                    s7_1 = fma(x7, w1, s7_1);
                    s7_2 = fma(x7, w2, s7_2);
                    s7_3 = fma(x7, w3, s7_3);
                    let x8 = vec4<f32>(load_a(in8, at_a + cell8.x));
                    s8_0 = fma(x8, w0, s8_0);
                    s8_1 = fma(x8, w1, s8_1);
                    s8_2 = fma(x8, w2, s8_2);
                    s8_3 = fma(x8, w3, s8_3);
                    let x9 = vec4<f32>(load_a(in9, at_a + cell9.x));
                    s9_0 = fma(x9, w0, s9_0);
                    s9_1 = fma(x9, w1, s9_1);
                    s9_2 = fma(x9, w2, s9_2);
                    s9_3 = fma(x9, w3, s9_3);
                    let x10 = vec4<f32>(load_a(in10, at_a + cell10.x));
                    s10_0 = fma(x10, w0, s10_0);
                    s10_1 = fma(x10, w1, s10_1);
                    s10_2 = fma(x10, w2, s10_2);
                    s10_3 = fma(x10, w3, s10_3);
                    let x11 = vec4<f32>(load_a(in11, at_a + cell11.x));
                    s11_0 = fma(x11, w0, s11_0);
                    s11_1 = fma(x11, w1, s11_1);
                    s11_2 = fma(x11, w2, s11_2);
                    s11_3 = fma(x11, w3, s11_3);
                    let x12 = vec4<f32>(load_a(in12, at_a + cell12.x));
                    s12_0 = fma(x12, w0, s12_0);
                    s12_1 = fma(x12, w1, s12_1);
                    s12_2 = fma(x12, w2, s12_2);
                    s12_3 = fma(x12, w3, s12_3);
                    let x13 = vec4<f32>(load_a(in13, at_a + cell13.x));
                    s13_0 = fma(x13, w0, s13_0);
                    s13_1 = fma(x13, w1, s13_1);
                    s13_2 = fma(x13, w2, s13_2);
                    s13_3 = fma(x13, w3, s13_3);
                    let x14 = vec4<f32>(load_a(in14, at_a + cell14.x));
                    s14_0 = fma(x14, w0, s14_0);
                    s14_1 = fma(x14, w1, s14_1);
                    s14_2 = fma(x14, w2, s14_2);
                    s14_3 = fma(x14, w3, s14_3);
                    let x15 = vec4<f32>(load_a(in15, at_a + cell15.x));
                    s15_0 = fma(x15, w0, s15_0);
                    s15_1 = fma(x15, w1, s15_1);
                    s15_2 = fma(x15, w2, s15_2);
                    s15_3 = fma(x15, w3, s15_3);
                    b0 += params.step_b;
                    b1 += params.step_b;
                    b2 += params.step_b;
                    b3 += params.step_b;
                    b4 += params.step_b;
                    b5 += params.step_b;
                    b6 += params.step_b;
                    b7 += params.step_b;
                    b8 += params.step_b;
                    b9 += params.step_b;
                    b10 += params.step_b;
                    b11 += params.step_b;
                    b12 += params.step_b;
                    b13 += params.step_b;
                    b14 += params.step_b;
                    b15 += params.step_b;
                    at_a += params.step_a;
                }
                // At most once: such a driver jumps over a loop that does not run, and not over an `if`.
                for (; left == 0u; left = BLOCK) {
                    t0_0 += s0_0; t0_1 += s0_1; t0_2 += s0_2; t0_3 += s0_3;
                    t1_0 += s1_0; t1_1 += s1_1; t1_2 += s1_2; t1_3 += s1_3;
                    t2_0 += s2_0; t2_1 += s2_1; t2_2 += s2_2; t2_3 += s2_3;
                    t3_0 += s3_0; t3_1 += s3_1; t3_2 += s3_2; t3_3 += s3_3;
                    t4_0 += s4_0; t4_1 += s4_1; t4_2 += s4_2; t4_3 += s4_3;
                    t5_0 += s5_0; t5_1 += s5_1; t5_2 += s5_2; t5_3 += s5_3;
                    t6_0 += s6_0; t6_1 += s6_1; t6_2 += s6_2; t6_3 += s6_3;
                    t7_0 += s7_0; t7_1 += s7_1; t7_2 += s7_2; t7_3 += s7_3;
                    t8_0 += s8_0; t8_1 += s8_1; t8_2 += s8_2; t8_3 += s8_3;
                    t9_0 += s9_0; t9_1 += s9_1; t9_2 += s9_2; t9_3 += s9_3;
                    t10_0 += s10_0; t10_1 += s10_1; t10_2 += s10_2; t10_3 += s10_3;
                    t11_0 += s11_0; t11_1 += s11_1; t11_2 += s11_2; t11_3 += s11_3;
                    t12_0 += s12_0; t12_1 += s12_1; t12_2 += s12_2; t12_3 += s12_3;
                    t13_0 += s13_0; t13_1 += s13_1; t13_2 += s13_2; t13_3 += s13_3;
                    t14_0 += s14_0; t14_1 += s14_1; t14_2 += s14_2; t14_3 += s14_3;
                    t15_0 += s15_0; t15_1 += s15_1; t15_2 += s15_2; t15_3 += s15_3;
                    s0_0 = vec4<f32>(); s0_1 = vec4<f32>(); s0_2 = vec4<f32>(); s0_3 = vec4<f32>();
                    s1_0 = vec4<f32>(); s1_1 = vec4<f32>(); s1_2 = vec4<f32>(); s1_3 = vec4<f32>();
                    s2_0 = vec4<f32>(); s2_1 = vec4<f32>(); s2_2 = vec4<f32>(); s2_3 = vec4<f32>();
                    s3_0 = vec4<f32>(); s3_1 = vec4<f32>(); s3_2 = vec4<f32>(); s3_3 = vec4<f32>();
                    s4_0 = vec4<f32>(); s4_1 = vec4<f32>(); s4_2 = vec4<f32>(); s4_3 = vec4<f32>();
                    s5_0 = vec4<f32>(); s5_1 = vec4<f32>(); s5_2 = vec4<f32>(); s5_3 = vec4<f32>();
                    s6_0 = vec4<f32>(); s6_1 = vec4<f32>(); s6_2 = vec4<f32>(); s6_3 = vec4<f32>();
                    s7_0 = vec4<f32>(); s7_1 = vec4<f32>(); s7_2 = vec4<f32>(); s7_3 = vec4<f32>();
                    s8_0 = vec4<f32>(); s8_1 = vec4<f32>(); s8_2 = vec4<f32>(); s8_3 = vec4<f32>();
                    s9_0 = vec4<f32>(); s9_1 = vec4<f32>(); s9_2 = vec4<f32>(); s9_3 = vec4<f32>();
                    s10_0 = vec4<f32>(); s10_1 = vec4<f32>(); s10_2 = vec4<f32>(); s10_3 = vec4<f32>();
                    s11_0 = vec4<f32>(); s11_1 = vec4<f32>(); s11_2 = vec4<f32>(); s11_3 = vec4<f32>();
                    s12_0 = vec4<f32>(); s12_1 = vec4<f32>(); s12_2 = vec4<f32>(); s12_3 = vec4<f32>();
                    s13_0 = vec4<f32>(); s13_1 = vec4<f32>(); s13_2 = vec4<f32>(); s13_3 = vec4<f32>();
                    s14_0 = vec4<f32>(); s14_1 = vec4<f32>(); s14_2 = vec4<f32>(); s14_3 = vec4<f32>();
                    s15_0 = vec4<f32>(); s15_1 = vec4<f32>(); s15_2 = vec4<f32>(); s15_3 = vec4<f32>();
                }
            }
        }
    }
    if (at.beyond) { return; }
    let columns0 = columns(at, col + 0u);
    let columns1 = columns(at, col + 4u);
    let columns2 = columns(at, col + 8u);
    let columns3 = columns(at, col + 12u);
    if (row + 0u < params.m) {
        let line = at.y + row_of_y(row + 0u);
        finish4(line, columns0, t0_0 + s0_0);
        finish4(line, columns1, t0_1 + s0_1);
        finish4(line, columns2, t0_2 + s0_2);
        finish4(line, columns3, t0_3 + s0_3);
    }
    if (row + 1u < params.m) {
        let line = at.y + row_of_y(row + 1u);
        finish4(line, columns0, t1_0 + s1_0);
        finish4(line, columns1, t1_1 + s1_1);
        finish4(line, columns2, t1_2 + s1_2);
        finish4(line, columns3, t1_3 + s1_3);
    }
    if (row + 2u < params.m) {
        let line = at.y + row_of_y(row + 2u);
        finish4(line, columns0, t2_0 + s2_0);
        finish4(line, columns1, t2_1 + s2_1);
        finish4(line, columns2, t2_2 + s2_2);
        finish4(line, columns3, t2_3 + s2_3);
    }
    if (row + 3u < params.m) {
        let line = at.y + row_of_y(row + 3u);
        finish4(line, columns0, t3_0 + s3_0);
        finish4(line, columns1, t3_1 + s3_1);
        finish4(line, columns2, t3_2 + s3_2);
        finish4(line, columns3, t3_3 + s3_3);
    }
    if (row + 4u < params.m) {
        let line = at.y + row_of_y(row + 4u);
        finish4(line, columns0, t4_0 + s4_0);
        finish4(line, columns1, t4_1 + s4_1);
        finish4(line, columns2, t4_2 + s4_2);
        finish4(line, columns3, t4_3 + s4_3);
    }
    if (row + 5u < params.m) {
        let line = at.y + row_of_y(row + 5u);
        finish4(line, columns0, t5_0 + s5_0);
        finish4(line, columns1, t5_1 + s5_1);
        finish4(line, columns2, t5_2 + s5_2);
        finish4(line, columns3, t5_3 + s5_3);
    }
    if (row + 6u < params.m) {
        let line = at.y + row_of_y(row + 6u);
        finish4(line, columns0, t6_0 + s6_0);
        finish4(line, columns1, t6_1 + s6_1);
        finish4(line, columns2, t6_2 + s6_2);
        finish4(line, columns3, t6_3 + s6_3);
    }
    if (row + 7u < params.m) {
        let line = at.y + row_of_y(row + 7u);
        finish4(line, columns0, t7_0 + s7_0);
        finish4(line, columns1, t7_1 + s7_1);
        finish4(line, columns2, t7_2 + s7_2);
        finish4(line, columns3, t7_3 + s7_3);
    }
    if (row + 8u < params.m) {
        let line = at.y + row_of_y(row + 8u);
        finish4(line, columns0, t8_0 + s8_0);
        finish4(line, columns1, t8_1 + s8_1);
        finish4(line, columns2, t8_2 + s8_2);
        finish4(line, columns3, t8_3 + s8_3);
    }
    if (row + 9u < params.m) {
        let line = at.y + row_of_y(row + 9u);
        finish4(line, columns0, t9_0 + s9_0);
        finish4(line, columns1, t9_1 + s9_1);
        finish4(line, columns2, t9_2 + s9_2);
        finish4(line, columns3, t9_3 + s9_3);
    }
    if (row + 10u < params.m) {
        let line = at.y + row_of_y(row + 10u);
        finish4(line, columns0, t10_0 + s10_0);
        finish4(line, columns1, t10_1 + s10_1);
        finish4(line, columns2, t10_2 + s10_2);
        finish4(line, columns3, t10_3 + s10_3);
    }
    if (row + 11u < params.m) {
        let line = at.y + row_of_y(row + 11u);
        finish4(line, columns0, t11_0 + s11_0);
        finish4(line, columns1, t11_1 + s11_1);
        finish4(line, columns2, t11_2 + s11_2);
        finish4(line, columns3, t11_3 + s11_3);
    }
    if (row + 12u < params.m) {
        let line = at.y + row_of_y(row + 12u);
        finish4(line, columns0, t12_0 + s12_0);
        finish4(line, columns1, t12_1 + s12_1);
        finish4(line, columns2, t12_2 + s12_2);
        finish4(line, columns3, t12_3 + s12_3);
    }
    if (row + 13u < params.m) {
        let line = at.y + row_of_y(row + 13u);
        finish4(line, columns0, t13_0 + s13_0);
        finish4(line, columns1, t13_1 + s13_1);
        finish4(line, columns2, t13_2 + s13_2);
        finish4(line, columns3, t13_3 + s13_3);
    }
    if (row + 14u < params.m) {
        let line = at.y + row_of_y(row + 14u);
        finish4(line, columns0, t14_0 + s14_0);
        finish4(line, columns1, t14_1 + s14_1);
        finish4(line, columns2, t14_2 + s14_2);
        finish4(line, columns3, t14_3 + s14_3);
    }
    if (row + 15u < params.m) {
        let line = at.y + row_of_y(row + 15u);
        finish4(line, columns0, t15_0 + s15_0);
        finish4(line, columns1, t15_1 + s15_1);
        finish4(line, columns2, t15_2 + s15_2);
        finish4(line, columns3, t15_3 + s15_3);
    }
}
