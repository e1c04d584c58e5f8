//! Winograd's convolution: over tiles of 6×6 pixels F(4×4, 3×3) with 36 multiplications in place of
//! 144, and F(2×2, 5×5) with 36 in place of 100; over tiles of 4×4 F(2×2, 3×3) with 16 in place of 36.
//!
//! (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2015.) A tile is
//! transformed (`BᵀdB`), its positions become as many products over the channels with the transformed
//! weights (`GgGᵀ`), and each result is transformed back (`AᵀmA`), with bias, residual
//! and activation on the way out. Tiles of 6×6 are interpolated at 0, ±1, ±2 and ∞ for both forms, so they are
//! transformed alike; tiles of 4×4 at 0, ±1 and ∞. Sums of channels are in f32 as in the direct algorithm;
//! the transforms cost about two bits of it, over tiles of 4×4 less.
//!
//! - [`near`]: small weights are transformed once and kept with their buffer, and a block of tiles
//!   goes through all three steps at once.
//! - [`far`]: larger ones are transformed where they are used, a piece that stays in the
//!   second-level cache at a time. Transformed they are four times as large, and would be read from
//!   memory in each pass; a transform is quicker than that.
//! - [`few`]: where the tiles are few, transforms of large weights would take as long as their products, so
//!   they are kept up to a size, and read once a run.

mod far;
mod few;
mod near;
mod transform;
pub(super) mod weight_grad;
mod weights;

use std::ops::Range;

use striate_tensor::Result;
use striate_tensor::ops::Conv2d;

use self::transform::{Back, BackTo, Forward};
pub(super) use self::weights::Kernels;
use super::{Extents, Residual};
use crate::context::Context;
use crate::gemm::{TileShape, tile_shape};
use crate::part::Place;
use crate::simd::Level;
use crate::threads::SharedOutput;

/// Positions of a transformed tile of 6×6.
const POSITIONS: usize = 36;
/// Pixels of such a tile along an axis.
const IN: usize = 6;
/// Pixels along an axis of a tile of 4×4.
const SMALL: usize = 4;
/// Floats between positions beyond what they hold: without, a tile's 36 writes would often fall
/// into the same set of the first-level cache.
const PAD: usize = 16;
/// Transformed weights up to this size are kept.
const NEAR_WEIGHTS_BYTES: usize = 3 << 20;
/// With fewer channels the transforms cost more than the multiplications that they save.
const MIN_CHANNELS: usize = 32;
/// With fewer tiles it takes longer to transform the weights, or to read them, than the multiplications
/// take.
const MIN_TILES: usize = 8;
/// Tasks at least, where they have enough tiles each; as many as there are threads where these are more.
const MIN_TASKS: usize = 4;
/// With fewer, large weights are rather transformed for tiles of 4×4, where they can be kept.
const MIN_FAR_TILES: usize = 16;
/// Up to so many tiles of so many images, transformed weights of this size are kept. Of more images a
/// training may be under way, whose weights are others in the next run.
const FEW_TILES: usize = 64;
const FEW_IMAGES: usize = 4;
const FEW_WEIGHTS_BYTES: usize = 20 << 20;

/// A form of the algorithm, F(out × out, taps × taps), and how it goes about the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    out: usize,
    taps: usize,
    way: Way,
}

/// What is done with the transformed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Near,
    Far,
    Few,
}

impl Form {
    /// For people.
    pub(super) fn name(self) -> String {
        let Form { out, taps, way } = self;
        let way = match way {
            Way::Near => "near",
            Way::Far => "far",
            Way::Few => "few tiles",
        };
        format!("Winograd F({out}×{out}, {taps}×{taps}), {way}")
    }

    /// Pixels of a tile along an axis.
    fn tile(self) -> usize {
        self.out + self.taps - 1
    }

    /// Positions of a transformed tile.
    fn positions(self) -> usize {
        self.tile() * self.tile()
    }
}

