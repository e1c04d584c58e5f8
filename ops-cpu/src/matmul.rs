//! Matrix products.

use striate_tensor::ops::{Activation, MatMul, MatMulExtents};
use striate_tensor::{DType, Operand, Result, Shape, TensorType};

use crate::activation::Activate;
use crate::buffer::{Floats, floats};
use crate::context::Context;
use crate::gemm::matvec::{MAX_ROWS, MatVec, Runs, Weights};
use crate::gemm::{
    self, Ahead, Block, DEPTH_BLOCK, Packing, outer, pack_panels, pack_rows, tile_shape,
};
use crate::memory::Memory;
use crate::threads::SharedOutput;

/// Rows of the weights handed out together: enough work to be worth it, few enough to share.
const MATVEC_PART: usize = 64;
/// Bytes of packed right side that exist at a time.
const PACKED_BYTES: usize = 8 << 20;
/// Rows of the right side that a task packs.
const PACKED_ROWS: usize = 32;
/// Rows and panels of a block: both sides' pieces of it stay in a second-level cache.
const BLOCK_ROWS: usize = 128;
const BLOCK_PANELS: usize = 8;
/// As many blocks keep the threads of a desktop processor busy to the end.
const BLOCKS: usize = 16;
/// Floats between copied rows beyond what they hold.
const ROW_PAD: usize = 16;
/// Up to so many rows, the weights of a full-connect layer are read in place rather than packed.
const IN_PLACE_ROWS: usize = 256;
/// Rows of weights that a task takes at a time, about: as many streams as a processor fetches ahead.
const STREAMED_ROWS: usize = 28;

/// Executes a matrix product.
pub(crate) fn matmul(
    cx: &Context,
    op: &MatMul,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let extents = op.extents(&inputs[0].ty.shape, &inputs[1].ty.shape)?;
    let MatMulExtents { batch, m, n, k } = extents;
    let left = cx.widen(&inputs[0])?;
    let right = floats(&inputs[1])?;
    let bias = match op.bias {
        true => Some(cx.widen(&inputs[2])?),
        false => None,
    };
    let bias = bias.as_ref().map(|bias| bias.slice());
    let mut y = cx.pool.take(4 * output.count())?;
    if output.count() == 0 {
        return cx.narrow(y, output);
    }
    let way = Way::of(op, &extents, inputs[1].ty.dtype);
    let transposed;
    let left = if op.transpose_a != (way == Way::Outer) && k > 0 && m > 0 {
        let [rows, cols] = if op.transpose_a { [k, m] } else { [m, k] };
        transposed = transpose(cx, left.slice(), rows, cols)?;
        transposed.slice()
    } else {
        left.slice()
    };
    for (index, y) in y.slice_mut::<f32>().chunks_exact_mut(m * n).enumerate() {
        let a = matrix(&batch, &inputs[0].ty.shape, index) * m * k;
        let b = matrix(&batch, &inputs[1].ty.shape, index) * k * n;
        let product = Product {
            left: &left[a..a + m * k],
            right: right.range(b..b + k * n),
            bias,
            op,
            m,
            n,
            k,
        };
        match (way, product.right) {
            (Way::Outer, Floats::F32(right)) => {
                outer::product(cx, product.left, right, [m, n, k], y)?;
            }
            (Way::FewRows, _) => product.few_rows(cx, y)?,
            (Way::InPlace, _) => product.in_place(cx, y)?,
            (Way::Tiled | Way::Outer, _) => product.tiled(cx, y)?,
        }
    }
    cx.narrow(y, output)
}

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// [`outer::product`]: both sides are read as they lie.
    Outer,
    /// [`Product::few_rows`]
    FewRows,
    /// [`Product::in_place`]
    InPlace,
    /// [`Product::tiled`]
    Tiled,
}

