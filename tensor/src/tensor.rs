//! Tensors.

use std::sync::Arc;

use crate::autograd::{self, Node};
use crate::host::{check_bools, with_vector};
use crate::{
    Buffer, DType, Device, Element, Error, HostTensor, HostValues, Op, Pending, Result, Shape,
    SharedBytes, Target, TensorType, TensorUpdate,
};

/// A contiguous block of numbers on a [`Device`].
///
/// Cloning shares the memory. Nothing writes into it while it is shared, so a clone never changes.
/// The methods that compute stand with their ops in [`ops`](crate::ops).
///
/// ```
/// use striate_tensor::{Device, Reference, Tensor};
///
/// let device = Device::new(Reference::new());
/// let x = Tensor::from_vec(vec![1.0f32, -2.0, 3.0, -4.0], [2, 2], &device)?.require_grad();
/// let y = x.relu()?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 0.0, 3.0, 0.0]);
/// let gradients = y.sum_all()?.backward()?;
/// assert_eq!(gradients.get(&x).ok_or("none")?.to_vec::<f32>()?, [1.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    buffer: Buffer,
    ty: TensorType,
    device: Device,
    /// What it came of, where a gradient may be asked of it: see [`autograd`].
    node: Option<Arc<Node>>,
}

impl Tensor {
    pub(crate) fn from_parts(buffer: Buffer, ty: TensorType, device: Device) -> Self {
        Tensor { buffer, ty, device, node: None }
    }

    /// Where a gradient of it goes.
    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// The same values with another history.
    pub(crate) fn with_source(&self, node: Option<Arc<Node>>) -> Self {
        let (buffer, device) = (self.buffer.clone(), self.device.clone());
        Tensor { buffer, ty: self.ty, device, node }
    }

    /// A tensor of these values.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &device)?;
    /// assert_eq!(x.sum([1])?.to_vec::<f32>()?, [6.0, 15.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the shape has another number of elements, or the device has no memory.
    pub fn from_vec<T: Element, S>(values: Vec<T>, shape: S, device: &Device) -> Result<Self>
    where
        S: TryInto<Shape>,
        Error: From<S::Error>,
    {
        Self::from_host(HostTensor::new(shape.try_into()?, values)?, device)
    }

    /// A tensor of these truth values, of type [`DType::Bool`].
    ///
    /// ```
    /// # use striate_tensor::{DType, Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_bools(vec![true, false], [2], &device)?;
    /// assert_eq!(x.to_bools()?, [true, false]);
    /// assert_eq!(x.cast(DType::F32)?.to_vec::<f32>()?, [1.0, 0.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the shape has another number of elements, or the device has no memory.
    pub fn from_bools<S>(values: Vec<bool>, shape: S, device: &Device) -> Result<Self>
    where
        S: TryInto<Shape>,
        Error: From<S::Error>,
    {
        Self::from_host(HostTensor::new(shape.try_into()?, HostValues::bools(&values))?, device)
    }

    /// A tensor without axes.
    ///
    /// # Errors
    /// Where the device has no memory.
    pub fn scalar<T: Element>(value: T, device: &Device) -> Result<Self> {
        Self::from_vec(vec![value], [], device)
    }

    /// A host tensor, moved to the device.
    ///
    /// # Errors
    /// Where the device has no memory.
    pub fn from_host(host: HostTensor, device: &Device) -> Result<Self> {
        let ty = host.ty();
        let buffer = device.backend().upload(host.into_values())?;
        Ok(device.tensor(buffer, ty))
    }

    /// A tensor of bytes that live elsewhere (a mapped file), in place where the device can.
    ///
    /// # Errors
    /// Where the bytes are not as many as `ty` says, a truth value is neither 0 nor 1, or the device has
    /// no memory.
    pub fn from_shared(bytes: SharedBytes, ty: TensorType, device: &Device) -> Result<Self> {
        if ty.dtype == DType::Bool {
            check_bools(bytes.bytes())?;
        }
        let buffer = device.backend().upload_shared(bytes, &ty)?;
        Ok(device.tensor(buffer, ty))
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.ty.shape
    }

    /// The extents of the axes.
    pub fn dims(&self) -> &[usize] {
        self.ty.shape.dims()
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.ty.dtype
    }