/// The form for such a convolution, where it is expected to win: by the shape alone, and by whether the
/// weights will be `reused` by later runs.
pub(super) fn form(level: Level, op: &Conv2d, e: &Extents, reused: bool) -> Option<Form> {
    let (channels, out) = (e.channels / op.groups, e.out / op.groups);
    let lanes = level.lanes();
    let fits = op.stride == [1, 1]
        && op.dilation == [1, 1]
        && channels.is_multiple_of(lanes)
        && out.is_multiple_of(lanes)
        && channels >= MIN_CHANNELS
        && out >= MIN_CHANNELS;
    if !fits {
        return None;
    }
    let of = |step: usize, taps| {
        let tiles = e.n * e.out_rows.div_ceil(step) * e.out_cols.div_ceil(step);
        let mut form = Form { out: step, taps, way: Way::Few };
        let bytes = 4 * form.positions() * channels * out;
        let few = reused
            && e.n <= FEW_IMAGES
            && tiles <= FEW_TILES
            && bytes * op.groups <= FEW_WEIGHTS_BYTES;
        form.way = match form.tile() {
            _ if few => Way::Few,
            IN if bytes <= NEAR_WEIGHTS_BYTES => Way::Near,
            IN => Way::Far,
            _ => return None,
        };
        // Tiles that are mostly off the image save nothing.
        let covered = e.n * e.out_rows * e.out_cols * 2 > tiles * step * step;
        (covered && tiles >= MIN_TILES).then_some((form, tiles))
    };
    let form = match e.kernel {
        [3, 3] => match of(4, 3) {
            Some((form, tiles)) if form.way == Way::Far && tiles < MIN_FAR_TILES => {
                of(2, 3).or(Some((form, tiles)))
            }
            form => form.or_else(|| of(2, 3)),
        },
        [5, 5] => of(2, 5),
        _ => None,
    };
    form.map(|(form, _)| form)
}

/// The convolution of `x` with these kernels, with biases for whole groups and a residual.
pub(super) fn conv2d(
    cx: &Context,
    form: Form,
    op: &Conv2d,
    e: &Extents,
    x: &[f32],
    kernels: &Kernels<'_>,
    (bias, residual, place): (Option<&[f32]>, Residual<'_>, Place<'_>),
) -> Result<()> {
    let (channels, out) = (e.channels / op.groups, e.out / op.groups);
    let mut zeros = cx.pool.take(4 * channels)?;
    zeros.slice_mut::<f32>().fill(0.0);
    let step = Step {
        level: cx.level,
        form,
        op,
        e,
        tile_rows: e.out_rows.div_ceil(form.out),
        tile_cols: e.out_cols.div_ceil(form.out),
        channels,
        out,
        shape: tile_shape(cx.level),
        x,
        zeros: zeros.slice(),
        bias,
        residual,
        y: SharedOutput::new(place.values),
        y_first: place.first,
        y_pitch: place.pitch,
    };
    match form.way {
        Way::Near => near::conv2d(cx, &step, kernels),
        Way::Far => far::conv2d(cx, &step, kernels),
        Way::Few => few::conv2d(cx, &step, kernels),
    }
}

/// The steps that both ways share.
struct Step<'a> {
    level: Level,
    form: Form,
    op: &'a Conv2d,
    e: &'a Extents,
    /// Tiles of an image along its axes.
    tile_rows: usize,
    tile_cols: usize,
    /// Of a group.
    channels: usize,
    out: usize,
    shape: TileShape,
    x: &'a [f32],
    zeros: &'a [f32],
    bias: Option<&'a [f32]>,
    residual: Residual<'a>,
    y: SharedOutput,
    /// Where the outputs of a pixel begin, and floats from one pixel to the next.
    y_first: usize,
    y_pitch: usize,
}

/// How many parts these tiles are cut into, so that there are enough tasks, where each tile already makes
/// `tasks`. A tile is the same bits in whatever part.
fn parts(cx: &Context, tiles: usize, tasks: usize) -> usize {
    let wanted = MIN_TASKS.max(cx.threads.shares());
    wanted.div_ceil(tasks).min(tiles / MIN_TILES).max(1)
}

