//! Local response normalization.

use striate_tensor::ops::Lrn;
use striate_tensor::{Operand, Result, TensorType};

use crate::context::Context;
use crate::memory::Memory;
use crate::simd::{Kernel, Simd};

/// Elements that one task normalizes.
const PART_ELEMS: usize = 1 << 14;
/// Floats of groups that are summed at a time at least, where there is more than one. The sums read
/// across the vectors that were written, so a processor cannot hand those on before they are in the
/// cache: what was written long ago is.
const SUM_FLOATS: usize = 1 << 10;
/// Windows up to this size are summed cell by cell; larger ones from sums of blocks.
const DIRECT_SIZE: usize = 16;

/// The power `beta` of a denominator. The usual ones have ways of their own.
#[derive(Clone, Copy)]
pub(crate) enum Power {
    Half,
    ThreeQuarters,
    One,
    Other(f32),
}

impl Power {
    pub(crate) fn new(beta: f32) -> Self {
        match beta {
            0.5 => Power::Half,
            0.75 => Power::ThreeQuarters,
            1.0 => Power::One,
            _ => Power::Other(beta),
        }
    }
}

pub(crate) fn lrn(
    cx: &Context,
    op: &Lrn,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let x = cx.widen(&inputs[0])?;
    let x = x.slice();
    let channels = output.shape.dims().last().copied().unwrap_or(1);
    let mut y = cx.pool.take(4 * output.count())?;
    if output.count() == 0 {
        return cx.narrow(y, output);
    }
    let sizes = Sizes::new(op, channels);
    let part = PART_ELEMS.div_ceil(channels) * channels;
    cx.threads.try_for_each_part(y.slice_mut::<f32>(), part, |index, y| {
        let mut scratch = Scratch::take(cx, sizes, 0)?;
        let (windows, _) = scratch.windows();
        let x = &x[index * part..index * part + y.len()];
        let power = Power::new(op.beta);
        cx.level.run(Pixels { x, y, kappa: op.kappa, alpha: op.alpha, power, windows });
        Ok(())
    })?;
    cx.narrow(y, output)
}

/// The sizes of windows in a group of channels.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Channels that normalize each other.
    pub(crate) group: usize,
    /// Channels of a window on either side of its centre.
    reach: usize,
}

impl Sizes {
    /// For so many channels.
    pub(crate) fn new(op: &Lrn, channels: usize) -> Self {
        let group = channels / op.groups;
        // A window reaches no further than its group.
        Sizes { group, reach: (op.size / 2).min(group - 1) }
    }

    /// Groups that are summed at a time.
    fn groups(&self) -> usize {
        SUM_FLOATS.div_ceil(self.group)
    }

    /// Floats of these groups.
    pub(crate) fn floats(&self) -> usize {
        self.groups() * self.group
    }

    /// The cells of a group, with zeros for the windows of its ends to reach into.
    fn cells(&self) -> usize {
        self.group + 2 * self.reach
    }

    fn window(&self) -> usize {
        2 * self.reach + 1
    }

    fn is_direct(&self) -> bool {
        self.window() <= DIRECT_SIZE
    }
}

/// Memory for the sums over windows of some groups, and more.
pub(crate) struct Scratch {
    sizes: Sizes,
    floats: Memory,
    blocks: Memory,
}

impl Scratch {
    /// With `more` floats beside what the sums need.
    pub(crate) fn take(cx: &Context, sizes: Sizes, more: usize) -> Result<Self> {
        let all_cells = sizes.groups() * sizes.cells();
        let mut floats = cx.pool.take(4 * (all_cells + sizes.floats() + more))?;
        floats.slice_mut::<f32>().fill(0.0);
        let blocks = if sizes.is_direct() { 0 } else { 16 * sizes.cells() };
        Ok(Scratch { sizes, floats, blocks: cx.pool.take(blocks)? })
    }

