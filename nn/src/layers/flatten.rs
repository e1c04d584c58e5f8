//! Each image as one row of numbers.

use striate_graph::Value;
use striate_tensor::{Result, Tensor};

use super::{Context, Module};
use crate::lower::Lowering;

/// `[n, ..]` to `[n, everything else]`, without a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flatten;

impl Module for Flatten {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.flatten()
    }
}

pub(crate) fn lower(cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
    let x = cx.one(inputs)?;
    cx.flat(x)
}
