//! What training minimises.

use striate_tensor::{Result, Tensor};

/// The mean cross-entropy of `logits [n, classes]` against `labels [n]` (u32): a tensor without
/// axes. A label that is no class gives NaN; so does an empty batch.
///
/// # Errors
/// Where types or shapes do not fit, or the device fails.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    logits.cross_entropy(labels)?.mean_all()
}
