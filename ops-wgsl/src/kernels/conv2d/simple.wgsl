// Convolution of x [n, rows, cols, channels] with weights [out, kernel rows, kernel cols,
// channels / groups] to y [n, out rows, out cols, out], an invocation an element. Any stride,
// padding, dilation and groups.

override HALF_X: bool;
override HALF_W: bool;
override HALF_BIAS: bool;
override BIAS: bool;
// What is added element by element: nothing (0), f32 (1) or f16 (2).
override RESIDUAL: u32;

struct Params {
    // Elements of y.
    count: u32,
    rows: u32,
    cols: u32,
    channels: u32,
    out_rows: u32,
    out_cols: u32,
    out: u32,
    // Channels and outputs of a group.
    group_channels: u32,
    group_out: u32,
    skip_x: u32,
    skip_w: u32,
    skip_bias: u32,
    kernel: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    dilation: vec2<u32>,
    skip_y: u32,
    // Elements before the first one of the residual.
    skip_residual: u32,
    // Where pixels of y do not follow each other, but are some of those of larger images: elements
    // between the images, between rows of the pixels and between pixels. Else 0.
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

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 64u + local;
    if (i >= params.count) { return; }
    let out = i % params.out;
    let pixel = i / params.out;
    let start = vec2<u32>((pixel / params.out_cols) % params.out_rows, pixel % params.out_cols)
        * params.stride - params.padding;
    let image = pixel / (params.out_cols * params.out_rows);
    let first_channel = (out / params.group_out) * params.group_channels;
    var at_w = params.skip_w + out * params.kernel.x * params.kernel.y * params.group_channels;
    var sum = 0.0;
    for (var kernel_row = 0u; kernel_row < params.kernel.x; kernel_row++) {
        let row = start.x + kernel_row * params.dilation.x;
        for (var kernel_col = 0u; kernel_col < params.kernel.y; kernel_col++) {
            let col = start.y + kernel_col * params.dilation.y;
            // Places in the padding have wrapped around to beyond the image.
            let inside = row < params.rows && col < params.cols;
            let cell = ((image * params.rows + row) * params.cols + col) * params.channels;
            var at_x = params.skip_x + select(0u, cell + first_channel, inside);
            for (var c = 0u; c < params.group_channels; c++) {
                // A zero of the padding takes part: an infinite weight over it gives NaN.
                var value = 0.0;
                if (inside) { value = widen(x[word_of(at_x, HALF_X)], at_x, HALF_X); }
                sum += value * widen(w[word_of(at_w, HALF_W)], at_w, HALF_W);
                at_x += 1u;
                at_w += 1u;
            }
        }
    }
    if (BIAS) {
        let at = params.skip_bias + out;
        sum += widen(bias[word_of(at, HALF_BIAS)], at, HALF_BIAS);
    }
    if (RESIDUAL > 0u) {
        let at = params.skip_residual + i;
        let half = RESIDUAL == 2u;
        sum += widen(residual[word_of(at, half)], at, half);
    }
    var place = i;
    if (params.line_y > 0u) {
        let line = pixel / params.out_cols;
        place = image * params.image_y + line % params.out_rows * params.line_y
            + pixel % params.out_cols * params.pixel_y + out;
    }
    y[params.skip_y + place] = activate(sum);
}
