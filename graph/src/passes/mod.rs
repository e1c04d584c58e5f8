//! Passes: a graph made smaller or quicker that computes the same.
//!
//! A pass rebuilds a graph node by node and leaves some out, joins some, or puts others in their
//! place. Inputs, outputs and records stay, by name and in their order. No pass but `half` makes the
//! [peak](crate::Plan::peak_bytes) larger.
//!
//! | Pass | For | The outputs |
//! | --- | --- | --- |
//! | [`constants`](Passes::constants) | inference | exact |
//! | [`permutes`](Passes::permutes) | both | exact |
//! | [`fold_batch_norm`](Passes::fold_batch_norm) | inference | 1e-5 of the largest magnitude |
//! | [`epilogues`](Passes::epilogues) | both | exact for ReLU and clamps; an addend rounds once less |
//! | [`activations`](Passes::activations) | inference | exact |
//! | [`dead`](Passes::dead) | both | exact |
//! | [`quantize()`] | inference, after all others, of a calibrated network | a few of 256 levels of each layer |
//! | [`half`](Passes::half) | inference, where asked for | 1e-2 of the largest magnitude |
//!
//! Exact means the same bits on one device, the sign of a zero aside.

mod constants;
mod dead;
mod epilogues;
mod fold;
mod half;
mod permutes;
mod quantize;
mod rewrite;

pub use quantize::{Int8Weights, quantize, weights_of};

use crate::{Graph, Result};

/// Which passes are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// A bias, a residual addend and ReLU become part of the convolution or product before them; a
    /// residual addend, ReLU or a clamp part of batch normalization. *Both* training and inference:
    /// ReLU's gradient is found in its output, or in the operand of batch normalization. ReLU and
    /// clamps are *exact*. With an addend the sum is rounded once and no more twice: *tolerance* an
    /// ulp of the largest term.
    pub epilogues: bool,
    /// All activations, not ReLU alone, become part of the convolution or product before them, where
    /// [`epilogues`](Passes::epilogues) is on. *Inference*; *exact* in f32.
    pub activations: bool,
    /// Batch normalization by stored statistics, and a learnt factor for each channel, become part of the
    /// weights and the bias before them.
    /// *Inference* only: weights cannot be learnt through it as they should. *Tolerance* 1e-5 of the
    /// largest magnitude in the output.
    pub fold_batch_norm: bool,
    /// Nodes that read constants alone are computed once; casts, reshapes and permutes that change
    /// nothing vanish. *Inference*; *exact*.
    pub constants: bool,
    /// Nodes, parameters, buffers and constants that nobody reads vanish; inputs stay. *Both*; *exact*.
    pub dead: bool,
    /// Permutes after permutes and reshapes after reshapes become one, or none. *Both*; *exact*.
    pub permutes: bool,
    /// Activations are kept in f16, and weights are read in f16: half the memory to hold and to move.
    /// Devices compute on them in f32. *Inference*, where asked for; *tolerance* 1e-2 of the largest
    /// magnitude in the output, if no activation is beyond 65,504.
    pub half: bool,
}

impl Passes {
    /// None.
    pub fn none() -> Self {
        Passes {
            epilogues: false,
            activations: false,
            fold_batch_norm: false,
            constants: false,
            dead: false,
            permutes: false,
            half: false,
        }
    }

    /// All of them but [`half`](Passes::half).
    pub fn inference() -> Self {
        Passes {
            epilogues: true,
            activations: true,
            fold_batch_norm: true,
            constants: true,
            dead: true,
            permutes: true,
            half: false,
        }
    }

    /// Those through which gradients go as before.
    pub fn training() -> Self {
        Passes { epilogues: true, dead: true, permutes: true, ..Passes::none() }
    }
}

/// A pass: the graph that it makes, none where it finds nothing to do.
type Pass = fn(&Graph) -> Result<Option<Graph>>;

/// Applies passes in a fixed order, again and again until nothing changes.
///
/// ```
/// use striate_graph::{Graph, ParameterId, passes, passes::Passes};
/// use striate_tensor::{Shape, TensorType, ops};
///
/// # fn main() -> striate_graph::Result<()> {
/// let mut graph = Graph::new();
/// let x = graph.input("x", TensorType::f32(Shape::new(&[1, 8, 8, 3])?));
/// let weights = graph.parameter(ParameterId(0), TensorType::f32(Shape::new(&[4, 3, 3, 3])?));
/// let y = graph.push("conv", ops::Conv2d::default(), &[x, weights])?;
/// let y = graph.push("relu", ops::Unary { kind: ops::UnaryKind::Relu }, &[y])?;
/// graph.output("y", y);
///
/// let graph = passes::apply(&graph, &Passes::inference())?;
/// assert_eq!(graph.nodes().len(), 1, "ReLU is part of the convolution");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Node`](crate::Error::Node) where a node on constants fails.
pub fn apply(graph: &Graph, passes: &Passes) -> Result<Graph> {
    // Folding goes before epilogues: a ReLU in between would keep batch normalization apart. Dead nodes
    // go last, since the others leave some.
    let epilogues: Pass =
        if passes.activations { epilogues::activations } else { epilogues::epilogues };
    let order: [(bool, Pass); 5] = [
        (passes.constants, constants::constants),
        (passes.permutes, permutes::permutes),
        (passes.fold_batch_norm, fold::fold_batch_norm),
        (passes.epilogues, epilogues),
        (passes.dead, dead::dead),
    ];
    let mut graph = graph.clone();
    // Every round that changes something leaves fewer nodes or folds a batch normalization.
    for _ in 0..=2 * graph.nodes().len() + 1 {
        let mut changed = false;
        for (_, pass) in order.iter().filter(|(is_on, _)| *is_on) {
            if let Some(better) = pass(&graph)? {
                graph = better;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    // After folding, which computes weights in their own precision.
    if passes.half
        && let Some(narrow) = half::half(&graph)?
    {
        graph = narrow;
        for (is_on, pass) in [order[0], order[4]] {
            if is_on && let Some(better) = pass(&graph)? {
                graph = better;
            }
        }
    }
    Ok(graph)
}
