//! `+`, `-`, `*`, `/` between tensors and numbers.
//!
//! Computing may fail (shapes that do not broadcast, a device without memory), so an operator gives a
//! [`Result`]. What an operator gave may stand on its right without a `?`; on its left it needs one.

use crate::{Result, Tensor};

/// The right-hand side of an operator.
trait Operand {
    /// It as a tensor on the device and of the type of `like`.
    fn tensor(self, like: &Tensor) -> Result<Tensor>;
}

impl Operand for &Tensor {
    fn tensor(self, _: &Tensor) -> Result<Tensor> {
        Ok(self.clone())
    }
}

impl Operand for Tensor {
    fn tensor(self, _: &Tensor) -> Result<Tensor> {
        Ok(self)
    }
}

impl Operand for Result<Tensor> {
    fn tensor(self, _: &Tensor) -> Result<Tensor> {
        self
    }
}

impl Operand for f32 {
    fn tensor(self, like: &Tensor) -> Result<Tensor> {
        Tensor::full([], self, like.dtype(), like.device())
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident;)*) => {$(
        operators!(@ $trait $method; Tensor: &Tensor, Tensor, Result<Tensor>, f32);
        operators!(@ $trait $method; &Tensor: &Tensor, Tensor, Result<Tensor>, f32);

        impl std::ops::$trait<&Tensor> for f32 {
            type Output = Result<Tensor>;

            fn $method(self, other: &Tensor) -> Result<Tensor> {
                Operand::tensor(self, other)?.$method(other)
            }
        }

        impl std::ops::$trait<Tensor> for f32 {
            type Output = Result<Tensor>;

            fn $method(self, other: Tensor) -> Result<Tensor> {
                std::ops::$trait::$method(self, &other)
            }
        }
    )*};
    (@ $trait:ident $method:ident; $left:ty: $($right:ty),*) => {$(
        impl std::ops::$trait<$right> for $left {
            type Output = Result<Tensor>;

            fn $method(self, other: $right) -> Result<Tensor> {
                let left: &Tensor = &self;
                Tensor::$method(left, &other.tensor(left)?)
            }
        }
    )*};
}

operators! {
    Add add;
    Sub sub;
    Mul mul;
    Div div;
}

impl std::ops::Neg for &Tensor {
    type Output = Result<Tensor>;

    fn neg(self) -> Result<Tensor> {
        Tensor::neg(self)
    }
}

impl std::ops::Neg for Tensor {
    type Output = Result<Tensor>;

    fn neg(self) -> Result<Tensor> {
        Tensor::neg(&self)
    }
}
