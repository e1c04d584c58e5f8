//! Images of another size or with a border, and the gradients: weighted sums over rows and cols.

use striate_tensor::ops::Taps;
use striate_tensor::{DType, Result, Shape, TensorType};

use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::elementwise::computed;
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static RESAMPLE: Shader = shader!("resample.wgsl", 1, 2);

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    combinations(&RESAMPLE, &[("HALF", BOTH)])
}

/// An op that makes each pixel of the sums that `taps` says for an axis (0 rows, 1 cols) of so many pixels.
pub(super) fn forward(
    cx: &Context,
    name: &'static str,
    taps: impl Fn(usize, usize) -> Taps,
    x: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [_, rows, cols, _] = x.ty.shape.nhwc(name, "x")?;
    resample(cx, name, [&taps(0, rows), &taps(1, cols)], x, output)
}

/// The gradient of such an op.
pub(super) fn gradient(
    cx: &Context,
    name: &'static str,
    taps: impl Fn(usize, usize) -> Taps,
    dy: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [_, rows, cols, _] = output.shape.nhwc(name, "x")?;
    let [of_rows, of_cols] = [taps(0, rows).transposed(rows), taps(1, cols).transposed(cols)];
    resample(cx, name, [&of_rows, &of_cols], dy, output)
}

/// `[n, rows, cols, channels]` to `[n, out rows, out cols, channels]` by these sums over rows and cols.
fn resample(
    cx: &Context,
    name: &'static str,
    [rows, cols]: [&Taps; 2],
    x: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let [n, in_rows, in_cols, channels] = x.ty.shape.nhwc(name, "x")?;
    let [_, out_rows, out_cols, _] = output.shape.nhwc(name, "y")?;
    let mut table: Vec<u32> =
        [rows, cols].iter().flat_map(|taps| taps.starts()).map(|&s| word(s)).collect();
    let col_starts = out_rows + 1;
    let row_entries = table.len();
    let col_entries = row_entries + 2 * rows.cells().len();
    for taps in [rows, cols] {
        let entries = taps.cells().iter().zip(taps.weights());
        table.extend(entries.flat_map(|(&cell, &weight)| [cell, (weight as f32).to_bits()]));
    }
    let ty = TensorType::new(Shape::new(&[table.len()])?, DType::U32);
    let held = cx.allocate_for(&ty)?;
    let chunk = cx.gpu.chunk_bytes() as usize;
    let bytes: Vec<u8> = table.iter().flat_map(|word| word.to_ne_bytes()).collect();
    for (to, bytes) in held.chunks.iter().zip(bytes.chunks(chunk)) {
        cx.write(&to.buffer, 0, bytes)?;
    }
    let table = cx.whole(Source { buffer: &held, ty })?;
    let (from, to) = (in_rows * in_cols * channels, out_rows * out_cols * channels);
    computed(cx, output, |y| {
        let cuts = [cx.cuts(n, from * x.ty.dtype.size_bytes()), cx.cuts(n, 4 * to)];
        for images in parts(&cuts) {
            let view = cx.view(x, images.start * from..images.end * from)?;
            let cells = images.start * to..images.end * to;
            let written = cx.written(y.buffer, DType::F32, cells.clone())?;
            let sizes = [
                cells.len(),
                in_rows,
                in_cols,
                channels,
                out_rows,
                out_cols,
                col_starts,
                row_entries,
            ];
            let mut params: Vec<u32> = sizes.map(word).to_vec();
            params.extend([word(col_entries), view.skip, written.view.skip]);
            cx.launch(Launch {
                op: name,
                shader: &RESAMPLE,
                constants: &[("HALF", half(x))],
                params: &params,
                outputs: &[&written.view],
                inputs: &[&view, &table],
                groups: Groups::Flat(cells.len().div_ceil(WORKGROUP)),
            })?;
            cx.finish(y.buffer, &written)?;
        }
        Ok(())
    })
}
