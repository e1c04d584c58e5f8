//! How the makers of a network's weights prepared its pictures: what was done to pixels, which becomes part
//! of the first weights here, and how a picture was resized and cut, which the metadata keep.

use std::fmt;

use serde_json::json;
use striate_tensor::{Device, Tensor};

use crate::{Error, Result};

/// What the brightest pixel is here.
const PIXEL_MAX: f64 = 255.0;

/// What is done to a pixel before the network sees it: `(pixel · range / 255 - mean) / std`, by channel.
/// Channels are in the order in which the network sees them.
///
/// ```
/// use striate_importers::Pixels;
///
/// // As most of Caffe's networks want it: blue first, less the mean of ImageNet.
/// let caffe = Pixels { range: 255.0, mean: [104.0, 117.0, 123.0], std: [1.0; 3], bgr: true };
/// assert_eq!(caffe.to_string(), "pixels of 0 to 255 in the order BGR, less 104, 117, 123");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pixels {
    /// What the brightest pixel becomes: 1 or 255.
    pub range: f64,
    /// What is subtracted.
    pub mean: [f64; 3],
    /// What the difference is divided by.
    pub std: [f64; 3],
    /// Whether blue comes first, and red last.
    pub bgr: bool,
}

/// torchvision's, and most of timm's, for networks of ImageNet.
pub(crate) const IMAGENET: Pixels =
    Pixels { range: 1.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], bgr: false };

/// Pixels of -1 to 1.
pub(crate) const HALVES: Pixels = Pixels { range: 1.0, mean: [0.5; 3], std: [0.5; 3], bgr: false };

/// TensorFlow's own EfficientNet-Lite: `(pixel - 127) / 128`.
pub(crate) const LITE: Pixels =
    Pixels { range: PIXEL_MAX, mean: [127.0; 3], std: [128.0; 3], bgr: false };

/// Pixels of 0 to 1.
pub(crate) const UNIT: Pixels = Pixels { range: 1.0, mean: [0.0; 3], std: [1.0; 3], bgr: false };

impl Pixels {
    /// Which of the network's channels a channel of a picture is.
    pub(crate) fn seen_as(&self, channel: usize) -> usize {
        let channel = channel % 3;
        if self.bgr { 2 - channel } else { channel }
    }

    /// What one of the network's channels is multiplied by, once the mean is subtracted.
    pub(crate) fn factor(&self, channel: usize) -> f32 {
        (self.range / (PIXEL_MAX * self.std[channel % 3])) as f32
    }

    /// Makes what is done to pixels part of the weights that see the channels of one pixel: from the
    /// network's channels, to pictures of red, green and blue.
    pub(crate) fn fold(&self, weights: &mut [f32]) {
        for (channel, weight) in weights.iter_mut().enumerate() {
            let factor = self.range / (PIXEL_MAX * self.std[channel % 3]);
            // In double precision, so that there is one rounding.
            *weight = (f64::from(*weight) * factor) as f32;
        }
        if self.bgr {
            weights.reverse();
        }
    }

    /// What is subtracted from pictures, `[rows, cols, channels]`.
    pub(crate) fn mean_image(
        &self,
        [rows, cols]: [usize; 2],
        channels: usize,
        device: &Device,
    ) -> striate_tensor::Result<Tensor> {
        let mean = |channel| (PIXEL_MAX * self.mean[self.seen_as(channel)] / self.range) as f32;
        let pixel: Vec<f32> = (0..channels).map(mean).collect();
        Tensor::from_vec(pixel.repeat(rows * cols), [rows, cols, channels], device)
    }
}

impl fmt::Display for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: [f64; 3]| {
            let [a, b, c] = values;
            if a == b && b == c { format!("{a}") } else { format!("{a}, {b}, {c}") }
        };
        write!(f, "pixels of 0 to {}", self.range)?;
        if self.bgr {
            write!(f, " in the order BGR")?;
        }
        if self.mean != [0.0; 3] {
            write!(f, ", less {}", list(self.mean))?;
        }
        if self.std != [1.0; 3] {
            write!(f, ", over {}", list(self.std))?;
        }
        Ok(())
    }
}

/// What is said of pixels in place of what a file's makers did, for files that do not say it themselves.
/// Nothing is the default.
///
/// Where there is a range, a mean, or a deviation, those that are not given are 1, 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PixelOptions {
    /// What the brightest pixel becomes, see [`Pixels::range`].
    pub range: Option<f64>,
    /// What is subtracted.
    pub mean: Option<[f64; 3]>,
    /// What the difference is divided by.
    pub std: Option<[f64; 3]>,
    /// Whether blue comes first.
    pub bgr: bool,
}

