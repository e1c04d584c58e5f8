//! A user's own op for tests of files that name it.

use striate_tensor::ops::{Backward, CustomOp, CustomOps, Saved};
use striate_tensor::{Error, HostTensor, Result, Tensor, TensorType, reference};

/// `x / (1 + |x|) · scale`, plus what else it sees.
#[derive(Debug)]
pub(crate) struct Softsign {
    pub(crate) scale: f32,
}

impl CustomOp for Softsign {
    fn name(&self) -> &'static str {
        "softsign"
    }

    fn parameters(&self) -> Vec<u8> {
        self.scale.to_le_bytes().to_vec()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        match inputs {
            [x, rest @ ..] if x.dtype.is_float() && rest.iter().all(|y| y == x) => Ok(*x),
            _ => Err(Error::shape(self.name(), "alike operands of floats", inputs)),
        }
    }

    fn flops(&self, inputs: &[TensorType], output: &TensorType) -> u64 {
        (2 + inputs.len() as u64) * output.count() as u64
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Result<HostTensor> {
        let mut y = reference::widened(inputs[0]);
        y.iter_mut().for_each(|x| *x *= f64::from(self.scale) / (1.0 + x.abs()));
        for other in &inputs[1..] {
            y.iter_mut().zip(reference::widened(other)).for_each(|(y, x)| *y += x);
        }
        reference::rounded(&inputs[0].ty(), &y)
    }

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::operand(0)
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let slope = cx.wide_operand(0)?.abs()?.affine(1.0, 1.0)?.square()?.recip()?;
        let dx = cx.wide_dy()?.mul(&slope.affine(self.scale, 0.0)?)?;
        let others = (1..cx.types().len()).map(|_| cx.wide_dy().map(Some));
        std::iter::once(Ok(Some(dx))).chain(others).collect()
    }
}

/// With [`Softsign`].
pub(crate) fn registry() -> CustomOps {
    CustomOps::new().with_constructor("softsign", 1, |bytes| match bytes.try_into() {
        Ok(bytes) => Ok(Softsign { scale: f32::from_le_bytes(bytes) }),
        Err(_) => Err(Error::parameter("softsign", "parameters", "of 4 bytes", bytes.len())),
    })
}
