//! The device.

use striate_tensor::ops::Custom;
use striate_tensor::{
    Backend, Buffer, DType, DeviceInfo, DeviceKind, Error, HostTensor, HostValues, Link, Op,
    Operand, Part, Pending, Result, SharedBytes, Spare, Target, TensorType, execute_each, f16,
    reference,
};

use crate::buffer::{CpuBuffer, Storage, elements};
use crate::context::Context;
use crate::memory::{Memory, Pool};
use crate::simd::Level;
use crate::threads::Threads;
use crate::{
    along, arg_sort, batch_norm, binary, cast, compare, concatenate, conv, cross_entropy,
    cumulative_sum, dropout, fill, flip, gather, group_norm, lrn, lrn_grad, matmul, optimize, pad,
    part, permute, pool2d, pool2d_grad, random, reduce, resample, select, sgd, slice, softmax,
    unary, unary_grad,
};

/// The CPU: its threads, its instruction set, its memory.
pub struct Cpu(Context);

impl Cpu {
    /// The CPU with so many threads: as many as it runs at once (or `RAYON_NUM_THREADS`) if not
    /// said. They start when first needed.
    ///
    /// # Errors
    /// [`Error::Parameter`] for 0 threads.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        Self::with_level(threads, Level::best())
    }

    /// The CPU restricted to an instruction set that it has.
    ///
    /// # Errors
    /// [`Error::Parameter`] for 0 threads.
    pub fn with_level(threads: Option<usize>, level: Level) -> Result<Self> {
        let threads = Threads::new(threads)?;
        Ok(Cpu(Context { threads, level, pool: Pool::default() }))
    }

    /// With loops that are cut as for so many threads: what these would share.
    #[cfg(feature = "task-times")]
    #[must_use]
    pub fn cut_for(self, threads: usize) -> Self {
        let Context { threads: own, level, pool } = self.0;
        Cpu(Context { threads: own.cut_for(threads), level, pool })
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.0.threads.count()
    }

    /// The instruction set in use.
    pub fn level(&self) -> Level {
        self.0.level
    }
}

fn host(operand: &Operand<'_>) -> Result<HostTensor> {
    let values = match operand.ty.dtype {
        DType::F32 => HostValues::from(elements::<f32>(operand)?.to_vec()),
        DType::F16 => HostValues::from(elements::<f16>(operand)?.to_vec()),
        DType::F64 => HostValues::from(elements::<f64>(operand)?.to_vec()),
        DType::U32 => HostValues::from(elements::<u32>(operand)?.to_vec()),
        DType::I64 => HostValues::from(elements::<i64>(operand)?.to_vec()),
        DType::I32 => HostValues::from(elements::<i32>(operand)?.to_vec()),
        DType::I8 => HostValues::from(elements::<i8>(operand)?.to_vec()),
        DType::U8 => HostValues::from(elements::<u8>(operand)?.to_vec()),
        DType::Bool => HostValues::Bool(elements::<u8>(operand)?.to_vec()),
    };
    HostTensor::new(operand.ty.shape, values)
}

impl Backend for Cpu {
    fn info(&self) -> DeviceInfo {
        let levels: Vec<&str> = Level::available().iter().map(Level::name).collect();
        DeviceInfo {
            name: "cpu".into(),
            kind: DeviceKind::Cpu,
            description: processor_name(),
            properties: vec![
                ("threads".into(), self.threads().to_string()),
                ("instructions".into(), self.level().to_string()),
                ("available".into(), levels.join(", ")),
            ],
        }
    }

    fn upload(&self, values: HostValues) -> Result<Buffer> {
        Ok(CpuBuffer::wrap(Storage::Values(values)))
    }

