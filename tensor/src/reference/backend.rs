//! The plain backend.

use std::any::Any;
use std::borrow::Cow;

use super::{execute, execute_in_place};
use crate::{
    Backend, Buffer, BufferData, DeviceInfo, DeviceKind, Error, HostTensor, HostValues, Link, Op,
    Operand, Part, Pending, Result, Target, TensorType,
};

const NAME: &str = "reference";

/// The plain backend: executes every op by [`reference::execute`](execute). It is slow, and right
/// by definition.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Reference {
    /// A reference backend.
    pub fn new() -> Self {
        Reference
    }
}

/// The values, and the shape that they were made in: a reshaped tensor shares its buffer.
struct Memory(HostTensor);

impl BufferData for Memory {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn size_bytes(&self) -> usize {
        self.0.values().bytes().len()
    }
}

fn foreign() -> Error {
    Error::Device { device: NAME.into(), message: "a buffer of another device".into() }
}

/// What a buffer holds, in the shape that the tensor has now.
fn host<'a>(buffer: &'a Buffer, ty: &TensorType) -> Result<Cow<'a, HostTensor>> {
    let Memory(held) = buffer.downcast().ok_or_else(foreign)?;
    if held.ty() == *ty {
        return Ok(Cow::Borrowed(held));
    }
    Ok(Cow::Owned(HostTensor::new(ty.shape, held.values().clone())?))
}

fn hosts<'a>(operands: &[Operand<'a>]) -> Result<Vec<Cow<'a, HostTensor>>> {
    operands.iter().map(|operand| host(operand.buffer, operand.ty)).collect()
}

impl Backend for Reference {
    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: NAME.into(),
            kind: DeviceKind::Reference,
            description: "plain loops, one thread".into(),
            properties: Vec::new(),
        }
    }

    fn upload(&self, values: HostValues) -> Result<Buffer> {
        let shape = crate::Shape::new(&[values.len()])?;
        Ok(Buffer::new(Memory(HostTensor::new(shape, values)?)))
    }

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>> {
        Ok(Pending::ready(host(buffer, ty)?.into_owned()))
    }

    fn execute(&self, op: &Op, inputs: &[Operand<'_>], _: &TensorType) -> Result<Buffer> {
        let inputs = hosts(inputs)?;
        let inputs: Vec<&HostTensor> = inputs.iter().map(|x| &**x).collect();
        Ok(Buffer::new(Memory(execute(op, &inputs)?)))
    }

    fn execute_in_place(
        &self,
        op: &Op,
        targets: &mut [Target<'_>],
        inputs: &[Operand<'_>],
    ) -> Result<()> {
        let inputs = hosts(inputs)?;
        let inputs: Vec<&HostTensor> = inputs.iter().map(|x| &**x).collect();
        // Work on copies, and replace the buffers when all has gone well: a shared buffer must not
        // change, and an error must leave the targets as they were.
        let mut updated = Vec::with_capacity(targets.len());
        for target in targets.iter() {
            updated.push(host(target.buffer, target.ty)?.into_owned());
        }
        execute_in_place(op, &mut updated.iter_mut().collect::<Vec<_>>(), &inputs)?;
        for (target, updated) in targets.iter_mut().zip(updated) {
            *target.buffer = Buffer::new(Memory(updated));
        }
        Ok(())
    }

    fn execute_part(
        &self,
        op: &Op,
        inputs: &[Operand<'_>],
        output: &TensorType,
        part: Part<'_>,
    ) -> Result<()> {
        let inputs = hosts(inputs)?;
        let made = execute(op, &inputs.iter().map(|x| &**x).collect::<Vec<_>>())?;
        let mut whole = host(part.buffer, part.ty)?.into_owned().into_values();
        let size = output.dtype.size_bytes();
        let [width, pitch] =
            [output, part.ty].map(|ty| size * ty.shape.dims().last().copied().unwrap_or(1));
        let at = size * part.first;
        if width > 0 {
            let from = made.values().bytes().chunks_exact(width);
            for (to, from) in whole.bytes_mut().chunks_exact_mut(pitch).zip(from) {
                to[at..at + width].copy_from_slice(from);
            }
        }
        *part.buffer = Buffer::new(Memory(HostTensor::new(part.ty.shape, whole)?));
        Ok(())
    }

    fn supports_part(&self, _: &Op, _: &[TensorType], _: &TensorType) -> bool {
        true
    }

    /// All of them, one by one: so that whatever makes chains is tested where bits are compared.
    fn chain_length(&self, _: &TensorType, links: &[Link<'_>]) -> usize {
        links.len()
    }

    fn supports(&self, _: &Op, _: &[TensorType]) -> bool {
        true
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}
