//! Convolutions and products with integers of 8 bits.

use std::collections::BTreeMap;

use striate_tensor::ops::{Cast, Conv2d, Conv2dInt8, Levels, MatMul};
use striate_tensor::{DType, Op, Shape, Tensor, TensorType};

use super::rewrite::Rewrite;
use crate::Result;
use crate::graph::{Graph, Node, NodeOp, ParameterId, Source, Value};

/// The weights of a parameter as integers.
#[derive(Clone, Debug)]
pub struct Int8Weights {
    /// Of the parameter's shape, i8.
    pub weights: Tensor,
    /// What an integer stands for, `[out]` f32.
    pub scales: Tensor,
    /// What the numbers that they are multiplied with are rounded to.
    pub levels: Levels,
}

/// Puts convolutions and products with integers in the place of those whose weights are one of these
/// parameters, where the device has them. *Inference*; *tolerance* a few levels of what each sees: what
/// calibration has found good enough. Grouped convolutions stay as they are.
///
/// # Errors
/// None but what a rewritten graph can say.
pub fn quantize(graph: &Graph, integers: &BTreeMap<ParameterId, Int8Weights>) -> Result<Graph> {
    let mut rewrite = Rewrite::new(graph);
    for node in graph.nodes() {
        match replaced(graph, node, integers) {
            Some((conv, int8)) => put(&mut rewrite, node, conv, int8)?,
            None => rewrite.keep(node)?,
        }
    }
    rewrite.finish()
}

/// The parameter whose weights a convolution or a full-connect layer multiplies with, which nothing has
/// changed on the way.
pub fn weights_of(graph: &Graph, node: &Node) -> Option<ParameterId> {
    let takes = match &node.op {
        NodeOp::Op(Op::Conv2d(conv)) => conv.groups == 1,
        NodeOp::Op(Op::MatMul(product)) => full_connect(graph, node, product).is_some(),
        _ => false,
    };
    match node.inputs.get(1).map(|&weights| graph.source(weights)) {
        Some(Source::Parameter(id)) if takes && !node.detached => Some(*id),
        _ => None,
    }
}

/// A product of rows with weights `[out, in]`, as a convolution of images of one pixel.
fn full_connect(graph: &Graph, node: &Node, product: &MatMul) -> Option<Conv2d> {
    let rank = |value: Value| graph.ty(value).shape.rank();
    let is_plain = product.transpose_b
        && !product.transpose_a
        && node.inputs.iter().take(2).all(|&value| rank(value) == 2);
    let (bias, activation) = (product.bias, product.activation);
    is_plain.then(|| Conv2d { bias, activation, ..Conv2d::default() })
}

/// The convolution with integers that a node becomes.
fn replaced<'a>(
    graph: &Graph,
    node: &Node,
    integers: &'a BTreeMap<ParameterId, Int8Weights>,
) -> Option<(Conv2d, &'a Int8Weights)> {
    let int8 = integers.get(&weights_of(graph, node)?)?;
    let conv = match &node.op {
        NodeOp::Op(Op::Conv2d(conv)) => *conv,
        NodeOp::Op(Op::MatMul(product)) => full_connect(graph, node, product)?,
        _ => return None,
    };
    let x = node.inputs.first().map(|&x| graph.ty(x).dtype);
    let depth: usize = int8.weights.dims().iter().skip(1).product();
    (x == Some(DType::F32) && Conv2dInt8::takes(&conv, depth)).then_some((conv, int8))
}

fn put(rewrite: &mut Rewrite<'_>, node: &Node, conv: Conv2d, int8: &Int8Weights) -> Result<()> {
    let mut inputs = rewrite.values(&node.inputs)?;
    let product = matches!(node.op, NodeOp::Op(Op::MatMul(_)));
    let mut weights = int8.weights.clone();
    if product {
        let ty: TensorType = *rewrite.graph().ty(inputs[0]);
        let pixels = |dims: &[usize]| Shape::new(&[dims[0], 1, 1, dims[1]]);
        let x = NodeOp::Reshape(pixels(ty.shape.dims())?);
        inputs[0] = rewrite.push(node, x, &[inputs[0]], false)?;
        weights = weights.reshape(pixels(weights.dims())?)?;
    }
    // A file may hold biases in half precision.
    for input in &mut inputs[2..] {
        if rewrite.graph().ty(*input).dtype != DType::F32 {
            let cast = Cast { dtype: DType::F32 };
            *input = rewrite.push(node, NodeOp::Op(cast.into()), &[*input], false)?;
        }
    }
    let graph = rewrite.graph_mut();
    inputs[1] = graph.constant(weights);
    let scales = graph.constant(int8.scales.clone());
    inputs.insert(2, scales);
    let op = Conv2dInt8 { conv, levels: int8.levels };
    let mut output = rewrite.push(node, NodeOp::Op(op.into()), &inputs, false)?;
    if product {
        let rows = NodeOp::Reshape(rewrite_shape(rewrite, output)?);
        output = rewrite.push(node, rows, &[output], false)?;
    }
    rewrite.set(node.output, output);
    Ok(())
}

/// The rows that images of one pixel are.
fn rewrite_shape(rewrite: &Rewrite<'_>, images: Value) -> Result<Shape> {
    let dims = rewrite.graph().ty(images).shape;
    let [n, _, _, out] = dims.nhwc("quantize", "images of one pixel")?;
    Ok(Shape::new(&[n, out])?)
}
