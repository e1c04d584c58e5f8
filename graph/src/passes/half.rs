//! Half precision for what a run computes.

use std::collections::BTreeMap;

use striate_tensor::ops::{BinaryKind, Cast, ReduceKind, UnaryKind};
use striate_tensor::{DType, Op};

use super::rewrite::Rewrite;
use crate::Result;
use crate::graph::{Graph, Node, NodeOp, Source, Value};

/// Keeps activations in f16, and gives weights to the ops on them in f16. *Inference*; *tolerance* about
/// a hundredth of the largest output.
///
/// Devices compute on f16 in f32 and round once, at the end. What depends on parameters alone, such as
/// weights that batch normalization is folded into, is computed as before and rounded when it is done.
/// Sums, statistics, exponentials and the like stay in f32; so do inputs and outputs of the graph.
pub(super) fn half(graph: &Graph) -> Result<Option<Graph>> {
    let mut casts = Casts { rewrite: Rewrite::new(graph), known: BTreeMap::new() };
    let mut changed = false;
    let mut fixed = vec![false; graph.value_count()];
    for value in graph.values() {
        fixed[value.index()] = !matches!(graph.source(value), Source::Input(_) | Source::Node(_));
    }
    for node in graph.nodes() {
        let is_fixed = node.inputs.iter().all(|input| fixed[input.index()]);
        fixed[node.output.index()] = is_fixed;
        let is_single = |value: Value| graph.ty(value).dtype == DType::F32;
        let narrow = match is_single(node.output) && !is_fixed {
            true => narrowed(&node.op, node.inputs.len()),
            false => 0,
        };
        changed |= narrow > 0;
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (place, &input) in node.inputs.iter().enumerate() {
            inputs.push(match is_single(input) {
                true => {
                    let dtype = if place < narrow { DType::F16 } else { DType::F32 };
                    casts.value(node, input, dtype)?
                }
                false => casts.rewrite.value(input)?,
            });
        }
        let output = casts.rewrite.push(node, node.op.clone(), &inputs, node.detached)?;
        casts.rewrite.set(node.output, output);
    }
    if !changed {
        return Ok(None);
    }
    // What the graph shows has the types that it had.
    let shown = graph.outputs().iter().map(|(_, value)| *value);
    let shown = shown.chain(graph.records().iter().map(|record| record.moments));
    for value in shown.collect::<Vec<_>>() {
        if let (DType::F32, Source::Node(place)) = (graph.ty(value).dtype, graph.source(value)) {
            let wide = casts.value(&graph.nodes()[*place], value, DType::F32)?;
            casts.rewrite.set(value, wide);
        }
    }
    casts.rewrite.finish().map(Some)
}

/// How many of a node's operands, from the first on, are to be f16, so that its output is.
fn narrowed(op: &NodeOp, operands: usize) -> usize {
    let NodeOp::Op(op) = op else { return operands };
    match op {
        Op::Unary(unary) if !is_wide(&unary.kind) => operands,
        Op::Binary(binary) if !matches!(binary.kind, BinaryKind::Div | BinaryKind::Pow) => operands,
        Op::Select(_)
        | Op::MatMul(_)
        | Op::Permute(_)
        | Op::Slice(_)
        | Op::Concatenate(_)
        | Op::Pad(_)
        | Op::PadImage(_)
        | Op::Flip(_)
        | Op::Conv2d(_)
        | Op::ConvTranspose2d(_)
        | Op::MaxPool2d(_)
        | Op::AvgPool2d(_)
        | Op::Resize(_)
        | Op::Lrn(_) => operands,
        // Others may be far from the numbers that they come from.
        Op::Reduce(reduce)
            if matches!(reduce.kind, ReduceKind::Mean | ReduceKind::Max | ReduceKind::Min) =>
        {
            operands
        }
        // Statistics stay.
        // An addend has the type of the first operand, and stands behind what stays.
        Op::BatchNorm(norm) if norm.residual => 0,
        Op::BatchNorm(_) | Op::GroupNorm(_) => 1,
        _ => 0,
    }
}

/// Functions whose values may be far larger or smaller than what they are of.
fn is_wide(kind: &UnaryKind) -> bool {
    matches!(
        kind,
        UnaryKind::Square
            | UnaryKind::Rsqrt
            | UnaryKind::Recip
            | UnaryKind::Exp
            | UnaryKind::Log
            | UnaryKind::Powf { .. }
    )
}

/// A new graph in which values may have another precision than in the old one.
struct Casts<'a> {
    rewrite: Rewrite<'a>,
    /// What new values are in another precision.
    known: BTreeMap<(Value, bool), Value>,
}

impl Casts<'_> {
    /// Where an old value is now, in this precision.
    fn value(&mut self, like: &Node, old: Value, dtype: DType) -> Result<Value> {
        let value = self.rewrite.value(old)?;
        if self.rewrite.graph().ty(value).dtype == dtype {
            return Ok(value);
        }
        let key = (value, dtype == DType::F16);
        if let Some(&cast) = self.known.get(&key) {
            return Ok(cast);
        }
        let cast = self.rewrite.push(like, Cast { dtype }.into(), &[value], false)?;
        self.known.insert(key, cast);
        Ok(cast)
    }
}
