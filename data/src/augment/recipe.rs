//! Recipes: what is done to a picture before a network learns from it, as data.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::view::MAX_SIDE;
use crate::protocol::classic_square;
use crate::{Error, Geometry, Result};

/// What is done to pictures. The named ones are starting points; a file may hold any other.
///
/// ```
/// use striate_data::augment::Recipe;
///
/// // As the recipe `plain`, with mirror images.
/// let recipe = Recipe { mirror: true, ..Recipe::by_name("plain")? };
/// assert!(recipe.mirror);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// How a picture gets its whole size.
    pub resize: Resize,
    /// The whole size.
    pub side: Side,
    /// The part of the whole picture that a training view is cut from.
    pub area: Area,
    /// Where in it a training view is cut.
    #[serde(rename = "place")]
    pub crop: CropPosition,
    /// Mirror training views left to right with probability 1/2.
    pub mirror: bool,
    /// Which part of the mean image is subtracted.
    pub mean: MeanPatch,
    /// Brightness, contrast and (of colour pictures) saturation are multiplied by factors uniform in
    /// `1 - manipulation ..= 1 + manipulation` each, in a random order; 0 for none
    /// (`image_manipulation` in ccv).
    pub manipulation: f32,
    /// Standard deviation of the factor of each colour component that is added to all pixels of a
    /// colour picture; 0 for none (`color_gain` in ccv). The pixels are 0..255.
    pub color_gain: f32,
    /// Turn training views about their centre by up to so many degrees, uniformly to either side; 0
    /// for none. What comes in from beyond the view repeats its edge.
    #[serde(default)]
    pub turn: f32,
    /// Invert training views (255 minus each value) with probability 1/2: for writing, which may be
    /// dark on light or light on dark. The mean image of such a set is even, 127.5.
    #[serde(default)]
    pub invert: bool,
}

/// How a picture gets its whole size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// The shorter side becomes the size, the aspect is kept ([`crate::form_input`]).
    Cover,
    /// Both sides become the size, whatever the aspect ([`crate::formation::stretch`]).
    Stretch,
}

/// The whole size of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The network's whole image.
    Network,
    /// 256 where the network's whole image is ccv's 257 and its input fits, else the network's whole
    /// image: as the protocols `alex` and `caffe`.
    Classic,
    /// Drawn for each training view between these (`min_dim` and `max_dim` in ccv), both sides of a
    /// square; the test view has the network's whole image.
    Drawn {
        /// The smallest.
        min: usize,
        /// The largest.
        max: usize,
    },
}

/// The part of the whole picture that training views are cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// All of it, also what is beyond the size along the longer side.
    Anywhere,
    /// The centre of the whole size.
    Centre,
}

/// Where a training view is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CropPosition {
    /// Anywhere, uniformly.
    Random,
    /// As the test view; nothing is random then, and nothing but the mean changes the pixels.
    Centre,
}

/// Which part of the mean image is subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeanPatch {
    /// None.
    None,
    /// That of the view's own place.
    Here,
    /// That of a place drawn separately, as ccv does; the mean image is made mirror symmetric where
    /// views are mirrored.
    Elsewhere,
}

