//! Elements made by counting: fill, uniform, normal; and dropout.

use striate_tensor::ops::{Dropout, Fill, Normal, Uniform};
use striate_tensor::{DType, RandomKey, Result, TensorType};

use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::movement::bits_of;
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static COUNTED: Shader = shader!("counted.wgsl", 1, 0);
static DROPOUT: Shader = shader!("dropout.wgsl", 1, 1);

const FILL: f64 = 0.0;
const UNIFORM: f64 = 1.0;
const NORMAL: f64 = 2.0;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = combinations(&COUNTED, &[("KIND", &[FILL, UNIFORM, NORMAL])]);
    all.extend(combinations(&DROPOUT, &[("HALF", BOTH)]));
    all
}

/// Four elements an invocation.
fn groups(count: usize) -> Groups {
    Groups::Flat(count.div_ceil(4 * WORKGROUP))
}

/// The seed and the stream in words.
fn key_words(key: RandomKey) -> [u32; 4] {
    [key.seed as u32, (key.seed >> 32) as u32, key.stream as u32, (key.stream >> 32) as u32]
}

/// Writes `count` words.
fn counted(
    cx: &Context,
    op: &'static str,
    kind: f64,
    [a, b]: [u32; 2],
    key: RandomKey,
    y: &GpuBuffer,
    count: usize,
) -> Result<()> {
    for part in parts(&[cx.cuts(count, 4)]) {
        let written = cx.written(y, DType::U32, part.clone())?;
        let mut params = vec![word(part.start), word(part.len()), a, b];
        params.extend(key_words(key));
        cx.launch(Launch {
            op,
            shader: &COUNTED,
            constants: &[("KIND", kind)],
            params: &params,
            outputs: &[&written.view],
            inputs: &[],
            groups: groups(part.len()),
        })?;
    }
    Ok(())
}

pub(super) fn fill(cx: &Context, op: &Fill, output: &TensorType) -> Result<GpuBuffer> {
    let y = cx.allocate_for(output)?;
    let mut bits = bits_of(op.value, output.dtype);
    if output.dtype == DType::F16 {
        bits |= bits << 16;
    }
    let words = output.size_bytes().div_ceil(4);
    counted(cx, "fill", FILL, [bits, 0], RandomKey::default(), &y, words)?;
    Ok(y)
}

pub(super) fn uniform(cx: &Context, op: &Uniform, output: &TensorType) -> Result<GpuBuffer> {
    let y = cx.allocate_for(output)?;
    let range = [op.low, op.high].map(f32::to_bits);
    counted(cx, "uniform", UNIFORM, range, op.key, &y, output.count())?;
    Ok(y)
}

pub(super) fn normal(cx: &Context, op: &Normal, output: &TensorType) -> Result<GpuBuffer> {
    let y = cx.allocate_for(output)?;
    let shape = [op.mean, op.deviation].map(f32::to_bits);
    counted(cx, "normal", NORMAL, shape, op.key, &y, output.count())?;
    Ok(y)
}

pub(super) fn dropout(cx: &Context, op: &Dropout, x: Source<'_>) -> Result<GpuBuffer> {
    let y = cx.allocate_for(&x.ty)?;
    for part in parts(&[cx.cuts(x.ty.count(), x.ty.dtype.size_bytes())]) {
        let written = cx.written(&y, x.ty.dtype, part.clone())?;
        let mut params = vec![word(part.start), word(part.len())];
        params.extend([op.rate, op.scale].map(f32::to_bits));
        params.extend(key_words(op.key));
        cx.launch(Launch {
            op: "dropout",
            shader: &DROPOUT,
            constants: &[("HALF", half(x))],
            params: &params,
            outputs: &[&written.view],
            inputs: &[&cx.view(x, part.clone())?],
            groups: groups(part.len()),
        })?;
    }
    Ok(y)
}
