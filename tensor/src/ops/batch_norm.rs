//! Batch normalization: the statistics of channels, and normalization by them.
//!
//! Channels are the last axis; the batch is all other axes together.

use super::gradient::bias_gradient;
use super::{
    Activation, Backward, BatchNormScaleGrad, Op, OpRule, Saved, float, of_dtype, operands,
    same_shape,
};
use crate::{DType, Error, Result, Shape, Tensor, TensorType};

/// The number of channels.
fn channels(op: &'static str, x: &TensorType) -> Result<usize> {
    float(op, "x", x)?;
    match x.shape.dims() {
        [_, .., channels] => Ok(*channels),
        _ => Err(Error::shape(op, "x of 2 or more axes, channels last", x.shape)),
    }
}

/// Checks a pair of numbers for each channel.
pub(super) fn pairs(
    op: &'static str,
    what: &'static str,
    ty: &TensorType,
    channels: usize,
) -> Result<()> {
    of_dtype(op, what, ty, DType::F32)?;
    same_shape(op, what, &Shape::new(&[2, channels])?, &ty.shape)
}

/// Checks a number for each channel.
pub(super) fn per_channel(
    op: &'static str,
    what: &'static str,
    ty: &TensorType,
    channels: usize,
) -> Result<()> {
    float(op, what, ty)?;
    same_shape(op, what, &Shape::new(&[channels])?, &ty.shape)
}

pub(super) fn check_epsilon(op: &'static str, epsilon: f32) -> Result<()> {
    if epsilon.is_finite() && epsilon >= 0.0 {
        return Ok(());
    }
    Err(Error::parameter(op, "epsilon", "finite and not negative", epsilon))
}

/// Row `i` of `[2, channels]`, as `[channels]`.
fn row(pairs: &Tensor, i: usize) -> Result<Tensor> {
    let channels = pairs.dims()[1];
    pairs.slice(&[i..i + 1, 0..channels])?.reshape([channels])
}

/// The mean and the variance of each channel. Operand: `x [.., channels]`, of 2 or more axes.
/// Output: f32 `[2, channels]`; row 0 holds the means, row 1 the biased variances `Σ (x - mean)² /
/// count`. Of an empty batch both are 0. An infinity makes a variance of NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moments;

impl OpRule for Moments {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let [x] = operands("moments", inputs)?;
        Ok(TensorType::f32(Shape::new(&[2, channels("moments", &x)?])?))
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        // A sum, and a sum of squared differences.
        4 * inputs[0].count() as u64
    }

    fn saved(&self, _: &[bool]) -> Saved {
        Saved::operand(0).and(Saved::OUTPUT)
    }

    /// `dx = (dmean + 2 · (x - mean) · dvariance) / count`: the variance does not change with the
    /// mean, since the differences from it sum to 0.
    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let x = cx.wide_operand(0)?;
        let batch: usize = x.dims().iter().rev().skip(1).product();
        let each = cx.dy().affine(1.0 / batch as f32, 0.0)?;
        let slope = row(&each, 1)?.affine(2.0, 0.0)?;
        let dx = x.sub(&row(cx.output()?, 0)?)?.mul(&slope)?.add(&row(&each, 0)?)?;
        Ok(vec![Some(dx)])
    }
}

/// Batch normalization (Ioffe and Szegedy 2015): `y = (x - mean) · scale / √(variance + epsilon) +
/// shift`, each channel by its own numbers; then an addend and an activation where asked. Operands: `x [..,
/// channels]`, of 2 or more axes; moments, f32 `[2, channels]` (row 0 the means, row 1 the variances, as
/// [`Moments`] gives them); `scale [channels]`; `shift [channels]`; and with `residual` an addend, of the type
/// of `x`. Output: as `x`.
///
/// Gradients: with `batch` the moments are taken for those of `x` itself, and the gradient in `x`
/// goes through them; the moments operand then gets none, so nothing is counted twice. Without it
/// the moments are numbers like any other: `x` gets the gradient for fixed moments, and the moments
/// get theirs where they want one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance; finite and not negative.
    pub epsilon: f32,
    /// The moments are those of `x`: gradients go through them. The output is the same without.
    pub batch: bool,
    /// There is an addend, the last operand.
    pub residual: bool,
    /// At the end.
    pub activation: Activation,
}

impl Default for BatchNorm {
    /// An epsilon of 1e-5, stored moments, no addend, no activation.
    fn default() -> Self {
        BatchNorm { epsilon: 1e-5, batch: false, residual: false, activation: Activation::None }
    }
}

