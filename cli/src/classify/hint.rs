//! A word for whoever asks a network of photos about a handwritten digit.

use std::cell::OnceCell;
use std::path::Path;

use striate::image::Image;
use striate::tensor::Device;
use striate::{Classifier, DeviceByName, DeviceOptions, digits_model};

/// How sure the digits model must be.
const SURE: f32 = 0.9;

/// Two levels of grey that a picture of ink and paper is made of: so far apart, at least.
const CONTRAST: f64 = 60.0;

/// Of all pixels so many are ink.
const INK: std::ops::Range<f64> = 0.01..0.4;

/// The paper's levels of grey deviate by so much at most.
const EVEN_PAPER: f64 = 25.0;

/// Rows and columns that are looked at, at most.
const SIDE: usize = 256;

/// What both levels explain of how the picture varies, at least.
const EXPLAINED: f64 = 0.8;

/// Looks for digits among pictures.
#[derive(Default)]
pub(super) struct Hints {
    digits: OnceCell<Option<Classifier>>,
}

impl Hints {
    /// A hint, where a picture looks like a handwritten digit.
    pub(super) fn of(&self, path: &Path, image: &Image) -> Option<String> {
        if !is_ink(image) {
            return None;
        }
        let digits = self.digits.get_or_init(classifier).as_ref()?;
        let best = digits.classify(image).ok()?.top(1).into_iter().next()?;
        let name = best.label.unwrap_or_else(|| best.id.to_string());
        (best.confidence >= SURE).then(|| {
            format!(
                "{} looks like a handwritten {name}: '--model digits' reads those",
                path.display()
            )
        })
    }
}

/// What reads digits; nothing where it cannot be made, since it only serves a hint.
fn classifier() -> Option<Classifier> {
    let device = Device::by_name("cpu", &DeviceOptions::default()).ok()?;
    Classifier::new(digits_model(&device).ok()?).ok()
}

/// Whether a picture is ink on even paper, or chalk on an even board: two levels of grey, parted as by
/// Otsu ("A threshold selection method from gray-level histograms", 1979). Of a large photo some pixels
/// are enough.
fn is_ink(image: &Image) -> bool {
    let step = |side: usize| side.div_ceil(SIDE);
    let mut histogram = [0u64; 256];
    for row in (0..image.rows()).step_by(step(image.rows())) {
        for col in (0..image.cols()).step_by(step(image.cols())) {
            let at = (row * image.cols() + col) * image.channels();
            let pixel = &image.values()[at..at + image.channels()];
            let sum: usize = pixel.iter().copied().map(usize::from).sum();
            histogram[sum / image.channels()] += 1;
        }
    }
    let moments = |levels: std::ops::Range<usize>| {
        let counted = || levels.clone().map(|level| (level as f64, histogram[level] as f64));
        let count: f64 = counted().map(|(_, n)| n).sum();
        let mean = counted().map(|(level, n)| level * n).sum::<f64>() / count.max(1.0);
        let squares: f64 = counted().map(|(level, n)| (level - mean).powi(2) * n).sum();
        (count, mean, squares)
    };
    let (all, _, spread) = moments(0..256);
    let parted = (1..256).map(|at| (moments(0..at), moments(at..256)));
    let within = |((_, _, a), (_, _, b)): &(Moments, Moments)| a + b;
    let best = parted.min_by(|a, b| within(a).total_cmp(&within(b)));
    let Some((dark, light)) = best.filter(|_| spread > 0.0) else { return false };
    let explained = 1.0 - within(&(dark, light)) / spread;
    let (ink, paper) = if dark.0 < light.0 { (dark, light) } else { (light, dark) };
    let deviation = (paper.2 / paper.0.max(1.0)).sqrt();
    INK.contains(&(ink.0 / all))
        && (dark.1 - light.1).abs() >= CONTRAST
        && deviation <= EVEN_PAPER
        && explained >= EXPLAINED
}

/// How many pixels, their mean, and the sum of the squares about it.
type Moments = (f64, f64, f64);

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> Image {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples");
        striate::image::open(folder.join(name)).unwrap()
    }

    #[test]
    fn digits_are_noticed_and_photos_are_not() {
        let hints = Hints::default();
        for (name, digit) in [
            ("digit-7.png", 7),
            ("digit-2.png", 2),
            ("digit-3-on-paper.png", 3),
            ("digit-5-wide.png", 5),
        ] {
            let hint = hints.of(Path::new(name), &sample(name)).unwrap_or_default();
            assert!(hint.contains(&format!("handwritten {digit}")), "{name}: {hint}");
        }
        assert_eq!(hints.of(Path::new("cat.png"), &sample("cat.png")), None);
        for even in [0, 128, 255] {
            let image = Image::filled(40, 30, 3, even).unwrap();
            assert_eq!(hints.of(Path::new("x"), &image), None);
        }
    }
}
