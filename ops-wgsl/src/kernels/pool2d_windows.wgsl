// The windows that a cell is in: from the first on, below the second.
fn windows(at: u32, size: u32, stride: u32, padding: u32, out: u32) -> vec2<u32> {
    let place = at + padding;
    // The first whose end is beyond the cell.
    let first = (max(place + 1u, size) - size + stride - 1u) / stride;
    return vec2<u32>(first, min(place / stride + 1u, out));
}
