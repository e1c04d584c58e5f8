//! Sums and moments of channels, the last axis, over all other axes: of parts of the rows first, which are
//! joined by a second dispatch where there are several.

use std::ops::Range;

use striate_tensor::ops::Fill;
use striate_tensor::{DType, Result, Shape, TensorType};

use super::{BOTH, Constants, WORKGROUP, combinations, counted, half, word};
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static CHANNEL_SUMS: Shader = shader!("channel_sums.wgsl", 1, 3, "channel_tree.wgsl");
static MOMENTS: Shader = shader!("moments.wgsl", 1, 2, "channel_tree.wgsl");
static MERGE: Shader = shader!("channel_merge.wgsl", 1, 2, "channel_tree.wgsl");

/// The kinds of `channel_merge.wgsl`.
const OF_MOMENTS: f64 = 0.0;
const OF_SUMS: f64 = 1.0;

/// Channels that a workgroup takes of a part of the rows at most.
const MOST_COLS: usize = 64;
/// Channels that a workgroup takes at most where it joins parts: the fewer, the more lanes there are.
const MERGE_COLS: usize = 8;
/// Rows that a lane sums alone at least, so that there are far fewer parts than rows, and at most: more
/// would leave a GPU idle, and lose digits.
const LANE_ROWS: [usize; 2] = [8, 64];
/// Elements of a part, where the channels are many: it is bound as a whole.
const PART_ELEMS: usize = 1 << 16;

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let cols = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
    let sums = [("HALF", BOTH), ("HALF_DY", BOTH), ("COLS", &cols[..])];
    let mut all = combinations(&CHANNEL_SUMS, &sums);
    all.extend(combinations(&MOMENTS, &[("HALF", BOTH), ("COLS", &cols)]));
    for (kind, half) in [(OF_MOMENTS, BOTH), (OF_SUMS, &BOTH[..1])] {
        let merge = [("KIND", &[kind][..]), ("HALF", half), ("COLS", &cols[..4])];
        all.extend(combinations(&MERGE, &merge));
    }
    all
}

/// Rows and channels.
pub(super) fn extents(ty: &TensorType) -> (usize, usize) {
    let channels = ty.shape.dims().last().copied().unwrap_or(1);
    (ty.count() / channels.max(1), channels)
}

/// Zeros, for the sums of nothing.
pub(super) fn zeros(cx: &Context, ty: &TensorType) -> Result<GpuBuffer> {
    counted::fill(cx, &Fill { ty: *ty, value: 0.0 }, ty)
}

/// How rows are cut into parts: by the shape alone, so that sums have the same bits on every device.
#[derive(Clone, Copy)]
struct Cut {
    rows: usize,
    channels: usize,
    /// Channels of a workgroup.
    cols: usize,
    /// Rows of a part.
    part: usize,
    /// The number of parts.
    count: usize,
}

impl Cut {
    fn new(ty: &TensorType) -> Self {
        let (rows, channels) = extents(ty);
        let cols = channels.next_power_of_two().min(MOST_COLS);
        let [least, most] = LANE_ROWS.map(|rows| rows * (WORKGROUP / cols));
        let part = (PART_ELEMS / channels).clamp(least, most);
        Cut { rows, channels, cols, part, count: rows.div_ceil(part) }
    }

    /// The type of what the parts give.
    fn pairs(&self) -> Result<TensorType> {
        Ok(TensorType::f32(Shape::new(&[self.count, 2, self.channels])?))
    }

