//! From a decoded picture to what a network is trained or tested on: size, place, mirror, light and
//! colour, by a [`Recipe`] that is data.
//!
//! Everything random is a function of a [`SampleKey`], the seed, the epoch and the position in it:
//! which thread forms a picture, and when, makes no difference.

mod color;
mod draw;
mod recipe;
mod turn;

pub use draw::{SampleKey, epoch_order};
pub use recipe::{Area, MeanPatch, Place, Recipe, Resize, Side};

use std::borrow::Cow;

use crate::formation::{form_input, resize_mean, stretch};
use crate::statistics::ColorComponents;
use crate::{Error, FloatImage, Geometry, Image, Result};
use draw::Draw;

/// A recipe made ready for a network: it turns decoded pictures into the network's input.
///
/// ```
/// use striate_data::augment::{Augmenter, Recipe, SampleKey};
/// use striate_data::{Geometry, Image};
///
/// let geometry = Geometry { image: [31, 31], net: [28, 28], channels: 1, scan_scale: 1 };
/// let augmenter = Augmenter::new(&Recipe::by_name("ccv")?, &geometry, None, None)?;
/// let mut input = vec![0.0; augmenter.input_len()];
/// let picture = Image::filled(40, 40, 3, 9)?;
/// augmenter.train(&picture, SampleKey { seed: 1, epoch: 0, position: 17 }, &mut input)?;
/// augmenter.test(&picture, &mut input)?;
/// # Ok::<(), striate_data::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Augmenter {
    recipe: Recipe,
    geometry: Geometry,
    /// Rows and columns of the whole picture for the test view, and for training where the recipe
    /// draws no size.
    whole: [usize; 2],
    /// The mean image, of `whole`'s size, mirror symmetric where pictures are mirrored after it is
    /// subtracted elsewhere.
    mean: Option<FloatImage>,
    colors: Option<ColorComponents>,
}

impl Augmenter {
    /// A recipe for a network. `mean` is the mean image, `[rows, cols, channels]`; of another size
    /// than the recipe's whole picture it is stretched to it (cubic). `colors` is needed by recipes
    /// with a colour gain, and not used for grey pictures.
    ///
    /// # Errors
    /// [`Error::Geometry`] for a network that contradicts itself, [`Error::Setting`] for a recipe
    /// that makes no sense or whose pictures are smaller than the network's input, [`Error::Shape`]
    /// for a mean image with other channels.
    pub fn new(
        recipe: &Recipe,
        geometry: &Geometry,
        mean: Option<&FloatImage>,
        colors: Option<&ColorComponents>,
    ) -> Result<Self> {
        geometry.check()?;
        let whole = recipe.whole(geometry);
        recipe.check(geometry)?;
        let mean = match mean.filter(|_| recipe.mean != MeanPatch::None) {
            Some(mean) => Some(prepared_mean(recipe, geometry, whole, mean)?),
            None => None,
        };
        let wants_color = recipe.color_gain > 0.0 && geometry.channels == 3;
        if wants_color && colors.is_none() {
            return Err(Error::Setting {
                what: "the colour components of a recipe with a colour gain",
                expected: "those of the training set (`statistics`)".to_owned(),
                got: "none".to_owned(),
            });
        }
        Ok(Self {
            recipe: recipe.clone(),
            geometry: *geometry,
            whole,
            mean,
            colors: colors.filter(|_| wants_color).cloned(),
        })
    }

    /// `[rows, cols, channels]` of the network's input.
    pub fn input(&self) -> [usize; 3] {
        [self.geometry.net[0], self.geometry.net[1], self.geometry.channels]
    }

