//! Batch normalization by stored statistics, and factors of channels, folded into the weights before them.

use striate_tensor::ops::Activation;
use striate_tensor::{DType, Op, Shape, ops};

use super::rewrite::{Rewrite, is_before, sole_readers};
use crate::Result;
use crate::graph::{Graph, Node, NodeOp, Source, Value};

/// Folds batch normalization into the convolution, transposed convolution or full-connect layer before
/// it, which it alone reads: the weights of each output channel are multiplied by
/// `scale / √(variance + epsilon)`, and the bias becomes
/// `shift + (bias - mean) · scale / √(variance + epsilon)`. A ReLU of the normalization goes along. A learnt
/// factor for each channel, such as ConvNeXt's layer scale, is folded alike.
/// *Inference*; *tolerance* 1e-5 of the largest magnitude in the output.
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

/// A linear node, and the batch normalization or the factors after it.
struct Fold<'a> {
    linear: &'a Node,
    norm: &'a Node,
    /// The linear node's op with what the folded one has: a bias, the normalization's ReLU.
    op: Op,
    by: By,
    channels: usize,
    /// A number for each channel, in the shape in which it broadcasts over the weights.
    over_weights: Shape,
}

/// What the channels are multiplied by.
#[derive(Clone, Copy)]
enum By {
    /// What a normalization says.
    Norm { epsilon: f32, activation: Activation },
    /// These factors.
    Factors(Value),
}

impl By {
    fn of(graph: &Graph, linear: &Node, next: &Node) -> Option<Self> {
        match &next.op {
            NodeOp::Op(Op::BatchNorm(op)) => {
                let is_folded = !op.batch && !op.residual;
                (is_folded && next.inputs.first() == Some(&linear.output))
                    .then_some(By::Norm { epsilon: op.epsilon, activation: op.activation })
            }
            NodeOp::Op(Op::Binary(ops::Binary { kind: ops::BinaryKind::Mul })) => {
                let mut others = next.inputs.iter().filter(|&&input| input != linear.output);
                let factors = *others.next()?;
                let channels = graph.ty(linear.output).shape.dims().last()?;
                let fits = graph.ty(factors).shape.dims() == [*channels];
                (fits && others.next().is_none()).then_some(By::Factors(factors))
            }
            _ => None,
        }
    }

    /// What is folded, beside the linear node's own.
    fn values(self, next: &Node) -> Vec<Value> {
        match self {
            By::Norm { .. } => next.inputs[1..].to_vec(),
            By::Factors(factors) => vec![factors],
        }
    }
}

impl<'a> Fold<'a> {
    fn of(graph: &'a Graph, fixed: &[bool], place: usize, reader: usize) -> Option<Self> {
        let (linear, norm) = (graph.nodes().get(place)?, graph.nodes().get(reader)?);
        let by = By::of(graph, linear, norm)?;
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
        let of = |bias: bool| match by {
            By::Norm { activation, .. } => (true, activation),
            By::Factors(_) => (bias, Activation::None),
        };
        let (op, over_weights) = match &linear.op {
            NodeOp::Op(Op::Conv2d(conv)) if conv.activation.is_none() && !conv.residual => {
                let (bias, activation) = of(conv.bias);
                let joint = ops::Conv2d { bias, activation, ..*conv };
                (joint.into(), Shape::new(&[channels, 1, 1, 1]).ok()?)
            }
            // Its weights have the outputs last; of several groups only those of one.
            NodeOp::Op(Op::ConvTranspose2d(conv)) if conv.groups == 1 => {
                let (bias, activation) = of(conv.bias);
                let joint = ops::ConvTranspose2d { bias, ..*conv };
                if activation.is_some() {
                    return None;
                }
                (joint.into(), Shape::new(&[channels]).ok()?)
            }
            NodeOp::Op(Op::MatMul(product))
                if product.activation.is_none() && weights.rank() == 2 =>
            {
                let (bias, activation) = of(product.bias);
                let joint = ops::MatMul { bias, activation, ..*product };
                let over_weights = match product.transpose_b {
                    true => Shape::new(&[channels, 1]).ok()?,
                    false => Shape::new(&[channels]).ok()?,
                };
                (joint.into(), over_weights)
            }
            _ => return None,
        };
        let folded = by.values(norm);
        let parameters = linear.inputs[1..].iter().chain(&folded);
        if norm.detached != linear.detached || !{ parameters }.all(is_given) {
            return None;
        }
        Some(Fold { linear, norm, op, by, channels, over_weights })
    }