    /// The parts that can be bound together: for each run of them the rows.
    fn runs(&self, cx: &Context, operands: &[Source<'_>]) -> Vec<(Range<usize>, Range<usize>)> {
        let bytes = |x: &Source<'_>| self.part * self.channels * x.ty.dtype.size_bytes();
        let cuts = operands.iter().map(|x| cx.cuts(self.count, bytes(x)));
        let cuts: Vec<_> = cuts.chain([cx.cuts(self.count, 8 * self.channels)]).collect();
        let rows =
            |parts: &Range<usize>| parts.start * self.part..(parts.end * self.part).min(self.rows);
        parts(&cuts).into_iter().map(|parts| (rows(&parts), parts)).collect()
    }

    fn elements(&self, rows: &Range<usize>) -> Range<usize> {
        rows.start * self.channels..rows.end * self.channels
    }

    fn groups(&self, parts: &Range<usize>) -> Groups {
        Groups::Flat(parts.len() * self.channels.div_ceil(self.cols))
    }
}

/// `Σ dy` and `Σ dy · (x - mean)` of each channel, f32 `[2, channels]`. There are elements. The means may be
/// the first row of moments.
pub(super) fn products(
    cx: &Context,
    op: &'static str,
    [x, dy]: [Source<'_>; 2],
    means: Source<'_>,
) -> Result<GpuBuffer> {
    let cut = Cut::new(&x.ty);
    let ty = cut.pairs()?;
    let pairs = cx.allocate_for(&ty)?;
    let means = cx.whole(means)?;
    for (rows, parts) in cut.runs(cx, &[x, dy]) {
        let view = cx.view(x, cut.elements(&rows))?;
        let dy_view = cx.view(dy, cut.elements(&rows))?;
        let sums = parts.start * 2 * cut.channels..parts.end * 2 * cut.channels;
        let written = cx.written(&pairs, DType::F32, sums)?;
        cx.launch(Launch {
            op,
            shader: &CHANNEL_SUMS,
            constants: &[("HALF", half(x)), ("HALF_DY", half(dy)), ("COLS", cut.cols as f64)],
            params: &[
                word(rows.len()),
                word(cut.channels),
                word(cut.part),
                word(parts.len()),
                view.skip,
                dy_view.skip,
                means.skip,
                written.view.skip,
            ],
            outputs: &[&written.view],
            inputs: &[&view, &dy_view, &means],
            groups: cut.groups(&parts),
        })?;
        cx.finish(&pairs, &written)?;
    }
    merged(cx, op, OF_SUMS, &cut, Source { buffer: &pairs, ty }, None).map(|y| y.unwrap_or(pairs))
}

/// The mean and the variance of each channel, f32 `[2, channels]`. There are elements.
pub(super) fn moments(cx: &Context, op: &'static str, x: Source<'_>) -> Result<GpuBuffer> {
    let cut = Cut::new(&x.ty);
    let ty = cut.pairs()?;
    let pairs = cx.allocate_for(&ty)?;
    let origins = cx.view(x, 0..cut.channels)?;
    for (rows, parts) in cut.runs(cx, &[x]) {
        let view = cx.view(x, cut.elements(&rows))?;
        let own = parts.start * 2 * cut.channels..parts.end * 2 * cut.channels;
        let written = cx.written(&pairs, DType::F32, own)?;
        cx.launch(Launch {
            op,
            shader: &MOMENTS,
            constants: &[("HALF", half(x)), ("COLS", cut.cols as f64)],
            params: &[
                word(rows.len()),
                word(cut.channels),
                word(cut.part),
                word(parts.len()),
                u32::from(cut.count == 1),
                view.skip,
                origins.skip,
                written.view.skip,
            ],
            outputs: &[&written.view],
            inputs: &[&view, &origins],
            groups: cut.groups(&parts),
        })?;
        cx.finish(&pairs, &written)?;
    }
    merged(cx, op, OF_MOMENTS, &cut, Source { buffer: &pairs, ty }, Some(x))
        .map(|y| y.unwrap_or(pairs))
}

/// What the parts gave, joined; none where there is one part alone, which is all. Moments are measured from
/// the first row of `x`.
fn merged(
    cx: &Context,
    op: &'static str,
    kind: f64,
    cut: &Cut,
    pairs: Source<'_>,
    x: Option<Source<'_>>,
) -> Result<Option<GpuBuffer>> {
    if cut.count == 1 {
        return Ok(None);
    }
    let pairs = cx.whole(pairs)?;
    let origins = x.map(|x| cx.view(x, 0..cut.channels)).transpose()?;
    let origins = origins.as_ref().unwrap_or(&pairs);
    let y = cx.allocate_for(&TensorType::f32(Shape::new(&[2, cut.channels])?))?;
    let written = cx.written(&y, DType::F32, 0..2 * cut.channels)?;
    let cols = cut.cols.min(MERGE_COLS);
    let last = cut.rows - (cut.count - 1) * cut.part;
    let share = |rows: usize| (rows as f64 / cut.rows as f64) as f32;
    cx.launch(Launch {
        op,
        shader: &MERGE,
        constants: &[("KIND", kind), ("HALF", x.map_or(0.0, half)), ("COLS", cols as f64)],
        params: &[
            word(cut.channels),
            word(cut.count),
            share(cut.part).to_bits(),
            share(last).to_bits(),
            pairs.skip,
            origins.skip,
            written.view.skip,
        ],
        outputs: &[&written.view],
        inputs: &[&pairs, origins],
        groups: Groups::Flat(cut.channels.div_ceil(cols)),
    })?;
    cx.finish(&y, &written)?;
    Ok(Some(y))
}
