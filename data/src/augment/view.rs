//! The view that training tests a network with, as data. A network stores it, so that classifying
//! does exactly what training tested, here or where its makers trained it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::recipe::{MeanPatch, Recipe, Resize};
use crate::formation::{MAX_FORMED_TIMES, check_size, form_input, resize_mean, stretch};
use crate::resample::{Kernel, antialias, antialias_part};
use crate::{Error, FloatImage, Geometry, Image, Result};

/// The longest side of a whole picture. Longer ones would only fill memory.
pub(super) const MAX_SIDE: usize = 1 << 14;

/// How training forms the one view of each picture that it tests a network with: what a [`Recipe`]
/// does to a test picture, for one network.
///
/// ```
/// use striate_data::augment::{Recipe, TestView};
/// use striate_data::Geometry;
///
/// let geometry = Geometry { image: [257, 257], net: [225, 225], channels: 3, scan_scale: 16 };
/// let view = TestView::of(&Recipe::by_name("caffe")?, &geometry);
/// assert_eq!(view.size, [256, 256]);
/// assert_eq!(
///     view.to_string(),
///     "the centre of the picture stretched to 256 x 256, minus the mean image (1 view)"
/// );
/// # Ok::<(), striate_data::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TestView {
    /// How a picture gets its whole size.
    pub resize: Resize,
    /// What a pixel of the resized picture is made of; none for ccv's way, by area where a picture shrinks
    /// and by cubic where it grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Kernel>,
    /// The whole size, `[rows, cols]` in pixels.
    pub size: [usize; 2],
    /// Where the network's input is cut from the whole picture.
    pub crop: TestCrop,
    /// What is subtracted from the view.
    pub mean: TestMean,
}

/// Where the network's input is cut from the whole picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestCrop {
    /// The centre. Where it cannot be exactly in the middle, it is half a pixel below and to the
    /// right of it: offset = (difference + 1) / 2, as in ccv's training, not its classification.
    #[default]
    Centre,
    /// The centre, as torchvision and timm cut it. Where it cannot be exactly in the middle, offset =
    /// difference / 2 rounded to the even one of both neighbours.
    CentreEven,
}

impl TestCrop {
    /// Where a part of `inner` is cut from `outer`, both `[rows, cols]`: its first `[row, col]`.
    fn at(self, outer: [usize; 2], inner: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| {
            let difference = outer[axis].saturating_sub(inner[axis]);
            match self {
                Self::Centre => difference.div_ceil(2),
                // Of 2k + 1 the even one of k and k + 1.
                Self::CentreEven => difference / 2 + (difference % 4 == 3) as usize,
            }
        })
    }
}

/// What is subtracted from a test view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestMean {
    /// Nothing, also where the network has a mean image.
    None,
    /// The centre of the mean image.
    #[default]
    Plain,
    /// The centre of the average of the mean image and its mirror image, as training subtracts it
    /// from views that may be mirrored.
    Symmetric,
}

impl TestView {
    /// What a recipe does to a test picture for a network of this geometry.
    pub fn of(recipe: &Recipe, geometry: &Geometry) -> Self {
        let mean = match recipe.mean {
            MeanPatch::None => TestMean::None,
            MeanPatch::Elsewhere if recipe.mirror => TestMean::Symmetric,
            MeanPatch::Elsewhere | MeanPatch::Here => TestMean::Plain,
        };
        let size = recipe.whole(geometry);
        Self { resize: recipe.resize, filter: None, size, crop: TestCrop::Centre, mean }
    }

    /// Refuses a view that cannot be formed for a network of this geometry.
    ///
    /// # Errors
    /// [`Error::Geometry`] for a network that contradicts itself; [`Error::Setting`] where the whole
    /// picture is smaller than the network's input, or longer than 16,384 pixels.
    pub fn check(&self, geometry: &Geometry) -> Result<()> {
        geometry.check()?;
        let fits = |axis: usize| (geometry.net[axis]..=MAX_SIDE).contains(&self.size[axis]);
        if fits(0) && fits(1) {
            return Ok(());
        }
        Err(Error::Setting {
            what: "the whole size of a test view",
            expected: format!(
                "at least the network's input {:?} [rows, cols], and at most {MAX_SIDE} a side",
                geometry.net
            ),
            got: format!("{:?}", self.size),
        })
    }
}

/// From JSON, as it is stored.
impl FromStr for TestView {
    type Err = Error;

