// The transform back to tiles of the output: AᵀmA, columns first, then bias, residual and activation.

override HALF_BIAS: bool;
override BIAS: bool;
// What is added element by element: nothing (0), f32 (1) or f16 (2).
override RESIDUAL: u32;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<u32>;
// As y.
@group(0) @binding(4) var<storage, read> residual: array<u32>;

// Aᵀm
fn line(m: Six) -> vec4<f32> {
    let p = m.b + m.c;
    let q = m.b - m.c;
    let r = m.d + m.e;
    let s = m.d - m.e;
    return vec4<f32>(m.a + p + r, fma(2.0, s, q), fma(4.0, r, p), fma(8.0, s, q) + m.f);
}

fn column(col: u32, tile: u32, channel: u32) -> vec4<f32> {
    let at = params.skip_from + at_position(col, tile, channel);
    let step = 6u * params.tiles * params.channels;
    return line(Six(
        sums[at], sums[at + step], sums[at + 2u * step],
        sums[at + 3u * step], sums[at + 4u * step], sums[at + 5u * step],
    ));
}

// The last tiles reach beyond the image.
fn store(image: u32, row: u32, col: u32, value: f32) {
    if (row >= params.rows || col >= params.cols) { return; }
    let at = image + (row * params.cols + col) * params.channels;
    var sum = value;
    if (RESIDUAL > 0u) {
        let i = at - params.skip_to + params.skip_residual;
        let half = RESIDUAL == 2u;
        sum += widen(residual[word_of(i, half)], i, half);
    }
    y[at] = activate(sum);
}

fn store_row(image: u32, row: u32, col: u32, values: Six, bias: f32) {
    let v = line(values) + bias;
    store(image, row, col, v.x);
    store(image, row, col + 1u, v.y);
    store(image, row, col + 2u, v.z);
    store(image, row, col + 3u, v.w);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) own: vec3<u32>) {
    let channel = own.x;
    let tile = own.y;
    if (channel >= params.channels) { return; }
    let at = place(tile);
    let image = params.skip_to + at.x * params.rows * params.cols * params.channels + channel;
    var shift = 0.0;
    if (BIAS) {
        let i = params.skip_bias + channel;
        shift = widen(bias[word_of(i, HALF_BIAS)], i, HALF_BIAS);
    }
    let c0 = column(0u, tile, channel);
    let c1 = column(1u, tile, channel);
    let c2 = column(2u, tile, channel);
    let c3 = column(3u, tile, channel);
    let c4 = column(4u, tile, channel);
    let c5 = column(5u, tile, channel);
    let row = 4u * at.y;
    let col = 4u * at.z;
    store_row(image, row, col, Six(c0.x, c1.x, c2.x, c3.x, c4.x, c5.x), shift);
    store_row(image, row + 1u, col, Six(c0.y, c1.y, c2.y, c3.y, c4.y, c5.y), shift);
    store_row(image, row + 2u, col, Six(c0.z, c1.z, c2.z, c3.z, c4.z, c5.z), shift);
    store_row(image, row + 3u, col, Six(c0.w, c1.w, c2.w, c3.w, c4.w, c5.w), shift);
}
