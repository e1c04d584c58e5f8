//! Axes in another order.

use super::{Backward, OpRule, operands};
use crate::{Axis, AxisList, Error, MAX_RANK, Result, Shape, Tensor, TensorType};

/// Axes in another order. Operand: any. Output: axis `i` of it is axis `order[i]` of the operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permute {
    /// For each axis of the output, the axis of the operand: each once.
    pub order: Vec<usize>,
}

impl OpRule for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("permute", inputs)?;
        let rank = x.shape.rank();
        let mut seen = [false; MAX_RANK];
        let each_once = self.order.len() == rank
            && self.order.iter().all(|&a| a < rank && !std::mem::replace(&mut seen[a], true));
        if !each_once {
            let expected = format!("each of the {rank} axes once");
            return Err(Error::parameter("permute", "order", expected, &self.order));
        }
        let dims: Vec<usize> = self.order.iter().map(|&a| x.shape.dims()[a]).collect();
        Ok(TensorType::new(Shape::new(&dims)?, x.dtype))
    }

    fn flops(&self, _: &[TensorType], _: &TensorType) -> u64 {
        0
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let mut back = vec![0; self.order.len()];
        for (to, &from) in self.order.iter().enumerate() {
            back[from] = to;
        }
        Ok(vec![Some(cx.dy().permute(&back)?)])
    }
}

impl Tensor {
    /// Axes in another order: axis `i` of the result is axis `order[i]` of this.
    ///
    /// # Errors
    /// Where `order` does not name each axis once, or the device fails.
    pub fn permute(&self, order: impl AxisList) -> Result<Tensor> {
        let order = order.places_in(self.shape(), "permute")?;
        self.device().execute(&Permute { order }.into(), &[self])
    }

    /// Two axes swapped.
    ///
    /// # Errors
    /// Where there is no such axis, or the device fails.
    pub fn swap_axes(&self, a: impl Axis, b: impl Axis) -> Result<Tensor> {
        let shape = self.shape();
        let (a, b) = (a.place_in(shape, "swap_axes")?, b.place_in(shape, "swap_axes")?);
        let mut order: Vec<usize> = (0..shape.rank()).collect();
        order.swap(a, b);
        self.permute(order)
    }

    /// The last two axes swapped.
    ///
    /// # Errors
    /// Where there are fewer than two, or the device fails.
    pub fn transpose(&self) -> Result<Tensor> {
        let rank = self.shape().rank();
        if rank < 2 {
            return Err(Error::shape("transpose", "2 or more axes", self.shape()));
        }
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 1, rank - 2);
        self.permute(&order)
    }
}