/// Results `[positions][tiles][columns]` of some outputs.
#[derive(Clone, Copy)]
struct Results {
    from: SharedOutput,
    /// Floats from one position to the next, and from one tile to the next.
    pitch: usize,
    columns: usize,
    /// The outputs of the group that the columns are.
    first: usize,
    count: usize,
}

impl Step<'_> {
    /// Tiles of all images.
    fn tiles(&self) -> usize {
        self.e.n * self.tile_rows * self.tile_cols
    }

    /// Where a tile begins: image, first output row and col.
    fn place(&self, index: usize) -> (usize, usize, usize) {
        let per_image = self.tile_rows * self.tile_cols;
        let (n, at) = (index / per_image, index % per_image);
        let out = self.form.out;
        (n, at / self.tile_cols * out, at % self.tile_cols * out)
    }

    /// The pixels of a tile in a group, each the first of its channels; zeros off the image, and beyond a
    /// tile that has less than 6×6.
    fn pixels(&self, group: usize, tile: usize) -> [*const f32; POSITIONS] {
        let (e, channels) = (self.e, self.channels);
        let (n, row, col) = self.place(tile);
        let size = self.form.tile();
        let mut pixels = [self.zeros.as_ptr(); POSITIONS];
        for (i, pixel) in pixels.iter_mut().take(size * size).enumerate() {
            // One less than zero wraps to a huge number, which no image reaches.
            let row = (row + i / size).wrapping_sub(self.op.padding[0][0]);
            let col = (col + i % size).wrapping_sub(self.op.padding[1][0]);
            if row < e.rows && col < e.cols {
                let offset = ((n * e.rows + row) * e.cols + col) * e.channels + group * channels;
                *pixel = self.x[offset..offset + channels].as_ptr();
            }
        }
        pixels
    }

    /// Transforms `channels` of the group's channels of a tile from `first` on, to positions `pitch`
    /// apart.
    ///
    /// # Safety
    /// All positions must be inside `to` and the caller's alone.
    unsafe fn transform(
        &self,
        pixels: [*const f32; POSITIONS],
        channels: Range<usize>,
        to: *mut f32,
        pitch: usize,
    ) {
        let Range { start: first, end } = channels;
        let channels = end - first;
        match self.form.tile() {
            IN => self.level.run(Forward::<IN> { pixels, first, to, pitch, channels }),
            _ => self.level.run(Forward::<SMALL> { pixels, first, to, pitch, channels }),
        }
    }

    /// Transforms results back to outputs: of the tiles `first + range` of all, which are the tiles
    /// `range` of the results.
    ///
    /// # Safety
    /// The results must be inside their memory, and the outputs of these tiles the caller's alone.
    unsafe fn restore(&self, group: usize, first: usize, range: Range<usize>, results: Results) {
        let e = self.e;
        let out = group * self.out + results.first;
        let bias = self.bias.map_or(std::ptr::null(), |bias| bias[out..][..results.count].as_ptr());
        for index in range {
            let (n, row, col) = self.place(first + index);
            let rows = (e.out_rows - row).min(self.form.out);
            let cols = (e.out_cols - col).min(self.form.out);
            let pixel = (n * e.out_rows + row) * e.out_cols + col;
            let to = pixel * self.y_pitch + self.y_first + out;
            // SAFETY: the caller vouches for the results; the outputs, clipped to the image, are
            // inside `y`.
            let (from, to) = unsafe { (results.from.at(index * results.columns), self.y.at(to)) };
            // With one, the output is whole.
            let residual = self.residual.at(pixel * e.out + out, to);
            let Results { pitch, count: out, .. } = results;
            let (row_pitch, col_pitch) = (e.out_cols * self.y_pitch, self.y_pitch);
            let back = Back {
                from,
                pitch,
                out,
                bias,
                residual,
                activation: self.op.activation,
                to,
                row_pitch,
                col_pitch,
                rows,
                cols,
            };
            match self.form.out {
                4 => self.level.run(BackTo::<IN, 4>(back)),
                _ if self.form.taps == 5 => self.level.run(BackTo::<IN, 2>(back)),
                _ => self.level.run(BackTo::<SMALL, 2>(back)),
            }
        }
    }
}
