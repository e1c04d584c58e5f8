//! Less memory for more arithmetic.

use std::sync::Arc;

use super::leaves::leaves_of;
use super::mode::{is_recording, noticing};
use super::node::{Derived, Node, Step};
use crate::{Result, Tensor};

/// What a checkpoint computes.
pub(super) type Function = dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync;

/// The output of a function, of whose steps nothing is kept: [`Tensor::backward`] runs it again when
/// it gets there (Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory cost",
/// 2016). A network cut into checkpointed blocks keeps the tensors between them, and those inside
/// of one block at a time.
///
/// The gradients have the same bits as without. Variables that the function captures get theirs
/// too. It must give the same output for the same inputs: [dropout](Tensor::dropout) does, since its
/// numbers come from a key.
///
/// ```
/// # use striate_tensor::{Device, Reference, Tensor, checkpoint};
/// # fn main() -> striate_tensor::Result<()> {
/// # let device = Device::new(Reference::new());
/// let x = Tensor::full([2], 3.0, striate_tensor::DType::F32, &device)?;
/// let w = Tensor::ones([2], &device)?.require_grad();
/// let captured = w.clone();
/// let y = checkpoint(&[&x], move |inputs| inputs[0].mul(&captured)?.square())?;
/// let gradients = y.sum_all()?.backward()?;
/// assert_eq!(gradients.get(&w).map(Tensor::to_vec::<f32>).transpose()?, Some(vec![18.0, 18.0]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What the function says.
pub fn checkpoint<F>(inputs: &[&Tensor], function: F) -> Result<Tensor>
where
    F: Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
{
    let inputs: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
    if !is_recording() {
        return function(&inputs);
    }
    // What the function captures cannot be seen from here, only which tracked tensors were used.
    let (y, mut uses) = noticing(|| function(&inputs));
    let y = y?;
    if let Some(node) = y.node() {
        // What it was given, or captures, or has computed on another thread. The node itself would
        // keep alive what the last recorded.
        uses.extend(leaves_of(node));
    }
    if !y.dtype().is_float() || uses.is_empty() {
        return Ok(y);
    }
    let step = Step::Checkpoint {
        inputs: inputs.iter().map(Tensor::detach).collect(),
        function: Arc::new(function),
        output: *y.ty(),
        uses,
    };
    let sources = inputs.iter().map(|x| x.node().cloned()).collect();
    Ok(y.with_node(Node::derived(Derived { step, sources })))
}
