//! The transforms of tiles, into the positions and back.

use striate_tensor::ops::Activation;

use super::{IN, POSITIONS, SMALL};
use crate::activation::{InRegisters, activate_rows};
use crate::simd::{Kernel, Simd};

/// `BᵀdB` of a tile of `TILE × TILE` pixels, for some channels (a multiple of the vector). Only made by
/// [`Step::transform`], which vouches for the pointers.
pub(super) struct Forward<const TILE: usize> {
    pub(super) pixels: [*const f32; POSITIONS],
    /// The first channel of the pixels that counts.
    pub(super) first: usize,
    pub(super) to: *mut f32,
    pub(super) pitch: usize,
    pub(super) channels: usize,
}

impl<const TILE: usize> Kernel for Forward<TILE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut c = 0;
        while c < self.channels {
            let mut half = [[simd.splat(0.0); TILE]; TILE];
            for (j, column) in half.iter_mut().enumerate() {
                let mut d = [simd.splat(0.0); TILE];
                for (i, d) in d.iter_mut().enumerate() {
                    // SAFETY: `c + LANES <= channels`.
                    *d = unsafe { simd.load(self.pixels[i * TILE + j].add(self.first + c)) };
                }
                *column = forward_line(simd, d);
            }
            for i in 0..TILE {
                let mut row = [simd.splat(0.0); TILE];
                for (to, column) in row.iter_mut().zip(&half) {
                    *to = column[i];
                }
                for (j, v) in forward_line(simd, row).into_iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { simd.store(self.to.add((i * TILE + j) * self.pitch + c), v) };
                }
            }
            c += S::LANES;
        }
    }
}

/// `Bᵀd`. A function, since a closure would be compiled without the instruction set.
#[inline(always)]
fn forward_line<S: Simd, const TILE: usize>(simd: S, d: [S::V; TILE]) -> [S::V; TILE] {
    let mut line = d;
    if TILE == SMALL {
        line[0] = simd.sub(d[2], d[0]);
        line[1] = simd.add(d[2], d[1]);
        line[2] = simd.sub(d[2], d[1]);
        line[3] = simd.sub(d[3], d[1]);
        return line;
    }
    let (two, four, five) = (simd.splat(2.0), simd.splat(4.0), simd.splat(5.0));
    // The middle rows of Bᵀ are sums and differences of the same two terms.
    let a = simd.sub(d[4], simd.mul(four, d[2]));
    let b = simd.sub(d[3], simd.mul(four, d[1]));
    let c = simd.sub(d[4], d[2]);
    let f = simd.mul(two, simd.sub(d[3], d[1]));
    line[0] = simd.add(simd.sub(simd.mul(four, d[0]), simd.mul(five, d[2])), d[4]);
    line[1] = simd.add(a, b);
    line[2] = simd.sub(a, b);
    line[3] = simd.add(c, f);
    line[4] = simd.sub(c, f);
    line[5] = simd.add(simd.sub(simd.mul(four, d[1]), simd.mul(five, d[3])), d[5]);
    line
}

/// `Aᵀm`: 4 outputs, or 2 of a larger kernel or a smaller tile.
#[inline(always)]
fn back_line<S: Simd, const TILE: usize, const OUT: usize>(
    simd: S,
    m: [S::V; TILE],
) -> [S::V; OUT] {
    let two = simd.splat(2.0);
    let (a, b) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
    if TILE == SMALL {
        let mut y = [simd.add(m[0], a); OUT];
        y[1] = simd.add(b, m[3]);
        return y;
    }
    let (c, d) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
    let mut y = [simd.add(simd.add(m[0], a), c); OUT];
    if OUT == 2 {
        y[1] = simd.add(simd.mul_add(two, d, b), m[5]);
    } else {
        let (four, eight) = (simd.splat(4.0), simd.splat(8.0));
        y[1] = simd.mul_add(two, d, b);
        y[2] = simd.mul_add(four, c, a);
        y[3] = simd.add(simd.mul_add(eight, d, b), m[5]);
    }
    y
}

/// What is transformed back: a tile, for some outputs (a multiple of the vector), with bias, residual and
/// activation.
#[derive(Clone, Copy)]
pub(super) struct Back {
    pub(super) from: *const f32,
    pub(super) pitch: usize,
    pub(super) out: usize,
    pub(super) bias: *const f32,
    /// As `to`, or null.
    pub(super) residual: *const f32,
    pub(super) activation: Activation,
    pub(super) to: *mut f32,
    pub(super) row_pitch: usize,
    pub(super) col_pitch: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// `AᵀmA` of a tile of `TILE × TILE` positions to `OUT × OUT` pixels. Only made by
/// [`Step::restore`](super::Step::restore), which vouches for the pointers.
pub(super) struct BackTo<const TILE: usize, const OUT: usize>(pub(super) Back);

impl<const TILE: usize, const OUT: usize> Kernel for BackTo<TILE, OUT> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let back = self.0;
        let (in_registers, after) = InRegisters::split(back.activation);
        let mut o = 0;
        while o < back.out {
            let mut half = [[simd.splat(0.0); OUT]; TILE];
            for (j, column) in half.iter_mut().enumerate() {
                let mut m = [simd.splat(0.0); TILE];
                for (i, m) in m.iter_mut().enumerate() {
                    // SAFETY: `o + LANES <= out`.
                    *m = unsafe { simd.load(back.from.add((i * TILE + j) * back.pitch + o)) };
                }
                *column = back_line(simd, m);
            }
            let bias = match back.bias.is_null() {
                true => simd.splat(0.0),
                // SAFETY: as above.
                false => unsafe { simd.load(back.bias.add(o)) },
            };
            for i in 0..back.rows {
                let mut row = [simd.splat(0.0); TILE];
                for (to, column) in row.iter_mut().zip(&half) {
                    *to = column[i];
                }
                let line: [S::V; OUT] = back_line(simd, row);
                for (j, v) in line.into_iter().enumerate().take(back.cols) {
                    let at = i * back.row_pitch + j * back.col_pitch + o;
                    let v = simd.add(v, bias);
                    let v = match back.residual.is_null() {
                        true => v,
                        // SAFETY: of the shape of the output, as below.
                        false => simd.add(v, unsafe { simd.load(back.residual.add(at)) }),
                    };
                    let v = in_registers.apply(simd, v);
                    // SAFETY: inside the part of the image that the tile covers.
                    unsafe { simd.store(back.to.add(at), v) };
                }
            }
            o += S::LANES;
        }
        for i in 0..back.rows {
            let row = back.to.wrapping_add(i * back.row_pitch);
            // SAFETY: the outputs that were just written.
            unsafe { activate_rows(simd, after, row, back.cols, back.out, back.col_pitch) };
        }
    }
}

