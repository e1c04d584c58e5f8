// What the shaders that multiply by tiles have in common: constants, parameters and bindings; where a
// group begins; the end of a sum.

override HALF_A: bool;
override HALF_B: bool;
override HALF_BIAS: bool;
override BIAS: bool;
// What is added element by element: nothing (0), f32 (1) or f16 (2).
override RESIDUAL: u32;
// Adds to what y holds.
override ACCUMULATE: bool;
// y is f16: its rows, and groups in them, begin at even elements and have an even number. Nothing is
// added to what it holds.
override HALF_Y: bool;

struct Params {
    // Rows of y (all pixels of all images), columns (outputs of a group).
    m: u32,
    n: u32,
    // The image: rows, columns, and those of the output.
    rows: u32,
    cols: u32,
    out_rows: u32,
    out_cols: u32,
    kernel: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    dilation: vec2<u32>,
    // The depth of a cell of the kernel.
    channels: u32,
    // Elements between pixels of a and between channels; between columns of b and along its depth;
    // between rows of y.
    pixel_a: u32,
    step_a: u32,
    col_b: u32,
    step_b: u32,
    row_y: u32,
    // Elements before the first one of each, as bound.
    skip_a: u32,
    skip_b: u32,
    skip_bias: u32,
    skip_y: u32,
    // Of the first of the axes in the bias.
    step_bias: u32,
    rank: u32,
    // Elements before the first one of the residual.
    skip_residual: u32,
    // Where pixels of y do not follow each other, but are some of those of larger images: elements
    // between the images, and between rows of the pixels. Else 0.
    image_y: u32,
    line_y: u32,
    // Steps of the depth, and of a part of it; elements of y from one part to the next.
    depth: u32,
    part: u32,
    part_y: u32,
    // The bounds of a clamp.
    low: f32,
    high: f32,
    // Groups or matrices, the last axis first: extent, strides in a, b and y.
    axes: array<vec4<u32>, 6>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> a: array<u32>;
@group(0) @binding(3) var<storage, read> b: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<u32>;
// As y.
@group(0) @binding(5) var<storage, read> residual: array<u32>;

// Where a group (or a matrix) begins.
struct Places {
    a: u32,
    b: u32,
    y: u32,
    bias: u32,
    // Of this part of the depth: the first step.
    first: u32,
    // The number was beyond the last one: what folding leaves.
    beyond: bool,
}

fn places(number: u32) -> Places {
    var at = Places(params.skip_a, params.skip_b, params.skip_y, params.skip_bias, 0u, false);
    var rest = number;
    for (var axis = 0u; axis < params.rank; axis++) {
        let own = params.axes[axis];
        let index = rest % own.x;
        rest /= own.x;
        at.a += index * own.y;
        at.b += index * own.z;
        at.y += index * own.w;
        if (axis == 0u) { at.bias += index * params.step_bias; }
    }
    // The axes are followed by the parts.
    at.first = rest * params.part;
    at.y += rest * params.part_y;
    at.beyond = rest > 0u && at.first >= params.depth;
    return at;
}

// Elements of y before a row.
fn row_of_y(row: u32) -> u32 {
    if (params.line_y > 0u) {
        let line = row / params.out_cols;
        return line / params.out_rows * params.image_y + line % params.out_rows * params.line_y
            + row % params.out_cols * params.row_y;
    }
    return row * params.row_y;
}

// Four columns of y: the first, how many of them there are, and what is added to each.
struct Columns {
    first: u32,
    count: u32,
    bias: vec4<f32>,
}

fn load_bias(i: u32) -> f32 {
    return widen(bias[word_of(i, HALF_BIAS)], i, HALF_BIAS);
}

fn columns(at: Places, first: u32) -> Columns {
    var own = Columns(first, min(params.n - min(first, params.n), 4u), vec4<f32>());
    if (BIAS) {
        let last = at.bias + params.n - 1u;
        let i = min(at.bias + first, last);
        own.bias = vec4<f32>(
            load_bias(i), load_bias(min(i + 1u, last)),
            load_bias(min(i + 2u, last)), load_bias(min(i + 3u, last)),
        );
    }
    return own;
}

fn load_residual(place: u32) -> f32 {
    let i = place - params.skip_y + params.skip_residual;
    let half = RESIDUAL == 2u;
    return widen(residual[word_of(i, half)], i, half);
}

// The end of four sums of the row of y that begins at `line`.
fn finish4(line: u32, own: Columns, sums: vec4<f32>) {
    if (own.count == 0u) { return; }
    let place = line + own.first;
    let last = place + own.count - 1u;
    var values = sums;
    if (ACCUMULATE) {
        values += bitcast<vec4<f32>>(vec4<u32>(
            y[place], y[min(place + 1u, last)], y[min(place + 2u, last)], y[min(place + 3u, last)],
        ));
    }
    if (BIAS) { values += own.bias; }
    if (RESIDUAL > 0u) {
        values += vec4<f32>(
            load_residual(place), load_residual(min(place + 1u, last)),
            load_residual(min(place + 2u, last)), load_residual(min(place + 3u, last)),
        );
    }
    values = activate4(values);
    if (HALF_Y) {
        let word = place >> 1u;
        y[word] = float_to_half(values.x) | (float_to_half(values.y) << 16u);
        if (own.count == 4u) {
            y[word + 1u] = float_to_half(values.z) | (float_to_half(values.w) << 16u);
        }
        return;
    }
    let bits = bitcast<vec4<u32>>(values);
    y[place] = bits.x;
    if (own.count == 4u) {
        y[place + 1u] = bits.y;
        y[place + 2u] = bits.z;
        y[place + 3u] = bits.w;
    } else {
        if (own.count > 1u) { y[place + 1u] = bits.y; }
        if (own.count > 2u) { y[place + 2u] = bits.z; }
    }
}