/// The operands of [`BatchNorm`].
const OPERANDS: usize = 5;
/// Which of them is the addend.
const RESIDUAL: usize = 4;

impl BatchNorm {
    /// Whether the moments operand gets a gradient, where it wants one.
    fn moments_have_gradient(&self) -> bool {
        !self.batch
    }

    /// Which of the operands get a gradient.
    fn given(&self, wants: impl Fn(usize) -> bool) -> [bool; OPERANDS] {
        let mut given: [bool; OPERANDS] = std::array::from_fn(wants);
        given[1] &= self.moments_have_gradient();
        given[RESIDUAL] &= self.residual;
        given
    }

    /// Whether the sums of [`BatchNormSums`] are needed for these gradients.
    fn needs_sums(&self, [x, moments, scale, ..]: [bool; OPERANDS]) -> bool {
        scale || moments || (x && self.batch)
    }

    /// What the ops for the gradients apply to `dy` while they load it. They compute what the activation was
    /// given anew, from `x`, so that neither that nor the output is read. With an addend the gradient before
    /// the activation is needed by itself, as that of the addend.
    fn masks_in_loads(&self, given: [bool; OPERANDS]) -> bool {
        self.batch && !self.residual && !self.activation.is_none() && self.needs_sums(given)
    }

    /// Whether what the activation was given has to be computed anew as a tensor of its own.
    fn needs_activation_input(&self, given: [bool; OPERANDS]) -> bool {
        matches!(self.activation, Activation::Clamp { .. }) && !self.masks_in_loads(given)
    }
}

impl OpRule for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let [x, moments, scale, shift] = match (self.residual, inputs) {
            (true, &[x, moments, scale, shift, residual]) => {
                of_dtype(op, "residual", &residual, x.dtype)?;
                same_shape(op, "residual", &x.shape, &residual.shape)?;
                [x, moments, scale, shift]
            }
            (false, inputs) => operands(op, inputs)?,
            (true, _) => {
                return Err(Error::Operands { op, expected: "5".into(), got: inputs.len() });
            }
        };
        check_epsilon(op, self.epsilon)?;
        self.activation.check_mask(op)?;
        let channels = channels(op, &x)?;
        pairs(op, "moments", &moments, channels)?;
        per_channel(op, "scale", &scale, channels)?;
        per_channel(op, "shift", &shift, channels)?;
        Ok(x)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        let more = u64::from(self.residual) + u64::from(!self.activation.is_none());
        (3 + more) * output.count() as u64
    }

    fn saved(&self, wanted: &[bool]) -> Saved {
        let given = self.given(|i| wanted.get(i).copied().unwrap_or(false));
        if given == [false; OPERANDS] {
            return Saved::NOTHING;
        }
        let [x, moments, ..] = given;
        let sums = self.needs_sums(given);
        let again = self.needs_activation_input(given);
        let shift = again || self.masks_in_loads(given);
        let output = matches!(self.activation, Activation::Relu) && !self.masks_in_loads(given);
        (Saved::operand(0).when(sums || again))
            .and(Saved::operand(1).when(sums || x || again))
            .and(Saved::operand(2).when(x || moments || shift))
            .and(Saved::operand(3).when(shift))
            .and(Saved::operand(RESIDUAL).when(self.residual && again))
            .and(Saved::OUTPUT.when(output))
    }

    fn gradient(&self, cx: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let given = self.given(|i| cx.wants(i));
        if given == [false; OPERANDS] {
            return Ok(vec![None; cx.types().len()]);
        }
        let execute = |op: Op, inputs: &[&Tensor]| cx.device().execute(&op, inputs);
        // The activation's mask is applied in the loads of the ops below, or beforehand.
        let (dy, activation) = match self.masks_in_loads(given) {
            true => (cx.dy().clone(), self.activation),
            false => {
                let again = || {
                    let op = BatchNorm { activation: Activation::None, ..*self };
                    let operands = (0..cx.types().len()).map(|i| cx.operand(i));
                    execute(op.into(), &operands.collect::<Result<Vec<_>>>()?)
                };
                let dy = self.activation.gradient(cx.dy(), || cx.output(), again)?;
                (dy, Activation::None)
            }
        };
        let dy = &dy;
        let sums = match self.needs_sums(given) {
            true => {
                let op = BatchNormSums { epsilon: self.epsilon, activation };
                let mut inputs = vec![cx.operand(0)?, dy, cx.operand(1)?];
                if !activation.is_none() {
                    inputs.extend([cx.operand(2)?, cx.operand(3)?]);
                }
                Some(execute(op.into(), &inputs)?)
            }
            false => None,
        };
        let sums = || sums.as_ref().ok_or_else(|| Error::gradient(self.name(), "no sums"));
        // 1 / √(variance + epsilon), and how much y changes with x.
        let inverse = || row(cx.operand(1)?, 1)?.affine(1.0, self.epsilon)?.rsqrt();
        let slope = || cx.wide_operand(2)?.mul(&inverse()?);

        let [x, moments, scale, shift, residual] = given;
        let dx = || match self.batch {
            true => {
                let op = BatchNormGrad { epsilon: self.epsilon, activation };
                let mut inputs = vec![cx.operand(0)?, dy, cx.operand(1)?, sums()?, cx.operand(2)?];
                if !activation.is_none() {
                    inputs.push(cx.operand(3)?);
                }
                execute(op.into(), &inputs)
            }
            false => dy.cast(DType::F32)?.mul(&slope()?),
        };
        // dmean = -scale / √.. · Σ dy, dvariance = -1/2 · scale / √..³ · Σ dy · (x - mean)
        let dmoments = || {
            let slope = slope()?;
            let mean = row(sums()?, 0)?.mul(&slope)?.neg()?;
            let variance = row(sums()?, 1)?.mul(&slope)?.mul(&inverse()?.square()?)?;
            let variance = variance.affine(-0.5, 0.0)?;
            let channels = mean.ty().count();
            Tensor::concatenate(&[&mean, &variance], 0)?.reshape([2, channels])
        };
        let dscale = || {
            let op = BatchNormScaleGrad { epsilon: self.epsilon }.into();
            execute(op, &[sums()?, cx.operand(1)?])
        };
        let dshift = || match self.needs_sums(given) {
            true => row(sums()?, 0),
            false => bias_gradient(dy),
        };
        let mut gradients = vec![
            x.then(dx).transpose()?,
            moments.then(dmoments).transpose()?,
            scale.then(dscale).transpose()?,
            shift.then(dshift).transpose()?,
        ];
        if self.residual {
            gradients.push(residual.then(|| dy.clone()));
        }
        Ok(gradients)
    }
}

