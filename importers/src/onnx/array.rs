//! Arrays in host memory, with the element types of ONNX: weights as the file holds them, and what is
//! known before a network runs (shapes, axes, indices).

use std::sync::Arc;

use striate_tensor::{Device, HostTensor, Shape, SharedBytes, Tensor};

use super::elem::Elem;

/// An array of any of ONNX's element types.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    pub(crate) elem: Elem,
    pub(crate) dims: Vec<usize>,
    /// The number of the weight of the file that this is, whole.
    pub(crate) id: Option<u32>,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    /// As in the file, little-endian, at an address that suits any of the types.
    Raw(SharedBytes),
    Ints(Arc<[i64]>),
    Floats(Arc<[f64]>),
}

/// Bytes at an address that suits any element.
struct Aligned {
    words: Vec<u64>,
    bytes: usize,
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice::<u64, u8>(&self.words).get(..self.bytes).unwrap_or_default()
    }
}

impl Array {
    /// Of the bytes of a file, which are as many as the dimensions want.
    pub(crate) fn of_bytes(elem: Elem, dims: Vec<usize>, bytes: &[u8]) -> Self {
        let fill = |target: &mut [u8]| {
            target.copy_from_slice(bytes);
            Ok::<(), std::convert::Infallible>(())
        };
        match Self::filled(elem, dims, bytes.len(), fill) {
            Ok(array) => array,
        }
    }

    /// Of so many bytes, which `fill` writes: they are in memory once.
    pub(crate) fn filled<E>(
        elem: Elem,
        dims: Vec<usize>,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut words = vec![0u64; bytes.div_ceil(8)];
        let (target, _) = bytemuck::cast_slice_mut::<u64, u8>(&mut words).split_at_mut(bytes);
        fill(target)?;
        let data = SharedBytes::new(Arc::new(Aligned { words, bytes }));
        Ok(Array { elem, dims, id: None, data: Data::Raw(data) })
    }

    /// Of integers or truth values, each made to fit the type.
    pub(crate) fn of_ints(elem: Elem, dims: Vec<usize>, values: Vec<i64>) -> Self {
        let values: Arc<[i64]> = values.into_iter().map(|x| elem.wrap(x)).collect();
        Array { elem, dims, id: None, data: Data::Ints(values) }
    }

    /// Of floats, each rounded to the type.
    pub(crate) fn of_floats(elem: Elem, dims: Vec<usize>, values: Vec<f64>) -> Self {
        let values: Arc<[f64]> = values.into_iter().map(|x| elem.round(x)).collect();
        Array { elem, dims, id: None, data: Data::Floats(values) }
    }

    /// One of these extents whose elements nobody looks at.
    pub(crate) fn of_extents(dims: Vec<usize>) -> Self {
        Array::of_ints(Elem::Bool, dims, Vec::new())
    }

    /// A list of i64.
    pub(crate) fn list(values: Vec<i64>) -> Self {
        let dims = vec![values.len()];
        Array::of_ints(Elem::I64, dims, values)
    }

    pub(crate) fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// The elements as integers; floats are cut toward zero.
    pub(crate) fn ints(&self) -> Arc<[i64]> {
        match &self.data {
            Data::Ints(values) => Arc::clone(values),
            Data::Floats(values) => values.iter().map(|&x| x as i64).collect(),
            Data::Raw(bytes) => match self.elem.is_float() {
                true => self.floats().iter().map(|&x| x as i64).collect(),
                false => self.raw_ints(bytes.bytes()),
            },
        }
    }

    /// The elements as floats.
    pub(crate) fn floats(&self) -> Arc<[f64]> {
        match &self.data {
            Data::Floats(values) => Arc::clone(values),
            Data::Ints(values) => values.iter().map(|&x| x as f64).collect(),
            Data::Raw(bytes) => match self.elem.is_float() {
                true => self.raw_floats(bytes.bytes()),
                false => self.raw_ints(bytes.bytes()).iter().map(|&x| x as f64).collect(),
            },
        }
    }

    /// The elements as f32.
    pub(crate) fn f32s(&self) -> Vec<f32> {
        match &self.data {
            Data::Raw(bytes) if self.elem == Elem::F32 => {
                let (values, _) = bytes.bytes().as_chunks::<4>();
                values.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
            }
            _ => self.floats().iter().map(|&x| x as f32).collect(),
        }
    }

