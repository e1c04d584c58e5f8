//! Pixels that are normalized by themselves, or a group of their channels: the sums of a row are made while it is in
//! the first-level cache.

use striate_tensor::ops::GroupExtents;

use super::inverse;
use crate::channels::is_far_from_0;
use crate::simd::{Kernel, MOST_LANES, Simd};

/// Vectors of sums side by side: enough that additions need not wait for each other.
const SUMS: usize = 4;
/// Numbers that are summed in f32.
const BLOCK: usize = 4096;
/// Rows whose terms are added to the sums of channels at a time.
const ROWS: usize = 4;
/// Rows that are summed in f32.
const BLOCK_ROWS: usize = 64;

/// The sums of `N` terms of each place of some slices of one length: `terms` of vectors, `term` of what
/// is left. Sums of a block of places are in f32, those of blocks in f64.
#[inline(always)]
fn summed<S: Simd, const M: usize, const N: usize>(
    simd: S,
    slices: [&[f32]; M],
    terms: impl Fn([S::V; M]) -> [S::V; N],
    term: impl Fn([f32; M]) -> [f32; N],
) -> [f64; N] {
    let len = slices[0].len();
    let mut all = [0.0f64; N];
    for from in (0..len).step_by(BLOCK) {
        let blocks: [&[f32]; M] =
            std::array::from_fn(|m| &slices[m][from..slices[m].len().min(from + BLOCK)]);
        let places = blocks.iter().map(|block| block.len()).min().unwrap_or(0);
        let vectors = places / S::LANES;
        // SAFETY: a vector inside every block.
        let load = |i: usize| unsafe {
            std::array::from_fn(|m| simd.load(blocks[m].as_ptr().add(i * S::LANES)))
        };
        let mut sums = [[simd.splat(0.0); N]; SUMS];
        for first in (0..vectors - vectors % SUMS).step_by(SUMS) {
            for (i, sums) in sums.iter_mut().enumerate() {
                let terms = terms(load(first + i));
                for (sum, term) in sums.iter_mut().zip(terms) {
                    *sum = simd.add(*sum, term);
                }
            }
        }
        for i in vectors - vectors % SUMS..vectors {
            let terms = terms(load(i));
            for (sum, term) in sums[0].iter_mut().zip(terms) {
                *sum = simd.add(*sum, term);
            }
        }
        let mut rest = [0.0f32; N];
        for at in vectors * S::LANES..places {
            let terms = term(blocks.map(|block| block[at]));
            for (sum, term) in rest.iter_mut().zip(terms) {
                *sum += term;
            }
        }
        for (n, all) in all.iter_mut().enumerate() {
            let [a, b, c, d] = std::array::from_fn(|i| sums[i][n]);
            let sum = simd.sum(simd.add(simd.add(a, b), simd.add(c, d)));
            *all += f64::from(sum) + f64::from(rest[n]);
        }
    }
    all
}

/// The mean and `1 / √(variance + epsilon)` of each of some slices. They are computed step by step beside
/// each other, so that none waits for its own root and division.
#[inline(always)]
fn moments<S: Simd, const N: usize>(simd: S, slices: [&[f32]; N], epsilon: f32) -> [[f64; 2]; N] {
    let mut sums = [[0.0; 2]; N];
    for (sums, x) in sums.iter_mut().zip(slices) {
        *sums = powers(simd, x);
    }
    let each = 1.0 / slices[0].len() as f64;
    for (sums, x) in sums.iter_mut().zip(slices) {
        let [sum, squares] = *sums;
        let mean = sum * each;
        let mut spread = squares - sum * mean;
        if is_far_from_0(spread, squares) {
            spread = spread_around(mean, x);
        }
        *sums = [mean, inverse(spread * each, epsilon)];
    }
    sums
}

/// `Σ (x - mean)²`
#[cold]
fn spread_around(mean: f64, x: &[f32]) -> f64 {
    x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum()
}

/// `Σ x` and `Σ x²`
#[inline(always)]
fn powers<S: Simd>(simd: S, x: &[f32]) -> [f64; 2] {
    // Two of each, so that additions wait less for each other.
    let (mut even, mut odd) = ([simd.wide(); 2], [simd.wide(); 2]);
    let (from, len) = (x.as_ptr(), x.len());
    let mut at = 0;
    // SAFETY: vectors inside the floats; what is left of them is copied into one.
    unsafe {
        while at + 2 * S::LANES <= len {
            even = simd.add_powers(even, from.add(at));
            odd = simd.add_powers(odd, from.add(at + S::LANES));
            at += 2 * S::LANES;
        }
        if at + S::LANES <= len {
            even = simd.add_powers(even, from.add(at));
            at += S::LANES;
        }
        if at < len {
            let mut rest = [0.0; MOST_LANES];
            rest[..len - at].copy_from_slice(&x[at..]);
            odd = simd.add_powers(odd, rest.as_ptr());
        }
    }
    let sum = simd.sum_wide(even[0]) + simd.sum_wide(odd[0]);
    [sum, simd.sum_wide(even[1]) + simd.sum_wide(odd[1])]
}

