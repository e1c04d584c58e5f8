// The gradients of max and average pooling in x [n, rows, cols, channels], by gathering: each cell
// looks at the windows that it is in, in their order. Of a maximum every cell that equals it gets the
// whole gradient; NaN equals nothing.

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
    skip: u32,
    skip_y: u32,
    skip_dy: u32,
    skip_dx: u32,
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

// The windows that a cell is in: from the first on, below the second.
fn windows(at: u32, size: u32, stride: u32, padding: u32, out: u32) -> vec2<u32> {
    let place = at + padding;
    // The first whose end is beyond the cell.
    let first = (max(place + 1u, size) - size + stride - 1u) / stride;
    return vec2<u32>(first, min(place / stride + 1u, out));
}

// Cells of the window `out` along an axis.
fn cells(out: u32, size: u32, stride: u32, padding: u32, extent: u32) -> u32 {
    let start = out * stride;
    let low = max(start, padding) - padding;
    return min(start + size - padding, extent) - low;
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
        let at = i + params.skip;
        own = widen(x[word_of(at, HALF)], at, HALF);
    }
    var sum = 0.0;
    for (var out_row = down.x; out_row < down.y; out_row++) {
        for (var out_col = across.x; out_col < across.y; out_col++) {
            let place = ((image * params.out_rows + out_row) * params.out_cols + out_col)
                * params.channels + channel;
            if (AVERAGE) {
                let rows = cells(
                    out_row, params.size.x, params.stride.x, params.padding.x, params.rows);
                let cols = cells(
                    out_col, params.size.y, params.stride.y, params.padding.y, params.cols);
                sum += load_dy(place) / f32(rows * cols);
            } else {
                let at = place + params.skip_y;
                let top = widen(y[word_of(at, HALF)], at, HALF);
                if (!is_nan(own) && !is_nan(top) && order(own) == order(top)) {
                    sum += load_dy(place);
                }
            }
        }
    }
    dx[params.skip_dx + i] = sum;
}
