//! A user's own op for tests of custom layers.

use striate_tensor::ops::{Backward, CustomOp, Saved};
use striate_tensor::{Error, HostTensor, Result, Tensor, TensorType, reference};

/// `(a + shift) · b` of two operands, `(a + shift) · a` of one.
#[derive(Debug)]
pub(crate) struct Shifted {
    pub(crate) shift: f32,
}

impl CustomOp for Shifted {
    fn name(&self) -> &'static str {
        "shifted"
    }

    fn parameters(&self) -> Vec<u8> {
        self.shift.to_le_bytes().to_vec()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        match inputs {
            [a, rest @ ..]
                if a.dtype.is_float() && rest.len() < 2 && rest.iter().all(|b| b == a) =>
            {
                Ok(*a)
            }
            _ => Err(Error::shape(self.name(), "one or two alike operands of floats", inputs)),
        }
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        2 * output.count() as u64
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        let [a, b] = [0, inputs.len() - 1].map(|operand| reference::widened(inputs[operand]));
        let y = a.iter().zip(&b).map(|(a, b)| (a + f64::from(self.shift)) * b);
        reference::rounded(&inputs[0].ty(), &y.collect::<Vec<_>>())
    }

    fn saved(&self, wanted: &[bool]) -> Saved {
        match wanted.len() {
            1 => Saved::operand(0),
            _ => Saved::operand(0).and(Saved::operand(1)),
        }
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let last = cx.types().len() - 1;
        let [a, b] = [cx.wide_operand(0)?, cx.wide_operand(last)?];
        let dy = cx.wide_dy()?;
        let (da, db) = (dy.mul(&b)?, dy.mul(&a.affine(1.0, self.shift)?)?);
        Ok(match last {
            0 => vec![Some(da.add(&db)?)],
            _ => vec![Some(da), Some(db)],
        })
    }
}
