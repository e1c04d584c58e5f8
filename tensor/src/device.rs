//! Devices.

use std::sync::Arc;

use crate::{
    Backend, Buffer, DeviceInfo, Error, Link, Op, Operand, Result, Spare, Tensor, TensorType,
    Update,
};

/// A cheap handle to a backend: where tensors live and are computed.
///
/// ```
/// use striate_tensor::{Device, Reference, Tensor};
///
/// // The slow, plain backend of this crate. Programs take `Device::auto()` of the crate `striate`.
/// let device = Device::new(Reference::new());
/// let x = Tensor::zeros([2, 3], &device)?;
/// assert!(x.device().is(&device.clone()));
/// # Ok::<(), striate_tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct Device(Arc<dyn Backend>);

impl Device {
    /// A device of this backend.
    pub fn new(backend: impl Backend) -> Self {
        Device(Arc::new(backend))
    }

    /// The backend.
    pub fn backend(&self) -> &dyn Backend {
        &*self.0
    }

    /// What this device is.
    pub fn info(&self) -> DeviceInfo {
        self.0.info()
    }

    /// Waits until everything asked for so far has been computed.
    ///
    /// # Errors
    /// Where the device is lost, or something asked for before has failed.
    pub fn synchronize(&self) -> Result<()> {
        self.0.synchronize()
    }

    /// Executes an op on tensors of this device: checks them by the op's shape rule, then asks the
    /// backend, and records what a gradient will need (see [`autograd`](crate::autograd)). The methods
    /// of [`Tensor`] do this for each op.
    ///
    /// # Errors
    /// What the shape rule or the backend says; [`Error::Devices`] where an input is elsewhere.
    pub fn execute(&self, op: &Op, inputs: &[&Tensor]) -> Result<Tensor> {
        let output = self.output(op, inputs)?;
        let operands: Vec<Operand<'_>> =
            inputs.iter().map(|t| Operand { buffer: t.buffer(), ty: t.ty() }).collect();
        let buffer = self.0.execute(op, &operands, &output)?;
        Ok(crate::autograd::record_op(op, inputs, self.tensor(buffer, output)))
    }

    /// Executes an op as [`execute`](Device::execute) does, to the same bits, with `spare` as its operand at
    /// `place` and `inputs` as the others. Where the device can, and nothing else holds the memory of `spare`,
    /// the output is written over it: so the sum at the end of a residual block needs no memory of its own.
    /// Nothing is recorded for gradients: it is for inference.
    ///
    /// ```
    /// use striate_tensor::{Device, Op, Reference, Tensor, ops};
    ///
    /// let device = Device::new(Reference::new());
    /// let x = Tensor::ones([2, 3], &device)?;
    /// let sum = Op::from(ops::Binary { kind: ops::BinaryKind::Add });
    /// let y = device.execute_over(&sum, &[&x], Tensor::ones([2, 3], &device)?, 1)?;
    /// assert_eq!(y.to_vec::<f32>()?, [2.0; 6]);
    /// # Ok::<(), striate_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`execute`](Device::execute).
    pub fn execute_over(
        &self,
        op: &Op,
        inputs: &[&Tensor],
        spare: Tensor,
        place: usize,
    ) -> Result<Tensor> {
        let mut all = inputs.to_vec();
        let place = place.min(all.len());
        all.insert(place, &spare);
        let output = self.output(op, &all)?;
        if *spare.ty() != output {
            return self.execute(op, &all);
        }
        let operands: Vec<Operand<'_>> =
            inputs.iter().map(|t| Operand { buffer: t.buffer(), ty: t.ty() }).collect();
        let spare = Spare { buffer: spare.into_buffer(), place };
        let buffer = self.0.execute_over(op, &operands, spare, &output)?;
        Ok(self.tensor(buffer, output))
    }

    /// The type of an op's output on tensors that are of this device and fit it.
    fn output(&self, op: &Op, inputs: &[&Tensor]) -> Result<TensorType> {
        let mut types = [TensorType::f32(crate::Shape::scalar()); 4];
        let many: Vec<TensorType>;
        let types: &[TensorType] = if inputs.len() <= types.len() {
            for (slot, input) in types.iter_mut().zip(inputs) {
                *slot = *input.ty();
            }
            &types[..inputs.len()]
        } else {
            many = inputs.iter().map(|t| *t.ty()).collect();
            &many
        };
        let output = op.output(types)?;
        for input in inputs {
            if !self.is(input.device()) {
                return Err(Error::Devices {
                    op: op.name(),
                    first: self.info().name,
                    other: input.device().info().name,
                });
            }
        }
        Ok(output)
    }

