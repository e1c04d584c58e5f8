//! Order along an axis, and sums of all entries so far.

use striate_tensor::ops::{ArgSort, CumulativeSum};
use striate_tensor::{DType, Result, TensorType};

use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::elementwise::computed;
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static ARG_SORT: Shader = shader!("arg_sort.wgsl", 1, 1);
static CUMULATIVE_SUM: Shader = shader!("cumulative_sum.wgsl", 1, 1);

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let types: [&[f64]; 2] = [&[0.0, 1.0], &[0.0]];
    let mut all = Vec::new();
    for (words, halves) in [(0.0, types[0]), (1.0, types[1])] {
        let constants = [("WORDS", &[words][..]), ("HALF", halves)];
        all.extend(combinations(&ARG_SORT, &[&constants[..], &[("DESCENDING", BOTH)]].concat()));
        let ways = [("EXCLUSIVE", BOTH), ("REVERSE", BOTH)];
        all.extend(combinations(&CUMULATIVE_SUM, &[&constants[..], &ways].concat()));
    }
    all
}

/// Each entry counts those before it, which is its place. The work is the square of the extent: right for
/// classes and candidates, long for whole images.
pub(super) fn arg_sort(
    cx: &Context,
    op: &ArgSort,
    x: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [outer, extent, inner] = x.ty.shape.around(op.axis, "arg_sort")?;
    let y = cx.allocate_for(output)?;
    let (row, to) = (extent * inner, op.count * inner);
    for rows in parts(&[cx.cuts(outer, row * x.ty.dtype.size_bytes()), cx.cuts(outer, 4 * to)]) {
        let view = cx.view(x, rows.start * row..rows.end * row)?;
        let written = cx.written(&y, DType::U32, rows.start * to..rows.end * to)?;
        let count = rows.len() * row;
        cx.launch(Launch {
            op: "arg_sort",
            shader: &ARG_SORT,
            constants: &[
                ("WORDS", flag(x.ty.dtype == DType::U32)),
                ("HALF", half(x)),
                ("DESCENDING", flag(op.descending)),
            ],
            params: &[
                word(count),
                word(extent),
                word(inner),
                word(op.count),
                view.skip,
                written.view.skip,
            ],
            outputs: &[&written.view],
            inputs: &[&view],
            groups: Groups::Flat(count.div_ceil(WORKGROUP)),
        })?;
        cx.finish(&y, &written)?;
    }
    Ok(y)
}

/// Entries that an invocation sums at a time: a dispatch that takes too long is stopped by some systems.
const STRETCH: usize = 1 << 14;

/// Each invocation sums a line, stretch after stretch.
pub(super) fn cumulative_sum(
    cx: &Context,
    op: &CumulativeSum,
    x: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    if output.dtype == DType::U32 {
        let y = cx.allocate_for(output)?;
        sums(cx, op, x, &y, DType::U32)?;
        return Ok(y);
    }
    computed(cx, output, |y| sums(cx, op, x, y.buffer, DType::F32))
}

fn sums(
    cx: &Context,
    op: &CumulativeSum,
    x: Source<'_>,
    y: &GpuBuffer,
    dtype: DType,
) -> Result<()> {
    let [outer, extent, inner] = x.ty.shape.around(op.axis, "cumulative_sum")?;
    let row = extent * inner;
    for rows in parts(&[cx.cuts(outer, row * x.ty.dtype.size_bytes()), cx.cuts(outer, 4 * row)]) {
        let elements = rows.start * row..rows.end * row;
        let view = cx.view(x, elements.clone())?;
        let written = cx.written(y, dtype, elements)?;
        let lines = rows.len() * inner;
        for first in (0..extent).step_by(STRETCH) {
            cx.launch(Launch {
                op: "cumulative_sum",
                shader: &CUMULATIVE_SUM,
                constants: &[
                    ("WORDS", flag(dtype == DType::U32)),
                    ("HALF", half(x)),
                    ("EXCLUSIVE", flag(op.exclusive)),
                    ("REVERSE", flag(op.reverse)),
                ],
                params: &[
                    word(lines),
                    word(extent),
                    word(inner),
                    word(first),
                    word(STRETCH.min(extent - first)),
                    view.skip,
                    written.view.skip,
                ],
                outputs: &[&written.view],
                inputs: &[&view],
                groups: Groups::Flat(lines.div_ceil(WORKGROUP)),
            })?;
        }
        cx.finish(y, &written)?;
    }
    Ok(())
}
