//! The element types of an ONNX file.

use std::fmt;

use striate_tensor::DType;

/// The element type of a tensor in an ONNX file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Elem {
    F32,
    F16,
    Bf16,
    F64,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Elem {
    /// By the format's number; none for texts, complex numbers and types of less than a byte.
    pub(crate) fn of_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => Elem::F32,
            2 => Elem::U8,
            3 => Elem::I8,
            4 => Elem::U16,
            5 => Elem::I16,
            6 => Elem::I32,
            7 => Elem::I64,
            9 => Elem::Bool,
            10 => Elem::F16,
            11 => Elem::F64,
            12 => Elem::U32,
            13 => Elem::U64,
            16 => Elem::Bf16,
            _ => return None,
        })
    }

    /// The type of elements of ours.
    pub(crate) fn of_dtype(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Elem::F32,
            DType::F16 => Elem::F16,
            DType::F64 => Elem::F64,
            DType::U32 => Elem::U32,
            DType::I64 => Elem::I64,
            DType::I32 => Elem::I32,
            DType::I8 => Elem::I8,
            DType::U8 => Elem::U8,
            DType::Bool => Elem::Bool,
        }
    }

    /// The format's number.
    pub(crate) fn code(self) -> i32 {
        match self {
            Elem::F32 => 1,
            Elem::U8 => 2,
            Elem::I8 => 3,
            Elem::U16 => 4,
            Elem::I16 => 5,
            Elem::I32 => 6,
            Elem::I64 => 7,
            Elem::Bool => 9,
            Elem::F16 => 10,
            Elem::F64 => 11,
            Elem::U32 => 12,
            Elem::U64 => 13,
            Elem::Bf16 => 16,
        }
    }

    /// What the format calls the type of a number, for messages.
    pub(crate) fn name_of_code(code: i32) -> String {
        let name = match code {
            8 => "string",
            14 => "complex64",
            15 => "complex128",
            17..=20 => "an 8-bit float",
            21 | 22 => "a 4-bit integer",
            23 => "a 4-bit float",
            _ => match Elem::of_code(code) {
                Some(elem) => elem.name(),
                None => return format!("type {code}"),
            },
        };
        name.into()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Elem::F32 => "f32",
            Elem::F16 => "f16",
            Elem::Bf16 => "bf16",
            Elem::F64 => "f64",
            Elem::I64 => "i64",
            Elem::I32 => "i32",
            Elem::I16 => "i16",
            Elem::I8 => "i8",
            Elem::U64 => "u64",
            Elem::U32 => "u32",
            Elem::U16 => "u16",
            Elem::U8 => "u8",
            Elem::Bool => "bool",
        }
    }

    pub(crate) fn size_bytes(self) -> usize {
        match self {
            Elem::F64 | Elem::I64 | Elem::U64 => 8,
            Elem::F32 | Elem::I32 | Elem::U32 => 4,
            Elem::F16 | Elem::Bf16 | Elem::I16 | Elem::U16 => 2,
            Elem::I8 | Elem::U8 | Elem::Bool => 1,
        }
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Elem::F32 | Elem::F16 | Elem::Bf16 | Elem::F64)
    }

    /// The smallest and the largest integer of this type, of u64 as far as i64 reaches.
    pub(crate) fn range(self) -> (i64, i64) {
        match self {
            Elem::I32 => (i32::MIN.into(), i32::MAX.into()),
            Elem::I16 => (i16::MIN.into(), i16::MAX.into()),
            Elem::I8 => (i8::MIN.into(), i8::MAX.into()),
            Elem::U64 => (0, i64::MAX),
            Elem::U32 => (0, u32::MAX.into()),
            Elem::U16 => (0, u16::MAX.into()),
            Elem::U8 => (0, u8::MAX.into()),
            Elem::Bool => (0, 1),
            _ => (i64::MIN, i64::MAX),
        }
    }

    /// An integer as this type holds it: the lowest bits.
    pub(crate) fn wrap(self, x: i64) -> i64 {
        match self {
            Elem::I32 => i64::from(x as i32),
            Elem::I16 => i64::from(x as i16),
            Elem::I8 => i64::from(x as i8),
            Elem::U32 => i64::from(x as u32),
            Elem::U16 => i64::from(x as u16),
            Elem::U8 => i64::from(x as u8),
            Elem::Bool => i64::from(x != 0),
            _ => x,
        }
    }

    /// A float as this type holds it.
    pub(crate) fn round(self, x: f64) -> f64 {
        match self {
            Elem::F16 => f64::from(half::f16::from_f64(x).to_f32()),
            Elem::Bf16 => f64::from(half::bf16::from_f64(x).to_f32()),
            Elem::F64 => x,
            _ => f64::from(x as f32),
        }
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