    /// The windows, and the other floats.
    pub(crate) fn windows(&mut self) -> (Windows<'_>, &mut [f32]) {
        let Sizes { group, .. } = self.sizes;
        let groups = self.sizes.groups();
        let (cells, rest) =
            self.floats.slice_mut::<f32>().split_at_mut(groups * self.sizes.cells());
        let (sums, more) = rest.split_at_mut(groups * group);
        (Windows { sizes: self.sizes, cells, sums, blocks: self.blocks.slice_mut() }, more)
    }
}

/// Sums over the windows of some groups.
pub(crate) struct Windows<'a> {
    pub(crate) sizes: Sizes,
    /// `[groups]` of cells, each between zeros.
    cells: &'a mut [f32],
    /// `[groups, group]`: the sum of the window around each.
    pub(crate) sums: &'a mut [f32],
    /// Scratch for large windows, twice as long as the cells of a group.
    blocks: &'a mut [f64],
}

impl Windows<'_> {
    /// The cells of each group to add up.
    #[inline(always)]
    pub(crate) fn groups(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let Sizes { group, reach } = self.sizes;
        self.cells
            .chunks_exact_mut(self.sizes.cells())
            .map(move |cells| &mut cells[reach..][..group])
    }

    /// Adds up those of so many groups.
    #[inline(always)]
    pub(crate) fn add<S: Simd>(&mut self, simd: S, groups: usize) {
        let (window, direct) = (self.sizes.window(), self.sizes.is_direct());
        let cells = self.cells.chunks_exact(self.sizes.cells());
        for (cells, sums) in cells.zip(self.sums.chunks_exact_mut(self.sizes.group)).take(groups) {
            if direct {
                add_cells(simd, cells, window, sums);
            } else {
                add_blocks(cells, window, sums, self.blocks);
            }
        }
    }
}

struct Pixels<'a> {
    /// `[groups of all pixels, group]`
    x: &'a [f32],
    y: &'a mut [f32],
    kappa: f32,
    alpha: f32,
    power: Power,
    windows: Windows<'a>,
}

impl Kernel for Pixels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Sizes { group, .. } = self.windows.sizes;
        let at_once = self.windows.sizes.floats();
        for (x, y) in self.x.chunks(at_once).zip(self.y.chunks_mut(at_once)) {
            for (squares, x) in self.windows.groups().zip(x.chunks_exact(group)) {
                squares.iter_mut().zip(x).for_each(|(square, x)| *square = x * x);
            }
            self.windows.add(simd, x.len() / group);
            let sums = &mut self.windows.sums[..x.len()];
            // A kappa of -0 would make a denominator of -0, whose root is no denominator.
            let (kappa, alpha) = (self.kappa + 0.0, self.alpha);
            sums.iter_mut().for_each(|sum| *sum = kappa + alpha * *sum);
            inverse_powers(simd, self.power, sums, y);
            y.iter_mut().zip(x).for_each(|(y, x)| *y *= x);
        }
    }
}

/// `to = bases^-beta`.
#[inline(always)]
pub(crate) fn inverse_powers<S: Simd>(simd: S, power: Power, bases: &[f32], to: &mut [f32]) {
    let terms = to.iter_mut().zip(bases);
    match power {
        Power::Half => terms.for_each(|(to, s)| *to = 1.0 / s.sqrt()),
        Power::ThreeQuarters => inverse_three_quarters(simd, bases, to),
        Power::One => terms.for_each(|(to, s)| *to = 1.0 / s),
        Power::Other(beta) => terms.for_each(|(to, s)| *to = s.powf(-beta)),
    }
}

