//! Options for model files that do not say how their pictures are prepared.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use striate::Classifier;
use striate::image::augment::{Resize, TestCrop};
use striate::image::resample::Kernel;
use striate::importers::{AnyModel, ModelFile, PixelOptions};

use crate::error::Result;

/// What of a file is read, and which files belong to it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FileArgs {
    /// Of a PyTorch checkpoint that holds several state dicts, read the one under this key, such as `ema`
    /// [default: the obvious one; a warning names the others].
    #[arg(long, value_name = "KEY")]
    pub(crate) state_dict: Option<String>,
    /// Of a caffemodel, read the definition of its layers from this file (.prototxt) [default: the one beside
    /// it].
    #[arg(long, value_name = "FILE")]
    prototxt: Option<PathBuf>,
    /// Of a caffemodel, subtract the mean image in this file (.binaryproto) [default: what the definition
    /// says, or the mean of ImageNet's pictures].
    #[arg(long, value_name = "FILE")]
    pub(crate) mean_file: Option<PathBuf>,
}

impl FileArgs {
    /// A file, of which this is read.
    pub(crate) fn applied(&self, file: ModelFile) -> Result<ModelFile> {
        let file = file.with_checkpoint_key(self.state_dict.clone())?;
        let file = file.with_prototxt(self.prototxt.clone())?;
        Ok(file.with_mean_file(self.mean_file.clone())?)
    }
}

/// As [`FileArgs`], and what is done to pixels.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// Subtract this from the channels of a pixel: one number or three. For ONNX models and state dicts,
    /// which do not record it [default: as the network's makers did; -v prints it].
    #[arg(long, value_name = "M,M,M", allow_hyphen_values = true, help_heading = PIXELS)]
    mean: Option<Three>,
    /// Divide the difference by this: one number or three [default: as the network's makers did].
    #[arg(long, value_name = "S,S,S", help_heading = PIXELS)]
    std: Option<Three>,
    /// The value of the brightest pixel before the mean is subtracted, 1 or 255 [default: 1 with --mean or
    /// --std].
    #[arg(long, value_name = "R", help_heading = PIXELS)]
    range: Option<f64>,
    /// The network sees blue first and red last.
    #[arg(long, help_heading = PIXELS)]
    bgr: bool,
}

const PIXELS: &str = "Pixels";

impl ReadArgs {
    /// A file that is read so.
    pub(crate) fn applied(&self, file: ModelFile) -> Result<ModelFile> {
        Ok(self.file.applied(file)?.with_pixels(self.pixels()))
    }

    /// What is said of pixels, as options; nothing where nothing is.
    pub(crate) fn words(&self) -> String {
        let range = self.range.map(|range| range.to_string());
        let bgr = self.bgr.then(String::new);
        let [mean, std] = [self.mean, self.std].map(|three| three.map(|three| three.to_string()));
        words([("--mean", mean), ("--std", std), ("--range", range), ("--bgr", bgr)])
    }

    fn pixels(&self) -> PixelOptions {
        let three = |three: &Option<Three>| three.as_ref().map(|three| three.0);
        let (mean, std) = (three(&self.mean), three(&self.std));
        PixelOptions { range: self.range, mean, std, bgr: self.bgr }
    }
}

/// The options that are given, as they are typed.
fn words<const N: usize>(options: [(&str, Option<String>); N]) -> String {
    let given = options.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    given.collect::<Vec<_>>().join(" ")
}

/// A number for each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Three([f64; 3]);

impl FromStr for Three {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers: std::result::Result<Vec<f64>, _> =
            text.split(',').map(|number| number.trim().parse::<f64>()).collect();
        match numbers.as_deref() {
            Ok(&[one]) if one.is_finite() => Ok(Three([one; 3])),
            Ok(&[a, b, c]) if [a, b, c].iter().all(|x| x.is_finite()) => Ok(Three([a, b, c])),
            _ => Err("expected one number or three, such as 0.485,0.456,0.406".into()),
        }
    }
}

impl fmt::Display for Three {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        write!(f, "{a},{b},{c}")
    }
}

