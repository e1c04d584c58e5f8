// Loads of the images by four channels, for the kernels of convolutions of each channel by itself. The
// shader binds the images as `x`, and as `x4` by vectors.

override HALF_X: bool;
// Four channels of a pixel lie next to each other at a multiple of four elements.
override VECTOR_X: bool;

fn load_x(at: u32) -> f32 {
    return widen(x[word_of(at, HALF_X)], at, HALF_X);
}

// Four channels of a pixel of the row that begins at `line`; zero in the padding, which wraps around
// to beyond the image and reads the first pixel. Channels beyond the last: those of the last.
fn pixel(line: u32, inside: bool, col: u32, channel: u32) -> vec4<f32> {
    let own = inside && col < params.cols;
    let at = select(params.skip_x, line + col * params.channels, own);
    let first = select(0u, channel, own);
    var values: vec4<f32>;
    if (VECTOR_X) {
        values = bitcast<vec4<f32>>(x4[(at + first) >> 2u]);
    } else {
        let last = params.channels - 1u;
        values = vec4<f32>(
            load_x(at + min(first, last)), load_x(at + min(first + 1u, last)),
            load_x(at + min(first + 2u, last)), load_x(at + min(first + 3u, last)),
        );
    }
    return select(vec4<f32>(), values, own);
}
