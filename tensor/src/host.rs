//! Tensors in host memory: what goes to a device and comes back from one.

use std::sync::Arc;

use half::f16;

use crate::{DType, Element, Error, Result, Shape, TensorType, prefer_huge_pages};

/// The elements of a tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub enum HostValues {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 16-bit floats.
    F16(Vec<f16>),
    /// 32-bit unsigned integers.
    U32(Vec<u32>),
}

impl HostValues {
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            HostValues::F32(_) => DType::F32,
            HostValues::F16(_) => DType::F16,
            HostValues::U32(_) => DType::U32,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            HostValues::F32(v) => v.len(),
            HostValues::F16(v) => v.len(),
            HostValues::U32(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as bytes, in the machine's order.
    pub fn bytes(&self) -> &[u8] {
        match self {
            HostValues::F32(v) => bytemuck::cast_slice(v),
            HostValues::F16(v) => bytemuck::cast_slice(v),
            HostValues::U32(v) => bytemuck::cast_slice(v),
        }
    }

    /// The elements as bytes, to write into.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            HostValues::F32(v) => bytemuck::cast_slice_mut(v),
            HostValues::F16(v) => bytemuck::cast_slice_mut(v),
            HostValues::U32(v) => bytemuck::cast_slice_mut(v),
        }
    }

    /// `count` zeros of a type, on huge pages where the system has them.
    pub fn zeros(dtype: DType, count: usize) -> Self {
        let mut values = match dtype {
            DType::F32 => HostValues::F32(vec![0.0; count]),
            // Zeroed memory of the system, where a vector of f16 would be written.
            DType::F16 => HostValues::F16(bytemuck::allocation::cast_vec(vec![0u16; count])),
            DType::U32 => HostValues::U32(vec![0; count]),
        };
        prefer_huge_pages(values.bytes_mut());
        values
    }

    /// The elements as a slice, where they are of type `T`.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        (self.dtype() == T::DTYPE).then(|| bytemuck::cast_slice(self.bytes()))
    }

    /// The elements as a vector, where they are of type `T`.
    pub fn into_vec<T: Element>(self) -> Option<Vec<T>> {
        if self.dtype() != T::DTYPE {
            return None;
        }
        Some(match self {
            HostValues::F32(v) => bytemuck::allocation::cast_vec(v),
            HostValues::F16(v) => bytemuck::allocation::cast_vec(v),
            HostValues::U32(v) => bytemuck::allocation::cast_vec(v),
        })
    }
}

impl<T: Element> From<Vec<T>> for HostValues {
    fn from(values: Vec<T>) -> Self {
        // `Element` is implemented for exactly these three types, so the cast is one to itself.
        match T::DTYPE {
            DType::F32 => HostValues::F32(bytemuck::allocation::cast_vec(values)),
            DType::F16 => HostValues::F16(bytemuck::allocation::cast_vec(values)),
            DType::U32 => HostValues::U32(bytemuck::allocation::cast_vec(values)),
        }
    }
}

/// A tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    shape: Shape,
    values: HostValues,
}

impl HostTensor {
    /// A host tensor of these values.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shape has another number of elements.
    pub fn new(shape: Shape, values: impl Into<HostValues>) -> Result<Self> {
        let values = values.into();
        if shape.count() != values.len() {
            let expected = format!("{} values for shape {shape}", shape.count());
            return Err(Error::shape("host tensor", expected, format!("{} values", values.len())));
        }
        Ok(HostTensor { shape, values })
    }

    /// A host tensor of zeros.
    pub fn zeros(ty: &TensorType) -> Self {
        HostTensor { shape: ty.shape, values: HostValues::zeros(ty.dtype, ty.count()) }
    }

    /// Shape and element type.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.shape, self.values.dtype())
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The values.
    pub fn values(&self) -> &HostValues {
        &self.values
    }

    /// The values, to write into.
    pub fn values_mut(&mut self) -> &mut HostValues {
        &mut self.values
    }

    /// The values, taken out.
    pub fn into_values(self) -> HostValues {
        self.values
    }
}

/// Bytes that live elsewhere and outlive the tensors made of them: a mapped file, say.
///
/// A device that computes in host memory may use them in place, so a weight of a mapped file
/// is never copied.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    start: usize,
    len: usize,
}

impl SharedBytes {
    /// All bytes of `owner`.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        let len = (*owner).as_ref().len();
        SharedBytes { owner, start: 0, len }
    }

    /// A part of them, or `None` where it reaches beyond the end.
    pub fn slice(&self, start: usize, len: usize) -> Option<Self> {
        let end = start.checked_add(len)?;
        (end <= self.len).then(|| SharedBytes {
            owner: Arc::clone(&self.owner),
            start: self.start + start,
            len,
        })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // A well-behaved owner always gives the same bytes; one that does not gets an empty slice
        // here, never a panic.
        (*self.owner).as_ref().get(self.start..self.start + self.len).unwrap_or(&[])
    }
}

impl std::fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.len)
    }
}
