//! From a decoded picture to what a network is trained or tested on: size, place, mirror, light and
//! colour, by a [`Recipe`] that is data.
//!
//! Everything random is a function of a [`SampleKey`], the seed, the epoch and the position in it:
//! which thread forms a picture, and when, makes no difference.

mod color;
mod draw;
mod recipe;
mod turn;
mod view;

pub use draw::{SampleKey, epoch_order};
pub use recipe::{Area, CropPosition, MeanPatch, Recipe, Resize, Side};
pub use view::{TestCrop, TestMean, TestView, ViewFormer};

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
    /// Forms the test view. Its whole size is that of training too, where the recipe draws none,
    /// and its mean image is the one that training subtracts.
    test: ViewFormer,
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
        recipe.check(geometry)?;
        let test = ViewFormer::new(TestView::of(recipe, geometry), geometry, mean)?;
        let wants_color = recipe.color_gain > 0.0 && geometry.channels == 3;
        if wants_color && colors.is_none() {
            return Err(Error::Setting {
                what: "the colour components of a recipe with a colour gain",
                expected: "those of the training set (`statistics`)".to_owned(),
                got: "none".to_owned(),
            });
        }
        Ok(Self { recipe: recipe.clone(), test, colors: colors.filter(|_| wants_color).cloned() })
    }

    /// `[rows, cols, channels]` of the network's input.
    pub fn input(&self) -> [usize; 3] {
        let Geometry { net, channels, .. } = *self.test.geometry();
        [net[0], net[1], channels]
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
        self.test.mean()
    }

    /// Forms a picture for training into `input`, `[rows, cols, channels]`: the key decides all that
    /// is random. In this order: resize, cut, mirror, turn, invert, light and colour (in a random
    /// order), mean, colour gain.
    ///
    /// # Errors
    /// [`Error::BufferLength`] when `input` has another length than [`Augmenter::input_len`], and
    /// what [`form_input`](crate::form_input) reports.
    pub fn train(&self, picture: &Image, key: SampleKey, input: &mut [f32]) -> Result<()> {
        if self.recipe.crop == CropPosition::Centre {
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
        let whole = self.recipe.drawn_whole(self.test.view().size, size_number);
        let formed = self.test.formed(picture, whole)?;
        let offset = |place: [f32; 2], free: [usize; 2]| {
            [0, 1].map(|axis| draw::below(place[axis], free[axis] + 1))
        };
        let Geometry { net, channels, .. } = *self.test.geometry();
        let (origin, area) = match self.recipe.area {
            Area::Anywhere => ([0, 0], formed.size()),
            // Halves are cut off, as everywhere where ccv takes a centre of a picture to classify.
            Area::Centre => ([0, 1].map(|a| (formed.size()[a] - whole[a]) / 2), whole),
        };
        let at = offset(place, [0, 1].map(|axis| area[axis] - net[axis]));
        formed.cut([origin[0] + at[0], origin[1] + at[1]], net, input)?;

        let mean_at = match self.recipe.mean {
            MeanPatch::Elsewhere => {
                offset(mean_place, [0, 1].map(|axis| self.test.view().size[axis] - net[axis]))
            }
            // Of the mean, which has the drawn picture's size in such recipes.
            MeanPatch::Here | MeanPatch::None => at,
        };
        if self.recipe.mean == MeanPatch::Here {
            // Before the mirror, so that it is mirrored along.
            self.test.subtract_mean(mean_at, input);
        }
        if mirrored {
            mirror(input, net[1], channels);
        }
        if degrees != 0.0 {
            turn::turn(input, self.input(), degrees);
        }
        if inverted {
            input.iter_mut().for_each(|value| *value = 255.0 - *value);
        }
        color::jitter(input, channels, self.recipe.manipulation, &mut draw);
        if self.recipe.mean == MeanPatch::Elsewhere {
            self.test.subtract_mean(mean_at, input);
        }
        if let Some(colors) = &self.colors {
            color::gain(input, colors, self.recipe.color_gain, &mut draw);
        }
        Ok(())
    }

    /// Forms a picture for testing into `input`: the [`TestView`] of the recipe.
    ///
    /// # Errors
    /// As [`Augmenter::train`].
    pub fn test(&self, picture: &Image, input: &mut [f32]) -> Result<()> {
        self.test.form_into(picture, input)
    }

    /// What [`Augmenter::test`] does, as data.
    pub fn test_view(&self) -> &TestView {
        self.test.view()
    }

    /// The whole picture, `[rows, cols, channels]` of the recipe's size and the network's channels,
    /// nothing subtracted: what the mean image is the mean of.
    ///
    /// # Errors
    /// As [`form_input`](crate::form_input).
    pub fn whole(&self, picture: &Image) -> Result<FloatImage> {
        self.test.whole(picture)
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