/// The normalization of rows.
pub(super) struct Rows<'a> {
    pub(super) x: &'a [f32],
    pub(super) y: &'a mut [f32],
    pub(super) scale: &'a [f32],
    pub(super) shift: &'a [f32],
    pub(super) e: GroupExtents,
    pub(super) epsilon: f32,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Rows { x, y, scale, shift, e, epsilon } = self;
        let (group, channels) = (e.per_group(), e.channels);
        let groups = x.len() / group;
        let (mut first, mut channel) = (0, 0);
        while first < groups {
            let some = ROWS.min(groups - first);
            let x = &x[first * group..(first + some) * group];
            let mut found = [[0.0; 2]; ROWS];
            if some == ROWS {
                let (low, high) = x.split_at(2 * group);
                let (low, high) = (low.split_at(group), high.split_at(group));
                let slices = [low.0, low.1, high.0, high.1];
                found = moments::<S, ROWS>(simd, slices, epsilon);
            } else {
                for (i, found) in found[..some].iter_mut().enumerate() {
                    [*found] = moments(simd, [&x[i * group..(i + 1) * group]], epsilon);
                }
            }
            for (i, &moments) in found[..some].iter().enumerate() {
                let y = &mut y[(first + i) * group..][..group];
                let affine = [&scale[channel..channel + group], &shift[channel..channel + group]];
                normalize(simd, &x[i * group..(i + 1) * group], y, moments, affine);
                channel = if channel + group == channels { 0 } else { channel + group };
            }
            first += some;
        }
    }
}

/// `(x - mean) · inverse · scale + shift`, of slices of one length.
#[inline(always)]
fn normalize<S: Simd>(
    simd: S,
    x: &[f32],
    y: &mut [f32],
    [mean, inverse]: [f64; 2],
    [scale, shift]: [&[f32]; 2],
) {
    let len = y.len();
    assert!([x, scale, shift].iter().all(|other| other.len() == len));
    let (mean, inverse) = (simd.splat(mean as f32), simd.splat(inverse as f32));
    let (x, y) = (x.as_ptr(), y.as_mut_ptr());
    let (scale, shift) = (scale.as_ptr(), shift.as_ptr());
    let mut at = 0;
    // SAFETY: vectors, or parts of one, inside all of them.
    unsafe {
        while at + S::LANES <= len {
            let off = simd.mul(simd.sub(simd.load(x.add(at)), mean), inverse);
            let of = simd.mul_add(off, simd.load(scale.add(at)), simd.load(shift.add(at)));
            simd.store(y.add(at), of);
            at += S::LANES;
        }
        if at < len {
            let count = len - at;
            let off = simd.mul(simd.sub(simd.load_part(x.add(at), count), mean), inverse);
            let scale = simd.load_part(scale.add(at), count);
            let of = simd.mul_add(off, scale, simd.load_part(shift.add(at), count));
            simd.store_part(y.add(at), of, count);
        }
    }
}

/// The gradient of rows in `x`.
pub(super) struct RowsGrad<'a> {
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) dx: &'a mut [f32],
    pub(super) scale: &'a [f32],
    pub(super) e: GroupExtents,
    pub(super) epsilon: f32,
}

impl Kernel for RowsGrad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RowsGrad { x, dy, dx, scale, e, epsilon } = self;
        let (group, count) = (e.per_group(), e.per_group() as f64);
        let rows = x.chunks_exact(group).zip(dy.chunks_exact(group));
        let scales = scale.chunks_exact(group).cycle();
        for (((x, dy), dx), scale) in rows.zip(dx.chunks_exact_mut(group)).zip(scales) {
            let [[mean, inverse]] = moments(simd, [x], epsilon);
            let (center, wide_center) = (mean as f32, simd.splat(mean as f32));
            let [of_dy, of_products] = summed(
                simd,
                [x, dy, scale],
                |[x, dy, scale]| {
                    let slope = simd.mul(scale, dy);
                    [slope, simd.mul(slope, simd.sub(x, wide_center))]
                },
                |[x, dy, scale]| {
                    let slope = scale * dy;
                    [slope, slope * (x - center)]
                },
            );
            let of_dy = (of_dy / count) as f32;
            let along = (of_products / count * inverse * inverse) as f32;
            let (mean, inverse) = (mean as f32, inverse as f32);
            for (((dx, x), dy), scale) in dx.iter_mut().zip(x).zip(dy).zip(scale) {
                *dx = inverse * (scale * dy - of_dy - (x - mean) * along);
            }
        }
    }
}

