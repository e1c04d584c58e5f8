//! Several small groups in a vector: what an output sees of its group is brought to its lane by a
//! permutation of the pixel, so that no product is with a zero.

use super::blocks;
use super::row::{Place, Row};
use crate::simd::{MOST_LANES, Simd};

/// Places side by side whose sums stay in registers, beside their pixels and the permutations.
const WIDE: usize = 6;
const NARROW: usize = 3;

/// For each channel of a group the lanes that hold it, in each lane's own group.
const fn lanes_of<const GROUP: usize>() -> [[u32; MOST_LANES]; GROUP] {
    let mut all = [[0; MOST_LANES]; GROUP];
    let mut channel = 0;
    while channel < GROUP {
        let mut lane = 0;
        while lane < MOST_LANES {
            all[channel][lane] = (lane / GROUP * GROUP + channel) as u32;
            lane += 1;
        }
        channel += 1;
    }
    all
}

impl Row<'_> {
    /// Groups of `GROUP` channels, which divide a vector.
    #[inline(always)]
    pub(super) fn groups<S: Simd, const GROUP: usize>(&mut self, simd: S) {
        debug_assert!(S::LANES.is_multiple_of(GROUP) && self.cols.phases.len() == 1);
        let kernel = self.kernel[0] * self.kernel[1] * GROUP;
        let to = self.to.as_mut_ptr();
        let taps = &self.cols.phases[0];
        let inside = self.cols.inside(0, taps);
        for block in blocks(self.channels, S::LANES) {
            let width = block.vectors * S::LANES;
            let weights = self.weights[block.before * kernel..][..width * kernel].as_ptr();
            for vector in 0..block.vectors {
                let here = |b: usize, taps| Place {
                    taps,
                    b,
                    phase: 0,
                    channel: block.channel + vector * S::LANES,
                    // SAFETY: a vector of the block.
                    weights: unsafe { weights.add(vector * S::LANES) },
                    width,
                };
                for b in (0..inside.start).chain(inside.end..self.cols.count) {
                    let place = here(b, self.cols.taps_at(0, b));
                    // SAFETY: the taps see pixels of the row; the vector is of the block.
                    unsafe { self.places_of_groups::<S, 1, GROUP>(simd, place, to) };
                }
                let mut b = inside.start;
                while b < inside.end {
                    // The last ones once more, rather than a few by themselves, as of single channels.
                    let (wide, next) = match inside.len() {
                        WIDE.. => (WIDE, b.min(inside.end - WIDE)),
                        NARROW.. => (NARROW, b.min(inside.end - NARROW)),
                        _ => (1, b),
                    };
                    let place = here(next, taps);
                    // SAFETY: all of these places see pixels of the row under all taps.
                    unsafe {
                        match wide {
                            WIDE => self.places_of_groups::<S, WIDE, GROUP>(simd, place, to),
                            NARROW => self.places_of_groups::<S, NARROW, GROUP>(simd, place, to),
                            _ => self.places_of_groups::<S, 1, GROUP>(simd, place, to),
                        }
                    }
                    b = next + wide;
                }
            }
        }
    }

    /// Computes `COLS` places of a vector of channels.
    ///
    /// # Safety
    /// As for [`places`](Row::places).
    #[inline(always)]
    unsafe fn places_of_groups<S: Simd, const COLS: usize, const GROUP: usize>(
        &self,
        simd: S,
        place: Place<'_>,
        to: *mut f32,
    ) {
        let lanes = const { lanes_of::<GROUP>() };
        let Place { taps, b, channel, weights, width, .. } = place;
        let step = self.cols.step * self.channels;
        let start = match self.bias {
            // SAFETY: the channels are inside the pixels, of which there are biases.
            Some(bias) => unsafe { simd.load(bias.as_ptr().add(channel)) },
            None => simd.splat(0.0),
        };
        let mut sums = [[start]; COLS];
        for &(base, tap_row) in self.rows {
            // SAFETY: rows begin inside what is read; the first tap's pixel is in its row.
            let row = unsafe { self.from.as_ptr().add(base + b * step + channel) };
            for tap in taps {
                // SAFETY: the caller vouches for the pixels under the taps and for the weights.
                unsafe {
                    let weights = weights.add((tap_row * self.kernel[1] + tap.tap) * GROUP * width);
                    let pixel = row.offset(tap.offset * self.channels as isize);
                    let x: [S::V; COLS] =
                        std::array::from_fn(|col| simd.load(pixel.add(col * step)));
                    for (k, lanes) in lanes.iter().enumerate() {
                        let w = simd.load(weights.add(k * width));
                        for (sum, &x) in sums.iter_mut().zip(&x) {
                            sum[0] = simd.mul_add(simd.permute(x, lanes), w, sum[0]);
                        }
                    }
                }
            }
        }
        // SAFETY: as the caller vouches.
        unsafe { self.finish(simd, place, &sums, to) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_hold_the_channels_of_their_own_group() {
        assert_eq!(lanes_of::<4>()[1][..8], [1, 1, 1, 1, 5, 5, 5, 5]);
        assert_eq!(lanes_of::<8>()[7], [7, 7, 7, 7, 7, 7, 7, 7, 15, 15, 15, 15, 15, 15, 15, 15]);
    }
}
