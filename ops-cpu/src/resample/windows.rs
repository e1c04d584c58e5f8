//! Rows of small pixels, a vector of floats at a time: what a vector is made of lies close together, so that a
//! load and a permutation bring it, once for each tap.

use super::Own;
use crate::simd::{MOST_LANES, Simd};

/// What an output row is made of.
pub(super) struct Windows {
    /// They may overlap.
    vectors: Vec<Vector>,
    /// The first float of each window: of a vector, or of each of its taps.
    starts: Vec<usize>,
    /// Of all vectors, one after the other.
    taps: Vec<Tap>,
    of: Of,
    /// The pixels that no vector has.
    others: Vec<usize>,
    /// Floats of a row that is read, and of one that is written.
    lines: [usize; 2],
}

/// What a window is of.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// All taps of a vector: it has a vector of floats.
    Vector,
    /// A tap: a vector of floats.
    Tap,
    /// A tap: two vectors of floats.
    WideTap,
}

struct Vector {
    /// Its first float in the row.
    at: usize,
    /// How many taps it has.
    taps: usize,
}

/// The place of each lane's float in its window, and its weight. It is aligned to the cache's lines, of which it
/// would take one more.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Tap {
    indices: [u32; MOST_LANES],
    weights: [f32; MOST_LANES],
}

impl Windows {
    /// Those of rows of so many pixels; none where pixels are a vector or more, or where the floats of a
    /// vector lie too far apart.
    pub(super) fn new(
        cols: &Own,
        pixels: [usize; 2],
        channels: usize,
        lanes: usize,
    ) -> Option<Self> {
        let lines = pixels.map(|pixels| pixels * channels);
        if channels >= lanes || lines.into_iter().min()? < lanes {
            return None;
        }
        [Of::Vector, Of::Tap, Of::WideTap]
            .into_iter()
            .find_map(|of| Self::with(cols, lines, channels, lanes, of))
    }

