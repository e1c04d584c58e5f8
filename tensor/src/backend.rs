//! The seam between tensors and devices.

use std::any::Any;
use std::sync::Arc;

use crate::{Error, HostTensor, HostValues, Op, Pending, Result, SharedBytes, TensorType};

/// What a device owes: memory, copies in and out, and the execution of ops.
///
/// A backend gets only what has passed an op's shape rule, so it need not check shapes again. It
/// proves itself by the `conformance` suite of this crate.
pub trait Backend: Send + Sync + 'static {
    /// What this device is.
    fn info(&self) -> DeviceInfo;

    /// Copies (or moves) values to the device.
    ///
    /// # Errors
    /// Where the device has no memory for them, or is lost.
    fn upload(&self, values: HostValues) -> Result<Buffer>;

    /// Makes bytes of `ty` available on the device, in place where it computes in host memory and
    /// their alignment allows it, by a copy otherwise.
    ///
    /// # Errors
    /// As [`upload`](Backend::upload); also where the bytes are not those of `ty`.
    fn upload_shared(&self, bytes: SharedBytes, ty: &TensorType) -> Result<Buffer> {
        let mut values = HostValues::zeros(ty.dtype, ty.count());
        if bytes.bytes().len() != values.bytes().len() {
            let got = format!("{} bytes", bytes.bytes().len());
            return Err(Error::shape("upload", format!("{} bytes of {ty}", ty.size_bytes()), got));
        }
        values.bytes_mut().copy_from_slice(bytes.bytes());
        self.upload(values)
    }

    /// Asks for a copy of a buffer of type `ty` in host memory, of what it holds when everything asked for
    /// before has been computed. It does not wait: the values are [ready](Pending::ready) at once, or
    /// [coming](Pending::coming). Whatever is done with the buffer afterwards does not change them.
    ///
    /// # Errors
    /// Where the device is lost, as far as that is known yet; what comes later is an error of the read.
    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>>;

    /// Executes an op on operands that its shape rule accepted, and gives its output.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::OutOfMemory`] or [`Error::Device`].
    fn execute(&self, op: &Op, inputs: &[Operand<'_>], output: &TensorType) -> Result<Buffer>;

    /// Executes an op as [`execute`](Backend::execute) does, to the same bits, where nobody reads one of its
    /// operands any more: the output may be written over that. `inputs` are the other operands.
    ///
    /// # Errors
    /// As [`execute`](Backend::execute).
    fn execute_over(
        &self,
        op: &Op,
        inputs: &[Operand<'_>],
        spare: Spare,
        output: &TensorType,
    ) -> Result<Buffer> {
        self.execute(op, &spare.with(inputs, output), output)
    }

    /// Whether [`execute_over`](Backend::execute_over) would write the output of such an op over the operand at
    /// `place`, which is of the output's type, if nobody shares its memory.
    fn writes_over(
        &self,
        op: &Op,
        inputs: &[TensorType],
        place: usize,
        output: &TensorType,
    ) -> bool {
        let _ = (op, inputs, place, output);
        false
    }

    /// Executes an op that updates its targets in place: the optimizer steps, nothing else.
    ///
    /// # Errors
    /// As [`execute`](Backend::execute).
    fn execute_in_place(
        &self,
        op: &Op,
        targets: &mut [Target<'_>],
        inputs: &[Operand<'_>],
    ) -> Result<()>;

    /// Executes several such ops, to the same bits as [one by one](Backend::execute_in_place) in this order.
    ///
    /// # Errors
    /// As [`execute`](Backend::execute). Some of the targets may have been updated then.
    fn execute_updates(&self, updates: &mut [Update<'_>]) -> Result<()> {
        for update in updates {
            self.execute_in_place(update.op, &mut update.targets, &update.inputs)?;
        }
        Ok(())
    }

    /// How many bytes of gradients are worth holding until there are so many of them, so that the weights
    /// that they are of move [together](Backend::execute_updates); 0 where it costs no more to move one
    /// at a time.
    fn gathered_bytes(&self) -> usize {
        0
    }

    /// Memory for a tensor of this type, whatever is in it: its [parts](Part) will be written.
    ///
    /// # Errors
    /// Where the device has no memory for it, or is lost.
    fn allocate(&self, ty: &TensorType) -> Result<Buffer> {
        self.upload(HostValues::zeros(ty.dtype, ty.count()))
    }

    /// Executes an op as [`execute`](Backend::execute) does, to the same bits, with its output as a part of
    /// a wider tensor, which fits: nothing else of that changes.
    ///
    /// # Errors
    /// As [`execute`](Backend::execute).
    fn execute_part(
        &self,
        op: &Op,
        inputs: &[Operand<'_>],
        output: &TensorType,
        part: Part<'_>,
    ) -> Result<()> {
        let _ = (inputs, output, part);
        Err(Error::Unsupported {
            device: self.info().name,
            op: op.name(),
            reason: "it does not write parts of tensors".into(),
        })
    }

    /// Whether the device [executes](Backend::execute_part) such an op with its output as a part of a wider
    /// tensor. One that does so for any op must do so for the concatenation of one tensor, a copy.
    fn supports_part(&self, op: &Op, inputs: &[TensorType], output: &TensorType) -> bool {
        let _ = (op, inputs, output);
        false
    }

    /// How many of these ops, from the first one on, the device would rather execute as a
    /// [chain](Backend::execute_chain) than one by one; fewer than 2 where it would not.
    fn chain_length(&self, x: &TensorType, links: &[Link<'_>]) -> usize {
        let _ = (x, links);
        0
    }

    /// Executes ops of which each reads the output of the one before, and gives the output of the last, with
    /// the same bits as [one by one](Backend::execute). Nothing else reads what is in between, which need
    /// never be in memory as a whole.
    ///
    /// # Errors
    /// As [`execute`](Backend::execute).
    fn execute_chain(&self, x: &Operand<'_>, links: &[Link<'_>]) -> Result<Buffer> {
        execute_each(self, x, links)
    }

    /// Whether the device executes this op on such operands. Executing an op that it does not
    /// gives [`Error::Unsupported`].
    fn supports(&self, op: &Op, inputs: &[TensorType]) -> bool;

    /// The algorithm by which [`execute`](Backend::execute) would compute this op on such operands,
    /// in the backend's own words: for people who wonder where the time goes. Asked of whatever
    /// makes the choice, so that it cannot differ from what runs.
    ///
    /// None where the device knows one way only, or does not say.
    fn algorithm(&self, op: &Op, inputs: &[TensorType], output: &TensorType) -> Option<String> {
        let _ = (op, inputs, output);
        None
    }

    /// Waits until everything asked for so far has been computed.
    ///
    /// # Errors
    /// Where the device is lost, or something asked for before has failed.
    fn synchronize(&self) -> Result<()>;
}

/// An operand of an op: a buffer and the type of what is in it.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The buffer.
    pub buffer: &'a Buffer,
    /// The type of the tensor that it holds.
    pub ty: &'a TensorType,
}

/// An operand of the type of an op's output that nobody reads after the op.
#[derive(Debug)]
pub struct Spare {
    /// Its memory: for the output, where nobody [shares](Buffer::unique) it.
    pub buffer: Buffer,
    /// Which of the operands it is.
    pub place: usize,
}

impl Spare {
    /// All operands of the op, in their order; `ty` is the type of this one.
    pub fn with<'a>(&'a self, inputs: &[Operand<'a>], ty: &'a TensorType) -> Vec<Operand<'a>> {
        let mut all = inputs.to_vec();
        all.insert(self.place.min(all.len()), Operand { buffer: &self.buffer, ty });
        all
    }
}

/// An operand that an op updates in place.
#[derive(Debug)]
pub struct Target<'a> {
    /// The buffer. Where it is shared, the backend replaces it by a copy before writing.
    pub buffer: &'a mut Buffer,
    /// The type of the tensor that it holds.
    pub ty: &'a TensorType,
}

/// An op that updates tensors in place, and what it works on.
#[derive(Debug)]
pub struct Update<'a> {
    /// The op.
    pub op: &'a Op,
    /// What is updated.
    pub targets: Vec<Target<'a>>,
    /// The other operands.
    pub inputs: Vec<Operand<'a>>,
}

/// Some of the last axis of a tensor, for an op to write: see [`Joined`](crate::Joined).
#[derive(Debug)]
pub struct Part<'a> {
    /// The memory of the whole tensor, which nobody shares.
    pub buffer: &'a mut Buffer,
    /// The type of the whole tensor.
    pub ty: &'a TensorType,
    /// The first index along the last axis that is written.
    pub first: usize,
}

/// An op of a chain. Its first operand is the output of the op before, that of the first op the chain's.
#[derive(Clone, Debug)]
pub struct Link<'a> {
    /// The op.
    pub op: &'a Op,
    /// Its operands after the first.
    pub others: Vec<Operand<'a>>,
    /// The type of its output.
    pub output: &'a TensorType,
}

