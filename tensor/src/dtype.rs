//! Element types.

use half::f16;

/// The type of a tensor's elements.
///
/// Ops compute with f32, f16 and u32. The others are storage: what files and other frameworks hold. Tensors
/// of every type move between devices, and ops that only move elements (permute, slice, concatenate, gather
/// and their kin) take them all; [`Cast`](crate::ops::Cast) leads from each to each.
///
/// ```
/// use striate_tensor::{DType, Device, Reference, Tensor};
///
/// let device = Device::new(Reference::new());
/// let x = Tensor::from_vec(vec![0.5f32, 70_000.0], [2], &device)?;
/// let half = x.cast(DType::F16)?;
/// assert_eq!((half.dtype().size_bytes(), half.dtype().name()), (2, "f16"));
/// # Ok::<(), striate_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit float: the type that everything computes in.
    F32,
    /// 16-bit float: storage only, arithmetic widens it to 32 bits.
    F16,
    /// 64-bit float: storage only, to be cast before arithmetic.
    F64,
    /// 32-bit unsigned integer: labels, indices and truth values.
    U32,
    /// 64-bit integer: storage only.
    I64,
    /// 32-bit integer: storage only.
    I32,
    /// 8-bit integer: storage only.
    I8,
    /// 8-bit unsigned integer: storage only.
    U8,
    /// Truth values, a byte each, 0 or 1: storage only. Comparisons give u32.
    Bool,
}

impl DType {
    /// Every element type.
    pub const ALL: &[DType] = &[
        DType::F32,
        DType::F16,
        DType::F64,
        DType::U32,
        DType::I64,
        DType::I32,
        DType::I8,
        DType::U8,
        DType::Bool,
    ];

    /// Bytes of one element.
    pub const fn size_bytes(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::U32 | DType::I32 => 4,
            DType::F16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }

    /// Whether it is one of the float types that ops compute with, f32 or f16: those that weights,
    /// activations and gradients may have. f64 is not, as it is storage only.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16)
    }

    /// Whether it is one of the integer types; truth values are not.
    pub const fn is_integer(self) -> bool {
        matches!(self, DType::U32 | DType::I64 | DType::I32 | DType::I8 | DType::U8)
    }

    /// `f32`, `f16`, `f64`, `u32`, `i64`, `i32`, `i8`, `u8` or `bool`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::F64 => "f64",
            DType::U32 => "u32",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A Rust type that can be an element: `f32`, [`f16`](struct@f16), `f64`, `u32`, `i64`, `i32`, `i8` or
/// `u8`.
///
/// `bool` is none, as not every byte is one: see [`Tensor::from_bools`](crate::Tensor::from_bools) and
/// [`Tensor::to_bools`](crate::Tensor::to_bools).
pub trait Element: bytemuck::Pod + PartialEq + Send + Sync + std::fmt::Debug + 'static {
    /// The element type that it stands for.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty: $dtype:ident;)*) => {
        $(impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
        })*
    };
}

elements! {
    f32: F32;
    f16: F16;
    f64: F64;
    u32: U32;
    i64: I64;
    i32: I32;
    i8: I8;
    u8: U8;
}