impl Way {
    /// The one for such a product: by the shape and the precision of the right side alone.
    fn of(op: &MatMul, extents: &MatMulExtents, right: DType) -> Self {
        let MatMulExtents { m, n, .. } = *extents;
        // A left side that lies as the outer product takes it, or is soon turned round.
        let outer = !op.bias && op.activation.is_none() && !op.transpose_b && right == DType::F32;
        match op.transpose_b {
            false if outer && (op.transpose_a || m <= IN_PLACE_ROWS) => Way::Outer,
            true if m <= MAX_ROWS => Way::FewRows,
            true if m <= IN_PLACE_ROWS && n >= 2 * m => Way::InPlace,
            _ => Way::Tiled,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Way::Outer => "outer product",
            Way::FewRows => "rows (matvec)",
            Way::InPlace => "weights in place",
            Way::Tiled => "tiled",
        }
    }
}

/// What [`matmul`] runs, for people.
pub(crate) fn name(op: &MatMul, inputs: &[TensorType]) -> Result<&'static str> {
    let extents = op.extents(&inputs[0].shape, &inputs[1].shape)?;
    Ok(Way::of(op, &extents, inputs[1].dtype).name())
}

/// Which matrix of an operand belongs to matrix `index` of the output: leading axes broadcast.
fn matrix(batch: &Shape, operand: &Shape, index: usize) -> usize {
    let dims = &operand.dims()[..operand.rank() - 2];
    let (mut rest, mut at, mut step) = (index, 0, 1);
    for back in 1..=batch.rank() {
        let extent = batch.dims()[batch.rank() - back];
        let i = rest % extent;
        rest /= extent;
        if back <= dims.len() {
            let own = dims[dims.len() - back];
            at += if own == 1 { 0 } else { i * step };
            step *= own;
        }
    }
    at
}

/// Matrices `[.., rows, cols]` as `[.., cols, rows]`.
fn transpose(cx: &Context, from: &[f32], rows: usize, cols: usize) -> Result<Memory> {
    let mut memory = cx.pool.take(4 * from.len())?;
    cx.threads.for_each_part(memory.slice_mut::<f32>(), rows, |index, to| {
        let (matrix, col) = (index / cols, index % cols);
        let from = &from[matrix * rows * cols + col..];
        for (row, to) in to.iter_mut().enumerate() {
            *to = from[row * cols];
        }
    });
    Ok(memory)
}

struct Product<'a> {
    /// `[m, k]`
    left: &'a [f32],
    /// `[k, n]`, or `[n, k]`
    right: Floats<'a>,
    bias: Option<&'a [f32]>,
    op: &'a MatMul,
    m: usize,
    n: usize,
    k: usize,
}

