//! Which pixels are seen along an axis, under which taps.

use std::ops::Range;

/// A tap of the kernel: output `b` of its phase sees the pixel `b · step + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    pub(super) offset: isize,
    /// Its place in the kernel.
    pub(super) tap: usize,
}

/// What is written along an axis, and from what. Places fall into phases by their remainder, each of
/// which has taps of its own; a convolution has just one.
pub(super) struct Axis {
    /// Places that are written.
    pub(super) count: usize,
    /// Pixels that are read.
    pub(super) extent: usize,
    /// Pixels from what one place of a phase sees to the next.
    pub(super) step: usize,
    /// The taps of each phase, their offsets rising or falling.
    pub(super) phases: Vec<Vec<Tap>>,
}

impl Axis {
    /// Of a convolution to so many outputs of so many pixels, with stride, dilation and padding before.
    pub(super) fn of_outputs(
        [count, extent]: [usize; 2],
        kernel: usize,
        [stride, dilation, padding]: [usize; 3],
    ) -> Self {
        // No extent has more than 32 bits.
        let offset = |tap: usize| tap as isize * dilation as isize - padding as isize;
        let taps = (0..kernel).map(|tap| Tap { offset: offset(tap), tap }).collect();
        Axis { count, extent, step: stride, phases: vec![taps] }
    }

    /// Of the gradient in so many pixels of a convolution to so many outputs.
    pub(super) fn of_inputs(
        [count, extent]: [usize; 2],
        kernel: usize,
        [stride, dilation, padding]: [usize; 3],
    ) -> Self {
        let phase = |first: usize| -> Vec<Tap> {
            let seen = (0..kernel).filter_map(|tap| {
                let beyond = (first + padding) as isize - tap as isize * dilation as isize;
                let seen = beyond.rem_euclid(stride as isize) == 0;
                seen.then_some(Tap { offset: beyond / stride as isize, tap })
            });
            seen.collect()
        };
        Axis { count, extent, step: 1, phases: (0..stride.min(count)).map(phase).collect() }
    }

    /// The pixels that a place sees, each with its tap.
    pub(super) fn sources(&self, place: usize) -> impl Iterator<Item = (usize, usize)> {
        let (phase, b) = (place % self.phases.len(), place / self.phases.len());
        self.phases[phase].iter().filter_map(move |tap| {
            let pixel = (b * self.step).wrapping_add_signed(tap.offset);
            (pixel < self.extent).then_some((pixel, tap.tap))
        })
    }

    /// How many places a phase has.
    pub(super) fn count_of(&self, phase: usize) -> usize {
        (self.count - phase).div_ceil(self.phases.len())
    }

    /// The places of a phase that see pixels under all of these taps.
    pub(super) fn inside(&self, phase: usize, taps: &[Tap]) -> Range<usize> {
        let (step, count) = (self.step as isize, self.count_of(phase) as isize);
        let (mut first, mut end) = (0, count);
        for tap in taps {
            // From `b · step + offset >= 0` on, while it is below the extent.
            first = first.max(
                (-tap.offset).max(0).div_euclid(step)
                    + isize::from((-tap.offset).max(0) % step != 0),
            );
            let room = self.extent as isize - tap.offset;
            end = end.min(if room <= 0 { 0 } else { (room - 1) / step + 1 });
        }
        first.min(count) as usize..end.max(first.min(count)) as usize
    }

    /// The taps of a phase under which place `b` of it sees a pixel.
    pub(super) fn taps_at(&self, phase: usize, b: usize) -> &[Tap] {
        let taps = &self.phases[phase];
        let sees = |tap: &Tap| (b * self.step).wrapping_add_signed(tap.offset) < self.extent;
        let first = taps.iter().position(sees).unwrap_or(taps.len());
        let count = taps[first..].iter().take_while(|tap| sees(tap)).count();
        &taps[first..first + count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every place sees what the definition says, whichever way it is asked.
    #[test]
    fn places_see_what_the_definition_says() {
        for (extent, kernel, stride, dilation, padding) in [
            (5, 3, 1, 1, 1),
            (7, 3, 2, 1, 1),
            (9, 5, 3, 2, 4),
            (6, 2, 5, 1, 0),
            (4, 7, 1, 1, 3),
            (3, 1, 9, 1, 0),
        ] {
            let outputs = (extent + 2 * padding - (kernel - 1) * dilation - 1) / stride + 1;
            let shape = [stride, dilation, padding];
            let seen = |output: usize, tap: usize| {
                (output * stride + tap * dilation).checked_sub(padding).filter(|&p| p < extent)
            };
            let forward = Axis::of_outputs([outputs, extent], kernel, shape);
            let back = Axis::of_inputs([extent, outputs], kernel, shape);
            for output in 0..outputs {
                let expected: Vec<_> =
                    (0..kernel).filter_map(|tap| Some((seen(output, tap)?, tap))).collect();
                assert_eq!(forward.sources(output).collect::<Vec<_>>(), expected);
            }
            for pixel in 0..extent {
                let expected: Vec<_> = (0..kernel)
                    .filter_map(|tap| {
                        let output = (0..outputs).find(|&o| seen(o, tap) == Some(pixel))?;
                        Some((output, tap))
                    })
                    .collect();
                assert_eq!(back.sources(pixel).collect::<Vec<_>>(), expected);
            }
            for axis in [&forward, &back] {
                for phase in 0..axis.phases.len() {
                    let inside = axis.inside(phase, &axis.phases[phase]);
                    for b in 0..axis.count_of(phase) {
                        let place = phase + b * axis.phases.len();
                        let all = axis.sources(place).count() == axis.phases[phase].len();
                        assert_eq!(all, inside.contains(&b));
                        let taps = axis.taps_at(phase, b).iter().map(|tap| tap.tap);
                        assert!(taps.eq(axis.sources(place).map(|(_, tap)| tap)));
                    }
                }
            }
        }
    }
}
