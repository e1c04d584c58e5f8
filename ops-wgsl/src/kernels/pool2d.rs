//! Pooling, and its gradients.

use striate_tensor::ops::{Pool2d, Ties};
use striate_tensor::{DType, Result, Shape, TensorType};

use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::elementwise::computed;
use super::images::{Rows, bands};
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static POOL: Shader = shader!("pool2d.wgsl", 1, 1);
static POOL_GRAD: Shader = shader!("pool2d_grad.wgsl", 1, 3, "pool2d_windows.wgsl");
static MAX_POOL_GRAD: Shader = shader!("max_pool2d_grad.wgsl", 1, 3, "pool2d_windows.wgsl");

/// The sizes that the gradient of a maximum needs: the first so many.
const MAX_SIZES: usize = 11;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let mut all = combinations(&POOL, &[("AVERAGE", BOTH), ("HALF", BOTH)]);
    all.extend(combinations(&POOL_GRAD, &[("AVERAGE", BOTH), ("HALF", BOTH), ("HALF_DY", BOTH)]));
    all.push((&MAX_POOL_GRAD, Vec::new()));
    all
}

/// The sizes of images and windows as shaders take them, after their count: `x` is `[n, rows, cols,
/// channels]`, `y` `[n, out rows, out cols, channels]`. What an average counts is given as the cells
/// `low..high` of each axis, with the padding before it.
fn sizes(pool: &Pool2d, x: &Shape, y: &Shape) -> Result<[usize; 15]> {
    let [_, rows, cols, channels] = x.nhwc("pool2d", "x")?;
    let [_, out_rows, out_cols, _] = y.nhwc("pool2d", "y")?;
    let Pool2d { size, stride, padding: [[top, bottom], [left, right]], .. } = *pool;
    let (low, high) = match pool.count_padding {
        true => ([0, 0], [top + rows + bottom, left + cols + right]),
        false => ([top, left], [top + rows, left + cols]),
    };
    let [size, stride, low, high] = [size, stride, low, high].map(|[row, col]| (row, col));
    Ok([
        rows, cols, channels, out_rows, out_cols, size.0, size.1, stride.0, stride.1, top, left,
        low.0, low.1, high.0, high.1,
    ])
}

/// Elements of one image.
fn image(shape: &Shape) -> usize {
    shape.dims()[1..].iter().product()
}

pub(super) fn pool(
    cx: &Context,
    op: &Pool2d,
    average: bool,
    x: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let sizes = sizes(op, &x.ty.shape, &output.shape)?;
    let down = Rows { size: op.size[0], stride: op.stride[0], padding: op.padding[0][0] };
    let name = if average { "avg_pool2d" } else { "max_pool2d" };
    let [_, out_rows, out_cols, channels] = output.shape.nhwc(name, "y")?;
    computed(cx, output, |y| {
        for band in bands(cx, name, &x.ty, &y.ty, down)? {
            // The rows of windows above the band.
            let above = band.y.start / (out_cols * channels).max(1) % out_rows.max(1);
            let view = cx.view(x, band.x)?;
            let count = band.y.len();
            let written = cx.written(y.buffer, DType::F32, band.y)?;
            let mut sizes = sizes;
            (sizes[0], sizes[3], sizes[9]) = (band.rows, band.out_rows, band.padding);
            // Rows are counted from where the first window of the band begins.
            let above = above * op.stride[0];
            (sizes[11], sizes[13]) =
                (sizes[11].saturating_sub(above), sizes[13].saturating_sub(above));
            let mut params = vec![word(count)];
            params.extend(sizes.map(word));
            params.extend([view.skip, written.view.skip]);
            cx.launch(Launch {
                op: name,
                shader: &POOL,
                constants: &[("AVERAGE", flag(average)), ("HALF", half(x))],
                params: &params,
                outputs: &[&written.view],
                inputs: &[&view],
                groups: Groups::Flat(count.div_ceil(WORKGROUP)),
            })?;
            cx.finish(y.buffer, &written)?;
        }
        Ok(())
    })
}

pub(super) fn max_grad(
    cx: &Context,
    op: &Pool2d,
    [x, y, dy]: [Source<'_>; 3],
    output: &TensorType,
) -> Result<GpuBuffer> {
    gradient(cx, "max_pool2d_grad", op, Some([x, y]), dy, output)
}

pub(super) fn average_grad(
    cx: &Context,
    op: &Pool2d,
    dy: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    gradient(cx, "avg_pool2d_grad", op, None, dy, output)
}

fn gradient(
    cx: &Context,
    name: &'static str,
    op: &Pool2d,
    maxima: Option<[Source<'_>; 2]>,
    dy: Source<'_>,
    output: &TensorType,
) -> Result<GpuBuffer> {
    let sizes = sizes(op, &output.shape, &dy.ty.shape)?;
    let (from, to) = (image(&dy.ty.shape), image(&output.shape));
    let n = output.shape.dims()[0];
    computed(cx, output, |dx| {
        let mut cuts = vec![cx.cuts(n, from * dy.ty.dtype.size_bytes()), cx.cuts(n, 4 * to)];
        if let Some([x, y]) = maxima {
            cuts.push(cx.cuts(n, to * x.ty.dtype.size_bytes()));
            cuts.push(cx.cuts(n, from * y.ty.dtype.size_bytes()));
        }
        for images in parts(&cuts) {
            let windows = images.start * from..images.end * from;
            let cells = images.start * to..images.end * to;
            let dy_view = cx.view(dy, windows.clone())?;
            let (half_x, x_view, y_view) = match maxima {
                Some([x, y]) => (half(x), cx.view(x, cells.clone())?, cx.view(y, windows.clone())?),
                None => (0.0, dy_view.clone(), dy_view.clone()),
            };
            let written = cx.written(dx.buffer, DType::F32, cells.clone())?;
            let skips = [x_view.skip, y_view.skip, dy_view.skip, written.view.skip];
            let first = u32::from(op.ties == Ties::First);
            let vectors = maxima.is_some_and(|[x, _]| !x.half())
                && !dy.half()
                && sizes[2].is_multiple_of(4)
                && skips.iter().all(|skip| skip.is_multiple_of(4));
            if vectors {
                let mut own = sizes.map(word);
                own[2] /= 4;
                let count = cells.len() / 4;
                let mut params = vec![word(count)];
                params.extend(&own[..MAX_SIZES]);
                params.extend(skips.map(|skip| skip / 4));
                params.push(first);
                cx.launch(Launch {
                    op: name,
                    shader: &MAX_POOL_GRAD,
                    constants: &[],
                    params: &params,
                    outputs: &[&written.view],
                    inputs: &[&dy_view, &x_view, &y_view],
                    groups: Groups::Flat(count.div_ceil(WORKGROUP)),
                })?;
                cx.finish(dx.buffer, &written)?;
                continue;
            }
            let mut params = vec![word(cells.len())];
            params.extend(sizes.map(word));
            params.extend(skips);
            params.push(first);
            cx.launch(Launch {
                op: name,
                shader: &POOL_GRAD,
                constants: &[
                    ("AVERAGE", flag(maxima.is_none())),
                    ("HALF", half_x),
                    ("HALF_DY", half(dy)),
                ],
                params: &params,
                outputs: &[&written.view],
                inputs: &[&dy_view, &x_view, &y_view],
                groups: Groups::Flat(cells.len().div_ceil(WORKGROUP)),
            })?;
            cx.finish(dx.buffer, &written)?;
        }
        Ok(())
    })
}
