//! The pass back, and what it gives.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::mode::{Mode, within};
use super::node::{Derived, Node, Step};
use crate::ops::Backward;
use crate::{Error, Result, Tensor, TensorType};

/// The gradients of leaves: what [`Tensor::backward`] gives.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// By the id of the leaf.
    of_leaves: BTreeMap<u64, Tensor>,
}

impl Gradients {
    /// The gradient of a leaf (or a clone of it), of its shape and type. None where the output does
    /// not depend on it, and of tensors that are no leaves.
    pub fn get(&self, leaf: &Tensor) -> Option<&Tensor> {
        self.of_leaves.get(&leaf.node()?.id())
    }

    /// The gradient of a leaf, taken out.
    pub fn take(&mut self, leaf: &Tensor) -> Option<Tensor> {
        self.of_leaves.remove(&leaf.node()?.id())
    }

    /// The gradients, in the order in which their leaves were marked.
    pub fn iter(&self) -> impl Iterator<Item = &Tensor> {
        self.of_leaves.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.of_leaves.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.of_leaves.is_empty()
    }

    /// Adds those of another pass: a batch that is too large for memory, in parts.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn accumulate(&mut self, other: Gradients) -> Result<()> {
        within(Mode::Ignore, || {
            other.of_leaves.into_iter().try_for_each(|(id, gradient)| {
                add(self.of_leaves.entry(id), gradient, |sum| sum, |gradient| gradient)
            })
        })
    }
}

impl Tensor {
    /// The gradients of this number (a loss) in all leaves that it came of.
    ///
    /// A step of linear regression, by hand. The line `y = w · x + b` is to meet three points; the
    /// loss is the mean of the squared errors, and each variable goes a little against its gradient:
    ///
    /// ```
    /// use striate_tensor::{Device, Reference, Tensor, no_grad};
    ///
    /// # fn main() -> striate_tensor::Result<()> {
    /// let device = Device::new(Reference::new());
    /// let x = Tensor::from_vec(vec![0.0f32, 1.0, 2.0], [3], &device)?;
    /// let y = Tensor::from_vec(vec![1.0f32, 3.0, 5.0], [3], &device)?; // the line 2 x + 1
    ///
    /// let mut w = Tensor::scalar(0.0f32, &device)?.require_grad();
    /// let mut b = Tensor::scalar(0.0f32, &device)?.require_grad();
    /// for step in 0..100 {
    ///     let errors = w.mul(&x)?.add(&b)?.sub(&y)?;
    ///     let loss = errors.square()?.mean_all()?;
    ///     let gradients = loss.backward()?;
    ///     let (Some(dw), Some(db)) = (gradients.get(&w), gradients.get(&b)) else { break };
    ///     if step == 0 {
    ///         // d loss / dw = mean(2 · error · x), with errors of -1, -3 and -5.
    ///         assert!((dw.to_scalar::<f32>()? - -26.0 / 3.0).abs() < 1e-5);
    ///         assert!((db.to_scalar::<f32>()? - -6.0).abs() < 1e-5);
    ///     }
    ///     // The new variables start a new history.
    ///     (w, b) = no_grad(|| Ok::<_, striate_tensor::Error>((
    ///         w.sub(&dw.affine(0.2, 0.0)?)?.require_grad(),
    ///         b.sub(&db.affine(0.2, 0.0)?)?.require_grad(),
    ///     )))?;
    /// }
    /// assert!((w.to_scalar::<f32>()? - 2.0).abs() < 1e-3);
    /// assert!((b.to_scalar::<f32>()? - 1.0).abs() < 1e-3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where there is not exactly one element; else as
    /// [`backward_with`](Tensor::backward_with).
    pub fn backward(self) -> Result<Gradients> {
        if self.ty().count() != 1 {
            let expected = "one element to go back from (a loss: take the sum or the mean, or give \
                            its gradient to backward_with)";
            return Err(Error::shape("backward", expected, self.shape().to_string()));
        }
        let dy = Tensor::full(self.shape(), 1.0, self.dtype(), self.device())?;
        self.backward_with(&dy)
    }