impl Recipe {
    /// The names that [`Recipe::by_name`] knows.
    pub const NAMES: [&'static str; 4] = ["ccv", "alex", "caffe", "plain"];

    const PLAIN: Self = Self {
        resize: Resize::Cover,
        side: Side::Network,
        area: Area::Anywhere,
        crop: CropPosition::Centre,
        mirror: false,
        mean: MeanPatch::Here,
        manipulation: 0.0,
        color_gain: 0.0,
        turn: 0.0,
        invert: false,
    };

    /// A recipe by name:
    ///
    /// * `ccv`: the shorter side to the network's whole image, a view anywhere, mirrored or not,
    ///   brightness, saturation and contrast by up to 20 %, colour gain 0.001, the mean of another
    ///   place. As ccv's trainer.
    /// * `alex`: the shorter side to 256, a view of the central square, mirrored or not, its mean,
    ///   noise along the colours' principal components (Krizhevsky et al. 2012: deviation 0.1 for
    ///   pixels in 0..1, which is 0.1 / 255 for ours, for eigenvalues grow with the square).
    /// * `caffe`: the whole picture stretched to 256 x 256, its mean, a view anywhere, mirrored or
    ///   not.
    /// * `plain`: the centre, its mean; nothing random.
    ///
    /// # Errors
    /// [`Error::Setting`] for another name.
    pub fn by_name(name: &str) -> Result<Self> {
        let plain = Self::PLAIN;
        Ok(match name {
            "ccv" => Self {
                crop: CropPosition::Random,
                mirror: true,
                mean: MeanPatch::Elsewhere,
                manipulation: 0.2,
                color_gain: 0.001,
                ..plain
            },
            "alex" => Self {
                side: Side::Classic,
                area: Area::Centre,
                crop: CropPosition::Random,
                mirror: true,
                color_gain: 0.1 / 255.0,
                ..plain
            },
            "caffe" => Self {
                resize: Resize::Stretch,
                side: Side::Classic,
                crop: CropPosition::Random,
                mirror: true,
                ..plain
            },
            "plain" => plain,
            _ => {
                return Err(Error::Setting {
                    what: "the name of a recipe",
                    expected: format!("one of {}", Self::NAMES.join(", ")),
                    got: format!("`{name}`"),
                });
            }
        })
    }

    /// Rows and columns of the whole picture for the test view.
    pub fn whole(&self, geometry: &Geometry) -> [usize; 2] {
        match self.side {
            Side::Classic => classic_square(geometry),
            Side::Network | Side::Drawn { .. } => geometry.image,
        }
    }

    /// Rows and columns of the whole picture for a training view, by a number in `[0, 1)`.
    pub(super) fn drawn_whole(&self, whole: [usize; 2], number: f32) -> [usize; 2] {
        match self.side {
            Side::Drawn { min, max } => [min + super::draw::below(number, max - min + 1); 2],
            Side::Network | Side::Classic => whole,
        }
    }

    /// Whether the mean image plays a part.
    pub fn wants_mean(&self) -> bool {
        self.mean != MeanPatch::None
    }

    /// Whether the colours' principal components play a part, for pictures of so many channels.
    pub fn wants_colors(&self, channels: usize) -> bool {
        self.color_gain > 0.0 && channels == 3
    }

    /// Refuses what cannot be done.
    pub(super) fn check(&self, geometry: &Geometry) -> Result<()> {
        let wrong =
            |what, expected: String, got: String| Err(Error::Setting { what, expected, got });
        for (what, value) in [
            ("the recipe's `manipulation`", self.manipulation),
            ("the recipe's `color_gain`", self.color_gain),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return wrong(what, "a number from 0 to 1".to_owned(), value.to_string());
            }
        }
        if !(0.0..=180.0).contains(&self.turn) {
            let got = self.turn.to_string();
            return wrong("the recipe's `turn`", "degrees from 0 to 180".to_owned(), got);
        }
        if self.mean == MeanPatch::Here && (self.turn > 0.0 || self.invert) {
            return wrong(
                "the mean of a recipe that turns or inverts",
                "`elsewhere` or `none`, for what is subtracted before would be turned along"
                    .to_owned(),
                "`here`".to_owned(),
            );
        }
        if let Side::Drawn { min, max } = self.side {
            let net = geometry.net[0].max(geometry.net[1]);
            // Sizes beyond 2^14 are resized to nothing but a filled memory.
            if min < net || max < min || max > MAX_SIDE {
                return wrong(
                    "the recipe's drawn sizes",
                    format!("{net} (the network's input) <= min <= max <= 16384"),
                    format!("min {min}, max {max}"),
                );
            }
            if self.mean == MeanPatch::Here && self.crop == CropPosition::Random {
                return wrong(
                    "the mean of a recipe with drawn sizes",
                    "`elsewhere` or `none`, for the mean image has one size".to_owned(),
                    "`here`".to_owned(),
                );
            }
        }
        if self.mean == MeanPatch::Here && self.area == Area::Anywhere {
            // Along the longer side there is picture beyond the mean image.
            let has_no_rest = self.resize == Resize::Stretch || self.crop == CropPosition::Centre;
            if !has_no_rest {
                return wrong(
                    "the mean of a recipe that cuts anywhere",
                    "`elsewhere` or `none`, or the area `centre`".to_owned(),
                    "`here`".to_owned(),
                );
            }
        }
        Ok(())
    }
}

impl Default for Recipe {
    /// `plain`.
    fn default() -> Self {
        Self::PLAIN
    }
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::by_name(name)
    }
}
