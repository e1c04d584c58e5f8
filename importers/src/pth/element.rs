//! The types of the elements of PyTorch's tensors.

use crate::values::Stored;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    U16,
    U32,
    U64,
    Bool,
    C64,
    C128,
}

/// Each with PyTorch's names: of its storage, and of the type itself; and the bytes of an element.
const ELEMENTS: [(Element, &str, &str, u64); 15] = [
    (Element::F64, "DoubleStorage", "float64", 8),
    (Element::F32, "FloatStorage", "float32", 4),
    (Element::F16, "HalfStorage", "float16", 2),
    (Element::Bf16, "BFloat16Storage", "bfloat16", 2),
    (Element::I64, "LongStorage", "int64", 8),
    (Element::I32, "IntStorage", "int32", 4),
    (Element::I16, "ShortStorage", "int16", 2),
    (Element::I8, "CharStorage", "int8", 1),
    (Element::U8, "ByteStorage", "uint8", 1),
    // These have bytes for a storage.
    (Element::U16, "UInt16Storage", "uint16", 2),
    (Element::U32, "UInt32Storage", "uint32", 4),
    (Element::U64, "UInt64Storage", "uint64", 8),
    (Element::Bool, "BoolStorage", "bool", 1),
    (Element::C64, "ComplexFloatStorage", "complex64", 8),
    (Element::C128, "ComplexDoubleStorage", "complex128", 16),
];

impl Element {
    /// That of a storage of this class.
    pub(super) fn of_storage(class: &str) -> Option<Self> {
        ELEMENTS.iter().find(|(_, storage, ..)| *storage == class).map(|(element, ..)| *element)
    }

    /// That of this name in `torch`.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        ELEMENTS.iter().find(|(_, _, own, _)| *own == name).map(|(element, ..)| *element)
    }

    fn row(self) -> &'static (Element, &'static str, &'static str, u64) {
        // Every type is in the table, in the order of their definition.
        &ELEMENTS[self as usize]
    }

    /// PyTorch's name.
    pub(super) fn name(self) -> &'static str {
        self.row().2
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> u64 {
        self.row().3
    }

    /// How its numbers are read, where they are floats.
    pub(super) fn floats(self) -> Option<Stored> {
        match self {
            Element::F64 => Some(Stored::F64),
            Element::F32 => Some(Stored::F32),
            Element::F16 => Some(Stored::F16),
            Element::Bf16 => Some(Stored::Bf16),
            _ => None,
        }
    }

    /// Bytes that change their order with the machine's: a complex number has two parts.
    pub(super) fn unit(self) -> usize {
        match self {
            Element::C64 => 4,
            Element::C128 => 8,
            _ => self.size() as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        for (i, (element, storage, name, _)) in ELEMENTS.iter().enumerate() {
            assert_eq!(*element as usize, i);
            assert_eq!(Element::of_storage(storage), Some(*element));
            assert_eq!(Element::of_name(name), Some(*element));
        }
    }
}