    /// The gradients of `Σ y · dy`, of this tensor `y`, in all leaves that it came of: `dy` is the
    /// gradient of some number in `y`.
    ///
    /// # Errors
    /// Where `dy` is of another shape, type or device; [`Error::Gradient`] where this tensor is not
    /// tracked, an op on the way has no gradient rule, or a pass has walked a part of the way
    /// before; what a device says.
    pub fn backward_with(self, dy: &Tensor) -> Result<Gradients> {
        let Some(node) = self.node().cloned() else {
            return Err(Error::gradient(
                "backward",
                "this tensor is not tracked: no operand of it was marked by require_grad, or it \
                 was computed in no_grad, or detached, or is of integers",
            ));
        };
        if dy.ty() != self.ty() {
            let expected = format!("dy of {}", self.ty());
            return Err(Error::shape("backward", expected, dy.ty().to_string()));
        }
        if !dy.device().is(self.device()) {
            return Err(Error::Devices {
                op: "backward",
                first: self.device().info().name,
                other: dy.device().info().name,
            });
        }
        // The output's memory, which nothing but the caller's clones needs now.
        drop(self);
        within(Mode::Ignore, || pass(node, dy.detach()))
    }
}

/// Nodes that have gradients waiting, by id.
type Waiting = BTreeMap<u64, (Arc<Node>, Tensor)>;

/// Adds to what is there already, or begins.
fn add<V>(
    entry: Entry<'_, u64, V>,
    gradient: Tensor,
    sum: impl FnOnce(&mut V) -> &mut Tensor,
    begin: impl FnOnce(Tensor) -> V,
) -> Result<()> {
    match entry {
        Entry::Occupied(mut entry) => {
            let sum = sum(entry.get_mut());
            *sum = sum.add(&gradient)?;
        }
        Entry::Vacant(entry) => {
            entry.insert(begin(gradient));
        }
    }
    Ok(())
}

fn send(waiting: &mut Waiting, node: Arc<Node>, gradient: Tensor) -> Result<()> {
    let entry = waiting.entry(node.id());
    add(entry, gradient, |(_, sum)| sum, |gradient| (node, gradient))
}

/// Takes the latest node that waits, again and again: all that used its output came later, so its
/// gradient is complete.
fn pass(last: Arc<Node>, dy: Tensor) -> Result<Gradients> {
    let mut gradients = Gradients::default();
    let mut waiting = Waiting::from([(last.id(), (last, dy))]);
    while let Some((id, (node, dy))) = waiting.pop_last() {
        if node.is_leaf() {
            gradients.of_leaves.insert(id, dy);
            continue;
        }
        let Some(Derived { step, sources }) = node.take() else {
            return Err(Error::gradient(
                "backward",
                "a pass has been through a part of these tensors before, and has freed what it \
                 needed; add up the losses and go back once",
            ));
        };
        drop(node);
        match step {
            Step::Op { op, types, saved, y } => {
                let cx = Backward::new(&op, &types, &saved, y.as_ref(), &dy, &sources);
                let parts = op.gradient(&cx)?;
                // Free before the sums below need memory.
                drop((saved, y, dy));
                for ((source, part), ty) in sources.into_iter().zip(parts).zip(&types) {
                    if let (Some(source), Some(part)) = (source, part) {
                        send(&mut waiting, source, fitted(&op, part, ty)?)?;
                    }
                }
            }
            Step::Reshape { from } => {
                let dx = dy.reshape(from)?;
                for source in sources.into_iter().flatten() {
                    send(&mut waiting, source, dx.clone())?;
                }
            }
            Step::Move { from } => {
                let dx = dy.to(&from)?;
                for source in sources.into_iter().flatten() {
                    send(&mut waiting, source, dx.clone())?;
                }
            }
            Step::Checkpoint { inputs, function, output } => {
                // With the nodes that the inputs had, so that gradients meet where they would have
                // met, and in the same order.
                let inputs: Vec<Tensor> =
                    inputs.iter().zip(sources).map(|(x, node)| x.with_source(node)).collect();
                let y = within(Mode::Record, || function(&inputs))?;
                drop((inputs, function));
                if *y.ty() != output {
                    let expected = format!("{output} as at the first run of the function");
                    return Err(Error::shape("checkpoint", expected, y.ty().to_string()));
                }
                if let Some(node) = y.node() {
                    send(&mut waiting, Arc::clone(node), dy)?;
                }
            }
        }
    }
    Ok(gradients)
}

/// A part as its operand wants it: rules may compute in f32 what is f16.
fn fitted(op: &crate::Op, part: Tensor, ty: &TensorType) -> Result<Tensor> {
    if part.shape() != &ty.shape {
        let expected = format!("its gradient rule to give {ty}");
        return Err(Error::shape(op.name(), expected, part.ty().to_string()));
    }
    part.cast(ty.dtype)
}
