// The transform of tiles of the images: BᵀdB, columns first.

override HALF_X: bool;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> to: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

// Bᵀd. The rows between the first and the last are sums and differences of the same two terms.
fn line(d: Six) -> Six {
    let p = d.e - 4.0 * d.c;
    let q = d.d - 4.0 * d.b;
    let r = d.e - d.c;
    let s = 2.0 * (d.d - d.b);
    return Six(
        4.0 * d.a - 5.0 * d.c + d.e, p + q, p - q, r + s, r - s, 4.0 * d.b - 5.0 * d.d + d.f,
    );
}

// A pixel; zero in the padding, which wraps around to beyond the image, and reads the first pixel.
fn pixel(image: u32, row: u32, col: u32) -> f32 {
    let inside = row < params.rows && col < params.cols;
    let at = image + (row * params.cols + col) * params.channels;
    let i = select(params.skip_from, at, inside);
    return select(0.0, widen(x[word_of(i, HALF_X)], i, HALF_X), inside);
}

fn column(image: u32, row: u32, col: u32) -> Six {
    return line(Six(
        pixel(image, row, col), pixel(image, row + 1u, col), pixel(image, row + 2u, col),
        pixel(image, row + 3u, col), pixel(image, row + 4u, col), pixel(image, row + 5u, col),
    ));
}

fn store(row: u32, tile: u32, channel: u32, values: Six) {
    let v = line(values);
    let at = params.skip_to + at_position(6u * row, tile, channel);
    let step = params.tiles * params.channels;
    to[at] = v.a;
    to[at + step] = v.b;
    to[at + 2u * step] = v.c;
    to[at + 3u * step] = v.d;
    to[at + 4u * step] = v.e;
    to[at + 5u * step] = v.f;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) own: vec3<u32>) {
    let channel = own.x;
    let tile = own.y;
    if (channel >= params.channels) { return; }
    let at = place(tile);
    let image = params.skip_from + at.x * params.rows * params.cols * params.channels + channel;
    let row = 4u * at.y - params.pad_rows;
    let col = 4u * at.z - params.pad_cols;
    let c0 = column(image, row, col);
    let c1 = column(image, row, col + 1u);
    let c2 = column(image, row, col + 2u);
    let c3 = column(image, row, col + 3u);
    let c4 = column(image, row, col + 4u);
    let c5 = column(image, row, col + 5u);
    store(0u, tile, channel, Six(c0.a, c1.a, c2.a, c3.a, c4.a, c5.a));
    store(1u, tile, channel, Six(c0.b, c1.b, c2.b, c3.b, c4.b, c5.b));
    store(2u, tile, channel, Six(c0.c, c1.c, c2.c, c3.c, c4.c, c5.c));
    store(3u, tile, channel, Six(c0.d, c1.d, c2.d, c3.d, c4.d, c5.d));
    store(4u, tile, channel, Six(c0.e, c1.e, c2.e, c3.e, c4.e, c5.e));
    store(5u, tile, channel, Six(c0.f, c1.f, c2.f, c3.f, c4.f, c5.f));
}
