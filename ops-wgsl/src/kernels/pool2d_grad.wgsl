// The gradients of max and average pooling in x [n, rows, cols, channels], by gathering: each cell
// looks at the windows that it is in, in their order. Of a maximum every cell that equals it gets the
// whole gradient, or the first one does; NaN equals nothing.

override AVERAGE: bool;
// x and y (of max pooling) are f16.
override HALF: bool;
override HALF_DY: bool;

struct Params {
    // Elements of x.
    count: u32,
    rows: u32,
    cols: u32,
    channels: u32,
    out_rows: u32,
    out_cols: u32,
    size: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    // What an average counts along each axis, from where the padding begins.
    low: vec2<u32>,
    high: vec2<u32>,
    skip: u32,
    skip_y: u32,
    skip_dy: u32,
    skip_dx: u32,
    // Only the first of the cells that equal a maximum gets its gradient.
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<u32>;
// Of max pooling; anything else for the average.
@group(0) @binding(3) var<storage, read> x: array<u32>;
@group(0) @binding(4) var<storage, read> y: array<u32>;

fn load_dy(i: u32) -> f32 {
    let at = i + params.skip_dy;
    return widen(dy[word_of(at, HALF_DY)], at, HALF_DY);
}

// Cells of the window `out` along an axis that an average counts.
fn cells(out: u32, size: u32, stride: u32, low: u32, high: u32) -> u32 {
    let start = out * stride;
    return min(start + size, high) - max(start, low);
}

fn load_x(i: u32) -> f32 {
    let at = i + params.skip;
    return widen(x[word_of(at, HALF)], at, HALF);
}

// Whether a cell is the maximum. Zeros of either sign are equal.
fn is_top(own: f32, top: f32) -> bool {
    return !is_nan(own) && !is_nan(top) && order(own) == order(top);
}

// Whether a cell of the window `out` before the cell `own` is the maximum too.
fn comes_before(image: u32, out: vec2<u32>, own: vec2<u32>, channel: u32, top: f32) -> bool {
    let low = max(out * params.stride, params.padding) - params.padding;
    let high = min(out.y * params.stride.y + params.size.y - params.padding.y, params.cols);
    for (var row = low.x; row <= own.x; row++) {
        let end = select(high, own.y, row == own.x);
        for (var col = low.y; col < end; col++) {
            let at = ((image * params.rows + row) * params.cols + col) * params.channels + channel;
            if (is_top(load_x(at), top)) { return true; }
        }
    }
    return false;
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
    let col = pixel % params.cols;
    let row = (pixel / params.cols) % params.rows;
    let image = pixel / (params.cols * params.rows);
    let down = windows(row, params.size.x, params.stride.x, params.padding.x, params.out_rows);
    let across = windows(col, params.size.y, params.stride.y, params.padding.y, params.out_cols);
    var own = 0.0;
    if (!AVERAGE) {
        own = load_x(i);
    }
    var sum = 0.0;
    for (var out_row = down.x; out_row < down.y; out_row++) {
        for (var out_col = across.x; out_col < across.y; out_col++) {
            let place = ((image * params.out_rows + out_row) * params.out_cols + out_col)
                * params.channels + channel;
            if (AVERAGE) {
                let rows = cells(
                    out_row, params.size.x, params.stride.x, params.low.x, params.high.x);
                let cols = cells(
                    out_col, params.size.y, params.stride.y, params.low.y, params.high.y);
                sum += load_dy(place) / f32(rows * cols);
            } else {
                let at = place + params.skip_y;
                let top = widen(y[word_of(at, HALF)], at, HALF);
                if (is_top(own, top)
                    && (params.first == 0u || !comes_before(
                        image, vec2<u32>(out_row, out_col), vec2<u32>(row, col), channel, top))) {
                    sum += load_dy(place);
                }
            }
        }
    }
    dx[params.skip_dx + i] = sum;
}
