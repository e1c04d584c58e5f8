//! Graphs of tensor ops: what a network is when it runs.
//!
//! A [`Graph`] is static: every value has a shape and an element type, found by the ops' own shape
//! rules as nodes are pushed, and every node comes after the nodes that it reads. So the order of the
//! nodes is an order to run them in, memory is known before anything runs, and a [pass](passes) can
//! rewrite what it recognises.
//!
//! * [`Graph`], [`Node`], [`Value`]: the graph, built from inputs, parameters, buffers and constants.
//! * [`passes`]: graphs that compute the same with less: epilogues, folding, dead nodes.
//! * [`Plan`]: a graph made ready to run: when each value is freed, peak memory, what is computed once.
//!
//! ```
//! use striate_graph::{Graph, NoTensors, Plan, Run};
//! use striate_tensor::{Device, Reference, Shape, Tensor, TensorType, ops};
//!
//! # fn main() -> striate_graph::Result<()> {
//! let mut graph = Graph::new();
//! let x = graph.input("x", TensorType::f32(Shape::new(&[2, 3])?));
//! let relu = ops::Unary { kind: ops::UnaryKind::Relu };
//! let y = graph.push("relu", relu, &[x])?;
//! graph.output("y", y);
//!
//! let device = Device::new(Reference::new());
//! let x = Tensor::from_vec(vec![-1.0f32, 2.0, 0.0, 3.0, -4.0, 5.0], [2, 3], &device)?;
//! let outputs = Plan::new(graph).run(&[&x], &NoTensors, &mut Run::default())?;
//! assert_eq!(outputs.values[0].to_vec::<f32>()?, [0.0, 2.0, 0.0, 3.0, 0.0, 5.0]);
//! # Ok(())
//! # }
//! ```

mod chains;
mod draw;
mod error;
mod graph;
mod parts;
pub mod passes;
mod plan;
mod reads;
mod run;

pub use draw::{Row, Table};
pub use error::{Error, Result};
pub use graph::{BufferId, Graph, Node, NodeOp, ParameterId, Record, Source, Value};
pub use plan::Plan;
pub use run::{Bind, Cancel, NoTensors, Outputs, Recorded, Run};