    fn from_str(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|error| Error::Setting {
            what: "a test view",
            expected: "an object with resize, filter, size, crop and mean".to_owned(),
            got: format!("{json} ({error})"),
        })
    }
}

impl fmt::Display for TestView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, cols] = self.size;
        let resized = match self.resize {
            Resize::Cover => "resized to cover",
            Resize::Stretch => "stretched to",
        };
        let filter = match self.filter {
            Some(kernel) => format!(" ({kernel}, antialiased)"),
            None => String::new(),
        };
        let mean = match self.mean {
            TestMean::None => "nothing subtracted",
            TestMean::Plain => "minus the mean image",
            TestMean::Symmetric => "minus the mirror-symmetric mean image",
        };
        write!(f, "the centre of the picture {resized} {rows} x {cols}{filter}, {mean} (1 view)")
    }
}

/// A [`TestView`] made ready for a network: it turns decoded pictures into the network's input. The
/// [`Augmenter`](super::Augmenter) tests with it, and classifying uses the same.
#[derive(Clone, Debug)]
pub struct ViewFormer {
    view: TestView,
    geometry: Geometry,
    /// The mean image of the view's size, as it is subtracted.
    mean: Option<FloatImage>,
}

impl ViewFormer {
    /// A view for a network. `mean` is the mean image, `[rows, cols, channels]`; where it has another
    /// size than the view's whole picture, it is stretched to it (cubic).
    ///
    /// # Errors
    /// As [`TestView::check`], and [`Error::Shape`] for a mean image with other channels.
    pub fn new(view: TestView, geometry: &Geometry, mean: Option<&FloatImage>) -> Result<Self> {
        view.check(geometry)?;
        let mean = mean.filter(|_| view.mean != TestMean::None);
        let mean = mean.map(|mean| prepared_mean(&view, geometry.channels, mean)).transpose()?;
        Ok(Self { view, geometry: *geometry, mean })
    }

    /// The view.
    pub fn view(&self) -> &TestView {
        &self.view
    }

    /// Forms the view of a picture into `input`, `[rows, cols, channels]`.
    ///
    /// # Errors
    /// [`Error::BufferLength`] where `input` has another length, and what [`form_input`] reports.
    pub fn form_into(&self, picture: &Image, input: &mut [f32]) -> Result<()> {
        let (net, crop) = (self.geometry.net, self.view.crop);
        match self.view.filter {
            // No more of the resized picture is computed than the network sees.
            Some(kernel) => {
                let picture = self.with_channels(picture)?;
                let from = [picture.rows(), picture.cols()];
                let whole = resized(self.view.resize, from, self.view.size);
                let part = antialias_part(&picture, whole, crop.at(whole, net), net, kernel)?;
                part.copy_part([0, 0], net, input, f32::from)?;
            }
            None => {
                let formed = self.formed(picture, self.view.size)?;
                formed.cut(crop.at(formed.size(), net), net, input)?;
            }
        }
        self.subtract_mean(crop.at(self.view.size, net), input);
        Ok(())
    }

