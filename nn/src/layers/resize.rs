//! Images of another size.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::ops::{Coordinates, Interpolation, Nearest, Resize};
use striate_tensor::{Result, Tensor};

use super::{Context, Module};
use crate::lower::{Layer, Lowering};
use crate::shapes::dims;
use crate::spec::PerAxis;

/// Images of another size: `[n, rows, cols, channels]` to `[n, out rows, out cols, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct ResizeSpec {
    /// Which size.
    pub to: Target,
    /// What an output pixel is made of.
    pub interpolation: Interpolation,
    /// Where in the input it lies.
    pub coordinates: Coordinates,
    /// What lies beyond the edge takes no part, instead of being the pixel at the edge.
    pub exclude_outside: bool,
}

/// The size that images get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// `[rows, cols]`
    Size([usize; 2]),
    /// The input's rows and cols times these, rounded down.
    Factor([f32; 2]),
}

/// Images a whole number of times as large (one number, or `[rows, cols]`), by the nearest pixel: as
/// PyTorch's `Upsample`.
pub fn upsample(factor: impl PerAxis) -> ResizeSpec {
    to(Target::Factor(factor.per_axis().map(|factor| factor as f32))).nearest()
}

/// Images of this size (one number, or `[rows, cols]`), by the nearest pixel.
pub fn resize(size: impl PerAxis) -> ResizeSpec {
    to(Target::Size(size.per_axis())).nearest()
}

fn to(to: Target) -> ResizeSpec {
    ResizeSpec {
        to,
        interpolation: Interpolation::Linear,
        coordinates: Coordinates::HalfPixel,
        exclude_outside: false,
    }
}

impl ResizeSpec {
    /// By the nearest pixel: the one before, of asymmetric coordinates, as PyTorch's `nearest`.
    #[must_use]
    pub fn nearest(self) -> Self {
        let interpolation = Interpolation::Nearest(Nearest::Floor);
        ResizeSpec { interpolation, coordinates: Coordinates::Asymmetric, ..self }
    }

    /// Linearly, in half-pixel coordinates, as PyTorch's `bilinear`.
    #[must_use]
    pub fn linear(self) -> Self {
        let interpolation = Interpolation::Linear;
        ResizeSpec { interpolation, coordinates: Coordinates::HalfPixel, ..self }
    }

    /// Cubically, in half-pixel coordinates, as PyTorch's `bicubic`.
    #[must_use]
    pub fn cubic(self) -> Self {
        let interpolation = Interpolation::Cubic { coefficient: -0.75 };
        ResizeSpec { interpolation, coordinates: Coordinates::HalfPixel, ..self }
    }

    /// By the means of windows: adaptive average pooling.
    #[must_use]
    pub fn area(self) -> Self {
        let interpolation = Interpolation::Area;
        ResizeSpec { interpolation, coordinates: Coordinates::HalfPixel, ..self }
    }

    /// With other coordinates.
    #[must_use]
    pub fn coordinates(self, coordinates: Coordinates) -> Self {
        ResizeSpec { coordinates, ..self }
    }

    /// With the centres of the outermost pixels on each other.
    #[must_use]
    pub fn align_corners(self) -> Self {
        self.coordinates(Coordinates::AlignCorners)
    }

    /// The op that computes it over images of so many rows and cols.
    pub fn op(&self, rows: usize, cols: usize) -> Resize {
        let ResizeSpec { interpolation, coordinates, exclude_outside, .. } = *self;
        let op =
            Resize { coordinates, exclude_outside, ..Resize::new([rows, cols], interpolation) };
        match self.to {
            Target::Size(output) => Resize { output, ..op },
            Target::Factor(factor) => {
                // In single precision, so that 10 pixels times 0.7 are 7, as in PyTorch and ONNX.
                let exact = [(rows, factor[0]), (cols, factor[1])]
                    .map(|(extent, factor)| extent as f32 * factor);
                // From a float that is out of range or NaN, the op's rule refuses the size.
                let output = exact.map(|extent| extent as usize);
                let is_whole = output.map(|extent| extent as f32) == exact;
                Resize { output, scale: (!is_whole).then_some(factor), ..op }
            }
        }
    }
}

/// The stored form: names and numbers, of which usual ones are left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<[usize; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factor: Option<[f32; 2]>,
    interpolation: String,
    /// Of `nearest`; left out for `floor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rounding: Option<String>,
    /// Of `cubic`; left out for -0.75.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    coefficient: Option<f32>,
    /// Left out for `half-pixel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    coordinates: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    exclude_outside: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

