//! An ONNX model that is no network of layers: what it takes and gives, and its operators.

use std::collections::BTreeMap;

use serde::Serialize;
use striate::importers::Error;
use striate::importers::onnx::Model;
use striate::tensor::{Device, Reference};

use super::InspectArgs;
use crate::args::Format;
use crate::error::{Result, chain};
use crate::onnx;
use crate::output::{self, Output, grouped};

/// The model, as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a str,
    format: &'static str,
    opset: i64,
    producer: &'a str,
    parameters: u64,
    inputs: BTreeMap<&'a str, String>,
    outputs: BTreeMap<&'a str, String>,
    operators: BTreeMap<String, usize>,
    metadata: BTreeMap<&'a str, &'a str>,
    /// Why it is no network of layers.
    network: String,
}

/// Prints it; `error` says why it is no network of layers.
pub(super) fn run(model: &Model, error: &Error, output: &mut Output) -> Result<()> {
    let operators = model.operators();
    if output.format() == Format::Json {
        return output.json(&Report {
            file: model.name(),
            format: "onnx",
            opset: model.opset(),
            producer: model.producer(),
            parameters: model.parameter_count(),
            inputs: onnx::by_name(model.inputs()),
            outputs: onnx::by_name(model.outputs()),
            operators,
            metadata: model.metadata().iter().map(|(k, v)| (&**k, &**v)).collect(),
            network: chain(error),
        });
    }
    output.note(&chain(error));
    output.table(&onnx::table(model))?;
    output.line("")?;
    let mut rows = output::table(&["operator", "times"], &[1]);
    for (operator, times) in &operators {
        rows.add_row([&**operator, &*times.to_string()]);
    }
    output.table(&rows)?;
    output.line("")?;
    let by = match model.producer() {
        "" => String::new(),
        producer => format!(", written by {producer}"),
    };
    let parameters = grouped(model.parameter_count());
    output.line(&format!("ONNX, opset {}{by}; {parameters} parameters", model.opset()))
}

/// Prints the graph of tensor ops that it runs as, for inputs of the file's own shapes.
pub(super) fn graph(args: &InspectArgs, model: &Model, output: &mut Output) -> Result<()> {
    // On the plain device: nothing runs but what is made of constants.
    let device = Device::new(Reference::new());
    let inputs = onnx::inputs(model, args.batch, 1, &device)?;
    let (graph, whole) = model.graph(&onnx::borrowed(&inputs), &device)?;
    if !whole {
        output.note("more follows, which hangs on what these ops compute");
    }
    super::graph::show(args, model.name(), &graph, |_| None, output)
}
