//! The models that ship with the program.

/// Bytes at an address that any element type may live at, so that weights are used in place.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static DIGITS: &Aligned<[u8]> = &Aligned(*include_bytes!("../assets/digits.safetensors"));

/// A [LeNet](crate::lenet) for handwritten digits, half precision, as a safetensors file of our own
/// form: what `striate classify --model digits` uses, made by the facade's example
/// `train_digits`. Of 1,996 digits that it was not trained on it misses 13, and 11 of the same as
/// dark ink on white.
pub fn digits() -> &'static [u8] {
    &DIGITS.0
}

#[cfg(feature = "embedded-photos")]
static PHOTOS: &Aligned<[u8]> =
    &Aligned(*include_bytes!("../assets/efficientnet-lite0/efficientnet-lite0.safetensors"));

/// [EfficientNet-Lite0](crate::efficientnet_lite) with its published weights, which tells ImageNet's 1,000
/// classes apart, as a safetensors file of our own form: weights in 8 bits with a scale for each output
/// channel, batch norms folded, labels and the view of a picture in its metadata. What `striate classify`
/// uses where no model is given. Its licence and its source stand in `assets/efficientnet-lite0`.
#[cfg(feature = "embedded-photos")]
pub fn photos() -> &'static [u8] {
    &PHOTOS.0
}
