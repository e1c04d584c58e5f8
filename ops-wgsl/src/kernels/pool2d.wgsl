// Max and average pooling of x [n, rows, cols, channels] to y [n, out rows, out cols, channels]. The
// window is clipped to the image.

override AVERAGE: bool;
override HALF: bool;

struct Params {
    // Elements of y.
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

fn load(i: u32) -> f32 {
    let at = i + params.skip;
    return widen(x[word_of(at, HALF)], at, HALF);
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
    let out = vec2<u32>((pixel / params.out_cols) % params.out_rows, pixel % params.out_cols);
    let image = pixel / (params.out_cols * params.out_rows);
    let extent = vec2<u32>(params.rows, params.cols);
    let start = out * params.stride;
    let low = min(max(start, params.padding) - params.padding, extent);
    // In an image without cells the window may end before its padding does.
    let high = min(max(start + params.size, params.padding) - params.padding, extent);
    var value = select(-float_of(INFINITY_BITS), 0.0, AVERAGE);
    for (var row = low.x; row < high.x; row++) {
        for (var col = low.y; col < high.y; col++) {
            let at = ((image * params.rows + row) * params.cols + col) * params.channels + channel;
            if (AVERAGE) { value += load(at); } else { value = maximum(value, load(at)); }
        }
    }
    if (AVERAGE) {
        let first = max(start, params.low);
        let past = max(min(start + params.size, params.high), first);
        let cells = (past.x - first.x) * (past.y - first.y);
        if (cells == 0u) { value = float_of(QUIET_NAN); } else { value /= f32(cells); }
    }
    y[params.skip_y + i] = value;
}