    fn upload_shared(&self, bytes: SharedBytes, ty: &TensorType) -> Result<Buffer> {
        let len = bytes.bytes().len();
        if len != ty.size_bytes() {
            let expected = format!("{} bytes of {ty}", ty.size_bytes());
            return Err(Error::shape("upload", expected, format!("{len} bytes")));
        }
        if bytes.bytes().as_ptr().addr().is_multiple_of(ty.dtype.size_bytes()) {
            return Ok(CpuBuffer::wrap(Storage::Shared(bytes)));
        }
        let mut memory = self.0.pool.take(len)?;
        memory.bytes_mut().copy_from_slice(bytes.bytes());
        Ok(CpuBuffer::pooled(memory))
    }

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>> {
        Ok(Pending::ready(host(&Operand { buffer, ty })?))
    }

    fn execute(&self, op: &Op, inputs: &[Operand<'_>], output: &TensorType) -> Result<Buffer> {
        let cx = &self.0;
        let memory = timed(op.name(), Some(output), || execute(cx, op, inputs, output))?;
        match memory {
            Some(memory) => Ok(CpuBuffer::pooled(memory)),
            None => plain(op, inputs),
        }
    }

    fn execute_over(
        &self,
        op: &Op,
        inputs: &[Operand<'_>],
        mut spare: Spare,
        output: &TensorType,
    ) -> Result<Buffer> {
        let cx = &self.0;
        let types = || -> Vec<TensorType> {
            spare.with(inputs, output).iter().map(|input| *input.ty).collect()
        };
        if let Op::Conv2d(conv) = op
            && conv.residual
            && self.writes_over(op, &types(), spare.place, output)
            && let Some(y) = spare.buffer.unique().and_then(CpuBuffer::memory_mut)
        {
            let y = y.slice_mut();
            timed(op.name(), Some(output), || conv::conv2d_over(cx, conv, inputs, output, y))?;
            return Ok(spare.buffer);
        }
        self.execute(op, &spare.with(inputs, output), output)
    }

    fn writes_over(
        &self,
        op: &Op,
        inputs: &[TensorType],
        place: usize,
        output: &TensorType,
    ) -> bool {
        match op {
            Op::Conv2d(op) => {
                place + 1 == inputs.len() && conv::adds_in_place(self.level(), op, inputs, output)
            }
            _ => false,
        }
    }

    fn execute_in_place(
        &self,
        op: &Op,
        targets: &mut [Target<'_>],
        inputs: &[Operand<'_>],
    ) -> Result<()> {
        match (op, targets, inputs) {
            (Op::SgdMomentum(op), [w, v], [gradient]) => {
                sgd::sgd_momentum(&self.0, op, w, v, gradient)
            }
            (Op::Optimize(op), targets, [gradient]) if targets.len() == 1 + op.states() => {
                optimize::optimize(&self.0, op, targets, gradient)
            }
            _ => Err(Error::Unsupported {
                device: "cpu".into(),
                op: op.name(),
                reason: "it updates nothing in place, or other operands than these".into(),
            }),
        }
    }

    fn allocate(&self, ty: &TensorType) -> Result<Buffer> {
        Ok(CpuBuffer::pooled(self.0.pool.take(ty.size_bytes())?))
    }

    fn execute_part(
        &self,
        op: &Op,
        inputs: &[Operand<'_>],
        output: &TensorType,
        part: Part<'_>,
    ) -> Result<()> {
        timed(op.name(), Some(output), || part::execute(&self.0, op, inputs, output, part))
    }

    fn supports_part(&self, op: &Op, inputs: &[TensorType], output: &TensorType) -> bool {
        part::supports(&self.0, op, inputs, output)
    }

    fn chain_length(&self, x: &TensorType, links: &[Link<'_>]) -> usize {
        conv::chain::length(self.level(), x, links).max(conv::scaled::length(x, links))
    }

    fn execute_chain(&self, x: &Operand<'_>, links: &[Link<'_>]) -> Result<Buffer> {
        for execute in [conv::chain::execute, conv::scaled::execute] {
            if let Some(memory) = timed("chain", None, || execute(&self.0, x, links))? {
                return Ok(CpuBuffer::pooled(memory));
            }
        }
        execute_each(self, x, links)
    }

    fn supports(&self, _: &Op, _: &[TensorType]) -> bool {
        true
    }

    fn algorithm(&self, op: &Op, inputs: &[TensorType], output: &TensorType) -> Option<String> {
        let level = self.level();
        let name = match op {
            Op::Conv2d(op) => conv::conv2d_name(level, op, inputs, output),
            Op::Conv2dInt8(_) => Ok(conv::int8::name(level)),
            Op::Conv2dInputGrad(op) => conv::conv2d_input_grad_name(level, op, inputs, output),
            Op::Conv2dWeightGrad(op) => conv::conv2d_weight_grad_name(level, op, inputs, output),
            Op::ConvTranspose2d(op) => conv::conv_transpose2d_name(level, op, inputs, output),
            Op::MatMul(op) => matmul::name(op, inputs).map(Into::into),
            _ => return None,
        };
        // Operands that the shape rule refuses have none.
        name.ok().filter(|name| !name.is_empty())
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

/// Calls `execute`; with the feature `task-times` it is noted as an op.
#[cfg_attr(
    not(feature = "task-times"),
    allow(unused_variables, reason = "only the times need them")
)]
fn timed<T>(
    name: &'static str,
    output: Option<&TensorType>,
    execute: impl FnOnce() -> Result<T>,
) -> Result<T> {
    #[cfg(feature = "task-times")]
    {
        crate::task_times::op(name, output, execute)
    }
    #[cfg(not(feature = "task-times"))]
    {
        execute()
    }
}

/// Executes an op that has a kernel here; none where it has none.
fn execute(
    cx: &Context,
    op: &Op,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Option<Memory>> {
    Ok(match op {
        Op::Unary(op) => unary::unary(cx, op, inputs, output)?,
        Op::UnaryGrad(op) => unary_grad::unary_grad(cx, op, inputs, output)?,
        Op::Binary(op) => binary::binary(cx, op, inputs, output)?,
        Op::Compare(op) => Some(compare::compare(cx, op, inputs, output)?),
        Op::Select(_) => Some(select::select(cx, inputs, output)?),
        Op::MatMul(op) => Some(matmul::matmul(cx, op, inputs, output)?),
        Op::Reduce(op) => reduce::reduce(cx, op, inputs, output)?,
        Op::ArgReduce(op) => Some(reduce::arg_reduce(cx, op, inputs, output)?),
        Op::CumulativeSum(op) => Some(cumulative_sum::cumulative_sum(cx, op, inputs, output)?),
        Op::ArgSort(op) => Some(arg_sort::arg_sort(cx, op, inputs, output)?),
        Op::Softmax(op) => Some(softmax::softmax(cx, op, inputs, output)?),
        Op::CrossEntropy(_) => Some(cross_entropy::cross_entropy(cx, inputs, output)?),
        Op::CrossEntropyGrad(_) => Some(cross_entropy::cross_entropy_grad(cx, inputs, output)?),
        Op::WeightedCrossEntropy(op) => {
            Some(cross_entropy::weighted_cross_entropy(cx, op, inputs, output)?)
        }
        Op::WeightedCrossEntropyGrad(op) => {
            Some(cross_entropy::weighted_cross_entropy_grad(cx, &op.0, inputs, output)?)
        }
        Op::ReluGrad(_) => Some(binary::relu_grad(cx, inputs, output)?),
        Op::Permute(op) => Some(permute::permute(cx, op, inputs, output)?),
        Op::Slice(op) => Some(slice::slice(cx, op, inputs, output)?),
        Op::Concatenate(op) => Some(concatenate::concatenate(cx, op, inputs, output)?),
        Op::Pad(op) => Some(pad::pad(cx, op, inputs, output)?),
        Op::PadImage(op) => Some(resample::forward(cx, |a, n| op.taps(a, n), inputs, output)?),
        Op::PadImageGrad(op) => {
            Some(resample::gradient(cx, |a, n| op.pad.taps(a, n), inputs, output)?)
        }
        Op::Gather(op) => Some(gather::gather(cx, op, inputs, output)?),
        Op::TakeAlong(op) => Some(along::take_along(cx, op, inputs, output)?),
        Op::Scatter(op) => Some(along::scatter(cx, op, inputs, output)?),
        Op::Cast(_) => Some(cast::cast(cx, inputs, output)?),
        Op::Conv2d(op) => Some(conv::conv2d(cx, op, inputs, output)?),
        Op::Conv2dInt8(op) => Some(conv::int8::conv2d_int8(cx, op, inputs, output)?),
        Op::Conv2dInputGrad(op) => Some(conv::conv2d_input_grad(cx, op, inputs, output)?),
        Op::Conv2dWeightGrad(op) => Some(conv::conv2d_weight_grad(cx, op, inputs, output)?),
        Op::ConvTranspose2d(op) => Some(conv::conv_transpose2d(cx, op, inputs, output)?),
        Op::MaxPool2d(op) => Some(pool2d::max_pool2d(cx, op, inputs, output)?),
        Op::AvgPool2d(op) => Some(pool2d::avg_pool2d(cx, &op.0, inputs, output)?),
        Op::MaxPool2dGrad(op) => Some(pool2d_grad::max_pool2d_grad(cx, &op.0, inputs, output)?),
        Op::AvgPool2dGrad(op) => Some(pool2d_grad::avg_pool2d_grad(cx, &op.pool, inputs, output)?),
        Op::Resize(op) => Some(resample::forward(cx, |a, n| op.taps(a, n), inputs, output)?),
        Op::ResizeGrad(op) => {
            Some(resample::gradient(cx, |a, n| op.resize.taps(a, n), inputs, output)?)
        }
        Op::LrnGrad(op) => Some(lrn_grad::lrn_grad(cx, &op.0, inputs, output)?),
        Op::Lrn(op) => Some(lrn::lrn(cx, op, inputs, output)?),
        Op::Moments(_) => Some(batch_norm::moments(cx, inputs, output)?),
        Op::BatchNorm(op) => Some(batch_norm::batch_norm(cx, op, inputs, output)?),
        Op::BatchNormSums(op) => Some(batch_norm::sums(cx, op, inputs, output)?),
        Op::BatchNormGrad(op) => Some(batch_norm::grad(cx, op, inputs, output)?),
        Op::BatchNormScaleGrad(op) => Some(batch_norm::scale_grad(cx, op, inputs, output)?),
        Op::RunningMoments(op) => Some(batch_norm::running_moments(cx, op, inputs, output)?),
        Op::GroupNorm(op) => Some(group_norm::group_norm(cx, op, inputs, output)?),
        Op::GroupNormSums(op) => Some(group_norm::sums(cx, &op.0, inputs, output)?),
        Op::GroupNormGrad(op) => Some(group_norm::grad(cx, &op.0, inputs, output)?),
        Op::Dropout(op) => Some(dropout::dropout(cx, op, inputs, output)?),
        Op::Uniform(op) => Some(random::uniform(cx, op, output)?),
        Op::Normal(op) => Some(random::normal(cx, op, output)?),
        Op::Fill(op) => Some(fill::fill(cx, op, output)?),
        Op::Flip(op) => Some(flip::flip(cx, op, inputs, output)?),
        Op::Custom(op) => custom(cx, op, inputs, output)?,
        // What may be added to the ops before it is here.
        _ => None,
    })
}

/// A user's own op, where it has a kernel for the CPU and all is floats.
fn custom(
    cx: &Context,
    op: &Custom,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Option<Memory>> {
    let floats = output.dtype.is_float() && inputs.iter().all(|x| x.ty.dtype.is_float());
    let Some(kernel) = op.op().cpu().filter(|_| floats) else { return Ok(None) };
    let types: Vec<TensorType> = inputs.iter().map(|x| *x.ty).collect();
    let wide = inputs.iter().map(|x| cx.widen(x)).collect::<Result<Vec<_>>>()?;
    let wide: Vec<&[f32]> = wide.iter().map(|x| x.slice()).collect();
    let mut y = cx.pool.take(size_of::<f32>() * output.count())?;
    crate::custom::run(&cx.threads, kernel, &types, &wide, output, y.slice_mut());
    cx.narrow(y, output).map(Some)
}

/// Ops that have no kernel of their own here run as the reference defines them.
fn plain(op: &Op, inputs: &[Operand<'_>]) -> Result<Buffer> {
    let inputs = inputs.iter().map(host).collect::<Result<Vec<_>>>()?;
    let output = reference::execute(op, &inputs.iter().collect::<Vec<_>>())?;
    Ok(CpuBuffer::wrap(Storage::Values(output.into_values())))
}

/// What the operating system calls the processor.
fn processor_name() -> String {
    let from_kernel = || {
        let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    from_kernel().unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH))
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cpu({} threads, {})", self.threads(), self.level())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

    use striate_tensor::Shape;
    use striate_tensor::conformance::{Sample, samples};
    use striate_tensor::ops::Conv2d;

    use super::*;
    use crate::buffer::own;

    const IN_PLACE: &str = "it updates in place, and has a kernel for that";

    /// The ops that have no kernel here, and why that is as well.
    const BY_THE_REFERENCE: &[(&str, &str)] = &[
        ("gather_grad", "embeddings are trained by no network here; its rows are added in order"),
        ("sgd_momentum", IN_PLACE),
        ("sgd", IN_PLACE),
        ("adam", IN_PLACE),
        ("rms_prop", IN_PLACE),
        ("average", IN_PLACE),
    ];

    /// A residual sum takes the memory of what is added, where nobody else holds that, and where no sum of
    /// some of the products is written before.
    #[test]
    fn a_residual_sum_is_written_over_the_residual() {
        let cpu = Cpu::new(Some(2)).unwrap();
        let ty = |dims: &[usize]| TensorType::f32(Shape::new(dims).unwrap());
        let conv = Conv2d { residual: true, ..Conv2d::default() };
        let of = |channels: usize, is_held: bool| {
            let types = [ty(&[1, 6, 7, channels]), ty(&[40, 1, 1, channels]), ty(&[1, 6, 7, 40])];
            let [x, weights, residual] = types.map(|ty| cpu.allocate(&ty).unwrap());
            let held = is_held.then(|| residual.clone());
            let place = own(&residual).unwrap().bytes().as_ptr();
            let inputs = [(&x, &types[0]), (&weights, &types[1])];
            let inputs = inputs.map(|(buffer, ty)| Operand { buffer, ty });
            let spare = Spare { buffer: residual, place: 2 };
            let y = cpu.execute_over(&conv.into(), &inputs, spare, &types[2]).unwrap();
            drop(held);
            own(&y).unwrap().bytes().as_ptr() == place
        };
        assert!(of(64, false));
        assert!(!of(64, true), "somebody holds it");
        assert!(!of(300, false), "the first products would be written over it");
    }

    /// The reference is slow: what falls back to it unseen is a kernel forgotten.
    #[test]
    fn every_op_has_a_kernel_but_for_those_that_are_listed() {
        let cpu = Cpu::new(Some(1)).unwrap();
        for Sample { op, inputs, .. } in samples() {
            let types: Vec<TensorType> = inputs.iter().map(HostTensor::ty).collect();
            let buffers = inputs.iter().map(|x| cpu.upload(x.values().clone()).unwrap());
            let buffers: Vec<Buffer> = buffers.collect();
            let operands: Vec<Operand<'_>> =
                buffers.iter().zip(&types).map(|(buffer, ty)| Operand { buffer, ty }).collect();
            let name = op.name();
            let listed = BY_THE_REFERENCE.iter().any(|(listed, _)| *listed == name);
            let kernel = match op.output(&types) {
                Ok(output) => execute(&cpu.0, &op, &operands, &output).unwrap().is_some(),
                // Without an output it cannot be executed, only done in place.
                Err(_) => false,
            };
            assert!(kernel || listed, "the CPU has no kernel for {op:?}, which is not listed");
            assert!(!kernel || !listed, "the CPU has a kernel for {op:?}, which is listed");
        }
    }
}