/// Executes the ops of a chain one by one: what a chain means.
///
/// # Errors
/// As [`Backend::execute`], and where there is no op.
pub fn execute_each<B: Backend + ?Sized>(
    backend: &B,
    x: &Operand<'_>,
    links: &[Link<'_>],
) -> Result<Buffer> {
    let mut made: Option<(Buffer, &TensorType)> = None;
    for link in links {
        let first = match &made {
            Some((buffer, ty)) => Operand { buffer, ty },
            None => *x,
        };
        let operands: Vec<Operand<'_>> =
            std::iter::once(first).chain(link.others.iter().copied()).collect();
        let output = backend.execute(link.op, &operands, link.output)?;
        made = Some((output, link.output));
    }
    let none = || Error::Operands { op: "chain", expected: "1 or more".into(), got: 0 };
    made.map(|(buffer, _)| buffer).ok_or_else(none)
}

/// A backend's own kind of memory.
pub trait BufferData: Any + Send + Sync {
    /// Itself, for the backend to recognise its own.
    fn as_any(&self) -> &dyn Any;
    /// Itself, for the backend to recognise its own.
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// The size in bytes.
    fn size_bytes(&self) -> usize;
}

/// Memory of a device, shared by the tensors that use it and returned when the last one goes.
///
/// Buffers are immutable while shared. That is what lets a backend keep derived forms (packed or
/// transformed weights) beside one.
#[derive(Clone)]
pub struct Buffer(Arc<dyn BufferData>);

impl Buffer {
    /// Wraps a backend's memory.
    pub fn new(data: impl BufferData) -> Self {
        Buffer(Arc::new(data))
    }

    /// The backend's memory, where it is of type `T`.
    pub fn downcast<T: BufferData>(&self) -> Option<&T> {
        self.0.as_any().downcast_ref()
    }

    /// The backend's memory to write into, where it is of type `T` and nobody shares it.
    pub fn unique<T: BufferData>(&mut self) -> Option<&mut T> {
        Arc::get_mut(&mut self.0)?.as_any_mut().downcast_mut()
    }

    /// The size in bytes.
    pub fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.size_bytes())
    }
}

/// What kind of processor a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The plain reference implementation.
    Reference,
    /// A processor's own cores.
    Cpu,
    /// A graphics card with its own memory.
    DiscreteGpu,
    /// A graphics processor that shares the host's memory.
    IntegratedGpu,
    /// A graphics driver that computes on the processor's cores.
    SoftwareGpu,
}

/// What a device is and can do, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The name that selects it: `cpu`, `gpu:0`.
    pub name: String,
    /// What kind of processor it is.
    pub kind: DeviceKind,
    /// The product: `AMD EPYC 7543`.
    pub description: String,
    /// Facts worth showing, as name and value: threads, instruction sets, limits.
    pub properties: Vec<(String, String)>,
}
