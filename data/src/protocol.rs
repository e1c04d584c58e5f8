//! Which parts of a picture a network is run on: the crop protocols, by name.
//!
//! Every protocol takes a decoded picture and the network's [`Geometry`] and gives [`Prepared`]
//! pictures: the mean subtracted, ready to be run. What is left to the caller is the network.

mod crops;
mod scans;

use std::fmt;
use std::str::FromStr;

use crate::augment::{Recipe, TestView, ViewFormer};
use crate::{Error, FloatImage, Image, Result};

pub(crate) use crops::classic_square;

/// How a picture is cut into the views whose probabilities are averaged.
///
/// ```
/// use striate_data::Protocol;
///
/// let protocol: Protocol = "ccv-cpu".parse()?;
/// assert_eq!(protocol, Protocol::CcvCpu);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// ccv on a CPU: the convolutions run once over the whole picture, and five windows are cut from
    /// the last convolution's output, for the picture and its mirror: 10 views.
    CcvCpu,
    /// ccv on a GPU: three whole-image crops and their mirrors, five windows each: 30 views.
    CcvGpu,
    /// AlexNet's: the shorter side to 256, the central square, its corners and centre and their
    /// mirrors: 10 views.
    Alex,
    /// Caffe's: 256 x 256 without keeping the aspect, corners and centre and their mirrors: 10
    /// views.
    Caffe,
    /// One view: the centre of the picture.
    Centre,
    /// One view: the one that its makers, or training here, tested the network with. A network's metadata record it
    /// ([`TestView`]); without such a record it is the view of the recipe `plain`.
    Tested,
}

/// What a protocol has to know of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The whole-image size `[rows, cols]`: that of the mean image, 257 x 257 for ccv's networks.
    pub image: [usize; 2],
    /// The input of the network's first layer, `[rows, cols]`, 225 x 225 for ccv's networks.
    pub net: [usize; 2],
    /// Channels of the input, 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// The product of the strides of all convolutions and poolings up to and including the last
    /// convolution (the scan layer): 16 for ccv's networks. Only the `ccv-` protocols use it.
    pub scan_scale: usize,
}

/// Pictures ready for the network, the mean subtracted, all of one size.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepared {
    /// Views of the network's input size: run the whole network on each.
    Crops(Vec<FloatImage>),
    /// Larger pictures: run the layers up to and including the last convolution (the scan layer) on
    /// each, cut [`five_windows`] from its output, and run the rest on every window. Picture after
    /// picture, window after window is the order of the views.
    Scans(Vec<FloatImage>),
}

impl Prepared {
    /// The pictures to run.
    pub fn pictures(&self) -> &[FloatImage] {
        match self {
            Self::Crops(pictures) | Self::Scans(pictures) => pictures,
        }
    }

    /// How many probability vectors come out and are averaged.
    pub fn views(&self) -> usize {
        match self {
            Self::Crops(crops) => crops.len(),
            Self::Scans(slices) => slices.len() * 5,
        }
    }
}