    /// Executes as many of these ops as the device would rather execute as a
    /// [chain](Backend::execute_chain), each of which is given with its operands after the first: the output
    /// of the one before, `x` for the first. Gives their number and the output of the last; none where it
    /// would rather execute the first one alone. Nothing is recorded for gradients: it is for inference.
    ///
    /// # Errors
    /// As [`execute`](Device::execute).
    pub fn execute_chain(
        &self,
        x: &Tensor,
        ops: &[(&Op, Vec<&Tensor>)],
    ) -> Result<Option<(usize, Tensor)>> {
        let mut types = Vec::with_capacity(ops.len());
        let mut first = *x.ty();
        for (op, others) in ops {
            let inputs: Vec<TensorType> =
                std::iter::once(first).chain(others.iter().map(|t| *t.ty())).collect();
            first = op.output(&inputs)?;
            types.push(first);
            if let Some(other) = others.iter().chain([&x]).find(|t| !self.is(t.device())) {
                return Err(Error::Devices {
                    op: op.name(),
                    first: self.info().name,
                    other: other.device().info().name,
                });
            }
        }
        let mut links = Vec::with_capacity(ops.len());
        for ((op, others), output) in ops.iter().zip(&types) {
            let others =
                others.iter().map(|t| Operand { buffer: t.buffer(), ty: t.ty() }).collect();
            links.push(Link { op, others, output });
        }
        let length = self.0.chain_length(x.ty(), &links).min(links.len());
        if length < 2 {
            return Ok(None);
        }
        let x = Operand { buffer: x.buffer(), ty: x.ty() };
        let buffer = self.0.execute_chain(&x, &links[..length])?;
        Ok(Some((length, self.tensor(buffer, types[length - 1]))))
    }

    /// Executes ops that update tensors in place, the steps of optimizers: many at a time cost a GPU less than
    /// as many calls. Each gives the bits that it gives alone. Nothing is recorded; a leaf stays the same leaf.
    /// What a recorded op holds of the old values stays as it was, as any clone does.
    ///
    /// ```
    /// use striate_tensor::ops::Optimize;
    /// use striate_tensor::{Device, Reference, Tensor, TensorUpdate};
    ///
    /// let device = Device::new(Reference::new());
    /// let (mut a, mut b) = (Tensor::zeros([2], &device)?, Tensor::zeros([3], &device)?);
    /// let (x, y) = (Tensor::ones([2], &device)?, Tensor::ones([3], &device)?);
    /// let half = Optimize::Average { keep: 0.5 };
    /// device.update(&mut [
    ///     TensorUpdate { op: half.into(), targets: vec![&mut a], inputs: vec![&x] },
    ///     TensorUpdate { op: half.into(), targets: vec![&mut b], inputs: vec![&y] },
    /// ])?;
    /// assert_eq!(b.to_vec::<f32>()?, [0.5; 3]);
    /// # Ok::<(), striate_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where types or shapes do not fit, a tensor is elsewhere, or a target is tracked and no leaf (its history
    /// would tell of other values): then nothing is updated. Where the device fails: then some may be.
    pub fn update(&self, updates: &mut [TensorUpdate<'_>]) -> Result<()> {
        for TensorUpdate { op, targets, inputs } in &mut *updates {
            let all = || targets.iter().map(|t| &**t).chain(inputs.iter().copied());
            if let Some(other) = all().find(|t| !self.is(t.device())) {
                return Err(Error::Devices {
                    op: op.name(),
                    first: self.info().name,
                    other: other.device().info().name,
                });
            }
            op.output(&all().map(|t| *t.ty()).collect::<Vec<_>>())?;
        }
        let updates = updates.iter_mut().map(|TensorUpdate { op, targets, inputs }| {
            let inputs = inputs.iter().map(|t| Operand { buffer: t.buffer(), ty: t.ty() });
            let inputs = inputs.collect();
            let targets = targets.iter_mut().map(|t| t.target(op)).collect::<Result<_>>()?;
            Ok(Update { op, targets, inputs })
        });
        self.0.execute_updates(&mut updates.collect::<Result<Vec<_>>>()?)
    }

    /// The algorithm by which [`execute`](Device::execute) would compute this op on tensors of these
    /// types, for people to read; none where the device knows one way only, or does not say.
    ///
    /// ```
    /// use striate_tensor::{Device, Op, Reference, Shape, TensorType, ops::MatMul};
    ///
    /// # fn main() -> striate_tensor::Result<()> {
    /// let device = Device::new(Reference::new());
    /// let square = TensorType::f32(Shape::new(&[64, 64])?);
    /// let algorithm = device.algorithm(&Op::from(MatMul::default()), &[square, square])?;
    /// assert_eq!(algorithm, None, "the reference has but one way");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the op's shape rule says.
    pub fn algorithm(&self, op: &Op, inputs: &[TensorType]) -> Result<Option<String>> {
        let output = op.output(inputs)?;
        Ok(self.0.algorithm(op, inputs, &output))
    }

    /// Whether both handles are of the same device.
    pub fn is(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn tensor(&self, buffer: Buffer, ty: TensorType) -> Tensor {
        Tensor::from_parts(buffer, ty, self.clone())
    }
}

/// An op that updates tensors in place, for [`Device::update`]: [`SgdMomentum`](crate::ops::SgdMomentum) or
/// [`Optimize`](crate::ops::Optimize), which say what they take.
#[derive(Debug)]
pub struct TensorUpdate<'a> {
    /// The op.
    pub op: Op,
    /// What is updated: the weights first, then the state that is kept of them.
    pub targets: Vec<&'a mut Tensor>,
    /// The other operands: the gradient.
    pub inputs: Vec<&'a Tensor>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.info().name)
    }
}