impl Product<'_> {
    /// Few rows, the right side as rows of weights.
    fn few_rows(&self, cx: &Context, y: &mut [f32]) -> Result<()> {
        let (m, n, k) = (self.m, self.n, self.k);
        let mut sums = cx.pool.take(4 * m * n)?;
        let runs = Runs::of(m, cx.level, matches!(self.right, Floats::F16(_)));
        let mut cut;
        let left = match runs.are_cut() {
            true => {
                cut = cx.pool.take(4 * m * k)?;
                runs.cut(self.left, k, cut.slice_mut());
                cut.slice()
            }
            false => self.left,
        };
        cx.threads.for_each_part(sums.slice_mut::<f32>(), MATVEC_PART * m, |part, sums| {
            let first = part * MATVEC_PART;
            let rows = first * k..(first + sums.len() / m) * k;
            let weights = match self.right {
                Floats::F32(w) => Weights::F32(&w[rows]),
                Floats::F16(w) => Weights::F16(&w[rows]),
            };
            MatVec { left, weights, depth: k, m, output: sums }.run(cx.level);
        });
        self.turn(cx, sums.slice(), y);
        Ok(())
    }

    /// Some rows, the right side as rows of weights: these are read in place, as the left side of
    /// `right · leftᵀ`, and the few rows are packed.
    fn in_place(&self, cx: &Context, y: &mut [f32]) -> Result<()> {
        let (m, n, k) = (self.m, self.n, self.k);
        let tile = tile_shape(cx.level);
        let panel = k * tile.cols;
        let panels = m.div_ceil(tile.cols);
        let mut packed = cx.pool.take(4 * panels * panel)?;
        let packing = Packing { depth: k, cols: m, depth_step: 1, col_step: k };
        if panel > 0 {
            cx.threads.for_each_part(packed.slice_mut::<f32>(), panel, |p, to| {
                pack_panels(cx.level, Floats::F32(self.left), packing, p * tile.cols, to);
            });
        }
        let packed: &[f32] = packed.slice();
        let mut sums = cx.pool.take(4 * m * n)?;
        let part = (STREAMED_ROWS / tile.rows).max(1) * tile.rows;
        cx.threads.try_for_each_part(sums.slice_mut::<f32>(), part * m, |index, sums| {
            let rows = sums.len() / m;
            let weights = self.right.range(index * part * k..(index * part + rows) * k);
            let mut widened = cx.pool.take(match weights {
                Floats::F32(_) => 0,
                Floats::F16(_) => 4 * rows * k,
            })?;
            let weights = match weights {
                Floats::F32(weights) => weights,
                Floats::F16(halves) => {
                    gemm::widen(cx.level, halves, widened.slice_mut());
                    widened.slice()
                }
            };
            let mut pointers = cx.pool.take(8 * part)?;
            let pointers = pointers.pointers_mut();
            for (i, pointer) in pointers.iter_mut().enumerate() {
                *pointer = weights[i.min(rows - 1) * k..].as_ptr();
            }
            let block = Block {
                rows: pointers.as_ptr(),
                m: rows,
                taps: 1,
                run: k,
                panels: packed.as_ptr(),
                n: m,
                output: sums.as_mut_ptr(),
                pitch: m,
                bias: std::ptr::null(),
                residual: std::ptr::null(),
                activation: Activation::None,
                add: false,
                ahead: Ahead::NOTHING,
                cold: false,
            };
            // SAFETY: rows are `k` floats each, panels are whole, and `sums` has `rows` rows of `m`.
            unsafe { block.run(cx.level) };
            Ok(())
        })?;
        self.turn(cx, sums.slice(), y);
        Ok(())
    }

    /// Sums `[n, m]` to the output `[m, n]`, with bias and activation.
    fn turn(&self, cx: &Context, sums: &[f32], y: &mut [f32]) {
        let (m, n) = (self.m, self.n);
        cx.threads.for_each_part(y, n, |i, y| {
            for (j, (y, sums)) in y.iter_mut().zip(sums.chunks_exact(m)).enumerate() {
                *y = sums[i] + self.bias.map_or(0.0, |bias| bias[j]);
            }
            cx.level.run(Activate { activation: self.op.activation, values: y });
        });
    }

    /// Tiles: the right side is packed into panels, some columns at a time.
    fn tiled(&self, cx: &Context, y: &mut [f32]) -> Result<()> {
        let (m, n, k) = (self.m, self.n, self.k);
        let tile = tile_shape(cx.level);
        let panel = k * tile.cols;
        let panels = n.div_ceil(tile.cols);
        let at_once = (PACKED_BYTES / (4 * panel.max(1))).clamp(1, panels);
        let mut packed = cx.pool.take(4 * at_once * panel)?;
        let mut bias = cx.pool.take(4 * panels * tile.cols)?;
        bias.slice_mut::<f32>().fill(0.0);
        if let Some(from) = self.bias {
            bias.slice_mut::<f32>()[..n].copy_from_slice(from);
        }
        let bias: &[f32] = bias.slice();
        let packing = match self.op.transpose_b {
            true => Packing { depth: k, cols: n, depth_step: 1, col_step: k },
            false => Packing { depth: k, cols: n, depth_step: n, col_step: 1 },
        };
        // The rows of a block are copied for some products at a time, for several panels: they would
        // lie a power of two apart in memory often, where they push each other out of the caches.
        let parts = k.div_ceil(DEPTH_BLOCK).max(1);
        let depth = k.div_ceil(parts);
        let pitch = depth + ROW_PAD;
        let tiles = m.div_ceil(tile.rows);
        let block_tiles = BLOCK_ROWS.div_ceil(tile.rows).min(tiles);
        let row_blocks = tiles.div_ceil(block_tiles);
        let mut together = BLOCK_PANELS.min(at_once);
        while together > 1 && row_blocks * panels.div_ceil(together) < BLOCKS {
            together = together.div_ceil(2);
        }
        let target = SharedOutput::new(y);
        for first_panel in (0..panels).step_by(at_once) {
            let here = at_once.min(panels - first_panel);
            let to = &mut packed.slice_mut::<f32>()[..here * panel];
            if self.op.transpose_b {
                cx.threads.for_each_part(to, panel, |p, to| {
                    pack_panels(cx.level, self.right, packing, (first_panel + p) * tile.cols, to);
                });
            } else {
                // Along the rows, so that memory is read in its order.
                let (cols, to) = (first_panel * tile.cols, SharedOutput::new(to));
                cx.threads.for_each(k.div_ceil(PACKED_ROWS), |part| {
                    let rows = part * PACKED_ROWS..((part + 1) * PACKED_ROWS).min(k);
                    // SAFETY: `to` has `here` panels, and these rows of them are this task's.
                    unsafe {
                        pack_rows(cx.level, self.right, packing, cols, here, tile.cols, rows, to)
                    };
                });
            }
            let packed: &[f32] = packed.slice();
            let groups = here.div_ceil(together);
            cx.threads.try_for_each(row_blocks * groups, |task| {
                let (group, row_block) = (task / row_blocks, task % row_blocks);
                let first = row_block * block_tiles * tile.rows;
                let rows = (m - first).min(block_tiles * tile.rows);
                let mut copied = cx.pool.take(4 * rows * pitch)?;
                let mut pointers = cx.pool.take(8 * rows.next_multiple_of(tile.rows))?;
                let pointers = pointers.pointers_mut();
                for part in 0..parts {
                    let from = (part * depth).min(k);
                    let run = depth.min(k - from);
                    for (i, row) in copied.slice_mut::<f32>().chunks_exact_mut(pitch).enumerate() {
                        row[..run].copy_from_slice(&self.left[(first + i) * k + from..][..run]);
                    }
                    // The last row is repeated to fill its tile.
                    for (i, pointer) in pointers.iter_mut().enumerate() {
                        *pointer = copied.slice::<f32>()[i.min(rows - 1) * pitch..].as_ptr();
                    }
                    for p in group * together..((group + 1) * together).min(here) {
                        let col = (first_panel + p) * tile.cols;
                        let block = Block {
                            rows: pointers.as_ptr(),
                            m: rows,
                            taps: 1,
                            run,
                            panels: packed[p * panel + from * tile.cols..].as_ptr(),
                            n: (n - col).min(tile.cols),
                            // SAFETY: row `first` and column `col` are inside `y`.
                            output: unsafe { target.at(first * n + col) },
                            pitch: n,
                            bias: bias[col..].as_ptr(),
                            residual: std::ptr::null(),
                            activation: match part + 1 == parts {
                                true => self.op.activation,
                                false => Activation::None,
                            },
                            add: part > 0,
                            ahead: Ahead::NOTHING,
                            cold: false,
                        };
                        // SAFETY: rows are `run` floats each; panels and biases are padded to whole
                        // tiles; blocks of different tasks do not overlap, and lie inside `y`.
                        unsafe { block.run(cx.level) };
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
