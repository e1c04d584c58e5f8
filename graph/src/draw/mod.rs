//! Graphs for people: as a table, and as a drawing.

mod describe;
mod dot;
mod table;

pub use table::{Row, Table};

use crate::graph::{Graph, Source, Value};

/// The name of a value, for people: an input's, or that of the node that makes it; parameters, buffers
/// and constants are numbered.
fn name(graph: &Graph, value: Value) -> String {
    match graph.source(value) {
        Source::Input(i) => match graph.inputs().get(*i) {
            Some((name, _)) => name.clone(),
            None => format!("input {i}"),
        },
        Source::Parameter(id) => format!("parameter {}", id.0),
        Source::Buffer(id) => format!("buffer {}", id.0),
        Source::Constant(tensor) => format!("constant {}", tensor.ty()),
        Source::Node(place) => match graph.nodes().get(*place) {
            Some(node) => node.name.clone(),
            None => format!("node {place}"),
        },
    }
}
