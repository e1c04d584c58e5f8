//! What a model file may hold at most. Each limit is far above what any real file has, and keeps a
//! damaged or hostile one from taking more time or memory than its size justifies.

/// Layers of a network. The deepest published convnets have about 1000.
pub const MAX_LAYERS: usize = 10_000;

/// Bytes of a specification in JSON: 400 for each of [`MAX_LAYERS`].
pub const MAX_SPEC_BYTES: usize = 4_000_000;

/// Bytes of the header of a safetensors file, names and metadata together. A network of
/// [`MAX_LAYERS`] layers needs about 5 MB.
pub const MAX_HEADER_BYTES: u64 = 32_000_000;

/// Tensors of a safetensors file: five for each of [`MAX_LAYERS`].
pub const MAX_TENSORS: usize = 50_000;

/// Bytes that are taken from a pipe, in which a model file cannot be read from any place and so is
/// copied first: thirty times ccv's largest model.
pub const MAX_PIPE_BYTES: u64 = 16_000_000_000;

/// Pixels of the image that an ONNX model sees, where the model becomes a network with a mean image.
pub const MAX_IMAGE_PIXELS: usize = 1 << 24;

/// The pixels of an image; refuses one of more than [`MAX_IMAGE_PIXELS`].
pub(crate) fn check_image(
    file: &str,
    place: &str,
    [rows, cols]: [usize; 2],
) -> crate::Result<usize> {
    match rows.saturating_mul(cols) {
        pixels @ 0..=MAX_IMAGE_PIXELS => Ok(pixels),
        _ => {
            let expected = format!("an image of at most {MAX_IMAGE_PIXELS} pixels");
            Err(crate::Error::content(file, place, expected, format!("{rows}x{cols}")))
        }
    }
}

/// Refuses a text of more than [`MAX_SPEC_BYTES`] before it is parsed.
pub(crate) fn check_spec_text(file: &str, place: &str, text: &str) -> crate::Result<()> {
    match text.len() {
        0..=MAX_SPEC_BYTES => Ok(()),
        bytes => {
            let expected = format!("a specification of at most {MAX_SPEC_BYTES} bytes");
            Err(crate::Error::content(file, place, expected, format!("{bytes} bytes")))
        }
    }
}

/// Refuses a network of more than [`MAX_LAYERS`].
pub(crate) fn check_layers(file: &str, place: &str, layers: usize) -> crate::Result<()> {
    match layers {
        0..=MAX_LAYERS => Ok(()),
        more => {
            let expected = format!("at most {MAX_LAYERS} layers");
            Err(crate::Error::content(file, place, expected, more.to_string()))
        }
    }
}
