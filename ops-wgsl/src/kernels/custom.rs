//! A user's own ops that have a shader.

use striate_tensor::ops::{Custom, MAX_SHADER_OPERANDS};
use striate_tensor::{DType, Result, TensorType};

use super::constants::word;
use super::elementwise;
use super::elementwise::computed;
use crate::buffer::{GpuBuffer, Source};
use crate::queue::{Context, CustomLaunch};

/// Words of the parameters that hold numbers of elements, the output's and each operand's.
const COUNT_WORDS: usize = 8;
/// Words of the parameters that hold the extents of a tensor.
const EXTENT_WORDS: usize = 8;

pub(super) fn supports(op: &Custom, inputs: &[TensorType]) -> bool {
    op.op().wgsl().is_some() && inputs.len() <= MAX_SHADER_OPERANDS
}

pub(super) fn custom(
    cx: &Context,
    op: &Custom,
    inputs: &[Source<'_>],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let name = op.op().name();
    if inputs.len() > MAX_SHADER_OPERANDS {
        let got = inputs.len();
        let reason =
            format!("its shader can have {MAX_SHADER_OPERANDS} operands, and there are {got}");
        return Err(cx.gpu.unsupported(name, reason));
    }
    let types: Vec<TensorType> = inputs.iter().map(|x| x.ty).collect();
    // Shaders see f32 where tensors are f16.
    let mut widened = Vec::new();
    for x in inputs.iter().filter(|x| x.half()) {
        widened.push(elementwise::cast(cx, *x, DType::F32)?);
    }
    let mut widened = widened.iter();
    let wide = |x: &Source<'_>| TensorType::f32(x.ty.shape);
    let mut views = Vec::with_capacity(inputs.len());
    for x in inputs {
        views.push(match x.half().then(|| widened.next()).flatten() {
            Some(buffer) => cx.whole(Source { buffer, ty: wide(x) })?,
            None => cx.whole(*x)?,
        });
    }
    let views: Vec<_> = views.iter().collect();
    let params = params(&types, output);
    let groups = op.op().workgroups(&types, output);
    let run = |y: Source<'_>| {
        let written = cx.written(y.buffer, y.ty.dtype, 0..y.ty.count())?;
        let launch =
            CustomLaunch { op, params: &params, output: &written.view, inputs: &views, groups };
        cx.launch_custom(launch)?;
        cx.finish(y.buffer, &written)
    };
    if output.dtype == DType::U32 {
        let buffer = cx.allocate_for(output)?;
        run(Source { buffer: &buffer, ty: *output })?;
        return Ok(buffer);
    }
    computed(cx, output, run)
}

/// The counts and extents of the output and the operands, as a user's shader finds them.
fn params(inputs: &[TensorType], output: &TensorType) -> Vec<u32> {
    let tensors = || std::iter::once(output).chain(inputs);
    let mut params = vec![0; COUNT_WORDS];
    for (count, ty) in params.iter_mut().zip(tensors()) {
        *count = word(ty.count());
    }
    for ty in tensors() {
        let dims = ty.shape.dims();
        params.extend(std::iter::repeat_n(1, EXTENT_WORDS.saturating_sub(dims.len())));
        params.extend(dims.iter().map(|&extent| word(extent)));
    }
    params
}
