//! Batch normalization by stored statistics, folded into the weights before it.

use striate_tensor::{DType, Op, Shape, ops};

use super::rewrite::{Rewrite, is_before, sole_readers};
use crate::Result;
use crate::graph::{Graph, Node, NodeOp, Source, Value};

/// Folds batch normalization into the convolution or full-connect layer before it, which it alone
/// reads: the weights of each output channel are multiplied by `scale / √(variance + epsilon)`, and the
/// bias becomes `shift + (bias - mean) · scale / √(variance + epsilon)`. A ReLU of the normalization goes
/// along. *Inference*; *tolerance* 1e-5 of the largest magnitude in the output.
///
/// The new weights are nodes on the parameters and buffers, in f32 whatever these are:
/// [`Plan::prepare`](crate::Plan::prepare) computes them once. Weights or statistics that depend on an
/// input stay as they are.
pub(super) fn fold_batch_norm(graph: &Graph) -> Result<Option<Graph>> {
    let readers = sole_readers(graph);
    let fixed = graph.fixed();
    let mut folded = vec![false; graph.nodes().len()];
    let mut rewrite = Rewrite::new(graph);
    for (place, node) in graph.nodes().iter().enumerate() {
        if folded[place] {
            continue;
        }
        let fold = readers[node.output.index()]
            .and_then(|reader| Some((reader, Fold::of(graph, &fixed, place, reader)?)));
        match fold {
            Some((reader, fold)) => {
                folded[reader] = true;
                let output = fold.emit(&mut rewrite)?;
                rewrite.set(graph.nodes()[reader].output, output);
            }
            None => rewrite.keep(node)?,
        }
    }
    if folded.contains(&true) { rewrite.finish().map(Some) } else { Ok(None) }
}

/// A linear node and the batch normalization after it.
struct Fold<'a> {
    linear: &'a Node,
    norm: &'a Node,
    /// The linear node's op with a bias, and with the normalization's ReLU.
    op: Op,
    epsilon: f32,
    channels: usize,
    /// A number for each channel, in the shape in which it broadcasts over the weights.
    over_weights: Shape,
}

impl<'a> Fold<'a> {
    fn of(graph: &'a Graph, fixed: &[bool], place: usize, reader: usize) -> Option<Self> {
        let (linear, norm) = (graph.nodes().get(place)?, graph.nodes().get(reader)?);
        let NodeOp::Op(Op::BatchNorm(op)) = &norm.op else { return None };
        let activation = op.activation;
        let stays = op.batch || op.residual;
        let (true, false) = (norm.inputs.first() == Some(&linear.output), stays) else {
            return None;
        };
        let is_given = |value: &Value| {
            is_before(graph, *value, place)
                && match graph.source(*value) {
                    Source::Parameter(_) | Source::Buffer(_) | Source::Constant(_) => true,
                    Source::Node(maker) => fixed[*maker],
                    Source::Input(_) => false,
                }
        };
        let weights = linear.inputs.get(1).map(|&weights| graph.ty(weights).shape)?;
        let channels = *graph.ty(linear.output).shape.dims().last()?;
        let (op, epsilon, over_weights) = match &linear.op {
            NodeOp::Op(Op::Conv2d(conv)) if conv.activation.is_none() && !conv.residual => {
                let joint = ops::Conv2d { bias: true, activation, ..*conv };
                (joint.into(), op.epsilon, Shape::new(&[channels, 1, 1, 1]).ok()?)
            }
            NodeOp::Op(Op::MatMul(product))
                if product.activation.is_none() && weights.rank() == 2 =>
            {
                let joint = ops::MatMul { bias: true, activation, ..*product };
                let over_weights = match product.transpose_b {
                    true => Shape::new(&[channels, 1]).ok()?,
                    false => Shape::new(&[channels]).ok()?,
                };
                (joint.into(), op.epsilon, over_weights)
            }
            _ => return None,
        };
        let parameters = linear.inputs[1..].iter().chain(&norm.inputs[1..]);
        if norm.detached != linear.detached || !{ parameters }.all(is_given) {
            return None;
        }
        Some(Fold { linear, norm, op, epsilon, channels, over_weights })
    }

    /// The folded node, and those that make its weights before it.
    fn emit(&self, rewrite: &mut Rewrite<'_>) -> Result<Value> {
        let linear = rewrite.values(&self.linear.inputs)?;
        let (Some(&x), Some(&weights)) = (linear.first(), linear.get(1)) else {
            return Err(crate::error::missing(&self.linear.name));
        };
        let given = rewrite.values(&self.norm.inputs[1..])?;
        let &[moments, scale, shift] = &given[..] else {
            return Err(crate::error::missing(&self.norm.name));
        };
        let each = NodeOp::Reshape(Shape::new(&[self.channels])?);
        let unary = |kind| NodeOp::from(ops::Unary { kind });
        let binary = |kind| NodeOp::from(ops::Binary { kind });
        let mut maker = Maker { rewrite, norm: self.norm };

        let row = |row: usize| ops::Slice { ranges: vec![row..row + 1, 0..self.channels] };
        let mean = maker.push("mean", row(0).into(), &[moments])?;
        let mean = maker.push("mean", each.clone(), &[mean])?;
        let variance = maker.push("variance", row(1).into(), &[moments])?;
        let variance = maker.push("variance", each, &[variance])?;
        let plus = ops::UnaryKind::Affine { scale: 1.0, shift: self.epsilon };
        let variance = maker.push("variance", unary(plus), &[variance])?;
        let inverse = maker.push("deviation", unary(ops::UnaryKind::Rsqrt), &[variance])?;
        let scale = maker.wide("scale", scale)?;
        let factor = maker.push("factor", binary(ops::BinaryKind::Mul), &[scale, inverse])?;

        let over = NodeOp::Reshape(self.over_weights);
        let over = maker.push("factor", over, &[factor])?;
        let weights = maker.wide("weights", weights)?;
        let weights = maker.push("weights", binary(ops::BinaryKind::Mul), &[weights, over])?;

        let bias = match linear.get(2) {
            Some(&bias) => {
                let bias = maker.wide("bias", bias)?;
                maker.push("bias", binary(ops::BinaryKind::Sub), &[bias, mean])?
            }
            None => maker.push("bias", unary(ops::UnaryKind::Neg), &[mean])?,
        };
        let bias = maker.push("bias", binary(ops::BinaryKind::Mul), &[bias, factor])?;
        let shift = maker.wide("shift", shift)?;
        let bias = maker.push("bias", binary(ops::BinaryKind::Add), &[bias, shift])?;

        let (op, detached) = (self.op.clone().into(), self.linear.detached);
        rewrite.push(self.linear, op, &[x, weights, bias], detached)
    }
}

/// Makes the nodes that fold a normalization.
struct Maker<'r, 'g> {
    rewrite: &'r mut Rewrite<'g>,
    norm: &'r Node,
}

impl Maker<'_, '_> {
    fn push(&mut self, what: &str, op: NodeOp, inputs: &[Value]) -> Result<Value> {
        let name = format!("{} ({what})", self.norm.name);
        let graph = self.rewrite.graph_mut();
        graph.set_origin(self.norm.origin);
        graph.push_node(name, op, inputs, self.norm.detached)
    }

    /// The value in f32.
    fn wide(&mut self, what: &str, value: Value) -> Result<Value> {
        match self.rewrite.graph().ty(value).dtype {
            DType::F32 => Ok(value),
            _ => self.push(what, ops::Cast { dtype: DType::F32 }.into(), &[value]),
        }
    }
}
