//! Sums and moments of channels, the last axis, over all other axes: of parts of the rows first, which are
//! joined by a second dispatch where there are several.

use std::ops::Range;

use striate_tensor::ops::{Activation, Fill};
use striate_tensor::{DType, Result, Shape, TensorType};

use super::constants::{BOTH, Constants, WORKGROUP, combinations, half, word};
use super::counted;
use crate::buffer::{GpuBuffer, Source, parts};
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static SUMS_ONE: Shader =
    shader!("channel_sums.wgsl", 1, 5, "lanes_one.wgsl", "activation.wgsl", "channel_tree.wgsl");
static SUMS_FOUR: Shader = shader!(
    "channel_sums_four.wgsl" = "channel_sums.wgsl",
    1,
    5,
    "lanes_four.wgsl",
    "activation.wgsl",
    "channel_tree.wgsl"
);
static MOMENTS_ONE: Shader = shader!("moments.wgsl", 1, 2, "lanes_one.wgsl", "channel_tree.wgsl");
static MOMENTS_FOUR: Shader =
    shader!("moments_four.wgsl" = "moments.wgsl", 1, 2, "lanes_four.wgsl", "channel_tree.wgsl");
static MERGE: Shader = shader!("channel_merge.wgsl", 1, 2, "lanes_one.wgsl", "channel_tree.wgsl");

/// The kinds of `channel_merge.wgsl`.
const OF_MOMENTS: f64 = 0.0;
const OF_SUMS: f64 = 1.0;

/// Channels that a workgroup takes of a part of the rows at most.
const MOST_CHANNELS: usize = 64;
/// Channels that a workgroup takes at most where it joins parts: the fewer, the more lanes there are.
const MERGE_COLS: usize = 8;
/// Elements that a lane sums alone at least, so that there are far fewer parts than rows, and at most: more
/// would leave a GPU idle, and lose digits. A vector counts as four.
const LANE_ELEMS: [usize; 2] = [8, 64];
/// Elements of a part, where the channels are many: it is bound as a whole.
const PART_ELEMS: usize = 1 << 16;

/// The activations of `activation.wgsl`.
pub(super) const ACTIVATIONS: &[f64] = &[0.0, 1.0, 2.0];

/// Which of them it is, and the bounds of a clamp.
pub(super) fn activation(activation: Activation) -> (f64, [u32; 2]) {
    match activation {
        Activation::Relu => (1.0, [0; 2]),
        Activation::Clamp { min, max } => (2.0, [min.to_bits(), max.to_bits()]),
        // The ops take no others.
        _ => (0.0, [0; 2]),
    }
}

/// Channels of a vector.
pub(super) const FOUR: usize = 4;

/// Whether kernels along channels take these operands by vectors.
pub(super) fn by_vectors(operands: &[Source<'_>]) -> bool {
    let fits = |x: &Source<'_>| !x.half() && extents(&x.ty).1.is_multiple_of(FOUR);
    operands.iter().all(fits)
}

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let cols = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
    let mut all = Vec::new();
    for (sums, moments, half, cols) in [
        (&SUMS_ONE, &MOMENTS_ONE, BOTH, &cols[..]),
        (&SUMS_FOUR, &MOMENTS_FOUR, &BOTH[..1], &cols[..5]),
    ] {
        let constants =
            [("HALF", half), ("HALF_DY", half), ("ACTIVATION", ACTIVATIONS), ("COLS", cols)];
        all.extend(combinations(sums, &constants));
        all.extend(combinations(moments, &[("HALF", half), ("COLS", cols)]));
    }
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
    /// Channels of an invocation.
    lanes: usize,
    /// Columns of a workgroup, each of so many channels.
    cols: usize,
    /// Rows of a part.
    part: usize,
    /// The number of parts.
    count: usize,
}

