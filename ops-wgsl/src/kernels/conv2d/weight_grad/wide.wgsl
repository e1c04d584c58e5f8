// The gradient of a convolution in its weights, for drivers that run shaders on a processor: 16
// outputs by 16 weights of each an invocation, and nothing shared (see `gemm/wide.wgsl`). A weight is
// a cell of the kernel and a channel.

override HALF_X: bool;
override HALF_DY: bool;
// Four channels (outputs) lie next to each other at a multiple of four elements.
override VECTOR_X: bool;
override VECTOR_DY: bool;
// Adds to what dw holds.
override ACCUMULATE: bool;

struct Params {
    rows: u32,
    cols: u32,
    channels: u32,
    out_rows: u32,
    out_cols: u32,
    out: u32,
    group_channels: u32,
    group_out: u32,
    kernel: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    dilation: vec2<u32>,
    // Pixels of all images, and of a part.
    pixels: u32,
    part: u32,
    parts: u32,
    groups: u32,
    skip_x: u32,
    skip_dy: u32,
    skip_dw: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// The parts, each of the shape of the weights.
@group(0) @binding(1) var<storage, read_write> dw: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read> dy: array<u32>;
// The operands again, for loads of vectors.
@group(0) @binding(4) var<storage, read> x4: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> dy4: array<vec4<u32>>;

// Of a column: row and column of its cell, and where its channel is in a pixel.
fn cell_of(col: u32, first_channel: u32) -> vec3<u32> {
    let own = min(col, params.kernel.x * params.kernel.y * params.group_channels - 1u);
    let number = own / params.group_channels;
    let cell = vec2<u32>(number / params.kernel.y, number % params.kernel.y);
    return vec3<u32>(
        cell * params.dilation - params.padding, first_channel + own % params.group_channels);
}

// A pixel of the padding wraps around to beyond the image: it reads the first one, and is zero.
fn place(image: u32, at: vec2<u32>, cell: vec3<u32>) -> vec2<u32> {
    let own = at + cell.xy;
    let inside = own.x < params.rows && own.y < params.cols;
    let i = image + (own.x * params.cols + own.y) * params.channels + cell.z;
    return vec2<u32>(select(params.skip_x, i, inside), u32(inside));
}

fn load(image: u32, at: vec2<u32>, cell: vec3<u32>) -> f32 {
    let own = place(image, at, cell);
    return select(0.0, widen(x[word_of(own.x, HALF_X)], own.x, HALF_X), own.y == 1u);
}

fn load_four(image: u32, at: vec2<u32>, cell: vec3<u32>) -> vec4<f32> {
    let own = place(image, at, cell);
    return select(vec4<f32>(), bitcast<vec4<f32>>(x4[own.x >> 2u]), own.y == 1u);
}

fn gradient(at: u32) -> f32 {
    return widen(dy[word_of(at, HALF_DY)], at, HALF_DY);
}

// Of outputs beyond the last one: those of the last one.
fn gradients(first: u32, row: u32) -> vec4<f32> {
    let last = params.group_out - 1u;
    if (VECTOR_DY) {
        return bitcast<vec4<f32>>(dy4[(first + min(row, last - 3u)) >> 2u]);
    }
    return vec4<f32>(
        gradient(first + min(row, last)), gradient(first + min(row + 1u, last)),
        gradient(first + min(row + 2u, last)), gradient(first + min(row + 3u, last)),
    );
}

fn put(at: u32, value: f32) {
    var sum = value;
    if (ACCUMULATE) { sum += dw[at]; }
    dw[at] = sum;
}

fn finish(first: u32, row: u32, col: u32, sums: vec4<f32>) {
    let count = params.kernel.x * params.kernel.y * params.group_channels;
    if (row >= params.group_out) { return; }
    let at = first + row * count + col;
    if (col < count) { put(at, sums.x); }
    if (col + 1u < count) { put(at + 1u, sums.y); }
    if (col + 2u < count) { put(at + 2u, sums.z); }
    if (col + 3u < count) { put(at + 3u, sums.w); }
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let count = params.kernel.x * params.kernel.y * params.group_channels;
    let across = (count + 15u) / 16u;
    let down = (params.group_out + 15u) / 16u;
    var tile = flat_group(group, groups) * 8u + local;
    let col = (tile % across) * 16u;
    tile /= across;
    let row = (tile % down) * 16u;
    tile /= down;
    let own_group = tile % params.groups;
    let part = tile / params.groups;
    // What folding leaves.
    if (part >= params.parts) { return; }
    let first_channel = own_group * params.group_channels;
    let cell0 = cell_of(col + 0u, first_channel);
    let cell1 = cell_of(col + 1u, first_channel);
    let cell2 = cell_of(col + 2u, first_channel);
    let cell3 = cell_of(col + 3u, first_channel);
    let cell4 = cell_of(col + 4u, first_channel);
    let cell5 = cell_of(col + 5u, first_channel);
    let cell6 = cell_of(col + 6u, first_channel);
    let cell7 = cell_of(col + 7u, first_channel);
    let cell8 = cell_of(col + 8u, first_channel);
    let cell9 = cell_of(col + 9u, first_channel);
    let cell10 = cell_of(col + 10u, first_channel);
    let cell11 = cell_of(col + 11u, first_channel);
    let cell12 = cell_of(col + 12u, first_channel);
    let cell13 = cell_of(col + 13u, first_channel);
    let cell14 = cell_of(col + 14u, first_channel);
    let cell15 = cell_of(col + 15u, first_channel);
    let to = params.skip_dw + (part * params.out + own_group * params.group_out) * count;
    var pixel = part * params.part;
    let end = min(pixel + params.part, params.pixels);
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
    var out_row = (pixel / params.out_cols) % params.out_rows;
    var out_col = pixel % params.out_cols;
    let size = params.rows * params.cols * params.channels;
    var image = params.skip_x + pixel / (params.out_cols * params.out_rows) * size;
    for (; pixel < end; pixel++) {
        let at = vec2<u32>(out_row, out_col) * params.stride;
        let first = params.skip_dy + pixel * params.out + own_group * params.group_out;
        let d0 = gradients(first, row);
        let d1 = gradients(first, row + 4u);
        let d2 = gradients(first, row + 8u);
        let d3 = gradients(first, row + 12u);
        var x_0: vec4<f32>;
        var x_1: vec4<f32>;
        var x_2: vec4<f32>;
        var x_3: vec4<f32>;
        if (VECTOR_X) {
            x_0 = load_four(image, at, cell0);
            x_1 = load_four(image, at, cell4);
            x_2 = load_four(image, at, cell8);
            x_3 = load_four(image, at, cell12);
        } else {
            x_0 = vec4<f32>(
                load(image, at, cell0), load(image, at, cell1),
                load(image, at, cell2), load(image, at, cell3),
            );
            x_1 = vec4<f32>(
                load(image, at, cell4), load(image, at, cell5),
                load(image, at, cell6), load(image, at, cell7),
            );
            x_2 = vec4<f32>(
                load(image, at, cell8), load(image, at, cell9),
                load(image, at, cell10), load(image, at, cell11),
            );
            x_3 = vec4<f32>(
                load(image, at, cell12), load(image, at, cell13),
                load(image, at, cell14), load(image, at, cell15),
            );
        }
        let g0 = vec4<f32>(d0.x);
        s0_0 = fma(g0, x_0, s0_0);
        s0_1 = fma(g0, x_1, s0_1);
        s0_2 = fma(g0, x_2, s0_2);
        s0_3 = fma(g0, x_3, s0_3);
        let g1 = vec4<f32>(d0.y);
        s1_0 = fma(g1, x_0, s1_0);
        s1_1 = fma(g1, x_1, s1_1);
        s1_2 = fma(g1, x_2, s1_2);
        s1_3 = fma(g1, x_3, s1_3);
        let g2 = vec4<f32>(d0.z);
        s2_0 = fma(g2, x_0, s2_0);
        s2_1 = fma(g2, x_1, s2_1);
        s2_2 = fma(g2, x_2, s2_2);
        s2_3 = fma(g2, x_3, s2_3);
        let g3 = vec4<f32>(d0.w);
        s3_0 = fma(g3, x_0, s3_0);
        s3_1 = fma(g3, x_1, s3_1);
        s3_2 = fma(g3, x_2, s3_2);
        s3_3 = fma(g3, x_3, s3_3);
        let g4 = vec4<f32>(d1.x);
        s4_0 = fma(g4, x_0, s4_0);
        s4_1 = fma(g4, x_1, s4_1);
        s4_2 = fma(g4, x_2, s4_2);
        s4_3 = fma(g4, x_3, s4_3);
        let g5 = vec4<f32>(d1.y);
        s5_0 = fma(g5, x_0, s5_0);
        s5_1 = fma(g5, x_1, s5_1);
        s5_2 = fma(g5, x_2, s5_2);
        s5_3 = fma(g5, x_3, s5_3);
        let g6 = vec4<f32>(d1.z);
        s6_0 = fma(g6, x_0, s6_0);
        s6_1 = fma(g6, x_1, s6_1);
        s6_2 = fma(g6, x_2, s6_2);
        s6_3 = fma(g6, x_3, s6_3);
        let g7 = vec4<f32>(d1.w);
        s7_0 = fma(g7, x_0, s7_0);
        s7_1 = fma(g7, x_1, s7_1);
        s7_2 = fma(g7, x_2, s7_2);
        s7_3 = fma(g7, x_3, s7_3);
        let g8 = vec4<f32>(d2.x);
        s8_0 = fma(g8, x_0, s8_0);
        s8_1 = fma(g8, x_1, s8_1);
        s8_2 = fma(g8, x_2, s8_2);
        s8_3 = fma(g8, x_3, s8_3);
        let g9 = vec4<f32>(d2.y);
        s9_0 = fma(g9, x_0, s9_0);
        s9_1 = fma(g9, x_1, s9_1);
        s9_2 = fma(g9, x_2, s9_2);
        s9_3 = fma(g9, x_3, s9_3);
        let g10 = vec4<f32>(d2.z);
        s10_0 = fma(g10, x_0, s10_0);
        s10_1 = fma(g10, x_1, s10_1);
        s10_2 = fma(g10, x_2, s10_2);
        s10_3 = fma(g10, x_3, s10_3);
        let g11 = vec4<f32>(d2.w);
        s11_0 = fma(g11, x_0, s11_0);
        s11_1 = fma(g11, x_1, s11_1);
        s11_2 = fma(g11, x_2, s11_2);
        s11_3 = fma(g11, x_3, s11_3);
        let g12 = vec4<f32>(d3.x);
        s12_0 = fma(g12, x_0, s12_0);
        s12_1 = fma(g12, x_1, s12_1);
        s12_2 = fma(g12, x_2, s12_2);
        s12_3 = fma(g12, x_3, s12_3);
        let g13 = vec4<f32>(d3.y);
        s13_0 = fma(g13, x_0, s13_0);
        s13_1 = fma(g13, x_1, s13_1);
        s13_2 = fma(g13, x_2, s13_2);
        s13_3 = fma(g13, x_3, s13_3);
        let g14 = vec4<f32>(d3.z);
        s14_0 = fma(g14, x_0, s14_0);
        s14_1 = fma(g14, x_1, s14_1);
        s14_2 = fma(g14, x_2, s14_2);
        s14_3 = fma(g14, x_3, s14_3);
        let g15 = vec4<f32>(d3.w);
        s15_0 = fma(g15, x_0, s15_0);
        s15_1 = fma(g15, x_1, s15_1);
        s15_2 = fma(g15, x_2, s15_2);
        s15_3 = fma(g15, x_3, s15_3);
        out_col++;
        if (out_col == params.out_cols) {
            out_col = 0u;
            out_row++;
            if (out_row == params.out_rows) {
                out_row = 0u;
                image += size;
            }
        }
    }
    finish(to, row + 0u, col + 0u, s0_0);
    finish(to, row + 0u, col + 4u, s0_1);
    finish(to, row + 0u, col + 8u, s0_2);
    finish(to, row + 0u, col + 12u, s0_3);
    finish(to, row + 1u, col + 0u, s1_0);
    finish(to, row + 1u, col + 4u, s1_1);
    finish(to, row + 1u, col + 8u, s1_2);
    finish(to, row + 1u, col + 12u, s1_3);
    finish(to, row + 2u, col + 0u, s2_0);
    finish(to, row + 2u, col + 4u, s2_1);
    finish(to, row + 2u, col + 8u, s2_2);
    finish(to, row + 2u, col + 12u, s2_3);
    finish(to, row + 3u, col + 0u, s3_0);
    finish(to, row + 3u, col + 4u, s3_1);
    finish(to, row + 3u, col + 8u, s3_2);
    finish(to, row + 3u, col + 12u, s3_3);
    finish(to, row + 4u, col + 0u, s4_0);
    finish(to, row + 4u, col + 4u, s4_1);
    finish(to, row + 4u, col + 8u, s4_2);
    finish(to, row + 4u, col + 12u, s4_3);
    finish(to, row + 5u, col + 0u, s5_0);
    finish(to, row + 5u, col + 4u, s5_1);
    finish(to, row + 5u, col + 8u, s5_2);
    finish(to, row + 5u, col + 12u, s5_3);
    finish(to, row + 6u, col + 0u, s6_0);
    finish(to, row + 6u, col + 4u, s6_1);
    finish(to, row + 6u, col + 8u, s6_2);
    finish(to, row + 6u, col + 12u, s6_3);
    finish(to, row + 7u, col + 0u, s7_0);
    finish(to, row + 7u, col + 4u, s7_1);
    finish(to, row + 7u, col + 8u, s7_2);
    finish(to, row + 7u, col + 12u, s7_3);
    finish(to, row + 8u, col + 0u, s8_0);
    finish(to, row + 8u, col + 4u, s8_1);
    finish(to, row + 8u, col + 8u, s8_2);
    finish(to, row + 8u, col + 12u, s8_3);
    finish(to, row + 9u, col + 0u, s9_0);
    finish(to, row + 9u, col + 4u, s9_1);
    finish(to, row + 9u, col + 8u, s9_2);
    finish(to, row + 9u, col + 12u, s9_3);
    finish(to, row + 10u, col + 0u, s10_0);
    finish(to, row + 10u, col + 4u, s10_1);
    finish(to, row + 10u, col + 8u, s10_2);
    finish(to, row + 10u, col + 12u, s10_3);
    finish(to, row + 11u, col + 0u, s11_0);
    finish(to, row + 11u, col + 4u, s11_1);
    finish(to, row + 11u, col + 8u, s11_2);
    finish(to, row + 11u, col + 12u, s11_3);
    finish(to, row + 12u, col + 0u, s12_0);
    finish(to, row + 12u, col + 4u, s12_1);
    finish(to, row + 12u, col + 8u, s12_2);
    finish(to, row + 12u, col + 12u, s12_3);
    finish(to, row + 13u, col + 0u, s13_0);
    finish(to, row + 13u, col + 4u, s13_1);
    finish(to, row + 13u, col + 8u, s13_2);
    finish(to, row + 13u, col + 12u, s13_3);
    finish(to, row + 14u, col + 0u, s14_0);
    finish(to, row + 14u, col + 4u, s14_1);
    finish(to, row + 14u, col + 8u, s14_2);
    finish(to, row + 14u, col + 12u, s14_3);
    finish(to, row + 15u, col + 0u, s15_0);
    finish(to, row + 15u, col + 4u, s15_1);
    finish(to, row + 15u, col + 8u, s15_2);
    finish(to, row + 15u, col + 12u, s15_3);
}
