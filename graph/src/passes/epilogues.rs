//! What an op can do to its output before it writes it.

use striate_tensor::ops::{Activation, Unary};
use striate_tensor::{Op, Shape, ops};

use super::rewrite::{Rewrite, is_before, sole_readers};
use crate::Result;
use crate::graph::{Graph, Node, NodeOp, Value};

/// Where convolutions and products have their bias.
const BIAS: usize = 2;

/// A node that has taken up others.
struct Fused {
    op: Op,
    inputs: Vec<Value>,
    /// The output of the last one.
    output: Value,
    /// Whether it takes up other activations than ReLU.
    all_activations: bool,
}

/// Makes what follows a convolution or a product part of it: a bias, a residual addend, ReLU; and a residual
/// addend, ReLU or a clamp (ReLU6) part of batch normalization. *Both*; *exact* for ReLU and clamps,
/// *tolerance* an ulp of the largest term for addends.
pub(super) fn epilogues(graph: &Graph) -> Result<Option<Graph>> {
    join(graph, false)
}

/// As [`epilogues`], and every [`Activation`] becomes part of the convolution or product before it.
/// *Inference*: the gradient of others than ReLU is found in their input, which is then not kept.
pub(super) fn activations(graph: &Graph) -> Result<Option<Graph>> {
    join(graph, true)
}

/// The joint node stands where the convolution stood, so that nothing lives longer than before: an addend
/// is taken up where it is there already. Of two convolutions that are added up, that is the second.
fn join(graph: &Graph, all_activations: bool) -> Result<Option<Graph>> {
    let readers = sole_readers(graph);
    let mut absorbed = vec![false; graph.nodes().len()];
    let mut rewrite = Rewrite::new(graph);
    for (place, node) in graph.nodes().iter().enumerate() {
        if absorbed[place] {
            continue;
        }
        let NodeOp::Op(op) = &node.op else {
            rewrite.keep(node)?;
            continue;
        };
        let (op, inputs) = (op.clone(), node.inputs.clone());
        let mut fused = Fused { op, inputs, output: node.output, all_activations };
        while let Some(reader) = readers[fused.output.index()]
            && graph.nodes()[reader].detached == node.detached
            && fused.absorb(graph, place, &graph.nodes()[reader])
        {
            absorbed[reader] = true;
        }
        let inputs = rewrite.values(&fused.inputs)?;
        let output = rewrite.push(node, fused.op.into(), &inputs, node.detached)?;
        rewrite.set(fused.output, output);
    }
    if absorbed.contains(&true) { rewrite.finish().map(Some) } else { Ok(None) }
}

impl Fused {
    /// Takes up the node that alone reads it, if it can.
    fn absorb(&mut self, graph: &Graph, place: usize, reader: &Node) -> bool {
        let taken = match &reader.op {
            NodeOp::Op(Op::Unary(Unary { kind })) => {
                Activation::of(*kind).is_some_and(|activation| self.absorb_activation(activation))
            }
            NodeOp::Op(Op::Binary(ops::Binary { kind: ops::BinaryKind::Add })) => {
                let addend = reader.inputs.iter().copied().find(|&input| input != self.output);
                addend.is_some_and(|addend| {
                    is_before(graph, addend, place) && self.absorb_addend(graph, addend)
                })
            }
            _ => false,
        };
        if taken {
            self.output = reader.output;
        }
        taken
    }

    fn absorb_activation(&mut self, activation: Activation) -> bool {
        let is_relu = activation == Activation::Relu;
        let (own, fits) = match &mut self.op {
            Op::Conv2d(conv) => (&mut conv.activation, is_relu || self.all_activations),
            Op::MatMul(product) => (&mut product.activation, is_relu || self.all_activations),
            Op::BatchNorm(norm) => {
                // The gradient of a clamp is found in what it was given, which an addend would have to be
                // added to anew; that of ReLU is found in its output.
                (&mut norm.activation, is_relu || (activation.is_mask() && !norm.residual))
            }
            _ => return false,
        };
        let taken = fits && own.is_none();
        if taken {
            *own = activation;
        }
        taken
    }

    fn absorb_addend(&mut self, graph: &Graph, addend: Value) -> bool {
        let (y, ty) = (graph.ty(self.output), graph.ty(addend));
        if let Op::BatchNorm(norm) = &mut self.op {
            let taken = ty == y && !norm.residual && norm.activation.is_none();
            if taken {
                norm.residual = true;
                self.inputs.push(addend);
            }
            return taken;
        }
        let (bias, activation) = match &mut self.op {
            Op::Conv2d(conv) => (&mut conv.bias, conv.activation),
            Op::MatMul(product) => (&mut product.bias, product.activation),
            _ => return false,
        };
        if activation.is_some() {
            return false;
        }
        let columns = y.shape.dims().last().map(|&columns| Shape::new(&[columns]));
        let is_bias = matches!(columns, Some(Ok(columns)) if columns == ty.shape);
        if is_bias && !*bias {
            *bias = true;
            self.inputs.insert(BIAS, addend);
            return true;
        }
        match &mut self.op {
            Op::Conv2d(conv) if ty == y && !conv.residual => {
                conv.residual = true;
                self.inputs.push(addend);
                true
            }
            _ => false,
        }
    }
}
