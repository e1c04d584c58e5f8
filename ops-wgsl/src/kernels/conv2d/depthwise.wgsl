// Convolution of each channel by itself: four channels of four outputs in a row an invocation. Bound by
// memory: without strides, a pixel is loaded once for all four.

override HALF_W: bool;
override HALF_BIAS: bool;
override BIAS: bool;
// What is added element by element: nothing (0), f32 (1) or f16 (2).
override RESIDUAL: u32;

struct Params {
    // Invocations: those of a pixel, of a row, of an image.
    count: u32,
    rows: u32,
    cols: u32,
    channels: u32,
    out_rows: u32,
    out_cols: u32,
    skip_x: u32,
    skip_w: u32,
    kernel: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    dilation: vec2<u32>,
    skip_bias: u32,
    skip_y: u32,
    skip_residual: u32,
    // Elements between images of y, between its rows and between its pixels.
    image_y: u32,
    line_y: u32,
    pixel_y: u32,
    // The bounds of a clamp.
    low: f32,
    high: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read> w: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
// As y.
@group(0) @binding(5) var<storage, read> residual: array<u32>;
// The images again, for loads of vectors.
@group(0) @binding(6) var<storage, read> x4: array<vec4<u32>>;

fn load_w(channel: u32, tap: u32, taps: u32) -> f32 {
    let at = params.skip_w + min(channel, params.channels - 1u) * taps + tap;
    return widen(w[word_of(at, HALF_W)], at, HALF_W);
}

fn finish(at: u32, channel: u32, sum: f32) {
    if (channel >= params.channels) { return; }
    var value = sum;
    if (BIAS) {
        let i = params.skip_bias + channel;
        value += widen(bias[word_of(i, HALF_BIAS)], i, HALF_BIAS);
    }
    let place = at + channel;
    if (RESIDUAL > 0u) {
        let i = params.skip_residual + place;
        let half = RESIDUAL == 2u;
        value += widen(residual[word_of(i, half)], i, half);
    }
    y[params.skip_y + place] = activate(value);
}

fn finish4(line: u32, col: u32, channel: u32, sums: vec4<f32>) {
    if (col >= params.out_cols) { return; }
    let at = line + col * params.pixel_y;
    finish(at, channel, sums.x);
    finish(at, channel + 1u, sums.y);
    finish(at, channel + 2u, sums.z);
    finish(at, channel + 3u, sums.w);
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
    let fours = (params.out_cols + 3u) / 4u;
    let channel = i % quads * 4u;
    let col = i / quads % fours * 4u;
    let line = i / quads / fours;
    let out_row = line % params.out_rows;
    let image = line / params.out_rows;
    let first_row = out_row * params.stride.x - params.padding.x;
    let first_col = col * params.stride.y - params.padding.y;
    let step = params.stride.y;
    let taps = params.kernel.x * params.kernel.y;
    // One output's pixel is the next one's under the tap before.
    let slides = step == 1u && params.dilation.y == 1u;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var kernel_row = 0u; kernel_row < params.kernel.x; kernel_row++) {
        let row = first_row + kernel_row * params.dilation.x;
        let inside = row < params.rows;
        let start = params.skip_x + (image * params.rows + row) * params.cols * params.channels;
        var x0 = vec4<f32>();
        var x1 = vec4<f32>();
        var x2 = vec4<f32>();
        var x3 = vec4<f32>();
        if (slides) {
            x1 = pixel(start, inside, first_col, channel);
            x2 = pixel(start, inside, first_col + 1u, channel);
            x3 = pixel(start, inside, first_col + 2u, channel);
        }
        for (var kernel_col = 0u; kernel_col < params.kernel.y; kernel_col++) {
            let tap = kernel_row * params.kernel.y + kernel_col;
            let own = vec4<f32>(
                load_w(channel, tap, taps), load_w(channel + 1u, tap, taps),
                load_w(channel + 2u, tap, taps), load_w(channel + 3u, tap, taps),
            );
            if (slides) {
                x0 = x1;
                x1 = x2;
                x2 = x3;
                x3 = pixel(start, inside, first_col + kernel_col + 3u, channel);
            } else {
                let from_col = first_col + kernel_col * params.dilation.y;
                x0 = pixel(start, inside, from_col, channel);
                x1 = pixel(start, inside, from_col + step, channel);
                x2 = pixel(start, inside, from_col + 2u * step, channel);
                x3 = pixel(start, inside, from_col + 3u * step, channel);
            }
            s0 = fma(x0, own, s0);
            s1 = fma(x1, own, s1);
            s2 = fma(x2, own, s2);
            s3 = fma(x3, own, s3);
        }
    }
    let to = image * params.image_y + out_row * params.line_y;
    finish4(to, col, channel, s0);
    finish4(to, col + 1u, channel, s1);
    finish4(to, col + 2u, channel, s2);
    finish4(to, col + 3u, channel, s3);
}
