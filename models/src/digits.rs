//! The model that ships with the program.

/// Bytes at an address that any element type may live at, so that weights are used in place.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static DIGITS: &Aligned<[u8]> = &Aligned(*include_bytes!("../assets/digits.safetensors"));

/// A [LeNet](crate::lenet) for handwritten digits, half precision, as a safetensors file of our own
/// form: what `striate classify` uses where no model is given, made by the facade's example
/// `train_digits`. Of 1,996 digits that it was not trained on it misses 13, and 11 of the same as
/// dark ink on white.
pub fn digits() -> &'static [u8] {
    &DIGITS.0
}