/// The view of each picture.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The view of a picture")]
pub(crate) struct ViewArgs {
    /// The size that the network sees: N pixels a side, or ROWSxCOLS [default: as the model says].
    /// Networks that end in full-connect layers take no other size than their own.
    #[arg(long, value_name = "N")]
    size: Option<Sides>,
    /// The picture is resized before its centre is cut out: N makes its shorter side N pixels, ROWSxCOLS
    /// the whole picture, whatever its aspect [default: as the model says].
    #[arg(long, value_name = "N", conflicts_with = "protocol")]
    resize: Option<Sides>,
    /// How it is resized [default: as the model says].
    #[arg(long, value_enum, conflicts_with = "protocol")]
    filter: Option<Filter>,
}

/// How a picture is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Filter {
    /// Antialiased, as torchvision and Pillow do it.
    Bilinear,
    /// Antialiased, as timm and Pillow do it.
    Bicubic,
    /// By area where a picture shrinks, by cubic where it grows.
    Ccv,
}

impl ViewArgs {
    /// A classifier of this model that sees pictures so.
    pub(crate) fn classifier(&self, model: AnyModel) -> Result<Classifier> {
        let classifier = match (self.size, model) {
            (Some(sides), AnyModel::Network(network)) => {
                Classifier::for_size(network, sides.both())?
            }
            (Some(sides), AnyModel::Onnx(model)) => {
                Classifier::of_model(model.with_size(sides.both())?)?
            }
            (None, model) => Classifier::of_model(model)?,
        };
        if self.resize.is_none() && self.filter.is_none() {
            return Ok(classifier);
        }
        let mut view = classifier.tested_view();
        match self.resize {
            Some(Sides::One(side)) => (view.resize, view.size) = (Resize::Cover, [side; 2]),
            Some(Sides::Both(sides)) => (view.resize, view.size) = (Resize::Stretch, sides),
            None => {}
        }
        (view.filter, view.crop) = match self.filter {
            Some(Filter::Bilinear) => (Some(Kernel::Bilinear), TestCrop::CentreEven),
            Some(Filter::Bicubic) => (Some(Kernel::Bicubic), TestCrop::CentreEven),
            Some(Filter::Ccv) => (None, TestCrop::Centre),
            None => (view.filter, view.crop),
        };
        Ok(classifier.view(view)?)
    }

    /// What is said of the view, as options; nothing where nothing is.
    pub(crate) fn words(&self) -> String {
        let [size, resize] = [self.size, self.resize].map(|sides| sides.map(|s| s.to_string()));
        let filter = self.filter.and_then(|filter| filter.to_possible_value());
        let filter = filter.map(|filter| filter.get_name().to_owned());
        words([("--size", size), ("--resize", resize), ("--filter", filter)])
    }
}

/// One side for both, or rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sides {
    One(usize),
    Both([usize; 2]),
}

impl Sides {
    fn both(self) -> [usize; 2] {
        match self {
            Sides::One(side) => [side; 2],
            Sides::Both(sides) => sides,
        }
    }
}

impl fmt::Display for Sides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sides::One(side) => write!(f, "{side}"),
            Sides::Both([rows, cols]) => write!(f, "{rows}x{cols}"),
        }
    }
}

/// Pixels a side that are no mistake.
const MOST: usize = 1 << 14;

impl FromStr for Sides {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let side = |text: &str| text.parse().ok().filter(|side| (1..=MOST).contains(side));
        let sides = match text.split_once('x') {
            Some((rows, cols)) => {
                side(rows).zip(side(cols)).map(|(rows, cols)| Sides::Both([rows, cols]))
            }
            None => side(text).map(Sides::One),
        };
        sides.ok_or_else(|| format!("expected pixels up to {MOST}, such as 256 or 256x320"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sides_are_parsed_or_refused() {
        assert_eq!("127".parse(), Ok(Three([127.0; 3])));
        assert_eq!("104, 117,-3.5".parse(), Ok(Three([104.0, 117.0, -3.5])));
        for bad in ["", "1,2", "1,2,3,4", "a", "nan", "inf,1,1"] {
            assert!(bad.parse::<Three>().is_err(), "{bad}");
        }
        assert_eq!("256".parse(), Ok(Sides::One(256)));
        assert_eq!("256x320".parse(), Ok(Sides::Both([256, 320])));
        for bad in ["", "0", "x", "1x", "-5", "1x2x3", "16385", "99999999999999999999"] {
            assert!(bad.parse::<Sides>().is_err(), "{bad}");
        }
    }
}