    fn raw_ints(&self, bytes: &[u8]) -> Arc<[i64]> {
        fn each<const N: usize>(bytes: &[u8], of: impl Fn([u8; N]) -> i64) -> Arc<[i64]> {
            bytes.as_chunks::<N>().0.iter().map(|chunk| of(*chunk)).collect()
        }
        match self.elem {
            Elem::I64 | Elem::U64 => each(bytes, i64::from_le_bytes),
            Elem::I32 => each(bytes, |b| i32::from_le_bytes(b).into()),
            Elem::U32 => each(bytes, |b| u32::from_le_bytes(b).into()),
            Elem::I16 => each(bytes, |b| i16::from_le_bytes(b).into()),
            Elem::U16 => each(bytes, |b| u16::from_le_bytes(b).into()),
            Elem::I8 => each(bytes, |b| i8::from_le_bytes(b).into()),
            Elem::Bool => each(bytes, |[b]| i64::from(b != 0)),
            _ => each(bytes, |[b]| b.into()),
        }
    }

    fn raw_floats(&self, bytes: &[u8]) -> Arc<[f64]> {
        fn each<const N: usize>(bytes: &[u8], of: impl Fn([u8; N]) -> f64) -> Arc<[f64]> {
            bytes.as_chunks::<N>().0.iter().map(|chunk| of(*chunk)).collect()
        }
        match self.elem {
            Elem::F64 => each(bytes, f64::from_le_bytes),
            Elem::F16 => each(bytes, |b| half::f16::from_le_bytes(b).to_f64()),
            Elem::Bf16 => each(bytes, |b| half::bf16::from_le_bytes(b).to_f64()),
            _ => each(bytes, |b| f32::from_le_bytes(b).into()),
        }
    }

    /// The same elements with other dimensions, of as many elements.
    pub(crate) fn with_dims(&self, dims: Vec<usize>) -> Self {
        Array { dims, id: None, ..self.clone() }
    }

    /// The elements at these places, in row-major order; `None` is a zero.
    pub(crate) fn pick(&self, dims: Vec<usize>, places: &[Option<usize>]) -> Self {
        if self.elem.is_float() {
            let from = self.floats();
            let at = |place: &Option<usize>| place.and_then(|i| from.get(i).copied());
            let values: Arc<[f64]> = places.iter().map(|p| at(p).unwrap_or(0.0)).collect();
            return Array { elem: self.elem, dims, id: None, data: Data::Floats(values) };
        }
        let from = self.ints();
        let at = |place: &Option<usize>| place.and_then(|i| from.get(i).copied());
        let values: Arc<[i64]> = places.iter().map(|p| at(p).unwrap_or(0)).collect();
        Array { elem: self.elem, dims, id: None, data: Data::Ints(values) }
    }

    /// As an array of the same kind of elements as another.
    pub(crate) fn to_elem(&self, elem: Elem) -> Self {
        if elem == self.elem {
            return self.clone();
        }
        let dims = self.dims.clone();
        if elem.is_float() {
            return Array::of_floats(elem, dims, self.floats().to_vec());
        }
        if elem == Elem::Bool && self.elem.is_float() {
            let values = self.floats().iter().map(|&x| i64::from(x != 0.0)).collect();
            return Array::of_ints(elem, dims, values);
        }
        Array::of_ints(elem, dims, self.ints().to_vec())
    }

    /// On a device, to compute with: floats as f32 or f16, everything else as f32, truth values as u32.
    pub(crate) fn to_device(&self, device: &Device) -> striate_tensor::Result<Tensor> {
        use striate_tensor::{DType, TensorType};
        let shape = Shape::new(&self.dims)?;
        match (&self.data, self.elem) {
            (Data::Raw(bytes), Elem::F32) if cfg!(target_endian = "little") => {
                Tensor::from_shared(bytes.clone(), TensorType::new(shape, DType::F32), device)
            }
            (Data::Raw(bytes), Elem::F16) if cfg!(target_endian = "little") => {
                Tensor::from_shared(bytes.clone(), TensorType::new(shape, DType::F16), device)
            }
            (_, Elem::Bool) => {
                let values: Vec<u32> = self.ints().iter().map(|&x| u32::from(x != 0)).collect();
                Tensor::from_host(HostTensor::new(shape, values)?, device)
            }
            _ => Tensor::from_host(HostTensor::new(shape, self.f32s())?, device),
        }
    }
}

impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        if self.elem != other.elem || self.dims != other.dims {
            return false;
        }
        match self.elem.is_float() {
            // By bits: NaN equals itself, and the zeros differ.
            true => {
                let (a, b) = (self.floats(), other.floats());
                a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
            }
            false => self.ints() == other.ints(),
        }
    }
}
