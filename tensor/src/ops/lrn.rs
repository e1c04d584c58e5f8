//! Local response normalization.

use super::{Backward, OpRule, Saved, float, operands, same_shape};
use crate::{Error, Result, Tensor, TensorType};

/// Local response normalization across channels (Krizhevsky et al. 2012), as in ccv: `y = x ·
/// (kappa + alpha · Σ x²)^-beta`, summed over the `size / 2` channels on either side that lie in
/// the same part; `alpha` is not divided by the size, and an even size equals the next odd one.
/// Operand: `x [.., channels]`. Output: as it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// Channels in the window, the centre included.
    pub size: usize,
    /// The constant of the denominator.
    pub kappa: f32,
    /// The factor of the sum of squares.
    pub alpha: f32,
    /// The power of the denominator.
    pub beta: f32,
    /// Parts that the channels fall into; a window stays inside its own.
    pub groups: usize,
}

impl Lrn {
    fn check(&self, op: &'static str, x: &TensorType) -> Result<()> {
        float(op, "x", x)?;
        let Some(&channels) = x.shape.dims().last() else {
            return Err(Error::shape(op, "x with a channel axis", x.shape));
        };
        if self.size == 0 {
            return Err(Error::parameter(op, "size", "at least 1", self.size));
        }
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let expected = format!("a divisor of the {channels} channels");
            return Err(Error::parameter(op, "groups", expected, self.groups));
        }
        Ok(())
    }
}

impl OpRule for Lrn {
    fn name(&self) -> &'static str {
        "lrn"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("lrn", inputs)?;
        self.check("lrn", &x)?;
        Ok(x)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        // A running sum of squares, the power and the product.
        8 * output.count() as u64
    }

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::operand(0)
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let op = LrnGrad(*self).into();
        Ok(vec![Some(cx.device().execute(&op, &[cx.operand(0)?, cx.dy()])?)])
    }
}

/// The gradient of local response normalization. Operands: `x` and `dy`. Output: of the shape of
/// `x` and the type of `dy`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrnGrad(pub Lrn);

impl OpRule for LrnGrad {
    fn name(&self) -> &'static str {
        "lrn_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x, dy] = operands("lrn_grad", inputs)?;
        self.0.check("lrn_grad", &x)?;
        float("lrn_grad", "dy", &dy)?;
        same_shape("lrn_grad", "dy", &x.shape, &dy.shape)?;
        Ok(TensorType::new(x.shape, dy.dtype))
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        16 * output.count() as u64
    }
}

impl Tensor {
    /// Local response normalization across the last axis.
    ///
    /// # Errors
    /// Where the groups do not divide the channels, or the device fails.
    pub fn lrn(&self, lrn: Lrn) -> Result<Tensor> {
        self.device().execute(&lrn.into(), &[self])
    }
}
