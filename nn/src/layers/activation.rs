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
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Stored {
    function: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slope: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alpha: Option<f32>,
}

/// The functions without numbers.
const PLAIN: [(&str, UnaryKind); 12] = [
    ("relu", UnaryKind::Relu),
    ("sigmoid", UnaryKind::Sigmoid),
    ("tanh", UnaryKind::Tanh),
    ("silu", UnaryKind::Silu),
    ("gelu", UnaryKind::Gelu),
    ("abs", UnaryKind::Abs),
    ("neg", UnaryKind::Neg),
    ("square", UnaryKind::Square),
    ("sqrt", UnaryKind::Sqrt),
    ("exp", UnaryKind::Exp),
    ("log", UnaryKind::Log),
    ("recip", UnaryKind::Recip),
];

impl From<Activation> for Stored {
    fn from(activation: Activation) -> Self {
        let stored =
            |function: &str| Stored { function: function.into(), slope: None, alpha: None };
        match activation.kind {
            UnaryKind::LeakyRelu { slope } => Stored { slope: Some(slope), ..stored("leaky-relu") },
            UnaryKind::Elu { alpha } => Stored { alpha: Some(alpha), ..stored("elu") },
            kind => {
                let named = PLAIN.iter().find(|(_, known)| *known == kind);
                // Others have the op's own name, and are refused where they are read.
                stored(named.map_or(Unary { kind }.text(), |(name, _)| name))
            }
        }
    }
}

impl TryFrom<Stored> for Activation {
    type Error = String;

    fn try_from(stored: Stored) -> std::result::Result<Self, String> {
        let Stored { function, slope, alpha } = stored;
        let kind = match (function.as_str(), slope, alpha) {
            ("leaky-relu", slope, None) => UnaryKind::LeakyRelu { slope: slope.unwrap_or(0.01) },
            ("elu", None, alpha) => UnaryKind::Elu { alpha: alpha.unwrap_or(1.0) },
            (name, None, None) => match PLAIN.iter().find(|(known, _)| *known == name) {
                Some((_, kind)) => *kind,
                None => {
                    let known: Vec<&str> = PLAIN.iter().map(|(name, _)| *name).collect();
                    let known = known.join(", ");
                    return Err(format!(
                        "no function is called `{name}`: there are leaky-relu, elu, {known}"
                    ));
                }
            },
            (name, ..) => return Err(format!("`{name}` has no such number")),
        };
        Ok(Activation { kind })
    }
}

/// The name of a function in tables.
trait Text {
    fn text(&self) -> &'static str;
}

impl Text for Unary {
    fn text(&self) -> &'static str {
        striate_tensor::ops::OpRule::name(self)
    }
}

impl Layer for Activation {
    fn detail(&self) -> String {
        let Stored { function, slope, alpha } = (*self).into();
        match slope.or(alpha) {
            Some(number) => format!("{function} {number}"),
            None => function,
        }
    }

    fn lower(&self, cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
        let x = cx.one(inputs)?;
        match self.kind {
            UnaryKind::LeakyRelu { slope } => cx.finite("slope", slope)?,
            UnaryKind::Elu { alpha } => cx.finite("alpha", alpha)?,
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
