//! Reductions over axes.

use super::gradient::{broadcast_to, zero};
use super::kinds::kinds;
use super::{Backward, OpRule, Saved, float, number, operands};
use crate::{Axis, AxisList, DType, Error, MAX_RANK, Result, Shape, Tensor, TensorType};

/// A set of axes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Axes(u32);

impl Axes {
    /// These axes.
    ///
    /// # Errors
    /// [`Error::Parameter`] where one is not below [`MAX_RANK`] or stands twice.
    pub fn new(axes: &[usize]) -> Result<Self> {
        let mut bits = 0u32;
        for &axis in axes {
            if axis >= MAX_RANK || bits & (1 << axis) != 0 {
                let expected = format!("different axes below {MAX_RANK}");
                return Err(Error::parameter("axes", "axes", expected, axes));
            }
            bits |= 1 << axis;
        }
        Ok(Axes(bits))
    }

    /// All axes of a shape.
    pub fn all(shape: &Shape) -> Self {
        Axes((1u32 << shape.rank()) - 1)
    }

    /// Whether `axis` is one of them.
    pub fn contains(&self, axis: usize) -> bool {
        axis < MAX_RANK && self.0 & (1 << axis) != 0
    }

    /// The axes, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..MAX_RANK).filter(|&axis| self.contains(axis))
    }

    /// Checks that a shape has all of them.
    pub(crate) fn check(&self, shape: &Shape, op: &'static str) -> Result<()> {
        match self.iter().last() {
            Some(axis) => shape.axis(axis, op).map(|_| ()),
            None => Ok(()),
        }
    }
}

kinds! {
    /// Which reduction.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum ReduceKind {
        /// The sum; 0 of nothing.
        Sum => "sum",
        /// The mean, of floats alone; NaN of nothing.
        Mean => "mean",
        /// The product; 1 of nothing.
        Product => "product",
        /// The maximum, NaN where one is; -∞ (0 for integers) of nothing.
        Max => "max",
        /// The minimum, NaN where one is; +∞ (`u32::MAX` for integers) of nothing.
        Min => "min",
    }
}

/// A reduction over axes. Operand: f32, f16 or u32; a mean is of floats. Output: as it, without the
/// reduced axes or with extent 1 there. Sums and products of integers are modulo 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// Which reduction.
    pub kind: ReduceKind,
    /// The axes to reduce; none leaves the tensor as it is.
    pub axes: Axes,
    /// Reduced axes stay, with extent 1.
    pub keep_axes: bool,
}

fn reduced(shape: &Shape, axes: &Axes, keep: bool) -> Result<Shape> {
    let mut dims = Vec::with_capacity(MAX_RANK);
    for (axis, &extent) in shape.dims().iter().enumerate() {
        match (axes.contains(axis), keep) {
            (false, _) => dims.push(extent),
            (true, true) => dims.push(1),
            (true, false) => {}
        }
    }
    Shape::new(&dims)
}

impl OpRule for Reduce {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands(self.name(), inputs)?;
        match self.kind {
            ReduceKind::Mean => float(self.name(), "x", &x)?,
            _ => number(self.name(), "x", &x)?,
        }
        self.axes.check(&x.shape, self.name())?;
        Ok(TensorType::new(reduced(&x.shape, &self.axes, self.keep_axes)?, x.dtype))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        inputs[0].count() as u64
    }

    fn saved(&self, _: &[bool]) -> Saved {
        match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => Saved::NOTHING,
            ReduceKind::Product => Saved::operand(0),
            ReduceKind::Max | ReduceKind::Min => Saved::operand(0).and(Saved::OUTPUT),
        }
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let shape = &cx.ty(0)?.shape;
        let kept = reduced(shape, &self.axes, true)?;
        let dy = cx.wide_dy()?.reshape(kept)?;
        let over = |x: &Tensor, kind: ReduceKind| {
            let op = Reduce { kind, axes: self.axes, keep_axes: true };
            x.device().execute(&op.into(), &[x])
        };
        let dx = match self.kind {
            ReduceKind::Sum => broadcast_to(&dy, shape)?,
            ReduceKind::Mean => {
                let each: usize = self.axes.iter().map(|axis| shape.dims()[axis]).product();
                let each = Tensor::full([], each as f32, DType::F32, dy.device())?;
                broadcast_to(&dy.div(&each)?, shape)?
            }
            ReduceKind::Max | ReduceKind::Min => {
                let y = cx.output()?.reshape(kept)?;
                let mask = cx.operand(0)?.eq(&y)?.cast(DType::F32)?;
                let ties = over(&mask, ReduceKind::Sum)?;
                // Where nothing equals the maximum, it is NaN, and no one's.
                let share = ties.eq(&zero(&ties)?)?.select(&zero(&dy)?, &dy.div(&ties)?)?;
                mask.mul(&share)?
            }
            // The product of all others: by division where none is 0, and where one is it alone has
            // a product of others that is not 0.
            ReduceKind::Product => {
                let x = cx.wide_operand(0)?;
                let (zero, one) = (zero(&x)?, Tensor::full([], 1.0, DType::F32, x.device())?);
                let is_zero = x.eq(&zero)?;
                let without_zeros = is_zero.select(&one, &x)?;
                let product = over(&without_zeros, ReduceKind::Product)?;
                let zeros = over(&is_zero.cast(DType::F32)?, ReduceKind::Sum)?;
                let of_zero = zeros.eq(&one)?.select(&product, &zero)?;
                let of_others = zeros.eq(&zero)?.select(&product, &zero)?.div(&without_zeros)?;
                dy.mul(&is_zero.select(&of_zero, &of_others)?)?
            }
        };
        Ok(vec![Some(dx)])
    }
}

