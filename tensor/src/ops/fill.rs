//! One value everywhere.

use super::{OpRule, operands};
use crate::{DType, Device, Error, Result, Shape, Tensor, TensorType};

/// One value everywhere. No operands. Output: as `ty` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fill {
    /// The type of the output.
    pub ty: TensorType,
    /// The value; as [`Cast`](super::Cast) converts it.
    pub value: f32,
}

impl OpRule for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [] = operands("fill", inputs)?;
        Ok(self.ty)
    }

    fn flops(&self, _: &[TensorType], _: &TensorType) -> u64 {
        0
    }
}

impl Tensor {
    /// A tensor of one value.
    ///
    /// # Errors
    /// Where the shape is too large, or the device fails.
    pub fn full<S>(shape: S, value: f32, dtype: DType, device: &Device) -> Result<Tensor>
    where
        S: TryInto<Shape>,
        Error: From<S::Error>,
    {
        let ty = TensorType::new(shape.try_into()?, dtype);
        device.execute(&Fill { ty, value }.into(), &[])
    }

    /// A tensor of f32 zeros.
    ///
    /// # Errors
    /// Where the shape is too large, or the device fails.
    pub fn zeros<S>(shape: S, device: &Device) -> Result<Tensor>
    where
        S: TryInto<Shape>,
        Error: From<S::Error>,
    {
        Self::full(shape, 0.0, DType::F32, device)
    }

    /// A tensor of f32 ones.
    ///
    /// # Errors
    /// Where the shape is too large, or the device fails.
    pub fn ones<S>(shape: S, device: &Device) -> Result<Tensor>
    where
        S: TryInto<Shape>,
        Error: From<S::Error>,
    {
        Self::full(shape, 1.0, DType::F32, device)
    }
}
