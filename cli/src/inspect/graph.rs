//! The graph that a network runs as: a table, or a drawing for Graphviz.

use serde::Serialize;
use striate::graph::Table;
use striate::graph::passes::{self, Passes};
use striate::graph::{Graph, Source, Value};
use striate::nn::NetworkSpec;

use super::InspectArgs;
use crate::args::Format;
use crate::error::{Error, Result};
use crate::output::{self, Output, bytes, grouped};

/// The graph as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    batch: usize,
    nodes: Vec<Node<'a>>,
    flops: u64,
    macs: u64,
    /// Bytes of activations at the moment when they are most.
    peak_bytes: u64,
}

#[derive(Serialize)]
struct Node<'a> {
    name: &'a str,
    op: &'a str,
    layer: Option<usize>,
    from: &'a [String],
    output: String,
    flops: u64,
    macs: Option<u64>,
    bytes: u64,
    /// Computed once, of parameters alone.
    fixed: bool,
    freed: &'a [String],
}

/// Prints the graph that inference runs.
pub(super) fn run(args: &InspectArgs, spec: &NetworkSpec, output: &mut Output) -> Result<()> {
    let plain = spec.graph(args.batch)?;
    let which = if args.no_passes { Passes::none() } else { Passes::inference() };
    let applied = passes::apply(&plain, &which);
    let graph = applied.map_err(|e| Error::because(spec.name.clone(), e))?;
    let names = names(spec, &graph)?;
    show(args, &spec.name, &graph, |value| names[value.index()].clone(), output)
}

/// Prints a graph; `name` knows the names of parameters and buffers.
pub(super) fn show(
    args: &InspectArgs,
    title: &str,
    graph: &Graph,
    name: impl Fn(Value) -> Option<String>,
    output: &mut Output,
) -> Result<()> {
    if args.dot {
        // As it is: lines of a table are escaped.
        return output.bytes(graph.to_dot_with(name).as_bytes());
    }
    let table = graph.table_with(name);
    if output.format() == Format::Json {
        return output.json(&report(title, args.batch, &table));
    }
    let heads = ["node", "op", "from", "output", "MACs", "written", "freed after"];
    let mut rows = output::table(&heads, &[4, 5]);
    for row in &table.rows {
        let macs = row.macs.filter(|&macs| macs > 0).map(grouped).unwrap_or_default();
        let written = if row.is_fixed { "once".into() } else { bytes(row.cost.bytes_written) };
        rows.add_row([
            row.name.clone(),
            row.op.clone(),
            row.from.join(", "),
            row.output.to_string(),
            macs,
            written,
            row.freed.join(", "),
        ]);
    }
    output.table(&rows)?;
    output.line("")?;
    output.line(&format!(
        "{} nodes, {} MACs, activations of at most {} at a time",
        table.rows.len(),
        grouped(table.total_macs),
        bytes(table.peak_bytes)
    ))
}

fn report<'a>(name: &'a str, batch: usize, table: &'a Table) -> Report<'a> {
    let nodes = table.rows.iter().map(|row| Node {
        name: &row.name,
        op: &row.op,
        layer: row.origin,
        from: &row.from,
        output: row.output.to_string(),
        flops: row.cost.flops,
        macs: row.macs,
        bytes: row.cost.bytes_written,
        fixed: row.is_fixed,
        freed: &row.freed,
    });
    Report {
        name,
        batch,
        nodes: nodes.collect(),
        flops: table.total.flops,
        macs: table.total_macs,
        peak_bytes: table.peak_bytes,
    }
}

/// The names of parameters and buffers, by value.
fn names(spec: &NetworkSpec, graph: &Graph) -> Result<Vec<Option<String>>> {
    let shapes = spec.shapes()?;
    let parameters: Vec<&String> =
        shapes.iter().flat_map(|shape| &shape.parameters).map(|info| &info.name).collect();
    let buffers: Vec<&String> =
        shapes.iter().flat_map(|shape| &shape.buffers).map(|info| &info.name).collect();
    let name = |value| {
        let name = match graph.source(value) {
            Source::Parameter(id) => parameters.get(id.index()),
            Source::Buffer(id) => buffers.get(id.index()),
            _ => None,
        };
        name.map(|name| (*name).clone())
    };
    Ok(graph.values().map(name).collect())
}