    /// The view of a picture.
    ///
    /// # Errors
    /// What [`form_input`] reports.
    pub fn form(&self, picture: &Image) -> Result<FloatImage> {
        let [rows, cols] = self.geometry.net;
        let mut input = vec![0.0; rows * cols * self.geometry.channels];
        self.form_into(picture, &mut input)?;
        FloatImage::new(rows, cols, self.geometry.channels, input)
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(super) fn mean(&self) -> Option<&FloatImage> {
        self.mean.as_ref()
    }

    /// The middle of the whole picture, `[rows, cols, channels]` of the view's size and the network's
    /// channels, nothing subtracted.
    pub(super) fn whole(&self, picture: &Image) -> Result<FloatImage> {
        let [rows, cols] = self.view.size;
        let mut values = vec![0.0; rows * cols * self.geometry.channels];
        let formed = self.formed(picture, self.view.size)?;
        let at = self.view.crop.at(formed.size(), self.view.size);
        formed.cut(at, self.view.size, &mut values)?;
        FloatImage::new(rows, cols, self.geometry.channels, values)
    }

    /// The picture with the network's channels, covering (or stretched to) a size. Where one side
    /// is right already and the other is not smaller nothing is resized, as in ccv, and the bytes
    /// are kept until the part that is needed is cut out.
    pub(super) fn formed<'a>(&self, picture: &'a Image, whole: [usize; 2]) -> Result<Formed<'a>> {
        let [rows, cols] = whole;
        let picture = self.with_channels(picture)?;
        let (own_rows, own_cols) = (picture.rows(), picture.cols());
        if let Some(kernel) = self.view.filter {
            check_size(&picture, whole, MAX_FORMED_TIMES, "crop it to a less elongated shape")?;
            let [rows, cols] = resized(self.view.resize, [own_rows, own_cols], whole);
            return Ok(Formed::Bytes(Cow::Owned(antialias(&picture, rows, cols, kernel)?)));
        }
        let covers = own_rows >= rows && own_cols >= cols;
        Ok(match self.view.resize {
            Resize::Cover if covers && (own_rows == rows || own_cols == cols) => {
                Formed::Bytes(picture)
            }
            Resize::Stretch if own_rows == rows && own_cols == cols => Formed::Bytes(picture),
            Resize::Cover => Formed::Floats(form_input(&picture, rows, cols)?),
            Resize::Stretch => Formed::Floats(stretch(&picture, rows, cols)?),
        })
    }

    /// The picture with the network's channels.
    fn with_channels<'a>(&self, picture: &'a Image) -> Result<Cow<'a, Image>> {
        match picture.channels() == self.geometry.channels {
            true => Ok(Cow::Borrowed(picture)),
            false => Ok(Cow::Owned(picture.to_channels(self.geometry.channels)?)),
        }
    }

    /// Subtracts the part of the mean image at `[top, left]` from an input.
    pub(super) fn subtract_mean(&self, at: [usize; 2], input: &mut [f32]) {
        let Some(mean) = &self.mean else { return };
        let width = self.geometry.net[1] * self.geometry.channels;
        let left = at[1] * self.geometry.channels;
        for (row, line) in input.chunks_exact_mut(width).enumerate() {
            let mean = &mean.row(at[0] + row)[left..left + width];
            for (value, mean) in line.iter_mut().zip(mean) {
                *value -= mean;
            }
        }
    }
}

/// The size of an antialiased picture: the sides that torchvision and timm give it, the longer one cut
/// off to a whole number.
fn resized(resize: Resize, from: [usize; 2], whole: [usize; 2]) -> [usize; 2] {
    if resize == Resize::Stretch {
        return whole;
    }
    // The side that grows more, or shrinks less, becomes the size.
    let led = |axis: usize| whole[axis] as u128 * from[1 - axis] as u128;
    let lead = if led(0) >= led(1) { 0 } else { 1 };
    let other = whole[lead] as u128 * from[1 - lead] as u128 / from[lead].max(1) as u128;
    let other = usize::try_from(other).unwrap_or(usize::MAX).max(whole[1 - lead]);
    if lead == 0 { [whole[0], other] } else { [other, whole[1]] }
}

/// The mean image in the view's size, as it is subtracted.
fn prepared_mean(view: &TestView, channels: usize, mean: &FloatImage) -> Result<FloatImage> {
    let [rows, cols] = view.size;
    if mean.channels() != channels {
        return Err(Error::Shape {
            operation: "the mean image",
            expected: [rows, cols, channels],
            got: mean.shape(),
        });
    }
    let mean = resize_mean(mean, rows, cols)?;
    if view.mean != TestMean::Symmetric {
        return Ok(mean);
    }
    let mut symmetric = mean.flip_horizontal();
    for (value, own) in symmetric.values_mut().iter_mut().zip(mean.values()) {
        *value = (*value + own) * 0.5;
    }
    Ok(symmetric)
}

/// A whole picture, resized or not.
pub(super) enum Formed<'a> {
    Bytes(Cow<'a, Image>),
    Floats(FloatImage),
}

impl Formed<'_> {
    pub(super) fn size(&self) -> [usize; 2] {
        match self {
            Self::Bytes(image) => [image.rows(), image.cols()],
            Self::Floats(image) => [image.rows(), image.cols()],
        }
    }

    /// Copies the part of `[rows, cols]` pixels at `[top, left]`.
    pub(super) fn cut(&self, at: [usize; 2], size: [usize; 2], into: &mut [f32]) -> Result<()> {
        match self {
            Self::Bytes(image) => image.copy_part(at, size, into, f32::from),
            Self::Floats(image) => image.copy_part(at, size, into, |v| v),
        }
    }
}
