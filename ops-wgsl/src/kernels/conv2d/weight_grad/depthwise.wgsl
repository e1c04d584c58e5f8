// The gradient of a convolution of each channel by itself in its weights: four channels of three taps
// of a row of the kernel an invocation, over a part of the pixels.

override HALF_DY: bool;
// As VECTOR_X, of dy.
override VECTOR_DY: bool;
// Adds to what dw holds.
override ACCUMULATE: bool;

struct Params {
    // Invocations: those of a row of the kernel, of a kernel, of a part.
    count: u32,
    rows: u32,
    cols: u32,
    channels: u32,
    out_rows: u32,
    out_cols: u32,
    // Pixels of all images, and of a part.
    pixels: u32,
    part: u32,
    kernel: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    dilation: vec2<u32>,
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

fn load_dy(at: u32) -> f32 {
    return widen(dy[word_of(at, HALF_DY)], at, HALF_DY);
}

fn gradient(at: u32, channel: u32) -> vec4<f32> {
    if (VECTOR_DY) { return bitcast<vec4<f32>>(dy4[(at + channel) >> 2u]); }
    let last = params.channels - 1u;
    return vec4<f32>(
        load_dy(at + min(channel, last)), load_dy(at + min(channel + 1u, last)),
        load_dy(at + min(channel + 2u, last)), load_dy(at + min(channel + 3u, last)),
    );
}

fn finish(first: u32, channel: u32, tap: u32, sum: f32) {
    if (channel >= params.channels) { return; }
    let at = first + channel * params.kernel.x * params.kernel.y + tap;
    var value = sum;
    if (ACCUMULATE) { value += dw[at]; }
    dw[at] = value;
}

fn finish4(first: u32, channel: u32, row: u32, col: u32, sums: vec4<f32>) {
    if (col >= params.kernel.y) { return; }
    let tap = row * params.kernel.y + col;
    finish(first, channel, tap, sums.x);
    finish(first, channel + 1u, tap, sums.y);
    finish(first, channel + 2u, tap, sums.z);
    finish(first, channel + 3u, tap, sums.w);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 64u + local;
    if (i >= params.count) { return; }
    let quads = (params.channels + 3u) / 4u;
    let threes = (params.kernel.y + 2u) / 3u;
    let channel = i % quads * 4u;
    let kernel_col = i / quads % threes * 3u;
    let kernel_row = i / quads / threes % params.kernel.x;
    let part = i / quads / threes / params.kernel.x;
    var own = part * params.part;
    let end = min(own + params.part, params.pixels);
    var out_col = own % params.out_cols;
    var out_row = own / params.out_cols % params.out_rows;
    var image = own / params.out_cols / params.out_rows;
    let down = kernel_row * params.dilation.x - params.padding.x;
    let right = kernel_col * params.dilation.y - params.padding.y;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    for (; own < end; own++) {
        let row = out_row * params.stride.x + down;
        let col = out_col * params.stride.y + right;
        let inside = row < params.rows;
        let line = params.skip_x + (image * params.rows + row) * params.cols * params.channels;
        let d = gradient(params.skip_dy + own * params.channels, channel);
        s0 = fma(d, pixel(line, inside, col, channel), s0);
        s1 = fma(d, pixel(line, inside, col + params.dilation.y, channel), s1);
        s2 = fma(d, pixel(line, inside, col + 2u * params.dilation.y, channel), s2);
        out_col++;
        if (out_col == params.out_cols) {
            out_col = 0u;
            out_row++;
            if (out_row == params.out_rows) {
                out_row = 0u;
                image++;
            }
        }
    }
    let first = params.skip_dw + part * params.channels * params.kernel.x * params.kernel.y;
    finish4(first, channel, kernel_row, kernel_col, s0);
    finish4(first, channel, kernel_row, kernel_col + 1u, s1);
    finish4(first, channel, kernel_row, kernel_col + 2u, s2);
}
