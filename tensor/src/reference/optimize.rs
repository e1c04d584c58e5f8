//! Steps of optimizers, in place.

use super::values::{Floats, rounded};
use crate::ops::Optimize;
use crate::{DType, HostTensor};

/// Takes as many tensors of state as the op has, which its shape rule has checked.
pub(super) fn optimize(
    op: &Optimize,
    w: &mut HostTensor,
    state: &mut [&mut HostTensor],
    gradient: &HostTensor,
) {
    let f = op.wide_factors();
    let old: Vec<f64> = Floats::of(w).values.iter().map(|w| f.shrink * w).collect();
    let unpulled = Floats::of(w).values;
    let gradient: Vec<f64> = (Floats::of(gradient).values.iter().zip(&unpulled))
        .map(|(g, w)| f.scale * g + f.decay * w)
        .collect();
    let w_is = |new: Vec<f64>, w: &mut HostTensor| *w.values_mut() = rounded(DType::F32, &new);
    // The weights move by the state that is kept, not by the one before rounding.
    let kept = |state: &mut HostTensor, new: Vec<f64>| {
        *state.values_mut() = rounded(DType::F32, &new);
        Floats::of(state).values
    };
    let mixed = |state: &HostTensor, [keeps, takes]: [f64; 2], comes: &[f64]| -> Vec<f64> {
        let values = Floats::of(state).values;
        values.iter().zip(comes).map(|(s, c)| keeps * s + takes * c).collect()
    };
    let squares = |g: &[f64]| g.iter().map(|g| g * g).collect::<Vec<f64>>();
    let moved = |by: &[f64]| old.iter().zip(by).map(|(w, by)| w - f.rate * by).collect();
    match (op, state) {
        (Optimize::Sgd { momentum, nesterov, .. }, [v, ..]) => {
            let new = mixed(v, f.first, &gradient);
            let v = kept(v, new);
            let momentum = f64::from(*momentum);
            let ahead = || gradient.iter().zip(&v).map(|(g, v)| g + momentum * v).collect();
            let by: Vec<f64> = if *nesterov { ahead() } else { v.clone() };
            w_is(moved(&by), w);
        }
        (Optimize::Adam { .. }, [m, s, ..]) => {
            let new = mixed(m, f.first, &gradient);
            let m = kept(m, new);
            let new = mixed(s, f.second, &squares(&gradient));
            let s = kept(s, new);
            let by = m.iter().zip(s).map(|(m, s)| m / (s.sqrt() * f.root + f.epsilon));
            w_is(moved(&by.collect::<Vec<_>>()), w);
        }
        (Optimize::RmsProp { .. }, [s, rest @ ..]) => {
            let new = mixed(s, f.second, &squares(&gradient));
            let s = kept(s, new);
            let by = gradient.iter().zip(s).map(|(g, s)| g / (s.sqrt() + f.epsilon));
            let mut by: Vec<f64> = by.collect();
            if let [v, ..] = rest {
                let new = mixed(v, f.first, &by);
                by = kept(v, new);
            }
            w_is(moved(&by), w);
        }
        (Optimize::Average { .. }, _) => {
            let new = mixed(w, f.first, &gradient);
            w_is(new, w);
        }
        _ => {}
    }
}