impl Protocol {
    /// All protocols.
    pub const fn all() -> [Self; 6] {
        [Self::CcvCpu, Self::CcvGpu, Self::Alex, Self::Caffe, Self::Centre, Self::Tested]
    }

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CcvCpu => "ccv-cpu",
            Self::CcvGpu => "ccv-gpu",
            Self::Alex => "alex",
            Self::Caffe => "caffe",
            Self::Centre => "centre",
            Self::Tested => "tested",
        }
    }

    /// One line that says what it does.
    pub const fn description(self) -> &'static str {
        match self {
            Self::CcvCpu => {
                "convolutions once over the whole picture, 5 windows of their output, mirrored too \
                 (10 views)"
            }
            Self::CcvGpu => {
                "top left, centre and bottom right whole-image crops, mirrored too, 5 windows of \
                 each (30 views)"
            }
            Self::Alex => {
                "the central square of the picture, its corners and centre, mirrored too (10 views)"
            }
            Self::Caffe => {
                "the picture stretched to a square, its corners and centre, mirrored too (10 views)"
            }
            Self::Centre => "the centre of the picture (1 view)",
            Self::Tested => "what its makers tested, as the model records it (1 view)",
        }
    }

    /// How many probability vectors are averaged.
    pub const fn views(self) -> usize {
        match self {
            Self::CcvCpu | Self::Alex | Self::Caffe => 10,
            Self::CcvGpu => 30,
            Self::Centre | Self::Tested => 1,
        }
    }

    /// Cuts a picture into what the network is run on. `mean` is the network's mean image, of the
    /// whole-image size and the network's channels; without one nothing is subtracted.
    ///
    /// [`Protocol::Tested`] is the view of the recipe `plain` here, for nothing else is known. Who has
    /// the network's [`TestView`] forms it with a [`ViewFormer`].
    ///
    /// # Errors
    /// [`Error::Geometry`] for a network that contradicts itself, [`Error::Shape`] for a mean image
    /// of another size, and what [`crate::form_input`] reports.
    pub fn prepare(
        self,
        image: &Image,
        geometry: &Geometry,
        mean: Option<&FloatImage>,
    ) -> Result<Prepared> {
        geometry.check()?;
        if let Some(mean) = mean {
            let expected = [geometry.image[0], geometry.image[1], geometry.channels];
            if mean.shape() != expected {
                return Err(Error::Shape {
                    operation: "the mean image",
                    expected,
                    got: mean.shape(),
                });
            }
        }
        let image = image.to_channels(geometry.channels)?;
        match self {
            Self::CcvCpu => scans::ccv_cpu(&image, geometry, mean).map(Prepared::Scans),
            Self::CcvGpu => scans::ccv_gpu(&image, geometry, mean).map(Prepared::Scans),
            Self::Alex => crops::alex(&image, geometry, mean).map(Prepared::Crops),
            Self::Caffe => crops::caffe(&image, geometry, mean).map(Prepared::Crops),
            Self::Centre => crops::centre(&image, geometry, mean).map(Prepared::Crops),
            Self::Tested => {
                let view = TestView::of(&Recipe::default(), geometry);
                let view = ViewFormer::new(view, geometry, mean)?.form(&image)?;
                Ok(Prepared::Crops(vec![view]))
            }
        }
    }
}

impl Geometry {
    /// Checks that pictures can be formed for such a network.
    ///
    /// # Errors
    /// [`Error::Geometry`] for an empty input, a whole image smaller than it, or channels other than
    /// 1 or 3.
    pub fn check(&self) -> Result<()> {
        let geometry = |detail: String| Err(Error::Geometry { detail });
        let Self { image, net, channels, scan_scale } = *self;
        if net.contains(&0) {
            return geometry(format!("the network's input is {net:?} [rows, cols]"));
        }
        if image[0] < net[0] || image[1] < net[1] {
            return geometry(format!(
                "the whole image {image:?} is smaller than the network's input {net:?} [rows, cols]"
            ));
        }
        if channels != 1 && channels != 3 {
            return geometry(format!("{channels} input channels, where pictures have 1 or 3"));
        }
        if scan_scale == 0 {
            return geometry("the strides up to the last convolution multiply to 0".to_owned());
        }
        Ok(())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::all().into_iter().find(|protocol| protocol.name() == name).ok_or_else(|| {
            Error::UnknownProtocol {
                name: name.to_owned(),
                choices: Self::all().map(Self::name).join(", "),
            }
        })
    }
}

/// The first `[row, col]` of the five windows cut from the scan layer's output, in ccv's order: top
/// left, top right, centre (difference / 2, integer), bottom left, bottom right. `scan_output` is
/// the output's `[rows, cols]`, `window` what the layer after it expects.
///
/// # Errors
/// [`Error::Window`] when the output is smaller than the window.
pub fn five_windows(scan_output: [usize; 2], window: [usize; 2]) -> Result<[[usize; 2]; 5]> {
    let too_small = || Error::Window { output: scan_output, window };
    let down = scan_output[0].checked_sub(window[0]).ok_or_else(too_small)?;
    let right = scan_output[1].checked_sub(window[1]).ok_or_else(too_small)?;
    Ok([[0, 0], [0, right], [down / 2, right / 2], [down, 0], [down, right]])
}

#[cfg(test)]
mod tests;