/// The operands of an op that computes the mask of an activation while it loads `dy`: `plain` ones, and
/// `more` of them where there is an activation.
fn masked_operands<const PLAIN: usize, const MORE: usize>(
    op: &'static str,
    inputs: &[TensorType],
    activation: Activation,
) -> Result<([TensorType; PLAIN], Option<[TensorType; MORE]>)> {
    activation.check_mask(op)?;
    match (activation.is_none(), inputs.split_at_checked(PLAIN)) {
        (false, Some((plain, more))) if more.len() == MORE => {
            Ok((operands(op, plain)?, Some(operands(op, more)?)))
        }
        (false, _) => {
            let expected = (PLAIN + MORE).to_string();
            Err(Error::Operands { op, expected, got: inputs.len() })
        }
        (true, _) => Ok((operands(op, inputs)?, None)),
    }
}

/// The sums that the gradients of batch normalization are made of. Operands: `x [.., channels]`,
/// `dy` of its shape, and moments, f32 `[2, channels]`. Output: f32 `[2, channels]`; row 0 is `Σ
/// dy`, row 1 `Σ dy · (x - mean)`, over the batch. Of an empty batch both are 0.
///
/// With an activation `scale [channels]` and `shift [channels]` follow, and `dy` is the gradient after it:
/// where the activation of the normalized `x` is flat, 0 takes its place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchNormSums {
    /// As [`BatchNorm::epsilon`]; used with an activation alone.
    pub epsilon: f32,
    /// As [`BatchNorm::activation`].
    pub activation: Activation,
}

impl OpRule for BatchNormSums {
    fn name(&self) -> &'static str {
        "batch_norm_sums"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let ([x, dy, moments], affine) = masked_operands::<3, 2>(op, inputs, self.activation)?;
        check_epsilon(op, self.epsilon)?;
        let channels = channels(op, &x)?;
        float(op, "dy", &dy)?;
        same_shape(op, "dy", &x.shape, &dy.shape)?;
        pairs(op, "moments", &moments, channels)?;
        if let Some([scale, shift]) = affine {
            per_channel(op, "scale", &scale, channels)?;
            per_channel(op, "shift", &shift, channels)?;
        }
        Ok(moments)
    }

    fn flops(&self, inputs: &[TensorType], _: &TensorType) -> u64 {
        (4 + masking(self.activation)) * inputs[0].count() as u64
    }
}

