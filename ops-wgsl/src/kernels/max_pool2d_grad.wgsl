// The gradient of max pooling as in `pool2d_grad.wgsl`, to the same bits: four channels an invocation, all
// of f32.

struct Params {
    // Vectors of x.
    count: u32,
    rows: u32,
    cols: u32,
    // Vectors of a pixel.
    channels: u32,
    out_rows: u32,
    out_cols: u32,
    size: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    // Vectors before the first one of each, as bound.
    skip: u32,
    skip_y: u32,
    skip_dy: u32,
    skip_dx: u32,
    // Only the first of the cells that equal a maximum gets its gradient.
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> y: array<vec4<u32>>;

// Whether cells are the maxima: on bits, zeros of either sign equal, NaN equal to nothing.
fn are_top(own: vec4<u32>, top: vec4<u32>) -> vec4<bool> {
    let magnitude = vec4<u32>(0x7fffffffu);
    let zeros = ((own | top) & magnitude) == vec4<u32>();
    let numbers = (own & magnitude) <= vec4<u32>(INFINITY_BITS);
    return (zeros | (own == top)) & numbers;
}

// Of cells that are the maxima of the window `out`: those before which there is no other.
fn are_first(
    image: u32, out: vec2<u32>, own: vec2<u32>, channel: u32, top: vec4<u32>, among: vec4<bool>,
) -> vec4<bool> {
    var left = among;
    let low = max(out * params.stride, params.padding) - params.padding;
    let high = min(out.y * params.stride.y + params.size.y - params.padding.y, params.cols);
    for (var row = low.x; row <= own.x; row++) {
        let end = select(high, own.y, row == own.x);
        for (var col = low.y; col < end; col++) {
            let at = ((image * params.rows + row) * params.cols + col) * params.channels + channel;
            left = left & !are_top(x[params.skip + at], top);
        }
    }
    return left;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_group(group, groups) * 256u + local;
    if (i >= params.count) { return; }
    let channel = i % params.channels;
    let pixel = i / params.channels;
    let place = vec2<u32>((pixel / params.cols) % params.rows, pixel % params.cols);
    let image = pixel / (params.cols * params.rows);
    let down = windows(place.x, params.size.x, params.stride.x, params.padding.x, params.out_rows);
    let across = windows(place.y, params.size.y, params.stride.y, params.padding.y, params.out_cols);
    let own = x[params.skip + i];
    var sum = vec4<f32>();
    for (var row = down.x; row < down.y; row++) {
        for (var col = across.x; col < across.y; col++) {
            let at = ((image * params.out_rows + row) * params.out_cols + col) * params.channels
                + channel;
            let top = y[params.skip_y + at];
            var takes = are_top(own, top);
            if (params.first == 1u && any(takes)) {
                takes = are_first(image, vec2<u32>(row, col), place, channel, top, takes);
            }
            sum += select(vec4<f32>(), dy[params.skip_dy + at], takes);
        }
    }
    dx[params.skip_dx + i] = sum;
}
