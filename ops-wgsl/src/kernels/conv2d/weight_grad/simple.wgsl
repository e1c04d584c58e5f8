// The gradient of a convolution in its weights [out, kernel rows, kernel cols, channels / groups]:
// each sums over all outputs of its channel the gradient times the pixel it saw.

override HALF_X: bool;
override HALF_DY: bool;
// Adds to what dw holds.
override ACCUMULATE: bool;

struct Params {
    // Elements of dw.
    count: u32,
    rows: u32,
    cols: u32,
    channels: u32,
    out_rows: u32,
    out_cols: u32,
    out: u32,
    group_channels: u32,
    group_out: u32,
    skip_x: u32,
    skip_dy: u32,
    images: u32,
    kernel: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    dilation: vec2<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dw: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;
@group(0) @binding(3) var<storage, read> dy: array<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 64u + local;
    if (i >= params.count) { return; }
    let channel = i % params.group_channels;
    let tap = i / params.group_channels;
    let kernel = vec2<u32>((tap / params.kernel.y) % params.kernel.x, tap % params.kernel.y)
        * params.dilation;
    let out = tap / (params.kernel.x * params.kernel.y);
    let first_channel = (out / params.group_out) * params.group_channels;
    var sum = 0.0;
    for (var image = 0u; image < params.images; image++) {
        // A sum of sums: one alone loses digits over many pixels.
        var of_image = 0.0;
        for (var out_row = 0u; out_row < params.out_rows; out_row++) {
            let row = out_row * params.stride.x + kernel.x - params.padding.x;
            var of_row = 0.0;
            for (var out_col = 0u; out_col < params.out_cols; out_col++) {
                let col = out_col * params.stride.y + kernel.y - params.padding.y;
                // Places in the padding have wrapped around to beyond the image.
                let inside = row < params.rows && col < params.cols;
                let cell = ((image * params.rows + row) * params.cols + col) * params.channels
                    + first_channel + channel;
                let at_x = params.skip_x + select(0u, cell, inside);
                let value = widen(x[word_of(at_x, HALF_X)], at_x, HALF_X);
                let at_dy = params.skip_dy
                    + ((image * params.out_rows + out_row) * params.out_cols + out_col) * params.out
                    + out;
                of_row += select(0.0, value, inside) * widen(dy[word_of(at_dy, HALF_DY)], at_dy, HALF_DY);
            }
            of_image += of_row;
        }
        sum += of_image;
    }
    if (ACCUMULATE) { sum += dw[i]; }
    dw[i] = sum;
}
