//! `striate inspect`.

mod custom;
mod graph;
mod onnx;
mod tensors;
mod training;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use striate::image::augment::{Recipe, TestView};
use striate::importers::{self, Inspection, TrainingPosition};
use striate::models::Model;
use striate::nn::{LayerSummary, Metadata, NetworkSpec};

use crate::args::{FileArgs, Format};
use crate::error::Result;
use crate::inputs::is_stdin;
use crate::model::{self, Unweighted};
use crate::output::{self, Output, bytes, dims, grouped};

/// Options of `striate inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  striate inspect vgg-d.sqlite3
  striate inspect mobilenet_v2
  striate inspect my-network.json
  striate inspect --format json vgg-d.sqlite3 | jq .parameters
  striate inspect --state working.safetensors
  striate inspect --graph resnet18.safetensors
  striate inspect --graph --dot resnet18.safetensors | dot -Tsvg > resnet18.svg")]
pub(crate) struct InspectArgs {
    /// A model file, the name of a network, or a JSON specification (.json); `-` is standard input.
    model: PathBuf,
    #[command(flatten)]
    files: FileArgs,
    /// Show the graph that classifying runs: its ops after all passes, what each reads, when a value
    /// is freed, and the memory that activations take.
    #[arg(long)]
    graph: bool,
    /// List every tensor of a training's state, not only what kinds there are. (`--format json` always
    /// does.)
    #[arg(long)]
    state: bool,
    /// With --graph: draw it, in the language of Graphviz.
    #[arg(long, requires = "graph")]
    dot: bool,
    /// With --graph: the batch size.
    #[arg(long, requires = "graph", default_value_t = 1, value_parser = batch_size)]
    batch: usize,
    /// With --graph: the ops as the layers have them, before any pass.
    #[arg(long, requires = "graph")]
    no_passes: bool,
}

fn batch_size(text: &str) -> std::result::Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|number| (1..=1 << 20).contains(number));
    number.ok_or_else(|| format!("a number from 1 to {} is expected", 1 << 20))
}

/// What is inspected.
enum Source<'a> {
    Known(&'static Model),
    /// A JSON file.
    Specification(&'a str),
    File(Box<Inspection>),
}

impl Source<'_> {
    /// The model file, where it is one.
    fn file(&self) -> Option<&Inspection> {
        match self {
            Source::File(file) => Some(file),
            _ => None,
        }
    }
}

/// A model file, a specification, or a network of the catalogue, as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    /// Of a network of the catalogue its name. That and a specification have no format and bytes.
    file: &'a str,
    format: Option<importers::Format>,
    bytes: Option<u64>,
    name: &'a str,
    input: [usize; 3],
    image: [usize; 2],
    classes: usize,
    /// `null` where layers differ.
    dtype: Option<&'static str>,
    parameters: u64,
    macs: u64,
    mean: bool,
    training_state: &'a [String],
    /// `null` where the file is of no training.
    training: Option<TrainingPosition>,
    /// The options of that training, as `train --options` takes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    training_options: Option<&'a serde_json::Value>,
    layers: Vec<LayerRow<'a>>,
    metadata: &'a Metadata,
    /// What ccv itself would refuse about this network.
    ccv_limits: Vec<String>,
}

#[derive(Serialize)]
struct LayerRow<'a> {
    layer: usize,
    kind: &'static str,
    detail: &'a str,
    input: [usize; 3],
    output: [usize; 3],
    weight: Option<Vec<usize>>,
    /// The name, where it has one of its own.
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    /// What it sees, where that is not the layer before alone.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    from: &'a [String],
    parameters: u64,
    macs: u64,
    dtype: Option<&'static str>,
}

