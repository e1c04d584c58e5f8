//! Matrix products.

use super::gradient::{before_activation, bias_gradient, epilogue_saved, sum_to};
use super::{Activation, Backward, OpRule, Saved, float, operands_and_bias, same_shape};
use crate::{DType, Error, Given, MAX_RANK, Result, Shape, Tensor, TensorType};

/// Matrix product, batched over leading axes. Operands: `a [.., m, k]` and `b [.., k, n]` (floats;
/// each may be stored transposed; leading axes broadcast), and `bias [n]` where asked. Output:
/// `[.., m, n]` of the type of `a`. Products are summed in f32 or better.
///
/// `b` may be half precision while `a` is single: a full-connect layer keeps its weights as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MatMul {
    /// `a` is stored `[.., k, m]`.
    pub transpose_a: bool,
    /// `b` is stored `[.., n, k]`, as the weights of a full-connect layer are.
    pub transpose_b: bool,
    /// A third operand is added to each row.
    pub bias: bool,
    /// What is applied to each result.
    pub activation: Activation,
}

/// The extents of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMulExtents {
    /// The leading axes that both broadcast to.
    pub batch: Shape,
    /// Rows of the output.
    pub m: usize,
    /// Columns of the output.
    pub n: usize,
    /// Products that each element sums.
    pub k: usize,
}

impl MatMul {
    /// The extents of the product of operands of these shapes.
    ///
    /// # Errors
    /// [`Error::Shape`] where they do not fit.
    pub fn extents(&self, a: &Shape, b: &Shape) -> Result<MatMulExtents> {
        let op = "matmul";
        let (&[ref batch_a @ .., a0, a1], &[ref batch_b @ .., b0, b1]) = (a.dims(), b.dims())
        else {
            return Err(Error::shape(op, "operands of 2 or more axes", [*a, *b]));
        };
        let (m, k) = if self.transpose_a { (a1, a0) } else { (a0, a1) };
        let (k_b, n) = if self.transpose_b { (b1, b0) } else { (b0, b1) };
        if k != k_b {
            let order = |t| if t { " (transposed)" } else { "" };
            let text =
                format!("a {a}{} and b {b}{}", order(self.transpose_a), order(self.transpose_b));
            let got = Given::Described(vec![*a, *b], text);
            return Err(Error::shape(op, "a [.., m, k] and b [.., k, n] with one k", got));
        }
        let batch = Shape::new(batch_a)?.broadcast(&Shape::new(batch_b)?, op)?;
        Ok(MatMulExtents { batch, m, n, k })
    }
}

impl OpRule for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let (a, b, bias) = operands_and_bias("matmul", inputs, self.bias)?;
        float("matmul", "a", &a)?;
        float("matmul", "b", &b)?;
        self.activation.check("matmul")?;
        let extents = self.extents(&a.shape, &b.shape)?;
        if let Some(bias) = bias {
            float("matmul", "bias", &bias)?;
            same_shape("matmul", "bias", &Shape::new(&[extents.n])?, &bias.shape)?;
        }
        let mut dims = [0; MAX_RANK];
        let rank = extents.batch.rank();
        dims[..rank].copy_from_slice(extents.batch.dims());
        dims[rank] = extents.m;
        dims[rank + 1] = extents.n;
        Ok(TensorType::new(Shape::new(&dims[..rank + 2])?, a.dtype))
    }

    fn flops(&self, inputs: &[TensorType], output: &TensorType) -> u64 {
        let k = self.extents(&inputs[0].shape, &inputs[1].shape).map_or(0, |e| e.k);
        (output.count() as u64).saturating_mul(k as u64).saturating_mul(2)
    }

    fn saved(&self, wanted: &[bool]) -> Saved {
        epilogue_saved(self.activation, wanted)
    }

    /// With `A` and `B` as they are multiplied, `dA = dy · Bᵀ` and `dB = Aᵀ · dy`; an operand stored
    /// transposed gets the transpose of that. Sums over what was broadcast are made in f32, and so
    /// are the gradients of weights, since f16 may be too coarse to add up in.
    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let plain = MatMul { activation: Activation::None, ..*self };
        let dy = before_activation(self.activation, &plain.into(), cx)?;
        let product = |a: &Tensor, transpose_a: bool, b: &Tensor, transpose_b: bool| {
            let op = MatMul { transpose_a, transpose_b, ..MatMul::default() };
            a.cast(DType::F32)?.matmul_with(b, None, op)
        };
        let da = cx.wanted(0, || {
            let b = cx.operand(1)?;
            let da = match self.transpose_a {
                false => product(&dy, false, b, !self.transpose_b),
                true => product(b, self.transpose_b, &dy, true),
            };
            sum_to(&da?, &cx.ty(0)?.shape)
        })?;
        let db = cx.wanted(1, || {
            let shape = &cx.ty(1)?.shape;
            let (mut a, mut dy) = (cx.operand(0)?.clone(), dy.clone());
            if shape.rank() == 2 && !self.transpose_a {
                // One matrix for all batches: their rows are the rows of one product.
                (a, dy) = (rows(&a)?, rows(&dy)?);
            }
            let db = match self.transpose_b {
                false => product(&a, !self.transpose_a, &dy, false),
                true => product(&dy, true, &a, self.transpose_a),
            };
            sum_to(&db?, shape)
        })?;
        Ok(vec![da, db, cx.wanted(2, || bias_gradient(&dy))?])
    }
}

