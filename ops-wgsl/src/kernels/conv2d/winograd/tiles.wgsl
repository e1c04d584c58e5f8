// What the transforms of tiles have in common. A tile is 6 x 6 pixels of a channel or 4 x 4 of an
// output; tiles are numbered across, down and through the images. An invocation transforms one, of
// one channel, so that neighbours read and write next to each other.

struct Params {
    // The number of the first tile of this part of the images, and how many there are.
    first: u32,
    tiles: u32,
    // Tiles of an image.
    down: u32,
    across: u32,
    // Of the image that is read or written: rows, columns, and channels of all groups.
    rows: u32,
    cols: u32,
    channels: u32,
    pad_rows: u32,
    pad_cols: u32,
    // Elements before the first one of each, as bound.
    skip_from: u32,
    skip_bias: u32,
    skip_to: u32,
    // Elements before the first one of the residual.
    skip_residual: u32,
    // The bounds of a clamp.
    low: f32,
    high: f32,
}

// Image, and row and column of tiles.
fn place(tile: u32) -> vec3<u32> {
    let number = params.first + tile;
    let line = number / params.across;
    return vec3<u32>(line / params.down, line % params.down, number % params.across);
}

// A value at each of the 36 positions: [positions][tiles][channels].
fn at_position(position: u32, tile: u32, channel: u32) -> u32 {
    return (position * params.tiles + tile) * params.channels + channel;
}

// Six values along an axis of a tile.
struct Six { a: f32, b: f32, c: f32, d: f32, e: f32, f: f32 }