impl Cut {
    fn new(ty: &TensorType, by_vectors: bool) -> Self {
        let (rows, channels) = extents(ty);
        let lanes = if by_vectors { FOUR } else { 1 };
        let cols = (channels / lanes).next_power_of_two().min(MOST_CHANNELS / lanes);
        let [least, most] = LANE_ELEMS.map(|elems| elems / lanes * (WORKGROUP / cols));
        let part = (PART_ELEMS / channels).clamp(least, most);
        Cut { rows, channels, lanes, cols, part, count: rows.div_ceil(part) }
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
        Groups::Flat(parts.len() * (self.channels / self.lanes).div_ceil(self.cols))
    }
}

/// What the activation is of whose mask `dy` is to have: of the normalized `x`.
pub(super) struct Masked<'a> {
    pub(super) activation: Activation,
    pub(super) epsilon: f32,
    /// In f32.
    pub(super) scale: Source<'a>,
    pub(super) shift: Source<'a>,
}

/// `Σ dy` and `Σ dy · (x - mean)` of each channel, f32 `[2, channels]`. There are elements. The means may be
/// the first row of moments, and are that where there is a mask.
pub(super) fn products(
    cx: &Context,
    op: &'static str,
    [x, dy]: [Source<'_>; 2],
    means: Source<'_>,
    masked: Option<&Masked<'_>>,
) -> Result<GpuBuffer> {
    let by_vectors = by_vectors(&[x, dy]);
    let cut = Cut::new(&x.ty, by_vectors);
    let ty = cut.pairs()?;
    let pairs = cx.allocate_for(&ty)?;
    let means = cx.whole(means)?;
    let scale = masked.map(|masked| cx.whole(masked.scale)).transpose()?;
    let shift = masked.map(|masked| cx.whole(masked.shift)).transpose()?;
    // Without a mask something has to be bound.
    let (scale, shift) = (scale.as_ref().unwrap_or(&means), shift.as_ref().unwrap_or(&means));
    let (kind, [low, high]) = activation(masked.map_or(Activation::None, |m| m.activation));
    for (rows, parts) in cut.runs(cx, &[x, dy]) {
        let view = cx.view(x, cut.elements(&rows))?;
        let dy_view = cx.view(dy, cut.elements(&rows))?;
        let sums = parts.start * 2 * cut.channels..parts.end * 2 * cut.channels;
        let written = cx.written(&pairs, DType::F32, sums)?;
        cx.launch(Launch {
            op,
            shader: if by_vectors { &SUMS_FOUR } else { &SUMS_ONE },
            constants: &[
                ("HALF", half(x)),
                ("HALF_DY", half(dy)),
                ("ACTIVATION", kind),
                ("COLS", cut.cols as f64),
            ],
            params: &[
                word(rows.len()),
                word(cut.channels),
                word(cut.part),
                word(parts.len()),
                masked.map_or(0.0, |masked| masked.epsilon).to_bits(),
                low,
                high,
                view.skip,
                dy_view.skip,
                means.skip,
                scale.skip,
                shift.skip,
                written.view.skip,
            ],
            outputs: &[&written.view],
            inputs: &[&view, &dy_view, &means, scale, shift],
            groups: cut.groups(&parts),
        })?;
        cx.finish(&pairs, &written)?;
    }
    merged(cx, op, OF_SUMS, &cut, Source { buffer: &pairs, ty }, None).map(|y| y.unwrap_or(pairs))
}

/// The mean and the variance of each channel, f32 `[2, channels]`. There are elements.
pub(super) fn moments(cx: &Context, op: &'static str, x: Source<'_>) -> Result<GpuBuffer> {
    let by_vectors = by_vectors(&[x]);
    let cut = Cut::new(&x.ty, by_vectors);
    let ty = cut.pairs()?;
    let pairs = cx.allocate_for(&ty)?;
    let origins = cx.view(x, 0..cut.channels)?;
    for (rows, parts) in cut.runs(cx, &[x]) {
        let view = cx.view(x, cut.elements(&rows))?;
        let own = parts.start * 2 * cut.channels..parts.end * 2 * cut.channels;
        let written = cx.written(&pairs, DType::F32, own)?;
        cx.launch(Launch {
            op,
            shader: if by_vectors { &MOMENTS_FOUR } else { &MOMENTS_ONE },
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