    fn with(cols: &Own, lines: [usize; 2], channels: usize, lanes: usize, of: Of) -> Option<Self> {
        let window = if of == Of::WideTap { 2 * lanes } else { lanes };
        let last_start = lines[0].checked_sub(window)?;
        let (vectors, others) = vectors(cols, lines[1] / channels, channels, lanes);
        let (mut starts, mut taps) = (Vec::new(), Vec::new());
        for vector in &vectors {
            // The float of each lane under each tap.
            let places = |tap: usize| {
                (vector.at..vector.at + lanes).map(move |float| {
                    let (cells, by) = cols.of(float / channels);
                    (cells[tap] as usize * channels + float % channels, by[tap])
                })
            };
            let all = (0..vector.taps).flat_map(places).map(|(place, _)| place).min();
            if of == Of::Vector {
                starts.push(all.unwrap_or(0).min(last_start));
            }
            for tap in 0..vector.taps {
                if of != Of::Vector {
                    starts.push(places(tap).map(|(place, _)| place).min()?.min(last_start));
                }
                let (mut indices, mut weights) = ([0; MOST_LANES], [0.0; MOST_LANES]);
                for ((index, weight), (place, by)) in
                    indices.iter_mut().zip(&mut weights).zip(places(tap))
                {
                    let at = place - starts.last()?;
                    *index = u32::try_from(at).ok().filter(|_| at < window)?;
                    *weight = by;
                }
                taps.push(Tap { indices, weights });
            }
        }
        Some(Windows { vectors, starts, taps, of, others, lines })
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
        // Windows and vectors are inside such rows.
        assert!([line.len(), y.len()] == self.lines);
        let (from, to) = (line.as_ptr(), y.as_mut_ptr());
        // SAFETY: the rows are as long as they should be.
        unsafe {
            match self.of {
                Of::Vector => self.of_vectors(simd, from, to),
                Of::Tap => self.of_taps::<S, false>(simd, from, to),
                Of::WideTap => self.of_taps::<S, true>(simd, from, to),
            }
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

    /// Vectors whose taps share a window.
    ///
    /// # Safety
    /// The rows must be as long as `lines` says.
    #[inline(always)]
    unsafe fn of_vectors<S: Simd>(&self, simd: S, from: *const f32, to: *mut f32) {
        let mut left = self.taps.as_slice();
        for (&Vector { at, taps }, &start) in self.vectors.iter().zip(&self.starts) {
            let (taps, others) = left.split_at(taps);
            left = others;
            // SAFETY: a window is inside the row, and so is the vector.
            unsafe {
                let x = simd.load(from.add(start));
                let sum = match taps {
                    [a, b] => simd.add(a.product(simd, x), b.product(simd, x)),
                    _ => taps.iter().fold(simd.splat(super::nothing(taps.len())), |sum, tap| {
                        simd.add(sum, tap.product(simd, x))
                    }),
                };
                simd.store(to.add(at), sum);
            }
        }
    }

    /// Vectors whose taps have a window each: of two vectors of floats where it is `WIDE`.
    ///
    /// # Safety
    /// The rows must be as long as `lines` says.
    #[inline(always)]
    unsafe fn of_taps<S: Simd, const WIDE: bool>(&self, simd: S, from: *const f32, to: *mut f32) {
        let (mut left, mut left_starts) = (self.taps.as_slice(), self.starts.as_slice());
        for &Vector { at, taps } in &self.vectors {
            let (taps, others) = left.split_at(taps);
            let (starts, other_starts) = left_starts.split_at(taps.len());
            (left, left_starts) = (others, other_starts);
            // SAFETY: the caller's; the starts are those of the taps.
            let sum = unsafe {
                match (taps, starts) {
                    ([a, b, c, d], &[at_a, at_b, at_c, at_d]) => {
                        let a = a.seen::<S, WIDE>(simd, from.add(at_a));
                        let b = b.seen::<S, WIDE>(simd, from.add(at_b));
                        let c = c.seen::<S, WIDE>(simd, from.add(at_c));
                        let d = d.seen::<S, WIDE>(simd, from.add(at_d));
                        simd.add(simd.add(simd.add(a, b), c), d)
                    }
                    _ => {
                        let mut sum = simd.splat(super::nothing(taps.len()));
                        for (tap, &start) in taps.iter().zip(starts) {
                            sum = simd.add(sum, tap.seen::<S, WIDE>(simd, from.add(start)));
                        }
                        sum
                    }
                }
            };
            // SAFETY: the vector is inside the row.
            unsafe { simd.store(to.add(at), sum) };
        }
    }
}

impl Tap {
    #[inline(always)]
    fn by<S: Simd>(&self, simd: S) -> S::V {
        // SAFETY: no vector has more lanes.
        unsafe { simd.load(self.weights.as_ptr()) }
    }

    /// What it makes of a window, of two vectors where it is `WIDE`.
    ///
    /// # Safety
    /// As many floats must be readable.
    #[inline(always)]
    unsafe fn seen<S: Simd, const WIDE: bool>(&self, simd: S, window: *const f32) -> S::V {
        // SAFETY: the caller's.
        unsafe {
            let low = simd.load(window);
            if !WIDE {
                return self.product(simd, low);
            }
            let high = simd.load(window.add(S::LANES));
            simd.mul(self.by(simd), simd.permute_pair(low, high, &self.indices))
        }
    }

    /// What it makes of a window.
    #[inline(always)]
    fn product<S: Simd>(&self, simd: S, window: S::V) -> S::V {
        simd.mul(self.by(simd), simd.permute(window, &self.indices))
    }
}

/// The vectors of a row of so many pixels, of floats that have as many taps, and the pixels that are left.
fn vectors(cols: &Own, count: usize, channels: usize, lanes: usize) -> (Vec<Vector>, Vec<usize>) {
    let (mut vectors, mut others) = (Vec::new(), Vec::new());
    let mut first = 0;
    while first < count {
        let taps = cols.of(first).0.len();
        let end = (first..count).find(|&out| cols.of(out).0.len() != taps).unwrap_or(count);
        if (end - first) * channels < lanes {
            others.extend(first..end);
        } else {
            // But for the first and the last they begin where rows of whole vectors are aligned.
            let (start, last) = (first * channels, end * channels - lanes);
            let aligned = ((start + 1).next_multiple_of(lanes)..last).step_by(lanes);
            let all = [start].into_iter().chain(aligned).chain([last]);
            vectors.extend(all.map(|at| Vector { at, taps }));
        }
        first = end;
    }
    (vectors, others)
}
