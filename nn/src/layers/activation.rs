//! Functions of each element.

use serde::{Deserialize, Serialize};
use striate_graph::Value;
use striate_tensor::ops::{Unary, UnaryKind};
use striate_tensor::{Error, Result, Tensor};

use super::{Context, Module};
use crate::lower::{Layer, Lowering};

/// A function of each element. The shape stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Activation {
    kind: UnaryKind,
}

/// A function of each element.
pub fn activation(kind: UnaryKind) -> Activation {
    Activation::new(kind)
}

impl Activation {
    /// This function.
    pub fn new(kind: UnaryKind) -> Self {
        Activation { kind }
    }

    /// Which function it is.
    pub fn kind(&self) -> UnaryKind {
        self.kind
    }

    /// Whether it is ReLU.
    pub fn is_relu(&self) -> bool {
        self.kind == UnaryKind::Relu
    }
}

/// The stored form: the function's name, and its numbers where it has any.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Stored {
    function: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slope: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alpha: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scale: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shift: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exponent: Option<f32>,
    /// Left out for no lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<f32>,
    /// Left out for no upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<f32>,
}

impl Stored {
    /// The numbers that are there, by name.
    fn numbers(&self) -> Vec<(&'static str, f32)> {
        let all = [
            ("slope", self.slope),
            ("alpha", self.alpha),
            ("scale", self.scale),
            ("shift", self.shift),
            ("exponent", self.exponent),
            ("min", self.min),
            ("max", self.max),
        ];
        all.into_iter().filter_map(|(name, number)| Some((name, number?))).collect()
    }
}

/// The functions that a specification can name, by their names there: those of the ops, with dashes.
fn functions() -> impl Iterator<Item = (String, UnaryKind)> {
    UnaryKind::ALL.iter().map(|kind| (kind.name().replace('_', "-"), *kind))
}

impl From<Activation> for Stored {
    fn from(activation: Activation) -> Self {
        let stored = |function: &str| Stored { function: function.into(), ..Stored::default() };
        let bound = |bound: f32| (!bound.is_infinite()).then_some(bound);
        match activation.kind {
            UnaryKind::LeakyRelu { slope } => Stored { slope: Some(slope), ..stored("leaky-relu") },
            UnaryKind::Elu { alpha } => Stored { alpha: Some(alpha), ..stored("elu") },
            UnaryKind::Affine { scale, shift } => {
                Stored { scale: Some(scale), shift: Some(shift), ..stored("affine") }
            }
            UnaryKind::Powf { exponent } => Stored { exponent: Some(exponent), ..stored("powf") },
            UnaryKind::Clamp { min, max } => {
                Stored { min: bound(min), max: bound(max), ..stored("clamp") }
            }
            kind => stored(&kind.name().replace('_', "-")),
        }
    }
}

impl TryFrom<Stored> for Activation {
    type Error = String;

    fn try_from(stored: Stored) -> std::result::Result<Self, String> {
        let function = stored.function.as_str();
        let Some((_, found)) = functions().find(|(name, _)| name == function) else {
            let known: Vec<String> = functions().map(|(name, _)| name).collect();
            let known = known.join(", ");
            return Err(format!("no function is called `{function}`: there are {known}"));
        };
        let has = |number: &str| found.parameters().iter().any(|(name, _)| *name == number);
        if let Some((other, _)) = stored.numbers().iter().find(|(name, _)| !has(name)) {
            return Err(format!("`{function}` has no number `{other}`"));
        }
        let kind = match found {
            UnaryKind::LeakyRelu { .. } => {
                UnaryKind::LeakyRelu { slope: stored.slope.unwrap_or(0.01) }
            }
            UnaryKind::Elu { .. } => UnaryKind::Elu { alpha: stored.alpha.unwrap_or(1.0) },
            UnaryKind::Affine { .. } => UnaryKind::Affine {
                scale: stored.scale.unwrap_or(1.0),
                shift: stored.shift.unwrap_or(0.0),
            },
            UnaryKind::Powf { .. } => match stored.exponent {
                Some(exponent) => UnaryKind::Powf { exponent },
                None => return Err("`powf` needs a number `exponent`".into()),
            },
            UnaryKind::Clamp { .. } => UnaryKind::Clamp {
                min: stored.min.unwrap_or(f32::NEG_INFINITY),
                max: stored.max.unwrap_or(f32::INFINITY),
            },
            plain => plain,
        };
        Ok(Activation { kind })
    }
}

impl Layer for Activation {
    fn detail(&self) -> String {
        let stored = Stored::from(*self);
        let numbers = stored.numbers().into_iter().map(|(_, number)| format!(" {number}"));
        stored.function.clone() + &numbers.collect::<String>()
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        match self.kind {
            UnaryKind::LeakyRelu { slope } => cx.finite("slope", slope)?,
            UnaryKind::Elu { alpha } => cx.finite("alpha", alpha)?,
            UnaryKind::Affine { scale, shift } => {
                cx.finite("scale", scale)?;
                cx.finite("shift", shift)?;
            }
            UnaryKind::Powf { exponent } => cx.finite("exponent", exponent)?,
            _ => {}
        }
        cx.push(Unary { kind: self.kind }, &[x])
    }
}

/// Negative elements become 0. The shape stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relu;

impl Module for Relu {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.relu()
    }
}

/// As a module.
impl Module for Activation {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        if !x.dtype().is_float() {
            return Err(Error::DType {
                op: "activation",
                what: "x",
                expected: "f32 or f16",
                got: x.dtype(),
            });
        }
        x.device().execute(&Unary { kind: self.kind }.into(), &[x])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function whose numbers the stored form does not know would come back with others.
    #[test]
    fn every_function_is_stored_with_its_numbers() {
        for &kind in UnaryKind::ALL {
            let stored = Stored::from(Activation::new(kind));
            assert_eq!(stored.numbers(), kind.parameters(), "{}", stored.function);
            let json = serde_json::to_string(&Activation::new(kind)).unwrap();
            let read: Activation = serde_json::from_str(&json).unwrap();
            assert_eq!(read.kind(), kind, "{json}");
        }
    }
}