kinds! {
    /// Which end.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum ArgReduceKind {
        /// The largest.
        Max => "arg_max",
        /// The smallest.
        Min => "arg_min",
    }
}

/// The index of the largest or smallest along an axis. Operand: floats. Output: u32 without that
/// axis (or extent 1 there). Of equals the first; the first NaN, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArgReduce {
    /// Which end.
    pub kind: ArgReduceKind,
    /// The axis; its extent may not be 0.
    pub axis: usize,
    /// The reduced axis stays, with extent 1.
    pub keep_axis: bool,
}

impl OpRule for ArgReduce {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [x] = operands(op, inputs)?;
        float(op, "x", &x)?;
        let extent = x.shape.axis(self.axis, op)?;
        if extent == 0 || u32::try_from(extent).is_err() {
            let expected = format!("an extent of 1 to {} at axis {}", u32::MAX, self.axis);
            return Err(Error::shape(op, expected, x.shape));
        }
        let axes = Axes::new(&[self.axis])?;
        Ok(TensorType::new(reduced(&x.shape, &axes, self.keep_axis)?, DType::U32))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        inputs[0].count() as u64
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident $keepdims:ident => $kind:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            /// The reduced axes go.
            ///
            /// # Errors
            /// Where there is no such axis or it stands twice, or the device fails; a mean of integers.
            pub fn $method(&self, axes: impl AxisList) -> Result<Tensor> {
                self.reduce(ReduceKind::$kind, axes, false)
            }

            $(#[$doc])*
            /// The reduced axes stay, with extent 1.
            ///
            /// # Errors
            /// Where there is no such axis or it stands twice, or the device fails; a mean of integers.
            pub fn $keepdims(&self, axes: impl AxisList) -> Result<Tensor> {
                self.reduce(ReduceKind::$kind, axes, true)
            }
        )*}
    };
}

methods! {
    /// The sum over axes.
    sum sum_keepdims => Sum;
    /// The mean over axes.
    mean mean_keepdims => Mean;
    /// The product over axes.
    product product_keepdims => Product;
    /// The maximum over axes; NaN where one is.
    max max_keepdims => Max;
    /// The minimum over axes; NaN where one is.
    min min_keepdims => Min;
}

impl Tensor {
    /// A reduction over axes; `keep_axes` leaves them with extent 1.
    ///
    /// # Errors
    /// Where there is no such axis or it stands twice, a mean is of integers, or the device fails.
    pub fn reduce(&self, kind: ReduceKind, axes: impl AxisList, keep_axes: bool) -> Result<Tensor> {
        let axes = Axes::new(&axes.places_in(self.shape(), kind.name())?)?;
        self.device().execute(&Reduce { kind, axes, keep_axes }.into(), &[self])
    }

    /// The sum of all elements, as a tensor without axes.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn sum_all(&self) -> Result<Tensor> {
        self.sum(..)
    }

    /// The mean of all elements, as a tensor without axes.
    ///
    /// # Errors
    /// Where the tensor is not of floats, or the device fails.
    pub fn mean_all(&self) -> Result<Tensor> {
        self.mean(..)
    }

    /// The index of the largest along `axis`, as u32; of equals the first.
    ///
    /// # Errors
    /// Where there is no such axis or its extent is 0, or the device fails.
    pub fn arg_max(&self, axis: impl Axis) -> Result<Tensor> {
        self.arg_reduce(ArgReduceKind::Max, axis)
    }

    /// The index of the smallest along `axis`, as u32; of equals the first.
    ///
    /// # Errors
    /// Where there is no such axis or its extent is 0, or the device fails.
    pub fn arg_min(&self, axis: impl Axis) -> Result<Tensor> {
        self.arg_reduce(ArgReduceKind::Min, axis)
    }

    fn arg_reduce(&self, kind: ArgReduceKind, axis: impl Axis) -> Result<Tensor> {
        let axis = axis.place_in(self.shape(), kind.name())?;
        self.device().execute(&ArgReduce { kind, axis, keep_axis: false }.into(), &[self])
    }
}