/// The sums of some rows, `[2, channels]`.
pub(super) struct RowsSums<'a> {
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) sums: &'a mut [f64],
    /// Room for the sums of some of them, `[2, channels]`.
    pub(super) near: &'a mut [f32],
    pub(super) e: GroupExtents,
    pub(super) epsilon: f32,
}

impl Kernel for RowsSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RowsSums { x, dy, sums, near, e, epsilon } = self;
        sums.fill(0.0);
        let (channels, group) = (e.channels, e.per_group());
        let rows = x.len() / channels;
        for block in (0..rows).step_by(BLOCK_ROWS) {
            let end = rows.min(block + BLOCK_ROWS);
            near.fill(0.0);
            let (of_dy, of_products) = near.split_at_mut(channels);
            for first in (0..channels).step_by(group) {
                let sums =
                    [&mut of_dy[first..first + group], &mut of_products[first..first + group]];
                let [of_dy, of_products] = sums;
                let mut row = block;
                while row + ROWS <= end {
                    let at = row * channels + first;
                    let sums = [&mut *of_dy, &mut *of_products];
                    add_rows::<S, ROWS>(simd, sums, [&x[at..], &dy[at..]], channels, epsilon);
                    row += ROWS;
                }
                while row < end {
                    let at = row * channels + first;
                    let sums = [&mut *of_dy, &mut *of_products];
                    add_rows::<S, 1>(simd, sums, [&x[at..], &dy[at..]], channels, epsilon);
                    row += 1;
                }
            }
            sums.iter_mut().zip(&*near).for_each(|(sum, near)| *sum += f64::from(*near));
        }
    }
}

/// Adds `dy` and `dy · (x - mean) · inverse` of some rows, `pitch` from one to the next, to the sums of the channels.
#[inline(always)]
fn add_rows<S: Simd, const N: usize>(
    simd: S,
    [of_dy, of_products]: [&mut [f32]; 2],
    [x, dy]: [&[f32]; 2],
    pitch: usize,
    epsilon: f32,
) {
    let len = of_dy.len();
    assert!(of_products.len() == len && x.len().min(dy.len()) >= (N - 1) * pitch + len);
    let mut rows = [&x[..0]; N];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &x[i * pitch..][..len];
    }
    let moments = moments::<S, N>(simd, rows, epsilon);
    let mut each = [[simd.splat(0.0); 2]; N];
    for (each, [mean, inverse]) in each.iter_mut().zip(moments) {
        *each = [simd.splat(mean as f32), simd.splat(inverse as f32)];
    }
    let (x, dy) = (x.as_ptr(), dy.as_ptr());
    let (of_dy, of_products) = (of_dy.as_mut_ptr(), of_products.as_mut_ptr());
    let mut at = 0;
    // SAFETY: vectors, or a part of one, inside the rows and the sums.
    unsafe {
        while at + S::LANES <= len {
            let (mut a, mut b) = (simd.load(of_dy.add(at)), simd.load(of_products.add(at)));
            for (i, [mean, inverse]) in each.iter().enumerate() {
                let (x, dy) = (simd.load(x.add(i * pitch + at)), simd.load(dy.add(i * pitch + at)));
                a = simd.add(a, dy);
                b = simd.mul_add(dy, simd.mul(simd.sub(x, *mean), *inverse), b);
            }
            simd.store(of_dy.add(at), a);
            simd.store(of_products.add(at), b);
            at += S::LANES;
        }
        if at < len {
            let count = len - at;
            let mut a = simd.load_part(of_dy.add(at), count);
            let mut b = simd.load_part(of_products.add(at), count);
            for (i, [mean, inverse]) in each.iter().enumerate() {
                let x = simd.load_part(x.add(i * pitch + at), count);
                let dy = simd.load_part(dy.add(i * pitch + at), count);
                a = simd.add(a, dy);
                b = simd.mul_add(dy, simd.mul(simd.sub(x, *mean), *inverse), b);
            }
            simd.store_part(of_dy.add(at), a, count);
            simd.store_part(of_products.add(at), b, count);
        }
    }
}