/// `to = bases^(-3/4)`, with a relative error of at most 2e-7.
///
/// With wide vectors, two square roots and a division take longer than a first estimate refined by
/// two steps of Newton's iteration with a second-order term, for `y^-4 = s^3`.
#[inline(always)]
fn inverse_three_quarters<S: Simd>(simd: S, bases: &[f32], to: &mut [f32]) {
    let count = to.len();
    assert!(bases.len() == count);
    if count < S::LANES {
        for (to, s) in to.iter_mut().zip(bases) {
            let root = s.sqrt();
            *to = 1.0 / (root * root.sqrt());
        }
        return;
    }
    let one = simd.splat(1.0);
    let (first, second) = (simd.splat(0.25), simd.splat(5.0 / 32.0));
    let mut at = 0;
    while at < count {
        // The last vector goes over some twice.
        let i = at.min(count - S::LANES);
        // SAFETY: `i + LANES <= count`, the length of both.
        let s = unsafe { simd.load(bases.as_ptr().add(i)) };
        let y = match simd.guess_inverse_three_quarters(s) {
            Some(mut y) => {
                let minus_cube = simd.mul(simd.mul(s, s), simd.sub(simd.splat(0.0), s));
                for _ in 0..2 {
                    let square = simd.mul(y, y);
                    let error = simd.mul_add(minus_cube, simd.mul(square, square), one);
                    let step = simd.mul(simd.mul_add(error, second, first), error);
                    y = simd.mul_add(y, step, y);
                }
                y
            }
            None => {
                let root = simd.sqrt(s);
                simd.div(one, simd.mul(root, simd.sqrt(root)))
            }
        };
        // SAFETY: as above.
        unsafe { simd.store(to.as_mut_ptr().add(i), y) };
        at += S::LANES;
    }
}

/// `sums[c] = Σ squares[c .. c + window]`, cell by cell.
#[inline(always)]
fn add_cells<S: Simd>(simd: S, squares: &[f32], window: usize, sums: &mut [f32]) {
    let channels = sums.len();
    assert!(squares.len() + 1 == channels + window);
    if channels < S::LANES {
        for (sum, squares) in sums.iter_mut().zip(squares.windows(window)) {
            *sum = squares.iter().sum();
        }
        return;
    }
    let mut c = 0;
    while c < channels {
        // The last vector goes over some channels twice.
        let first = c.min(channels - S::LANES);
        let mut sum = simd.splat(0.0);
        for i in 0..window {
            // SAFETY: `first + LANES <= channels` and `i < window`, so the last one read is inside
            // the squares by the assertion above.
            sum = simd.add(sum, unsafe { simd.load(squares.as_ptr().add(first + i)) });
        }
        // SAFETY: `first + LANES <= channels`.
        unsafe { simd.store(sums.as_mut_ptr().add(first), sum) };
        c += S::LANES;
    }
}