    /// How many numbers an input has.
    pub fn input_len(&self) -> usize {
        self.input().iter().product()
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The mean image as it is subtracted: of the recipe's size, made mirror symmetric where the
    /// recipe needs that.
    pub fn mean(&self) -> Option<&FloatImage> {
        self.mean.as_ref()
    }

    /// Forms a picture for training into `input`, `[rows, cols, channels]`: the key decides all that
    /// is random. In this order: resize, cut, mirror, turn, invert, light and colour (in a random
    /// order), mean, colour gain.
    ///
    /// # Errors
    /// [`Error::BufferLength`] when `input` has another length than [`Augmenter::input_len`], and
    /// what [`form_input`] reports.
    pub fn train(&self, picture: &Image, key: SampleKey, input: &mut [f32]) -> Result<()> {
        if self.recipe.place == Place::Centre {
            return self.test(picture, input);
        }
        let mut draw = Draw::new(key);
        // Every number is drawn, used or not, so that one setting does not shift another's.
        let size_number = draw.unit();
        let place = [draw.unit(), draw.unit()];
        let mean_place = [draw.unit(), draw.unit()];
        let mirrored = draw.unit() < 0.5 && self.recipe.mirror;
        let degrees = (2.0 * draw.unit() - 1.0) * self.recipe.turn;
        let inverted = draw.unit() < 0.5 && self.recipe.invert;
        let whole = self.recipe.drawn_whole(self.whole, size_number);
        let formed = self.formed(picture, whole)?;
        let offset = |place: [f32; 2], free: [usize; 2]| {
            [0, 1].map(|axis| draw::below(place[axis], free[axis] + 1))
        };
        let net = self.geometry.net;
        let (origin, area) = match self.recipe.area {
            Area::Anywhere => ([0, 0], formed.size()),
            // Halves are cut off, as everywhere where ccv takes a centre of a picture to classify.
            Area::Centre => ([0, 1].map(|a| (formed.size()[a] - whole[a]) / 2), whole),
        };
        let at = offset(place, [0, 1].map(|axis| area[axis] - net[axis]));
        formed.cut([origin[0] + at[0], origin[1] + at[1]], net, input)?;

        let mean_at = match self.recipe.mean {
            MeanPatch::Elsewhere => {
                offset(mean_place, [0, 1].map(|axis| self.whole[axis] - net[axis]))
            }
            // Of the mean, which has the drawn picture's size in such recipes.
            MeanPatch::Here | MeanPatch::None => at,
        };
        if self.recipe.mean == MeanPatch::Here {
            // Before the mirror, so that it is mirrored along.
            self.subtract_mean(mean_at, input);
        }
        if mirrored {
            mirror(input, net[1], self.geometry.channels);
        }
        if degrees != 0.0 {
            turn::turn(input, self.input(), degrees);
        }
        if inverted {
            input.iter_mut().for_each(|value| *value = 255.0 - *value);
        }
        color::jitter(input, self.geometry.channels, self.recipe.manipulation, &mut draw);
        if self.recipe.mean == MeanPatch::Elsewhere {
            self.subtract_mean(mean_at, input);
        }
        if let Some(colors) = &self.colors {
            color::gain(input, colors, self.recipe.color_gain, &mut draw);
        }
        Ok(())
    }

    /// Forms a picture for testing into `input`: the centre of the whole picture minus the centre of
    /// the mean image. Where it cannot be exactly in the middle, it is half a pixel down and right
    /// of it (offset = (difference + 1) / 2), as in ccv's training, not its classification.
    ///
    /// # Errors
    /// As [`Augmenter::train`].
    pub fn test(&self, picture: &Image, input: &mut [f32]) -> Result<()> {
        let formed = self.formed(picture, self.whole)?;
        let net = self.geometry.net;
        let middle = |size: [usize; 2]| [0, 1].map(|axis| (size[axis] - net[axis]).div_ceil(2));
        formed.cut(middle(formed.size()), net, input)?;
        self.subtract_mean(middle(self.whole), input);
        Ok(())
    }

    /// The whole picture, `[rows, cols, channels]` of the recipe's size and the network's channels,
    /// nothing subtracted: what the mean image is the mean of.
    ///
    /// # Errors
    /// As [`form_input`].
    pub fn whole(&self, picture: &Image) -> Result<FloatImage> {
        let mut values = vec![0.0; self.whole[0] * self.whole[1] * self.geometry.channels];
        let formed = self.formed(picture, self.whole)?;
        let at = [0, 1].map(|axis| (formed.size()[axis] - self.whole[axis]).div_ceil(2));
        formed.cut(at, self.whole, &mut values)?;
        FloatImage::new(self.whole[0], self.whole[1], self.geometry.channels, values)
    }

    /// The picture with the network's channels, covering (or stretched to) a size. Where one side
    /// is right already and the other is not smaller nothing is resized, as in ccv, and the bytes
    /// are kept until the part that is needed is cut out.
    fn formed<'a>(&self, picture: &'a Image, whole: [usize; 2]) -> Result<Formed<'a>> {
        let [rows, cols] = whole;
        let picture = if picture.channels() == self.geometry.channels {
            Cow::Borrowed(picture)
        } else {
            Cow::Owned(picture.to_channels(self.geometry.channels)?)
        };
        let (own_rows, own_cols) = (picture.rows(), picture.cols());
        let covers = own_rows >= rows && own_cols >= cols;
        Ok(match self.recipe.resize {
            Resize::Cover if covers && (own_rows == rows || own_cols == cols) => {
                Formed::Bytes(picture)
            }
            Resize::Stretch if own_rows == rows && own_cols == cols => Formed::Bytes(picture),
            Resize::Cover => Formed::Floats(form_input(&picture, rows, cols)?),
            Resize::Stretch => Formed::Floats(stretch(&picture, rows, cols)?),
        })
    }

    fn subtract_mean(&self, at: [usize; 2], input: &mut [f32]) {
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

/// The mean image in the recipe's size; symmetric where it is subtracted from pictures that may or
/// may not be mirrored.
fn prepared_mean(
    recipe: &Recipe,
    geometry: &Geometry,
    whole: [usize; 2],
    mean: &FloatImage,
) -> Result<FloatImage> {
    if mean.channels() != geometry.channels {
        return Err(Error::Shape {
            operation: "the mean image",
            expected: [whole[0], whole[1], geometry.channels],
            got: mean.shape(),
        });
    }
    let mean = resize_mean(mean, whole[0], whole[1])?;
    if !(recipe.mirror && recipe.mean == MeanPatch::Elsewhere) {
        return Ok(mean);
    }
    let mut symmetric = mean.flip_horizontal();
    for (value, own) in symmetric.values_mut().iter_mut().zip(mean.values()) {
        *value = (*value + own) * 0.5;
    }
    Ok(symmetric)
}

/// A whole picture, resized or not.
enum Formed<'a> {
    Bytes(Cow<'a, Image>),
    Floats(FloatImage),
}

impl Formed<'_> {
    fn size(&self) -> [usize; 2] {
        match self {
            Self::Bytes(image) => [image.rows(), image.cols()],
            Self::Floats(image) => [image.rows(), image.cols()],
        }
    }

    /// Copies the part of `[rows, cols]` pixels at `[top, left]`.
    fn cut(&self, at: [usize; 2], size: [usize; 2], into: &mut [f32]) -> Result<()> {
        match self {
            Self::Bytes(image) => image.copy_part(at, size, into, f32::from),
            Self::Floats(image) => image.copy_part(at, size, into, |v| v),
        }
    }
}

/// Mirrors `[rows, cols, channels]` left to right in place.
fn mirror(values: &mut [f32], cols: usize, channels: usize) {
    for line in values.chunks_exact_mut(cols * channels) {
        line.reverse();
        // The pixels are in place now, their channels backwards.
        for pixel in line.chunks_exact_mut(channels) {
            pixel.reverse();
        }
    }
}

#[cfg(test)]
mod tests;