/// All rows of a batch of matrices, as one matrix.
fn rows(x: &Tensor) -> Result<Tensor> {
    let &[ref outer @ .., columns] = x.dims() else { return Ok(x.clone()) };
    x.reshape([outer.iter().product(), columns])
}

impl Tensor {
    /// The matrix product `self · other`, batched over leading axes with broadcasting. A tensor of one
    /// axis is a row on the left and a column on the right, and has no axis in the result: the product
    /// of a matrix and a vector is a vector, that of two vectors a number.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let a = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0], [2, 2], &device)?;
    /// let b = Tensor::from_vec(vec![5.0f32, 6.0, 7.0, 8.0], [2, 2], &device)?;
    /// assert_eq!(a.matmul(&b)?.to_vec::<f32>()?, [19.0, 22.0, 43.0, 50.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the shapes do not fit, or the device fails.
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        match (self.dims(), other.dims()) {
            (&[k], _) => {
                let product = self.reshape([1, k])?.matmul(other)?;
                match *product.dims() {
                    // Of two vectors, from which the axis of the column has gone.
                    [_] => product.reshape([]),
                    _ => product.squeeze(-2),
                }
            }
            (_, &[k]) => {
                self.matmul_with(&other.reshape([k, 1])?, None, MatMul::default())?.squeeze(-1)
            }
            _ => self.matmul_with(other, None, MatMul::default()),
        }
    }

    /// The matrix product with transposes, bias and ReLU as `options` says (its `bias` is set by
    /// whether there is one).
    ///
    /// ```
    /// # use striate_tensor::ops::{Activation, MatMul};
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// // A full-connect layer: weights `[out, in]`.
    /// let x = Tensor::from_vec(vec![1.0f32, 2.0], [1, 2], &device)?;
    /// let weights = Tensor::from_vec(vec![1.0f32, 1.0, 1.0, -1.0], [2, 2], &device)?;
    /// let bias = Tensor::zeros([2], &device)?;
    /// let layer = MatMul { transpose_b: true, activation: Activation::Relu, ..MatMul::default() };
    /// assert_eq!(x.matmul_with(&weights, Some(&bias), layer)?.to_vec::<f32>()?, [3.0, 0.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the shapes do not fit, or the device fails.
    pub fn matmul_with(
        &self,
        other: &Tensor,
        bias: Option<&Tensor>,
        options: MatMul,
    ) -> Result<Tensor> {
        let op = MatMul { bias: bias.is_some(), ..options }.into();
        match bias {
            Some(bias) => self.device().execute(&op, &[self, other, bias]),
            None => self.device().execute(&op, &[self, other]),
        }
    }
}