/// `A·d·Aᵀ` of a tile of 4×4 gradients, for all channels (a multiple of the vector). Only made by
/// [`weight_grad`](super::weight_grad), which vouches for the pointers.
pub(super) struct Forward4x4 {
    pub(super) pixels: [*const f32; 4 * 4],
    pub(super) to: *mut f32,
    pub(super) pitch: usize,
    pub(super) channels: usize,
}

impl Kernel for Forward4x4 {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut c = 0;
        while c < self.channels {
            let mut half = [[simd.splat(0.0); IN]; 4];
            for (j, column) in half.iter_mut().enumerate() {
                let mut d = [simd.splat(0.0); 4];
                for (i, d) in d.iter_mut().enumerate() {
                    // SAFETY: `c + LANES <= channels`.
                    *d = unsafe { simd.load(self.pixels[i * 4 + j].add(c)) };
                }
                *column = spread_line(simd, d);
            }
            for i in 0..IN {
                let mut row = [simd.splat(0.0); 4];
                for (to, column) in row.iter_mut().zip(&half) {
                    *to = column[i];
                }
                for (j, v) in spread_line(simd, row).into_iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { simd.store(self.to.add((i * IN + j) * self.pitch + c), v) };
                }
            }
            c += S::LANES;
        }
    }
}

/// `Ad`
#[inline(always)]
fn spread_line<S: Simd>(simd: S, d: [S::V; 4]) -> [S::V; IN] {
    let (two, four) = (simd.splat(2.0), simd.splat(4.0));
    let (even, odd) = (simd.add(d[0], d[2]), simd.add(d[1], d[3]));
    let far_even = simd.mul_add(four, d[2], d[0]);
    let far_odd = simd.mul(two, simd.mul_add(four, d[3], d[1]));
    [
        d[0],
        simd.add(even, odd),
        simd.sub(even, odd),
        simd.add(far_even, far_odd),
        simd.sub(far_even, far_odd),
        d[3],
    ]
}

/// `GᵀuG` of the sums of an output, for all channels (a multiple of the vector), to `[3][3]
/// [channels]` weights. Only made by [`weight_grad`](super::weight_grad), which vouches for the
/// pointers.
pub(super) struct Back3x3 {
    pub(super) from: *const f32,
    pub(super) pitch: usize,
    pub(super) to: *mut f32,
    pub(super) channels: usize,
}

impl Kernel for Back3x3 {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut c = 0;
        while c < self.channels {
            let mut half = [[simd.splat(0.0); 3]; IN];
            for (j, column) in half.iter_mut().enumerate() {
                let mut u = [simd.splat(0.0); IN];
                for (i, u) in u.iter_mut().enumerate() {
                    // SAFETY: `c + LANES <= channels`.
                    *u = unsafe { simd.load(self.from.add((i * IN + j) * self.pitch + c)) };
                }
                *column = kernel_line(simd, u);
            }
            for i in 0..3 {
                let mut row = [simd.splat(0.0); IN];
                for (to, column) in row.iter_mut().zip(&half) {
                    *to = column[i];
                }
                for (j, v) in kernel_line(simd, row).into_iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { simd.store(self.to.add((i * 3 + j) * self.channels + c), v) };
                }
            }
            c += S::LANES;
        }
    }
}

/// `Gᵀu`
#[inline(always)]
fn kernel_line<S: Simd>(simd: S, u: [S::V; IN]) -> [S::V; 3] {
    let (sixth, twelfth) = (simd.splat(1.0 / 6.0), simd.splat(1.0 / 12.0));
    let quarter = simd.splat(0.25);
    let near = simd.mul(sixth, simd.add(u[1], u[2]));
    let far = simd.mul(sixth, simd.add(u[3], u[4]));
    [
        simd.sub(simd.mul(quarter, simd.add(u[0], far)), near),
        simd.mul_add(twelfth, simd.sub(u[3], u[4]), simd.mul(sixth, simd.sub(u[2], u[1]))),
        simd.add(simd.sub(far, near), u[5]),
    ]
}
