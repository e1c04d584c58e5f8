//! Rows of small pixels, a vector of floats at a time: what a vector is made of lies close together, so that a
//! load and a permutation bring it, once for each tap.

use std::ops::Range;

use super::Own;
use crate::simd::{MOST_LANES, Simd};

/// What an output row is made of.
pub(super) struct Windows {
    /// They may overlap.
    vectors: Vec<Vector>,
    /// Of all vectors, one after the other.
    taps: Vec<Tap>,
    /// The pixels that no vector has.
    others: Vec<usize>,
}

struct Vector {
    /// Its first float in the row.
    at: usize,
    /// How many taps it has.
    taps: usize,
}

/// A float of each lane, and its weight.
#[derive(Clone, Copy)]
struct Tap {
    /// The first float of a window that has all of them.
    start: usize,
    indices: [u32; MOST_LANES],
    weights: [f32; MOST_LANES],
}

impl Windows {
    /// Those of rows of so many pixels; none where pixels are a vector or more, or where the floats of a
    /// vector lie too far apart.
    pub(super) fn new(
        cols: &Own,
        [in_cols, out_cols]: [usize; 2],
        channels: usize,
        lanes: usize,
    ) -> Option<Self> {
        if channels >= lanes || in_cols * channels < lanes {
            return None;
        }
        let mut windows = Windows { vectors: Vec::new(), taps: Vec::new(), others: Vec::new() };
        let mut first = 0;
        while first < out_cols {
            // Pixels side by side with as many taps.
            let taps = cols.of(first).0.len();
            let end = (first..out_cols).find(|&out| cols.of(out).0.len() != taps);
            let end = end.unwrap_or(out_cols);
            if (end - first) * channels < lanes {
                windows.others.extend(first..end);
            } else {
                let last = end * channels - lanes;
                for at in (first * channels..last).step_by(lanes).chain([last]) {
                    windows.vectors.push(Vector { at, taps });
                    for tap in 0..taps {
                        let of = Tap::new(cols, tap, in_cols * channels, channels, at..at + lanes);
                        windows.taps.push(of?);
                    }
                }
            }
            first = end;
        }
        (2 * windows.others.len() < out_cols).then_some(windows)
    }

    /// Writes the row `y` of the floats of `line`, as [`few`](super::few) does.
    #[inline(always)]
    pub(super) fn row<S: Simd>(
        &self,
        simd: S,
        y: &mut [f32],
        line: &[f32],
        cols: &Own,
        channels: usize,
    ) {
        let mut left = self.taps.iter();
        for &Vector { at, taps } in &self.vectors {
            let mut sum = simd.splat(super::nothing(taps));
            for Tap { start, indices, weights } in left.by_ref().take(taps) {
                let window = &line[*start..][..S::LANES];
                // SAFETY: both are a vector of floats, or more.
                let (x, by) = unsafe { (simd.load(window.as_ptr()), simd.load(weights.as_ptr())) };
                sum = simd.add(sum, simd.mul(by, simd.permute(x, indices)));
            }
            let to = &mut y[at..][..S::LANES];
            // SAFETY: a vector of floats.
            unsafe { simd.store(to.as_mut_ptr(), sum) };
        }
        for &out in &self.others {
            let (cells, weights) = cols.of(out);
            for (channel, y) in y[out * channels..][..channels].iter_mut().enumerate() {
                let products = cells.iter().zip(weights);
                *y = products.fold(super::nothing(cells.len()), |sum, (&cell, by)| {
                    sum + by * line[cell as usize * channels + channel]
                });
            }
        }
    }
}

impl Tap {
    /// A tap of some floats of an output row, which have one each; none where what they see is in no window of
    /// the `from` floats of a row.
    fn new(
        cols: &Own,
        tap: usize,
        from: usize,
        channels: usize,
        floats: Range<usize>,
    ) -> Option<Self> {
        let lanes = floats.len();
        let (mut places, mut weights) = ([0; MOST_LANES], [0.0; MOST_LANES]);
        for (lane, float) in floats.enumerate() {
            let (cells, by) = cols.of(float / channels);
            places[lane] = cells[tap] as usize * channels + float % channels;
            weights[lane] = by[tap];
        }
        let start = (*places[..lanes].iter().min()?).min(from - lanes);
        let mut indices = [0; MOST_LANES];
        for (index, place) in indices.iter_mut().zip(&places[..lanes]) {
            *index = u32::try_from(place - start).ok().filter(|&index| (index as usize) < lanes)?;
        }
        Some(Tap { start, indices, weights })
    }
}
