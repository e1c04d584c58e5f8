//! Which entries of an axis an entry of the resized axis is made of: every rule of ONNX's Resize.
//!
//! This follows the reference implementation in the operator's specification.

/// How an axis is resized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis<'a> {
    pub(super) input: usize,
    pub(super) output: usize,
    /// Output by input.
    pub(super) scale: f64,
    /// `coordinate_transformation_mode`
    pub(super) coordinates: &'a str,
    /// Beginning and end of the part that is taken, as shares of the axis.
    pub(super) region: [f64; 2],
}

/// What the entries are made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kernel<'a> {
    /// One entry, by this `nearest_mode`.
    Nearest(&'a str),
    Linear,
    /// With this coefficient.
    Cubic(f64),
}

/// An entry: places and weights, or none where it lies outside of what is taken.
pub(super) type Taps = Option<Vec<(usize, f64)>>;

impl Axis<'_> {
    /// Where an entry of the output lies in the input.
    fn at(&self, i: usize) -> Option<f64> {
        let (x, input) = (i as f64, self.input as f64);
        let output = self.output as f64;
        // The extent before it was rounded.
        let exact = self.scale * input;
        Some(match self.coordinates {
            "half_pixel" => (x + 0.5) / self.scale - 0.5,
            "pytorch_half_pixel" if self.output > 1 => (x + 0.5) / self.scale - 0.5,
            "pytorch_half_pixel" => -0.5,
            "align_corners" if exact == 1.0 => 0.0,
            "align_corners" => x * (input - 1.0) / (exact - 1.0),
            "asymmetric" => x / self.scale,
            "tf_half_pixel_for_nn" => (x + 0.5) / self.scale,
            "half_pixel_symmetric" => {
                let adjustment = output / exact;
                let centre = input / 2.0;
                centre * (1.0 - adjustment) + (x + 0.5) / self.scale - 0.5
            }
            "tf_crop_and_resize" => {
                let [start, end] = self.region;
                match self.output > 1 {
                    true => {
                        start * (input - 1.0) + x * (end - start) * (input - 1.0) / (output - 1.0)
                    }
                    false => 0.5 * (start + end) * (input - 1.0),
                }
            }
            _ => return None,
        })
    }

    /// The taps of each entry; none where the coordinates are of an unknown kind.
    pub(super) fn taps(
        &self,
        kernel: Kernel<'_>,
        antialias: bool,
        exclude_outside: bool,
    ) -> Option<Vec<Taps>> {
        let mut all = Vec::with_capacity(self.output);
        for i in 0..self.output {
            let at = self.at(i)?;
            let last = self.input as f64 - 1.0;
            if self.coordinates == "tf_crop_and_resize" && !(0.0..=last).contains(&at) {
                all.push(None);
                continue;
            }
            all.push(Some(self.entry(at, kernel, antialias, exclude_outside)?));
        }
        Some(all)
    }

    fn entry(
        &self,
        at: f64,
        kernel: Kernel<'_>,
        antialias: bool,
        exclude_outside: bool,
    ) -> Option<Vec<(usize, f64)>> {
        let last = self.input.saturating_sub(1);
        if let Kernel::Nearest(mode) = kernel {
            let place = match mode {
                "round_prefer_floor" => (at - 0.5).ceil(),
                "round_prefer_ceil" => (at + 0.5).floor(),
                "floor" => at.floor(),
                "ceil" => at.ceil(),
                _ => return None,
            };
            return Some(vec![(place.clamp(0.0, last as f64) as usize, 1.0)]);
        }
        // Of a place on an entry it is the second of the two in the middle.
        let base = if at.fract() == 0.0 { at - 1.0 } else { at.floor() };
        let ratio = at - base;
        // With antialiasing the kernel is as wide as an entry of the output.
        let scale = if antialias { self.scale.min(1.0) } else { 1.0 };
        let reach = if kernel == Kernel::Linear { 1.0 } else { 2.0 };
        let first = (-reach / scale).floor() as i64 + 1;
        let mut taps: Vec<(i64, f64)> = (first..2 - first)
            .map(|i| {
                let distance = (i as f64 - ratio) * scale;
                let weight = match kernel {
                    Kernel::Cubic(coefficient) => cubic(distance.abs(), coefficient),
                    _ => (1.0 - distance.abs()).clamp(0.0, 1.0),
                };
                (base as i64 + i, weight)
            })
            .collect();
        if exclude_outside {
            taps.retain(|(place, _)| (0..=last as i64).contains(place));
        }
        if antialias || exclude_outside {
            let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
            taps.iter_mut().for_each(|(_, weight)| *weight /= sum);
        }
        Some(taps.into_iter().map(|(at, w)| (at.clamp(0, last as i64) as usize, w)).collect())
    }
}

/// Keys' kernel at a distance.
fn cubic(x: f64, a: f64) -> f64 {
    match x {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}
