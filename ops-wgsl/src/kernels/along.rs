//! Entries by an index each: taken along an axis, and put there.

use striate_tensor::ops::{Scatter, TakeAlong};
use striate_tensor::{DType, Op, Result, TensorType};

use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::elementwise::computed;
use super::movement::{bits_of, groups, sources};
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static TAKE_ALONG: Shader = shader!("take_along.wgsl", 1, 2);
static SCATTER: Shader = shader!("scatter.wgsl", 1, 3);

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = combinations(&TAKE_ALONG, &[("HALF", BOTH)]);
    all.extend(combinations(&SCATTER, &[("HALF", BOTH), ("ADD", BOTH)]));
    all
}

pub(super) fn take_along(
    cx: &Context,
    op: &TakeAlong,
    [x, indices]: [Source<'_>; 2],
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [_, extent, inner] = x.ty.shape.around(op.axis, "take_along")?;
    let n = output.shape.axis(op.axis, "take_along")?;
    // NaN is 0 as an integer, so infinity there, which saturates.
    let beyond = if output.dtype.is_float() { f32::NAN } else { f32::INFINITY };
    let beyond = bits_of(beyond, output.dtype);
    let y = cx.allocate_for(output)?;
    let cuts = [cx.cuts(output.count(), output.dtype.size_bytes()), cx.cuts(output.count(), 4)];
    for part in parts(&cuts) {
        let places = cx.view(indices, part.clone())?;
        for source in sources(cx, x) {
            let view = cx.view(x, source.clone())?;
            let written = cx.written(&y, output.dtype, part.clone())?;
            cx.launch(Launch {
                op: "take_along",
                shader: &TAKE_ALONG,
                constants: &[("HALF", half(x))],
                params: &[
                    word(part.start),
                    word(part.len()),
                    word(n),
                    word(extent),
                    word(inner),
                    word(source.start),
                    word(source.len()),
                    beyond,
                    places.skip,
                ],
                outputs: &[&written.view],
                inputs: &[&view, &places],
                groups: groups(part.len(), output.dtype),
            })?;
            cx.finish(&y, &written)?;
        }
    }
    Ok(y)
}

/// Each element looks through the indices of its line: no two write one place, so the last of several
/// stays, and sums have the order of the indices.
pub(super) fn scatter(
    cx: &Context,
    op: &Scatter,
    [x, indices, source]: [Source<'_>; 3],
    output: &TensorType,
) -> Result<GpuBuffer> {
    if op.add {
        return computed(cx, output, |y| put(cx, op, [x, indices, source], y.buffer, &y.ty));
    }
    let y = cx.allocate_for(output)?;
    put(cx, op, [x, indices, source], &y, output)?;
    Ok(y)
}

fn put(
    cx: &Context,
    op: &Scatter,
    [x, indices, source]: [Source<'_>; 3],
    y: &GpuBuffer,
    output: &TensorType,
) -> Result<()> {
    let [_, extent, inner] = x.ty.shape.around(op.axis, "scatter")?;
    let n = indices.ty.shape.axis(op.axis, "scatter")?;
    let (places, from) = (cx.whole(indices)?, cx.whole(source)?);
    let count = output.count();
    let cuts = [DType::size_bytes(x.ty.dtype), output.dtype.size_bytes()];
    for part in parts(&cuts.map(|size| cx.cuts(count, size))) {
        let view = cx.view(x, part.clone())?;
        let written = cx.written(y, output.dtype, part.clone())?;
        cx.launch(Launch {
            op: Op::from(*op).name(),
            shader: &SCATTER,
            constants: &[("HALF", half(x)), ("ADD", flag(op.add))],
            params: &[
                word(part.start),
                word(part.len()),
                word(n),
                word(extent),
                word(inner),
                view.skip,
                places.skip,
                from.skip,
                written.view.skip,
            ],
            outputs: &[&written.view],
            inputs: &[&view, &places, &from],
            groups: match op.add {
                true => Groups::Flat(part.len().div_ceil(WORKGROUP)),
                false => groups(part.len(), output.dtype),
            },
        })?;
        cx.finish(y, &written)?;
    }
    Ok(())
}
