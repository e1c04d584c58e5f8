//! What a network holds beside its layers: its parameters and buffers.

use serde::{Deserialize, Serialize};
use striate_tensor::Shape;

use crate::init::Fresh;

/// What a parameter is in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Role {
    /// The weights of products.
    Weight,
    /// What is added to outputs.
    Bias,
    /// What normalized channels are multiplied by.
    Scale,
    /// What is added to normalized channels.
    Shift,
    /// What an activation multiplies negative elements by.
    Slope,
}

impl Role {
    /// The last part of the parameter's name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Weight | Role::Scale | Role::Slope => "weight",
            Role::Bias | Role::Shift => "bias",
        }
    }
}

/// A parameter of a network: where it is and what it is like.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterInfo {
    /// The layer that has it, counted from 0.
    pub layer: usize,
    /// What it is there.
    pub role: Role,
    /// Its name in files: that of its node and its role, `layer1.0.conv1.weight` or `3.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// What a fresh one is.
    pub(crate) fresh: Fresh,
}

/// A buffer of a network: where it is and what it is like.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferInfo {
    /// The layer that has it, counted from 0.
    pub layer: usize,
    /// Its name in files.
    pub name: String,
    /// Its shape: `[2, channels]` for running mean and variance.
    pub shape: Shape,
    /// How much of a mini-batch's statistics goes into it.
    pub momentum: f32,
    /// What each row of a fresh one is.
    pub(crate) fresh: Vec<f32>,
}

/// What a network holds beside its layers: found by lowering it once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layout {
    pub(crate) parameters: Vec<ParameterInfo>,
    pub(crate) buffers: Vec<BufferInfo>,
}