/// Operations an element that the mask of an activation takes.
fn masking(activation: Activation) -> u64 {
    if activation.is_none() { 0 } else { 3 }
}

/// The gradient of batch normalization in `x`, through the moments of the batch. Operands: `x [..,
/// channels]`; `dy` of its shape; the moments of `x`, f32 `[2, channels]`; the sums that
/// [`BatchNormSums`] makes of these three; `scale [channels]`. Output: of the shape of `x` and the
/// type of `dy`. With `inverse = 1 / √(variance + epsilon)` and `count` elements in a channel,
/// `dx = scale · inverse · (dy - Σ dy / count - (x - mean) · inverse² · Σ dy · (x - mean) / count)`.
///
/// With an activation `shift [channels]` follows, and `dy` is the gradient after it, as in [`BatchNormSums`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormGrad {
    /// As [`BatchNorm::epsilon`].
    pub epsilon: f32,
    /// As [`BatchNorm::activation`].
    pub activation: Activation,
}

impl Default for BatchNormGrad {
    /// As that of [`BatchNorm`]: an epsilon of 1e-5, no activation.
    fn default() -> Self {
        BatchNormGrad { epsilon: 1e-5, activation: Activation::None }
    }
}

impl OpRule for BatchNormGrad {
    fn name(&self) -> &'static str {
        "batch_norm_grad"
    }

    fn output(&self, inputs: &[TensorType]) -> Result<TensorType> {
        let op = self.name();
        let ([x, dy, moments, sums, scale], shift) =
            masked_operands::<5, 1>(op, inputs, self.activation)?;
        check_epsilon(op, self.epsilon)?;
        let channels = channels(op, &x)?;
        float(op, "dy", &dy)?;
        same_shape(op, "dy", &x.shape, &dy.shape)?;
        pairs(op, "moments", &moments, channels)?;
        pairs(op, "sums", &sums, channels)?;
        per_channel(op, "scale", &scale, channels)?;
        if let Some([shift]) = shift {
            per_channel(op, "shift", &shift, channels)?;
        }
        Ok(dy)
    }

    fn flops(&self, _: &[TensorType], output: &TensorType) -> u64 {
        (5 + masking(self.activation)) * output.count() as u64
    }
}

impl Tensor {
    /// The mean and the biased variance of each channel (the last axis) over all other axes, f32
    /// `[2, channels]`: see [`Moments`].
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// // Two samples of three channels.
    /// let x = Tensor::from_vec(vec![1.0f32, 0.0, 5.0, 3.0, 4.0, 5.0], [2, 3], &device)?;
    /// let moments = x.moments()?;
    /// assert_eq!(moments.dims(), [2, 3]);
    /// assert_eq!(moments.to_vec::<f32>()?, [2.0, 2.0, 5.0, 1.0, 4.0, 0.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the tensor has fewer than 2 axes or is not of floats, or the device fails.
    pub fn moments(&self) -> Result<Tensor> {
        self.device().execute(&Moments.into(), &[self])
    }

    /// Batch normalization of this tensor `[.., channels]` by `moments [2, channels]`, `scale
    /// [channels]` and `shift [channels]`: see [`BatchNorm`], of which this is the form without an addend.
    ///
    /// ```
    /// # use striate_tensor::{DType, Device, Reference, Tensor};
    /// use striate_tensor::ops::{Activation, BatchNorm};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![1.0f32, 0.0, 3.0, 4.0], [2, 2], &device)?;
    /// let scale = Tensor::ones([2], &device)?;
    /// let shift = Tensor::full([2], 0.5, DType::F32, &device)?;
    /// // In training: by the statistics of the batch, through which the gradient goes.
    /// let activation = Activation::Relu;
    /// let norm = BatchNorm { epsilon: 0.0, batch: true, activation, ..BatchNorm::default() };
    /// let y = x.batch_norm(&x.detach().moments()?, &scale, &shift, norm)?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 0.0, 1.5, 1.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where types or shapes do not fit or `epsilon` is out of its range, or the device fails.
    pub fn batch_norm(
        &self,
        moments: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        norm: BatchNorm,
    ) -> Result<Tensor> {
        self.device().execute(&norm.into(), &[self, moments, scale, shift])
    }
}
