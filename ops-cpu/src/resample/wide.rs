//! Rows of pixels that are a vector or more. Outputs side by side often see the same pixels, which are then read
//! once for two of them.

use super::{Own, combine};
use crate::simd::Simd;

/// So many floats ahead the memory to write into is asked for, in its order: two outputs by turns are none in which a
/// processor gets it by itself.
const AHEAD: usize = 512;

/// What an output row is made of.
pub(super) struct Wide {
    steps: Vec<Step>,
    /// Floats of a row that is read, and of one that is written.
    lines: [usize; 2],
    channels: usize,
}

/// One output, or two side by side.
enum Step {
    One(usize),
    /// Of the same two pixels: where those begin, and the weights of each output.
    Two {
        out: usize,
        pixels: [usize; 2],
        by: [[f32; 2]; 2],
    },
}

impl Wide {
    /// That of rows of so many pixels; none where a pixel is less than a vector.
    pub(super) fn new(
        cols: &Own,
        pixels: [usize; 2],
        channels: usize,
        lanes: usize,
    ) -> Option<Self> {
        if channels < lanes {
            return None;
        }
        let [_, out_cols] = pixels;
        let (mut steps, mut out) = (Vec::new(), 0);
        while out < out_cols {
            let next = if out + 1 < out_cols { cols.of(out + 1) } else { (&[][..], &[][..]) };
            match (cols.of(out), next) {
                ((&[a, b], &[by_a, by_b]), (&[c, d], &[by_c, by_d])) if (a, b) == (c, d) => {
                    let pixels = [a, b].map(|cell| cell as usize * channels);
                    steps.push(Step::Two { out, pixels, by: [[by_a, by_b], [by_c, by_d]] });
                    out += 2;
                }
                _ => {
                    steps.push(Step::One(out));
                    out += 1;
                }
            }
        }
        Some(Wide { steps, lines: pixels.map(|pixels| pixels * channels), channels })
    }

    /// Writes the row `y` of the floats of `line`.
    #[inline(always)]
    pub(super) fn row<S: Simd>(&self, simd: S, y: &mut [f32], line: &[f32], cols: &Own) {
        let channels = self.channels;
        // What the pointers below rely on.
        assert!([line.len(), y.len()] == self.lines && channels >= S::LANES);
        for step in &self.steps {
            match *step {
                Step::One(out) => {
                    combine(&mut y[out * channels..][..channels], line, cols.of(out));
                }
                Step::Two { out, pixels: [a, b], by: [first, second] } => {
                    let to = y[out * channels..][..2 * channels].as_mut_ptr();
                    let (a, b) = (line[a..][..channels].as_ptr(), line[b..][..channels].as_ptr());
                    let first = [simd.splat(first[0]), simd.splat(first[1])];
                    let second = [simd.splat(second[0]), simd.splat(second[1])];
                    let ahead = to.wrapping_add(AHEAD);
                    let mut at = 0;
                    while at < channels {
                        simd.prefetch_to_write(ahead.wrapping_add(2 * at));
                        simd.prefetch_to_write(ahead.wrapping_add(2 * at + S::LANES));
                        // The last vector may reach back into the one before.
                        let here = at.min(channels - S::LANES);
                        // SAFETY: a vector inside the pixels.
                        unsafe {
                            let (a, b) = (simd.load(a.add(here)), simd.load(b.add(here)));
                            let y = simd.add(simd.mul(first[0], a), simd.mul(first[1], b));
                            simd.store(to.add(here), y);
                            let y = simd.add(simd.mul(second[0], a), simd.mul(second[1], b));
                            simd.store(to.add(channels + here), y);
                        }
                        at += S::LANES;
                    }
                }
            }
        }
    }
}
