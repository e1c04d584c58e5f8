//! Numbers of every element type, as [`Cast`](striate_tensor::ops::Cast) converts them.

use striate_tensor::{DType, f16};

/// A type of numbers in memory. They widen without loss, to f64 or to i64; numbers of either kind narrow to
/// them.
pub(crate) trait Number {
    /// What is in memory.
    type Bits: bytemuck::Pod;
    type Wide: Wide;
    fn widened(x: Self::Bits) -> Self::Wide;
    fn of_float(x: f64) -> Self::Bits;
    fn of_integer(x: i64) -> Self::Bits;
}

/// f64 or i64.
pub(crate) trait Wide {
    fn narrowed<T: Number>(self) -> T::Bits;
}

impl Wide for f64 {
    #[inline(always)]
    fn narrowed<T: Number>(self) -> T::Bits {
        T::of_float(self)
    }
}

impl Wide for i64 {
    #[inline(always)]
    fn narrowed<T: Number>(self) -> T::Bits {
        T::of_integer(self)
    }
}

/// Truth values, a byte each.
struct Truth;

macro_rules! numbers {
    ($($number:ty as $bits:ty: $wide:ty, $widened:expr, $of_float:expr, $of_integer:expr;)*) => {$(
        impl Number for $number {
            type Bits = $bits;
            type Wide = $wide;
            #[inline(always)]
            fn widened(x: $bits) -> $wide {
                let widened: fn($bits) -> $wide = $widened;
                widened(x)
            }
            #[inline(always)]
            fn of_float(x: f64) -> $bits {
                let of_float: fn(f64) -> $bits = $of_float;
                of_float(x)
            }
            #[inline(always)]
            fn of_integer(x: i64) -> $bits {
                let of_integer: fn(i64) -> $bits = $of_integer;
                of_integer(x)
            }
        }
    )*};
}

// `as` from floats cuts toward zero, keeps in range, and makes NaN 0.
numbers! {
    f32 as f32: f64, f64::from, |x| x as f32, |x| x as f32;
    f16 as f16: f64, f64::from, to_half, |x| to_half(x as f64);
    f64 as f64: f64, |x| x, |x| x, |x| x as f64;
    u32 as u32: i64, i64::from, |x| x as u32, |x| x.clamp(0, u32::MAX.into()) as u32;
    i64 as i64: i64, |x| x, |x| x as i64, |x| x;
    i32 as i32: i64, i64::from, |x| x as i32, |x| x.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    i8 as i8: i64, i64::from, |x| x as i8, |x| x.clamp(i8::MIN.into(), i8::MAX.into()) as i8;
    u8 as u8: i64, i64::from, |x| x as u8, |x| x.clamp(0, u8::MAX.into()) as u8;
    Truth as u8: i64, i64::from, |x| u8::from(x != 0.0), |x| u8::from(x != 0);
}

/// The nearest half-precision number, ties to even. By way of f32, where an inexact number gets its last
/// bit set: that keeps it off every tie of the second step.
fn to_half(x: f64) -> f16 {
    let nearest = x as f32;
    let beyond = f64::from(nearest).abs() > x.abs();
    let toward_zero = if beyond { f32::from_bits(nearest.to_bits() - 1) } else { nearest };
    if x.is_nan() || f64::from(toward_zero) == x {
        return f16::from_f32(toward_zero);
    }
    f16::from_f32(f32::from_bits(toward_zero.to_bits() | 1))
}

/// Converts as many elements as there are, from memory that begins at one.
pub(crate) type Convert = fn(&[u8], &mut [u8]);

/// The conversion from one type to another.
pub(crate) fn conversion(from: DType, to: DType) -> Convert {
    macro_rules! by {
        ($dtype:expr, $function:ident $(, $known:ty)*) => {
            match $dtype {
                DType::F32 => $function::<$($known,)* f32>,
                DType::F16 => $function::<$($known,)* f16>,
                DType::F64 => $function::<$($known,)* f64>,
                DType::U32 => $function::<$($known,)* u32>,
                DType::I64 => $function::<$($known,)* i64>,
                DType::I32 => $function::<$($known,)* i32>,
                DType::I8 => $function::<$($known,)* i8>,
                DType::U8 => $function::<$($known,)* u8>,
                DType::Bool => $function::<$($known,)* Truth>,
            }
        };
    }
    fn from_type<S: Number>(to: DType) -> Convert {
        by!(to, convert, S)
    }
    let of_type: fn(DType) -> Convert = by!(from, from_type);
    of_type(to)
}

fn convert<S: Number, T: Number>(from: &[u8], to: &mut [u8]) {
    let from: &[S::Bits] = bytemuck::cast_slice(from);
    let to: &mut [T::Bits] = bytemuck::cast_slice_mut(to);
    for (to, &from) in to.iter_mut().zip(from) {
        *to = S::widened(from).narrowed::<T>();
    }
}