/// Prints what the file holds, or what the network is.
pub(crate) fn run(args: &InspectArgs, output: &mut Output) -> Result<()> {
    let path = args.model.display().to_string();
    let (spec, source) = match Unweighted::find(&args.model)? {
        Some(Unweighted::Known(known)) => (known.spec(), Source::Known(known)),
        Some(Unweighted::Specified(spec)) => (spec, Source::Specification(&path)),
        None => {
            let model = args.files.applied(model::file(&args.model)?)?;
            let mut file = match model.inspect() {
                Ok(file) => file,
                Err(error)
                    if model.format() == importers::Format::Onnx && !is_stdin(&args.model) =>
                {
                    let model = importers::onnx::Model::open(&args.model)?;
                    return match args.graph {
                        true => onnx::graph(args, &model, output),
                        false => onnx::run(&model, &error, output),
                    };
                }
                // What is no network that is known here still has tensors.
                Err(error) if !args.graph => match model.tensors() {
                    Ok(Some(found)) => return tensors::run(&args.model, &found, &error, output),
                    _ => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            };
            if is_stdin(&args.model) {
                file.file = "-".to_owned();
            }
            (file.spec.clone(), Source::File(Box::new(file)))
        }
    };
    let file = source.file();
    if args.graph {
        return graph::run(args, &spec, output);
    }
    if let (Some(_), Some(file)) = (spec.missing_op(), file) {
        return custom::run(file, &source, args.state, output);
    }
    let summary = spec.summary()?;
    let shapes = spec.shapes()?;
    let limits = spec.ccv_limits()?;
    let limits: Vec<String> = limits.iter().map(ToString::to_string).collect();

    if output.format() == Format::Json {
        let layers = summary.layers.iter().zip(&shapes).map(|(layer, shape)| LayerRow {
            layer: layer.layer,
            kind: layer.kind.name(),
            detail: &layer.detail,
            input: layer.input,
            output: layer.output,
            weight: shape.weight().map(|weight| weight.dims().to_vec()),
            name: &layer.name,
            from: &layer.from,
            parameters: layer.parameters,
            macs: layer.macs,
            dtype: stored(file, layer),
        });
        let none = Metadata::default();
        return output.json(&Report {
            file: match &source {
                Source::Known(known) => known.name,
                Source::Specification(path) => path,
                Source::File(file) => &file.file,
            },
            format: file.map(|file| file.format),
            bytes: file.map(|file| file.bytes),
            name: &spec.name,
            input: spec.input,
            image: spec.image,
            classes: spec.classes(),
            dtype: file.and_then(Inspection::dtype).map(|dtype| dtype.name()),
            parameters: summary.parameters,
            macs: summary.macs,
            mean: file.is_some_and(|file| file.mean),
            training_state: file.map_or(&[], |file| &file.training_state),
            training: file.and_then(|file| file.training),
            training_options: file.and_then(|file| file.training_options.as_ref()),
            layers: layers.collect(),
            metadata: file.map_or(&none, |file| &file.metadata),
            ccv_limits: limits,
        });
    }

    facts(&spec, &source, args.state, output)?;
    output.line("")?;
    // Columns that would say nothing are left out.
    let is_named = summary.layers.iter().any(|layer| !layer.name.is_empty());
    let is_chain = summary.layers.iter().all(|layer| layer.from.is_empty());
    let is_shown = |column: usize| match column {
        1 => is_named,
        4 => !is_chain,
        _ => true,
    };
    let shown = |cells: [String; 10]| -> Vec<String> {
        let cells = cells.into_iter().enumerate();
        cells.filter(|(column, _)| is_shown(*column)).map(|(_, cell)| cell).collect()
    };
    let heads =
        ["layer", "name", "kind", "", "from", "output", "weights", "parameters", "MACs", "type"];
    let heads: Vec<&str> = (heads.into_iter().enumerate())
        .filter(|(column, _)| is_shown(*column))
        .map(|(_, head)| head)
        .collect();
    let last = heads.len();
    let mut table = output::table(&heads, &[0, last - 3, last - 2]);
    let number = |n: u64| if n == 0 { String::new() } else { grouped(n) };
    for (layer, shape) in summary.layers.iter().zip(&shapes) {
        table.add_row(shown([
            layer.layer.to_string(),
            layer.name.clone(),
            layer.kind.to_string(),
            layer.detail.clone(),
            layer.from.join(", "),
            dims(&layer.output),
            shape.weight().map(|weight| dims(weight.dims())).unwrap_or_default(),
            number(layer.parameters),
            number(layer.macs),
            stored(file, layer).unwrap_or_default().to_owned(),
        ]));
    }
    let mut total: [String; 10] = Default::default();
    total[if is_named { 1 } else { 2 }] = "total".into();
    (total[7], total[8]) = (number(summary.parameters), number(summary.macs));
    table.add_row(shown(total));
    output.table(&table)?;
    if !limits.is_empty() {
        output.line("")?;
        output.line("ccv itself would not run this network:")?;
        for limit in limits {
            output.line(&format!("  {limit}"))?;
        }
    }
    Ok(())
}

/// What is not in the table of layers.
fn facts(
    spec: &NetworkSpec,
    source: &Source<'_>,
    lists_state: bool,
    output: &mut Output,
) -> Result<()> {
    let mut facts = vec![
        ("network", if spec.name.is_empty() { "(no name)".into() } else { spec.name.clone() }),
        ("input", format!("{}, cut from {}", dims(&spec.input), dims(&spec.image))),
        ("classes", spec.classes().to_string()),
    ];
    match source {
        Source::File(file) => facts_of_file(file, lists_state, &mut facts),
        Source::Known(known) => facts.push(("description", known.description.to_owned())),
        Source::Specification(path) => {
            let what = "specification in JSON, without weights".to_owned();
            facts.splice(0..0, [("file", (*path).to_owned()), ("format", what)]);
        }
    }
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in facts {
        output.line(&format!("{name:width$}  {value}"))?;
    }
    Ok(())
}

/// What a file holds beside its network.
fn facts_of_file<'a>(
    inspection: &'a Inspection,
    lists_state: bool,
    facts: &mut Vec<(&'a str, String)>,
) {
    let metadata = &inspection.metadata;
    facts.splice(
        0..0,
        [
            ("file", inspection.file.clone()),
            ("format", format!("{}, {}", inspection.format, bytes(inspection.bytes))),
        ],
    );
    facts.extend([
        ("weights", inspection.dtype().map_or("mixed".into(), |dtype| dtype.name().to_owned())),
        ("mean image", if inspection.mean { "yes" } else { "none" }.into()),
    ]);
    if !inspection.training_state.is_empty() {
        let state = match lists_state {
            true => inspection.training_state.join(", "),
            false => training::kinds(&inspection.training_state),
        };
        facts.push(("training state", state));
    }
    if let Some(training) = &inspection.training {
        let TrainingPosition { epoch, iteration, samples, .. } = *training;
        let (iteration, samples) = (grouped(iteration), grouped(samples));
        facts
            .push(("training", format!("epoch {epoch}, iteration {iteration}, {samples} samples")));
    }
    if let Some(options) = &inspection.training_options {
        facts.extend(training::settings(options));
    }
    if let Some(labels) = &metadata.labels {
        let first: Vec<&str> = labels.iter().take(3).map(String::as_str).collect();
        let more = if labels.len() > first.len() { ", …" } else { "" };
        facts.push(("labels", format!("{}: {}{more}", labels.len(), first.join(", "))));
    }
    if let Some(protocol) = &metadata.protocol {
        facts.push(("protocol", protocol.clone()));
    }
    if let Some(view) = &metadata.view {
        // What a later version stores is shown as it stands.
        let view = view.to_string();
        facts.push(("tested", view.parse::<TestView>().map_or(view, |view| view.to_string())));
    }
    if let Some(recipe) = &metadata.recipe {
        facts.push(("recipe", recipe_name(recipe)));
    }
    if let Some(note) = &metadata.note {
        facts.push(("note", note.clone()));
    }
    for (name, value) in &metadata.extra {
        facts.push((name, value.clone()));
    }
}

/// A recipe by its name, where it has one, else in JSON.
fn recipe_name(recipe: &serde_json::Value) -> String {
    let text = recipe.to_string();
    let known = serde_json::from_str::<Recipe>(&text).ok();
    let named = known.and_then(|known| {
        Recipe::NAMES
            .into_iter()
            .find(|name| name.parse().is_ok_and(|recipe: Recipe| recipe == known))
    });
    named.map_or(text, str::to_owned)
}

fn stored(file: Option<&Inspection>, layer: &LayerSummary) -> Option<&'static str> {
    let stored = file?.layers.get(layer.layer)?.as_ref()?;
    Some(stored.weight_dtype.name())
}
