//! The gradient of ReLU.

use super::values::Floats;

pub(super) fn relu_grad(y: &Floats, dy: &Floats) -> Vec<f64> {
    y.values.iter().zip(&dy.values).map(|(&y, &dy)| if y <= 0.0 { 0.0 } else { dy }).collect()
}