    /// Shape and element type.
    pub fn ty(&self) -> &TensorType {
        &self.ty
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The memory that it is in.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    pub(crate) fn into_buffer(self) -> Buffer {
        self.buffer
    }

    /// The values, copied to host memory: asked for now, and taken from the [`Pending`].
    pub fn read(&self) -> Pending<HostTensor> {
        self.device.backend().download(&self.buffer, &self.ty).unwrap_or_else(|e| Err(e).into())
    }

    /// As [`read`](Tensor::read), as a vector in row-major order. It fails with [`Error::DType`] where the
    /// values are not of type `T`.
    pub fn read_vec<T: Element>(&self) -> Pending<Vec<T>> {
        match self.check_read("to_vec", T::DTYPE) {
            Ok(()) => {
                self.read().and_then(|host| Ok(host.into_values().into_vec().unwrap_or_default()))
            }
            Err(error) => Err(error).into(),
        }
    }

    /// As [`read`](Tensor::read), as truth values. It fails with [`Error::DType`] where the tensor is not of
    /// type [`DType::Bool`].
    pub fn read_bools(&self) -> Pending<Vec<bool>> {
        match self.check_read("to_bools", DType::Bool) {
            Ok(()) => self.read().and_then(|host| Ok(host.values().as_bools().unwrap_or_default())),
            Err(error) => Err(error).into(),
        }
    }

    /// As [`read`](Tensor::read), of the only value of a tensor of one element. It fails where there is not
    /// exactly one, or it is not of type `T`.
    pub fn read_scalar<T: Element>(&self) -> Pending<T> {
        let shape = *self.shape();
        self.read_vec::<T>().and_then(move |values| match values.as_slice() {
            [value] => Ok(*value),
            _ => Err(Error::shape("to_scalar", "one element", shape)),
        })
    }

    fn check_read(&self, op: &'static str, dtype: DType) -> Result<()> {
        match self.dtype() == dtype {
            true => Ok(()),
            false => Err(Error::DType {
                op,
                what: "the tensor",
                expected: dtype.name(),
                got: self.dtype(),
            }),
        }
    }

    /// The values, copied to host memory. It waits for them; [`read`](Tensor::read) does not.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn to_host(&self) -> Result<HostTensor> {
        self.read().wait()
    }

    /// The values, copied to a vector in row-major order. It waits for them;
    /// [`read_vec`](Tensor::read_vec) does not.
    ///
    /// # Errors
    /// [`Error::DType`] where they are not of type `T`, or the device fails.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.read_vec().wait()
    }

    /// The truth values of a tensor of type [`DType::Bool`], copied to a vector in row-major order. It waits
    /// for them; [`read_bools`](Tensor::read_bools) does not.
    ///
    /// # Errors
    /// [`Error::DType`] where they are of another type, or the device fails.
    pub fn to_bools(&self) -> Result<Vec<bool>> {
        self.read_bools().wait()
    }

    /// The only value of a tensor of one element. It waits for it; [`read_scalar`](Tensor::read_scalar)
    /// does not.
    ///
    /// # Errors
    /// Where there is not exactly one, it is not of type `T`, or the device fails.
    pub fn to_scalar<T: Element>(&self) -> Result<T> {
        self.read_scalar().wait()
    }

    /// The same tensor on `device`; itself where it is there already.
    ///
    /// # Errors
    /// Where a device fails or has no memory.
    pub fn to(&self, device: &Device) -> Result<Tensor> {
        if self.device.is(device) {
            return Ok(self.clone());
        }
        Ok(autograd::record_move(self, Self::from_host(self.to_host()?, device)?))
    }

    /// The same elements in another shape, without a copy.
    ///
    /// # Errors
    /// Where the element counts differ.
    pub fn reshape<S>(&self, shape: S) -> Result<Tensor>
    where
        S: TryInto<Shape>,
        Error: From<S::Error>,
    {
        let shape = shape.try_into()?;
        if shape.count() != self.ty.count() {
            let expected = format!("a shape of {} elements for {}", self.ty.count(), self.ty.shape);
            return Err(Error::shape("reshape", expected, shape));
        }
        let ty = TensorType::new(shape, self.ty.dtype);
        let y = Tensor::from_parts(self.buffer.clone(), ty, self.device.clone());
        Ok(autograd::record_reshape(self, y))
    }

    /// The same elements as `[n, everything else]`, without a copy: what comes before a
    /// full-connect layer.
    ///
    /// # Errors
    /// Where there are no axes.
    pub fn flatten(&self) -> Result<Tensor> {
        let n = self.shape().axis(0, "flatten")?;
        let rest: usize = self.dims()[1..].iter().product();
        self.reshape([n, rest])
    }

    /// Updates tensors in place by one op: as [`Device::update`] does.
    ///
    /// # Errors
    /// As [`Device::update`].
    pub(crate) fn update(op: Op, targets: Vec<&mut Tensor>, inputs: &[&Tensor]) -> Result<()> {
        let Some(device) = targets.first().map(|first| first.device.clone()) else {
            return Err(Error::Operands { op: op.name(), expected: "1 or more".into(), got: 0 });
        };
        device.update(&mut [TensorUpdate { op, targets, inputs: inputs.to_vec() }])
    }

    /// Its memory as a target, where it may be one.
    ///
    /// # Errors
    /// Where it is tracked and no leaf: its history would tell of other values.
    pub(crate) fn target(&mut self, op: &Op) -> Result<Target<'_>> {
        if self.node.as_ref().is_some_and(|node| !node.is_leaf()) {
            let reason = "what is updated in place came of other tensors, and is no variable; \
                          detach it";
            return Err(Error::gradient(op.name(), reason));
        }
        Ok(Target { buffer: &mut self.buffer, ty: &self.ty })
    }
}

/// Up to this many values are shown.
const SHOWN_ELEMENTS: usize = 16;

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} on {}", self.ty, self.device.info().name)?;
        if self.ty.count() <= SHOWN_ELEMENTS
            && let Ok(host) = self.to_host()
        {
            match host.values().as_bools() {
                Some(values) => write!(f, ", {values:?}")?,
                None => with_vector!(host.values(), v => write!(f, ", {v:?}")?),
            }
        }
        write!(f, ")")
    }
}
