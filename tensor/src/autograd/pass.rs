//! The pass back, and what it gives.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::leaves::{LeafId, Leaves};
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
    /// [`backward_each`](Tensor::backward_each) hands them out one by one instead, which needs less
    /// memory.
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
        let dy = self.one()?;
        self.backward_with(&dy)
    }

    /// As [`backward`](Tensor::backward), but hands out the gradient of each leaf as soon as it is
    /// complete, and keeps none: the memory of a training step is then that of the activations and of
    /// a gradient or two, not of all gradients too. The gradients have the same bits.
    ///
    /// Which leaf it is, says [`Tensor::leaf_id`]. By the time when its gradient comes, what the pass
    /// held of the leaf's values is free, so it may be updated in place without a copy
    /// ([`Tensor::sgd_momentum`]). Leaves come in about the reverse order of their last use. Each
    /// comes once; those that the loss does not depend on do not come. What `sink` computes is not
    /// recorded.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let a = Tensor::full([2], 3.0, striate_tensor::DType::F32, &device)?.require_grad();
    /// let b = Tensor::ones([2], &device)?.require_grad();
    /// let loss = a.square()?.mul(&b)?.sum_all()?;
    /// loss.backward_each(|leaf, gradient| {
    ///     let expected = if Some(leaf) == a.leaf_id() { [6.0; 2] } else { [9.0; 2] };
    ///     assert_eq!(gradient.to_vec::<f32>()?, expected);
    ///     Ok::<_, striate_tensor::Error>(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`backward`](Tensor::backward), and what `sink` says: it ends the pass. Gradients before the
    /// error have been handed out.
    pub fn backward_each<E: From<Error>>(
        self,
        mut sink: impl FnMut(LeafId, Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        let dy = self.one()?;
        self.each(&dy, &mut sink)
    }

    /// As [`backward_with`](Tensor::backward_with), but hands out each gradient as
    /// [`backward_each`](Tensor::backward_each) does.
    ///
    /// # Errors
    /// As [`backward_with`](Tensor::backward_with), and what `sink` says.
    pub fn backward_with_each<E: From<Error>>(
        self,
        dy: &Tensor,
        mut sink: impl FnMut(LeafId, Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each(dy, &mut sink)
    }

    /// Which leaf this is; none of tensors that are no [leaves](Tensor::require_grad).
    pub fn leaf_id(&self) -> Option<LeafId> {
        self.node().filter(|node| node.is_leaf()).map(|node| LeafId(node.id()))
    }

    /// The gradient of a loss in itself.
    fn one(&self) -> Result<Tensor> {
        if self.ty().count() != 1 {
            let expected = "one element to go back from (a loss: take the sum or the mean, or give \
                            its gradient to backward_with)";
            return Err(Error::shape("backward", expected, self.shape()));
        }
        Tensor::full(self.shape(), 1.0, self.dtype(), self.device())
    }

    /// The gradients of `Σ y · dy`, of this tensor `y`, in all leaves that it came of: `dy` is the
    /// gradient of some number in `y`.
    ///
    /// # Errors
    /// Where `dy` is of another shape, type or device; [`Error::Gradient`] where this tensor is not
    /// tracked, an op on the way has no gradient rule, or a pass has walked a part of the way
    /// before; what a device says.
    pub fn backward_with(self, dy: &Tensor) -> Result<Gradients> {
        let mut gradients = Gradients::default();
        self.each::<Error>(dy, &mut |LeafId(id), gradient| {
            gradients.of_leaves.insert(id, gradient);
            Ok(())
        })?;
        Ok(gradients)
    }

    fn each<E: From<Error>>(
        self,
        dy: &Tensor,
        sink: &mut dyn FnMut(LeafId, Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(node) = self.node().cloned() else {
            return Err(Error::gradient(
                "backward",
                "this tensor is not tracked: no operand of it was marked by require_grad, or it \
                 was computed in no_grad, or detached, or is of integers",
            )
            .into());
        };
        if dy.ty() != self.ty() {
            let expected = format!("dy of {}", self.ty());
            return Err(Error::shape("backward", expected, dy.ty()).into());
        }
        if !dy.device().is(self.device()) {
            return Err(Error::Devices {
                op: "backward",
                first: self.device().info().name,
                other: dy.device().info().name,
            }
            .into());
        }
        // The output's memory, which nothing but the caller's clones needs now.
        drop(self);
        let pass = Pass { waiting: BTreeMap::new(), leaves: Leaves::default(), sink };
        let dy = dy.detach();
        within(Mode::Ignore, || pass.run(node, dy))
    }
}

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

/// A pass on its way.
struct Pass<'a, E> {
    /// Nodes that have gradients waiting, by id.
    waiting: BTreeMap<u64, (Arc<Node>, Tensor)>,
    leaves: Leaves,
    sink: &'a mut dyn FnMut(LeafId, Tensor) -> Result<(), E>,
}

impl<E: From<Error>> Pass<'_, E> {
    /// Takes the latest node that waits, again and again: all that used its output came later, so
    /// its gradient is complete.
    fn run(mut self, last: Arc<Node>, dy: Tensor) -> Result<(), E> {
        self.leaves.count(&last);
        self.send(&last, Some(dy))?;
        drop(last);
        while let Some((_, (node, dy))) = self.waiting.pop_last() {
            let Some(derived) = node.take() else {
                return Err(Error::gradient(
                    "backward",
                    "a pass has been through a part of these tensors before, and has freed what it \
                     needed; add up the losses and go back once",
                )
                .into());
            };
            drop(node);
            self.step(derived, dy)?;
        }
        self.leaves.rest().try_for_each(|(leaf, gradient)| (self.sink)(leaf, gradient))
    }

    /// What comes to a source: a part of its gradient, or nothing.
    fn send(&mut self, source: &Arc<Node>, part: Option<Tensor>) -> Result<(), E> {
        if source.is_leaf() {
            return match self.leaves.arrive(source, part)? {
                Some(gradient) => (self.sink)(LeafId(source.id()), gradient),
                None => Ok(()),
            };
        }
        if let Some(part) = part {
            let entry = self.waiting.entry(source.id());
            add(entry, part, |(_, sum)| sum, |part| (Arc::clone(source), part))?;
        }
        Ok(())
    }

    /// Goes back through a step, whose output has this gradient.
    fn step(&mut self, Derived { step, sources }: Derived, dy: Tensor) -> Result<(), E> {
        let part = match step {
            Step::Op { op, types, saved, y } => {
                let cx = Backward::new(&op, &types, &saved, y.as_ref(), &dy, &sources);
                let parts = op.gradient(&cx)?;
                // Free before the sums need memory, and before a leaf's gradient is handed out: who
                // takes it may write into the leaf, which must not be shared then.
                drop((saved, y, dy));
                for ((source, part), ty) in sources.into_iter().zip(parts).zip(&types) {
                    let Some(source) = source else { continue };
                    let part = part.map(|part| fitted(&op, part, ty)).transpose()?;
                    self.send(&source, part)?;
                }
                return Ok(());
            }
            Step::Reshape { from } => dy.reshape(from)?,
            Step::Move { from } => dy.to(&from)?,
            Step::Checkpoint { inputs, function, output, uses } => {
                // With the nodes that the inputs had, so that gradients meet where they would have
                // met, and in the same order.
                let with_source =
                    |(x, node): (&Tensor, &Option<Arc<Node>>)| x.with_source(node.clone());
                let inputs: Vec<Tensor> = inputs.iter().zip(&sources).map(with_source).collect();
                let y = within(Mode::Record, || function(&inputs))?;
                drop((inputs, function));
                if *y.ty() != output {
                    let expected = format!("{output} as at the first run of the function");
                    return Err(Error::shape("checkpoint", expected, y.ty()).into());
                }
                let last = y.node().cloned();
                drop(y);
                // Its steps' uses of leaves first, then its own are done with: no leaf is complete
                // in between.
                last.iter().for_each(|node| self.leaves.count(node));
                sources.iter().flatten().chain(&uses).try_for_each(|node| self.send(node, None))?;
                return last.iter().try_for_each(|node| self.send(node, Some(dy.clone())));
            }
        };
        drop(dy);
        sources.iter().flatten().try_for_each(|source| self.send(source, Some(part.clone())))
    }
}

/// A part as its operand wants it: rules may compute in f32 what is f16.
fn fitted(op: &crate::Op, part: Tensor, ty: &TensorType) -> Result<Tensor> {
    if part.shape() != &ty.shape {
        let expected = format!("its gradient rule to give {ty}");
        return Err(Error::shape(op.name(), expected, part.ty()));
    }
    part.cast(ty.dtype)
}
