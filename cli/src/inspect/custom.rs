//! A file of a network with custom ops: this program does not have them, so that shapes are not known.

use serde::Serialize;
use striate::importers::{Format as FileFormat, Inspection, StoredParameters};
use striate::nn::Inputs;

use super::Source;
use crate::args::Format;
use crate::error::{Result, chain};
use crate::output::{self, Output, grouped};

/// The layers, as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a str,
    format: FileFormat,
    bytes: u64,
    name: &'a str,
    input: [usize; 3],
    image: [usize; 2],
    parameters: usize,
    layers: Vec<Row>,
    /// Why shapes are not known.
    network: String,
}

#[derive(Serialize)]
struct Row {
    layer: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    kind: &'static str,
    detail: String,
    /// What it sees, where that is not the layer before alone.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    from: Vec<String>,
    parameters: usize,
    dtype: Option<&'static str>,
}

/// Prints the layers, and what the file holds of each.
pub(super) fn run(
    file: &Inspection,
    source: &Source<'_>,
    lists_state: bool,
    output: &mut Output,
) -> Result<()> {
    let spec = &file.spec;
    let Err(error) = spec.shapes() else { return Ok(()) };
    let stored = |layer: usize| file.layers.get(layer)?.as_ref();
    let row = |layer: usize| {
        let node = &spec.nodes[layer];
        let from = match &node.inputs {
            Inputs::Previous => Vec::new(),
            Inputs::Of(names) => names.clone(),
        };
        Row {
            layer,
            name: node.name.clone(),
            kind: node.kind().name(),
            detail: node.layer.detail(),
            from,
            parameters: stored(layer).map_or(0, StoredParameters::count),
            dtype: stored(layer).map(|stored| stored.weight_dtype.name()),
        }
    };
    let layers: Vec<Row> = (0..spec.nodes.len()).map(row).collect();
    if output.format() == Format::Json {
        return output.json(&Report {
            file: &file.file,
            format: file.format,
            bytes: file.bytes,
            name: &spec.name,
            input: spec.input,
            image: spec.image,
            parameters: file.parameters(),
            layers,
            network: chain(&error),
        });
    }
    output.note(&format!("{}; the table has no shapes", chain(&error)));
    super::facts(spec, source, lists_state, output)?;
    output.line("")?;
    let heads = ["layer", "name", "kind", "", "from", "parameters", "type"];
    let mut table = output::table(&heads, &[0, 5]);
    for row in layers {
        table.add_row([
            row.layer.to_string(),
            row.name,
            row.kind.to_owned(),
            row.detail,
            row.from.join(", "),
            if row.parameters == 0 { String::new() } else { grouped(row.parameters as u64) },
            row.dtype.unwrap_or_default().to_owned(),
        ]);
    }
    output.table(&table)
}
