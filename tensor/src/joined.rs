//! Tensors that several ops write, each some of their channels.

use std::ops::Range;

use crate::ops::Concatenate;
use crate::{Buffer, Device, Error, Op, Operand, Part, Result, Tensor, TensorType};

const NAME: &str = "concatenate";

/// A concatenation along the last axis that is never copied together: what makes its parts writes each
/// of them where it belongs.
///
/// Nothing is recorded for gradients: it is for inference. Not every backend writes parts, nor for every
/// op: see [`supports`](Joined::supports).
///
/// ```
/// use striate_tensor::{Device, Joined, Op, Reference, Shape, Tensor, TensorType, ops};
///
/// # fn main() -> striate_tensor::Result<()> {
/// let device = Device::new(Reference::new());
/// let x = Tensor::from_vec(vec![1.0f32, -2.0, 3.0, -4.0], [2, 2], &device)?;
/// let relu = Op::from(ops::Unary { kind: ops::UnaryKind::Relu });
///
/// let mut joined = Joined::new(TensorType::f32(Shape::new(&[2, 4])?), &device)?;
/// joined.execute(&relu, &[&x], 0)?;
/// joined.copy(&x, 2)?;
/// assert_eq!(joined.finish()?.to_vec::<f32>()?, [1.0, 0.0, 1.0, -2.0, 3.0, 0.0, 3.0, -4.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Joined {
    buffer: Buffer,
    ty: TensorType,
    device: Device,
    /// The channels that are there, in the order in which they came.
    written: Vec<Range<usize>>,
}

impl Joined {
    /// A tensor of this type of which nothing is there yet.
    ///
    /// # Errors
    /// Where it has no axes, or the device has no memory.
    pub fn new(ty: TensorType, device: &Device) -> Result<Self> {
        last_axis(&ty)?;
        let buffer = device.backend().allocate(&ty)?;
        Ok(Joined { buffer, ty, device: device.clone(), written: Vec::new() })
    }

    /// Whether the device can write the output of such an op as a part.
    ///
    /// # Errors
    /// What the op's shape rule says.
    pub fn supports(device: &Device, op: &Op, inputs: &[TensorType]) -> Result<bool> {
        let output = op.output(inputs)?;
        Ok(device.backend().supports_part(op, inputs, &output))
    }

    /// Executes an op, whose output becomes the channels from `first` on.
    ///
    /// # Errors
    /// What the shape rule or the backend says; [`Error::Devices`] where an input is elsewhere;
    /// [`Error::Shape`] where the output is no such part, or there already;
    /// [`Error::Unsupported`] where the device cannot write it there.
    pub fn execute(&mut self, op: &Op, inputs: &[&Tensor], first: usize) -> Result<()> {
        let types: Vec<TensorType> = inputs.iter().map(|x| *x.ty()).collect();
        let output = op.output(&types)?;
        if let Some(other) = inputs.iter().find(|x| !self.device.is(x.device())) {
            return Err(Error::Devices {
                op: op.name(),
                first: self.device.info().name,
                other: other.device().info().name,
            });
        }
        let channels = self.place(&output, first)?;
        let operands: Vec<Operand<'_>> =
            inputs.iter().map(|x| Operand { buffer: x.buffer(), ty: x.ty() }).collect();
        let part = Part { buffer: &mut self.buffer, ty: &self.ty, first };
        self.device.backend().execute_part(op, &operands, &output, part)?;
        self.written.push(channels);
        Ok(())
    }

    /// Makes a copy of `x` the channels from `first` on.
    ///
    /// # Errors
    /// As [`execute`](Joined::execute).
    pub fn copy(&mut self, x: &Tensor, first: usize) -> Result<()> {
        let axis = last_axis(x.ty())?;
        self.execute(&Concatenate { axis }.into(), &[x], first)
    }

    /// The tensor.
    ///
    /// # Errors
    /// [`Error::Shape`] where some of its channels were never written.
    pub fn finish(self) -> Result<Tensor> {
        let channels = self.ty.shape.dims()[last_axis(&self.ty)?];
        let written: usize = self.written.iter().map(Range::len).sum();
        if written != channels {
            let expected = format!("parts of all {channels} channels");
            return Err(Error::shape(NAME, expected, format!("{written}")));
        }
        Ok(self.device.tensor(self.buffer, self.ty))
    }

    /// The channels that an output would be, where it fits and they are not there yet.
    fn place(&self, output: &TensorType, first: usize) -> Result<Range<usize>> {
        let axis = last_axis(&self.ty)?;
        let channels = first..first.saturating_add(output.shape.axis(axis, NAME)?);
        let whole = self.ty.shape.dims()[axis];
        let fits = output.dtype == self.ty.dtype
            && channels.end <= whole
            && output.shape.with_axis(axis, whole, NAME)? == self.ty.shape;
        if !fits {
            let expected = format!("channels from {first} on of {}", self.ty);
            return Err(Error::shape(NAME, expected, *output));
        }
        let overlaps = |other: &&Range<usize>| {
            !channels.is_empty() && other.start < channels.end && channels.start < other.end
        };
        match self.written.iter().find(overlaps) {
            None => Ok(channels),
            Some(other) => {
                let expected = format!("channels beside {other:?}, which are there already");
                Err(Error::shape(NAME, expected, format!("{channels:?}")))
            }
        }
    }
}

/// The axis of the channels.
fn last_axis(ty: &TensorType) -> Result<usize> {
    let rank = ty.shape.rank();
    rank.checked_sub(1).ok_or_else(|| Error::shape(NAME, "a tensor with axes", *ty))
}