/// `sums[c] = Σ squares[c .. c + window]` for large windows, with three additions each.
///
/// The squares are cut into blocks of the size of a window, so that each window is the end of one
/// block and the start of the next. (Running sums would need a subtraction, after which an infinity
/// or NaN never leaves the sum.)
#[inline(always)]
fn add_blocks(squares: &[f32], window: usize, sums: &mut [f32], blocks: &mut [f64]) {
    let (starts, ends) = blocks.split_at_mut(squares.len());
    let cells = squares.chunks(window);
    for ((squares, starts), ends) in
        cells.zip(starts.chunks_mut(window)).zip(ends.chunks_mut(window))
    {
        let mut sum = 0.0;
        for (start, &square) in starts.iter_mut().zip(squares) {
            sum += f64::from(square);
            *start = sum;
        }
        let mut sum = 0.0;
        for (end, &square) in ends.iter_mut().zip(squares).rev() {
            sum += f64::from(square);
            *end = sum;
        }
    }
    for (c, sum) in sums.iter_mut().enumerate() {
        let start = starts[c + window - 1];
        *sum = if c % window == 0 { start } else { ends[c] + start } as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_adding_agree_with_the_definition() {
        struct Both(usize, usize);
        impl Kernel for Both {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                let Both(group, reach) = self;
                let sizes = Sizes { group, reach };
                let mut squares = vec![0.0f32; sizes.cells()];
                for (i, square) in squares[reach..reach + group].iter_mut().enumerate() {
                    *square = (i * 37 % 101) as f32;
                }
                let mut direct = vec![0.0; group];
                add_cells(simd, &squares, sizes.window(), &mut direct);
                let mut blocks = vec![0.0; 2 * sizes.cells()];
                let mut by_blocks = vec![0.0; group];
                add_blocks(&squares, sizes.window(), &mut by_blocks, &mut blocks);
                for c in 0..group {
                    let expected: f32 = squares[c..c + sizes.window()].iter().sum();
                    assert_eq!((direct[c], by_blocks[c]), (expected, expected), "{group} {reach}");
                }
            }
        }
        for level in crate::Level::available() {
            for (group, reach) in [(1, 0), (3, 1), (7, 6), (8, 2), (16, 2), (17, 8), (40, 39)] {
                level.run(Both(group, reach));
            }
        }
    }

    #[test]
    fn inverse_three_quarters_are_within_2e_7_and_ieee_beyond() {
        struct Powers<'a>(&'a [f32], &'a mut [f32]);
        impl Kernel for Powers<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                inverse_three_quarters(simd, self.0, self.1);
            }
        }
        let even = (0..20_000).map(|i| (f32::from(i as u16) / 160.0 - 62.0).exp2());
        let special = [0.0, -0.0, -1.0, f32::INFINITY, f32::NAN, f32::MAX, 1e-45, 2.0, 1e38, 1e-38];
        let bases: Vec<f32> = even.chain(special).collect();
        for level in crate::Level::available() {
            let mut whole = vec![0.0; bases.len()];
            level.run(Powers(&bases, &mut whole));
            for (&s, &got) in bases.iter().zip(&whole) {
                let expected = (f64::from(s) + 0.0).powf(-0.75);
                match expected.is_finite() {
                    true if expected == 0.0 => assert_eq!(got, 0.0, "{level}: {s}"),
                    true => {
                        let error = (f64::from(got) / expected - 1.0).abs();
                        assert!(error <= 2e-7, "{level}: {s}: {got} {expected}");
                    }
                    false if expected.is_nan() => assert!(got.is_nan(), "{level}: {s}: {got}"),
                    false => assert_eq!(got.abs(), f32::INFINITY, "{level}: {s}"),
                }
            }
            // Wherever the vectors begin, of whatever length.
            for count in 1..40 {
                let mut part = vec![0.0; count];
                level.run(Powers(&bases[100..100 + count], &mut part));
                for (got, expected) in part.iter().zip(&whole[100..]) {
                    assert!((got - expected).abs() <= 2e-7 * expected, "{level}: {count}");
                }
            }
        }
    }

    #[test]
    fn is_within_1e_6_of_the_definition() {
        use striate_tensor::{Device, RandomKey, Reference, Tensor};
        let plain = Device::new(Reference::new());
        for level in crate::Level::available() {
            let device = Device::new(crate::Cpu::with_level(Some(1), level).unwrap());
            let x = Tensor::normal([40, 96], 0.0, 30.0, RandomKey::new(1, 2), &device).unwrap();
            for beta in [0.5, 0.62, 0.75, 1.0] {
                let op = Lrn { size: 5, kappa: 2.0, alpha: 1e-3, beta, groups: 2 };
                let got = x.lrn(op).unwrap().to_vec::<f32>().unwrap();
                let expected = x.to(&plain).unwrap().lrn(op).unwrap().to_vec::<f32>().unwrap();
                for (got, expected) in got.iter().zip(&expected) {
                    let error = (f64::from(*got) - f64::from(*expected)).abs();
                    assert!(error <= 1e-6 * f64::from(expected.abs()), "{beta}: {got} {expected}");
                }
            }
        }
    }
}
