//! A step of gradient descent, in place.

use super::values::{Floats, rounded};
use crate::ops::SgdMomentum;
use crate::{DType, HostTensor};

pub(super) fn sgd_momentum(
    op: &SgdMomentum,
    w: &mut HostTensor,
    v: &mut HostTensor,
    gradient: &HostTensor,
) {
    let [rate, momentum, decay, scale] = [op.rate, op.momentum, op.decay, op.scale].map(f64::from);
    let gradient = Floats::of(gradient).values;
    let old_w = Floats::of(w).values;
    let new_v: Vec<f64> = (Floats::of(v).values.iter().zip(&old_w).zip(&gradient))
        .map(|((v, w), g)| momentum * v - decay * rate * w - rate * scale * g)
        .collect();
    *v.values_mut() = rounded(DType::F32, &new_v);
    // The weights move by the velocity that is kept, not by the one before rounding.
    let new_w: Vec<f64> = old_w.iter().zip(Floats::of(v).values).map(|(w, v)| w + v).collect();
    *w.values_mut() = rounded(DType::F32, &new_w);
}