impl PixelOptions {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is done to pixels, where this is said of a file whose makers did `usual`.
    ///
    /// # Errors
    /// [`Error::Content`] for numbers that pixels cannot be multiplied by or divided by.
    pub(crate) fn over(&self, file: &str, usual: Pixels) -> Result<Pixels> {
        let pixels = match (self.range, self.mean, self.std) {
            (None, None, None) => Pixels { bgr: usual.bgr || self.bgr, ..usual },
            (range, mean, std) => Pixels {
                range: range.unwrap_or(1.0),
                mean: mean.unwrap_or([0.0; 3]),
                std: std.unwrap_or([1.0; 3]),
                bgr: self.bgr,
            },
        };
        let is_factor = |value: f64| value.is_normal() && value > 0.0 && value < 1e6;
        let is_good = is_factor(pixels.range)
            && pixels.std.into_iter().all(is_factor)
            && pixels.mean.into_iter().all(|mean| mean.abs() < 1e6);
        if is_good {
            return Ok(pixels);
        }
        let expected = "a range and deviations above 0, and finite means";
        Err(Error::content(file, "what is done to pixels", expected, pixels.to_string()))
    }

    /// Refuses them, where the file says itself what is done to pixels.
    pub(crate) fn refuse(&self, file: &str) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let expected = "a file that does not say it, such as ONNX or a state dict";
        let got = "one whose weights take pixels of 0 to 255 less its own mean image: give the \
                   options where the weights are converted";
        Err(Error::content(file, "what is done to pixels", expected, got))
    }
}

/// What a pixel of a resized picture is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// A triangle that widens as the picture shrinks.
    Bilinear,
    /// A cubic that widens as the picture shrinks.
    Bicubic,
}

impl Filter {
    fn name(self) -> &'static str {
        match self {
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
        }
    }
}

/// How the makers of a network's weights prepared its pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Preset {
    /// Whose way it is: `torchvision`, `timm`, `Caffe`, `TensorFlow`.
    pub(crate) maker: &'static str,
    /// What is done to pixels.
    pub(crate) pixels: Pixels,
    /// How a picture is resized.
    pub(crate) filter: Filter,
    /// Whether the whole picture becomes the size, whatever its aspect; else its shorter side does.
    pub(crate) stretch: bool,
}

impl Preset {
    /// torchvision's for most networks.
    pub(crate) const TORCHVISION: Preset =
        Preset { maker: "torchvision", pixels: IMAGENET, filter: Filter::Bilinear, stretch: false };

    /// The view of a picture whose whole size is `[rows, cols]`, as `striate_data::augment::TestView` is
    /// stored.
    pub(crate) fn view(&self, [rows, cols]: [usize; 2]) -> serde_json::Value {
        json!({
            "resize": if self.stretch { "stretch" } else { "cover" },
            "filter": self.filter.name(),
            "size": [rows, cols],
            "crop": "centre-even",
            "mean": "plain",
        })
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Preset { maker, pixels, filter, .. } = self;
        write!(f, "as {maker} prepares them: {}, {pixels}", filter.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use striate_tensor::Reference;

    /// A weight for each channel, on a picture as the makers prepared it and on ours.
    #[test]
    fn folding_is_the_same_function() {
        let device = Device::new(Reference::new());
        let caffe = Pixels { range: 255.0, mean: [104.0, 117.0, 123.0], std: [1.0; 3], bgr: true };
        let odd = Pixels { range: 2.0, mean: [0.1, 0.2, 0.3], std: [0.5, 0.25, 0.125], bgr: true };
        for pixels in [IMAGENET, HALVES, LITE, UNIT, caffe, odd] {
            let (weights, rgb) = ([0.3f32, -0.7, 1.1], [200.0f64, 30.0, 90.0]);
            let seen = if pixels.bgr { [rgb[2], rgb[1], rgb[0]] } else { rgb };
            let wanted: f64 = (0..3)
                .map(|c| {
                    let pixel = seen[c] * pixels.range / 255.0;
                    (pixel - pixels.mean[c]) / pixels.std[c] * f64::from(weights[c])
                })
                .sum();
            let mut own = weights;
            pixels.fold(&mut own);
            let mean = pixels.mean_image([2, 1], 3, &device).unwrap().to_vec::<f32>().unwrap();
            assert_eq!(mean[..3], mean[3..]);
            let got: f64 = (0..3).map(|c| (rgb[c] - f64::from(mean[c])) * f64::from(own[c])).sum();
            assert!((got - wanted).abs() < 1e-4, "{pixels}: {got} {wanted}");
        }
    }

    #[test]
    fn options_take_the_place_of_what_the_makers_did() {
        let over = |options: PixelOptions| options.over("f", IMAGENET);
        assert_eq!(over(PixelOptions::default()).unwrap(), IMAGENET);
        let bgr = PixelOptions { bgr: true, ..PixelOptions::default() };
        assert_eq!(over(bgr).unwrap(), Pixels { bgr: true, ..IMAGENET });
        let range = PixelOptions { range: Some(255.0), ..PixelOptions::default() };
        assert_eq!(over(range).unwrap(), Pixels { range: 255.0, ..UNIT });
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let std = PixelOptions { std: Some([1.0, bad, 1.0]), ..PixelOptions::default() };
            assert!(over(std).unwrap_err().to_string().contains("deviations above 0"), "{bad}");
            assert!(over(PixelOptions { range: Some(bad), ..range }).is_err());
        }
        assert!(range.refuse("f").is_err() && PixelOptions::default().refuse("f").is_ok());
    }
}