    /// The folded node, and those that make its weights before it.
    fn emit(&self, rewrite: &mut Rewrite<'_>) -> Result<Value> {
        let linear = rewrite.values(&self.linear.inputs)?;
        let (Some(&x), Some(&weights)) = (linear.first(), linear.get(1)) else {
            return Err(crate::error::missing(&self.linear.name));
        };
        let given = rewrite.values(&self.by.values(self.norm))?;
        let mut maker = Maker { rewrite, norm: self.norm };
        let mut inputs = vec![x];
        match (self.by, &given[..]) {
            (By::Norm { epsilon, .. }, &[moments, scale, shift]) => {
                let [mean, inverse] = self.statistics(&mut maker, moments, epsilon)?;
                let scale = maker.wide("scale", scale)?;
                let factor =
                    maker.push("factor", binary(ops::BinaryKind::Mul), &[scale, inverse])?;
                inputs.push(self.weights(&mut maker, weights, factor)?);
                let bias = match linear.get(2) {
                    Some(&bias) => {
                        let bias = maker.wide("bias", bias)?;
                        maker.push("bias", binary(ops::BinaryKind::Sub), &[bias, mean])?
                    }
                    None => maker.push("bias", unary(ops::UnaryKind::Neg), &[mean])?,
                };
                let bias = maker.push("bias", binary(ops::BinaryKind::Mul), &[bias, factor])?;
                let shift = maker.wide("shift", shift)?;
                inputs.push(maker.push("bias", binary(ops::BinaryKind::Add), &[bias, shift])?);
            }
            (By::Factors(_), &[factor]) => {
                let factor = maker.wide("factor", factor)?;
                inputs.push(self.weights(&mut maker, weights, factor)?);
                if let Some(&bias) = linear.get(2) {
                    let bias = maker.wide("bias", bias)?;
                    inputs.push(maker.push(
                        "bias",
                        binary(ops::BinaryKind::Mul),
                        &[bias, factor],
                    )?);
                }
            }
            _ => return Err(crate::error::missing(&self.norm.name)),
        }
        let (op, detached) = (self.op.clone().into(), self.linear.detached);
        rewrite.push(self.linear, op, &inputs, detached)
    }

    /// The mean of each channel, and `1 / √(variance + epsilon)`.
    fn statistics(
        &self,
        maker: &mut Maker<'_, '_>,
        moments: Value,
        epsilon: f32,
    ) -> Result<[Value; 2]> {
        let each = NodeOp::Reshape(Shape::new(&[self.channels])?);
        let row = |row: usize| ops::Slice { ranges: vec![row..row + 1, 0..self.channels] };
        let mean = maker.push("mean", row(0).into(), &[moments])?;
        let mean = maker.push("mean", each.clone(), &[mean])?;
        let variance = maker.push("variance", row(1).into(), &[moments])?;
        let variance = maker.push("variance", each, &[variance])?;
        let plus = ops::UnaryKind::Affine { scale: 1.0, shift: epsilon };
        let variance = maker.push("variance", unary(plus), &[variance])?;
        let inverse = maker.push("deviation", unary(ops::UnaryKind::Rsqrt), &[variance])?;
        Ok([mean, inverse])
    }

    /// The weights, each channel's times its factor.
    fn weights(&self, maker: &mut Maker<'_, '_>, weights: Value, factor: Value) -> Result<Value> {
        let over = maker.push("factor", NodeOp::Reshape(self.over_weights), &[factor])?;
        let weights = maker.wide("weights", weights)?;
        maker.push("weights", binary(ops::BinaryKind::Mul), &[weights, over])
    }
}

fn unary(kind: ops::UnaryKind) -> NodeOp {
    ops::Unary { kind }.into()
}

fn binary(kind: ops::BinaryKind) -> NodeOp {
    ops::Binary { kind }.into()
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
