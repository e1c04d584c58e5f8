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
    /// 64-bit floats.
    F64(Vec<f64>),
    /// 32-bit unsigned integers.
    U32(Vec<u32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 8-bit integers.
    I8(Vec<i8>),
    /// 8-bit unsigned integers.
    U8(Vec<u8>),
    /// Truth values, each 0 or 1: [`HostValues::bools`] makes them, and [`HostValues::bool_bytes`] checks
    /// them. A [`HostTensor`] of other bytes cannot be made.
    Bool(Vec<u8>),
}

/// Does the same with the vector of any type.
macro_rules! with_vector {
    ($values:expr, $vector:ident => $body:expr) => {
        match $values {
            $crate::HostValues::F32($vector) => $body,
            $crate::HostValues::F16($vector) => $body,
            $crate::HostValues::F64($vector) => $body,
            $crate::HostValues::U32($vector) => $body,
            $crate::HostValues::I64($vector) => $body,
            $crate::HostValues::I32($vector) => $body,
            $crate::HostValues::I8($vector) => $body,
            $crate::HostValues::U8($vector) => $body,
            $crate::HostValues::Bool($vector) => $body,
        }
    };
}
pub(crate) use with_vector;

impl HostValues {
    /// Truth values.
    pub fn bools(values: &[bool]) -> Self {
        HostValues::Bool(values.iter().map(|&value| u8::from(value)).collect())
    }

    /// Truth values as bytes, each 0 or 1.
    ///
    /// # Errors
    /// [`Error::Parameter`] for another byte.
    pub fn bool_bytes(values: Vec<u8>) -> Result<Self> {
        check_bools(&values)?;
        Ok(HostValues::Bool(values))
    }

    /// The truth values, where they are such; a byte other than 0 is true.
    pub fn as_bools(&self) -> Option<Vec<bool>> {
        match self {
            HostValues::Bool(values) => Some(values.iter().map(|&value| value != 0).collect()),
            _ => None,
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            HostValues::F32(_) => DType::F32,
            HostValues::F16(_) => DType::F16,
            HostValues::F64(_) => DType::F64,
            HostValues::U32(_) => DType::U32,
            HostValues::I64(_) => DType::I64,
            HostValues::I32(_) => DType::I32,
            HostValues::I8(_) => DType::I8,
            HostValues::U8(_) => DType::U8,
            HostValues::Bool(_) => DType::Bool,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        with_vector!(self, v => v.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as bytes, in the machine's order.
    pub fn bytes(&self) -> &[u8] {
        with_vector!(self, v => bytemuck::cast_slice(v))
    }

    /// The elements as bytes, to write into. Those of truth values must stay 0 or 1.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        with_vector!(self, v => bytemuck::cast_slice_mut(v))
    }

    /// The elements widened to f64, which holds all of them exactly but for integers of more than 53 bits:
    /// those round to the nearest.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            HostValues::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            HostValues::F16(v) => v.iter().map(|&x| f64::from(x)).collect(),
            HostValues::F64(v) => v.clone(),
            HostValues::U32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            HostValues::I64(v) => v.iter().map(|&x| x as f64).collect(),
            HostValues::I32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            HostValues::I8(v) => v.iter().map(|&x| f64::from(x)).collect(),
            HostValues::U8(v) | HostValues::Bool(v) => v.iter().map(|&x| f64::from(x)).collect(),
        }
    }

    /// `count` zeros of a type, on huge pages where the system has them.
    pub fn zeros(dtype: DType, count: usize) -> Self {
        let mut values = match dtype {
            DType::F32 => HostValues::F32(vec![0.0; count]),
            // Zeroed memory of the system, where a vector of f16 would be written.
            DType::F16 => HostValues::F16(bytemuck::allocation::cast_vec(vec![0u16; count])),
            DType::F64 => HostValues::F64(vec![0.0; count]),
            DType::U32 => HostValues::U32(vec![0; count]),
            DType::I64 => HostValues::I64(vec![0; count]),
            DType::I32 => HostValues::I32(vec![0; count]),
            DType::I8 => HostValues::I8(vec![0; count]),
            DType::U8 => HostValues::U8(vec![0; count]),
            DType::Bool => HostValues::Bool(vec![0; count]),
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
        Some(with_vector!(self, v => bytemuck::allocation::cast_vec(v)))
    }
}

/// Refuses bytes that are no truth values.
pub(crate) fn check_bools(bytes: &[u8]) -> Result<()> {
    match bytes.iter().position(|&byte| byte > 1) {
        Some(place) => Err(Error::Parameter {
            op: "host tensor",
            parameter: "each truth value",
            expected: "0 or 1".into(),
            got: format!("{} at element {place}", bytes[place]),
        }),
        None => Ok(()),
    }
}

impl<T: Element> From<Vec<T>> for HostValues {
    fn from(values: Vec<T>) -> Self {
        // The type of the elements is the one that stands behind the name, so the cast is one to itself.
        match T::DTYPE {
            DType::F32 => HostValues::F32(bytemuck::allocation::cast_vec(values)),
            DType::F16 => HostValues::F16(bytemuck::allocation::cast_vec(values)),
            DType::F64 => HostValues::F64(bytemuck::allocation::cast_vec(values)),
            DType::U32 => HostValues::U32(bytemuck::allocation::cast_vec(values)),
            DType::I64 => HostValues::I64(bytemuck::allocation::cast_vec(values)),
            DType::I32 => HostValues::I32(bytemuck::allocation::cast_vec(values)),
            DType::I8 => HostValues::I8(bytemuck::allocation::cast_vec(values)),
            DType::U8 => HostValues::U8(bytemuck::allocation::cast_vec(values)),
            DType::Bool => HostValues::Bool(bytemuck::allocation::cast_vec(values)),
        }
    }
}

/// A tensor in host memory.
///
/// ```
/// use striate_tensor::{HostTensor, Shape};
///
/// let x = HostTensor::new(Shape::new(&[2, 2])?, vec![1.0f32, 2.0, 3.0, 4.0])?;
/// assert_eq!(x.values().as_slice::<f32>(), Some(&[1.0, 2.0, 3.0, 4.0][..]));
/// # Ok::<(), striate_tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    shape: Shape,
    values: HostValues,
}

impl HostTensor {
    /// A host tensor of these values.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shape has another number of elements, [`Error::Parameter`] where a truth
    /// value is neither 0 nor 1.
    pub fn new(shape: Shape, values: impl Into<HostValues>) -> Result<Self> {
        let values = values.into();
        if let HostValues::Bool(bytes) = &values {
            check_bools(bytes)?;
        }
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