const ROUNDINGS: [(&str, Nearest); 4] = [
    ("floor", Nearest::Floor),
    ("ceil", Nearest::Ceil),
    ("round-prefer-floor", Nearest::PreferFloor),
    ("round-prefer-ceil", Nearest::PreferCeil),
];
const COORDINATES: [(&str, Coordinates); 4] = [
    ("half-pixel", Coordinates::HalfPixel),
    ("pytorch-half-pixel", Coordinates::PytorchHalfPixel),
    ("align-corners", Coordinates::AlignCorners),
    ("asymmetric", Coordinates::Asymmetric),
];
const COEFFICIENT: f32 = -0.75;

/// The name of a value; none for the usual one.
fn named<T: Copy + Default + PartialEq>(names: &[(&str, T)], value: T) -> Option<String> {
    let (name, _) = names.iter().find(|(_, known)| *known == value)?;
    (value != T::default()).then(|| (*name).to_owned())
}

/// The value of a name, the usual one where there is none.
fn value_of<T: Copy + Default>(
    names: &[(&str, T)],
    what: &str,
    name: Option<String>,
) -> std::result::Result<T, String> {
    let Some(name) = name else { return Ok(T::default()) };
    let found = names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!("no {what} is called `{name}`: there are {}", known.join(", "))
    })
}

impl From<ResizeSpec> for Stored {
    fn from(spec: ResizeSpec) -> Self {
        let (size, factor) = match spec.to {
            Target::Size(size) => (Some(size), None),
            Target::Factor(factor) => (None, Some(factor)),
        };
        let (name, rounding, coefficient) = match spec.interpolation {
            Interpolation::Nearest(nearest) => ("nearest", named(&ROUNDINGS, nearest), None),
            Interpolation::Linear => ("linear", None, None),
            Interpolation::Cubic { coefficient } => {
                let usual = coefficient.to_bits() == COEFFICIENT.to_bits();
                ("cubic", None, (!usual).then_some(coefficient))
            }
            Interpolation::Area => ("area", None, None),
        };
        let coordinates = named(&COORDINATES, spec.coordinates);
        let (interpolation, exclude_outside) = (name.to_owned(), spec.exclude_outside);
        Stored { size, factor, interpolation, rounding, coefficient, coordinates, exclude_outside }
    }
}

impl TryFrom<Stored> for ResizeSpec {
    type Error = String;

    fn try_from(stored: Stored) -> std::result::Result<Self, String> {
        let to = match (stored.size, stored.factor) {
            (Some(size), None) => Target::Size(size),
            (None, Some(factor)) => Target::Factor(factor),
            _ => return Err("a resize layer needs a `size` or a `factor`, and not both".into()),
        };
        let name = stored.interpolation.as_str();
        if stored.rounding.is_some() && name != "nearest" {
            return Err(format!("`{name}` has no `rounding`"));
        }
        if stored.coefficient.is_some() && name != "cubic" {
            return Err(format!("`{name}` has no number `coefficient`"));
        }
        let interpolation = match name {
            "nearest" => Interpolation::Nearest(value_of(&ROUNDINGS, "rounding", stored.rounding)?),
            "linear" => Interpolation::Linear,
            "cubic" => {
                Interpolation::Cubic { coefficient: stored.coefficient.unwrap_or(COEFFICIENT) }
            }
            "area" => Interpolation::Area,
            other => {
                let known = "there are nearest, linear, cubic, area";
                return Err(format!("no interpolation is called `{other}`: {known}"));
            }
        };
        let coordinates = value_of(&COORDINATES, "kind of coordinates", stored.coordinates)?;
        let exclude_outside = stored.exclude_outside;
        Ok(ResizeSpec { to, interpolation, coordinates, exclude_outside })
    }
}

impl Layer for ResizeSpec {
    fn detail(&self) -> String {
        let to = match self.to {
            Target::Size(size) => format!("to {}", dims(&size)),
            Target::Factor([rows, cols]) if rows.to_bits() == cols.to_bits() => format!("x{rows}"),
            Target::Factor([rows, cols]) => format!("x{rows},{cols}"),
        };
        let stored = Stored::from(*self);
        let more = [stored.rounding, stored.coordinates].into_iter().flatten();
        let more: String = more.map(|name| format!(" {name}")).collect();
        format!("{to} {}{more}", stored.interpolation)
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        let [rows, cols, channels] = cx.image(x)?;
        if let Target::Factor(factor) = self.to
            && !factor.iter().all(|factor| factor.is_finite() && *factor > 0.0)
        {
            return Err(cx.error("finite factors above 0", format!("{factor:?}")));
        }
        let op = self.op(rows, cols);
        cx.each_at_least_one("an output", op.output)?;
        cx.bounded(&[op.output[0], op.output[1], channels], "outputs")?;
        cx.push(op, &[x])
    }
}

/// Images of another size: see [`ResizeSpec`], [`upsample`] and [`resize`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resize2d(pub ResizeSpec);

impl Module for Resize2d {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        let [_, rows, cols, _] = x.shape().nhwc("resize", "x")?;
        x.resize(self.0.op(rows, cols))
    }
}
