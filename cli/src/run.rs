//! `striate run`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use striate::image::npy;
use striate::importers::onnx::{Model, RunOptions};
use striate::importers::safetensors::{TensorFile, write_numbers_to};
use striate::tensor::ops::Algorithm;
use striate::tensor::{Device, HostTensor, Tensor};

use crate::args::{ComputeArgs, Format, Global, positive};
use crate::error::{Error, Result};
use crate::onnx;
use crate::output::{Output, dims, table};
use crate::outputs::{Destination, Files, has_extension};

/// Options of `striate run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Inputs and outputs have the file's own names, order of axes (channels first, as a rule) and element
types. Without --output it says what comes out; without any --input, what the model takes.

Examples:
  striate run model.onnx
  striate run model.onnx --input photo.npy --output out.safetensors
  striate run model.onnx --input image=photo.npy --input size=size.npy --output out.safetensors
  striate run model.onnx --input inputs.safetensors --format json")]
pub(crate) struct RunArgs {
    /// The model, an .onnx file.
    model: PathBuf,
    /// An input: a .npy file, or a .safetensors file with a tensor for each input that it names.
    /// NAME may be left out where the model has one input.
    #[arg(short, long, value_name = "[NAME=]FILE")]
    input: Vec<String>,
    /// The file for the outputs, .safetensors; `-` is standard output.
    #[arg(short, long, value_name = "OUT.safetensors")]
    output: Option<PathBuf>,
    /// Compute convolutions as they are defined, without Winograd's faster and less exact form.
    #[arg(long)]
    direct: bool,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Run so often, and say the median time: the first run also prepares the model.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive::<u32>())]
    repeat: u32,
}

/// What came out, as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    outputs: Vec<Tensors<'a>>,
    milliseconds: f64,
}

#[derive(Serialize)]
struct Tensors<'a> {
    name: &'a str,
    dtype: &'static str,
    shape: &'a [usize],
}

/// What a model takes and gives, as one line of JSON.
#[derive(Serialize)]
struct Described<'a> {
    inputs: BTreeMap<&'a str, String>,
    outputs: BTreeMap<&'a str, String>,
}

/// Runs, writes, and tells what came out.
pub(crate) fn run(args: &RunArgs, global: &Global, output: &mut Output) -> Result<()> {
    let given: Vec<(Option<&str>, &Path)> = args.input.iter().map(|text| named(text)).collect();
    let mut all = Files::default();
    all.reads("model", &*args.model);
    given.iter().for_each(|(_, path)| all.reads("--input", *path));
    all.writes("--output", args.output.as_deref());
    all.check()?;
    let to = match &args.output {
        Some(path) if !has_extension(path, "safetensors") && path != Path::new("-") => {
            let file = path.display();
            return Err(Error::Usage(format!("'{file}' must end in .safetensors")));
        }
        Some(path) => Some(Destination::of_whole(path, "a file of tensors", true)?),
        None => None,
    };
    if let Some(to) = &to {
        to.check_report(output)?;
    }
    let model = Model::open(&args.model)?;
    if given.is_empty() && !model.inputs().is_empty() {
        return describe(&model, args, output);
    }
    let device = global.device()?;
    let inputs = read_inputs(&model, &given, &device)?;
    let inputs = onnx::borrowed(&inputs);
    let algorithm = if args.direct { Algorithm::Direct } else { Algorithm::Auto };
    let options = RunOptions::new().algorithm(algorithm).half(args.compute.is_half());
    let mut times = Vec::new();
    let mut made = Vec::new();
    for _ in 0..args.repeat {
        let start = Instant::now();
        made = model.run_with(&inputs, &device, &options)?;
        device.synchronize()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let milliseconds = times[times.len() / 2];

    let mut hosts = Vec::with_capacity(made.len());
    for (name, tensor) in &made {
        hosts.push((&**name, tensor.to_host()?));
    }
    if let (Some(to), Some(path)) = (&to, &args.output) {
        let file = path.display().to_string();
        let items: Vec<(&str, &HostTensor)> =
            hosts.iter().map(|(name, host)| (*name, host)).collect();
        let mut bytes = Vec::new();
        write_numbers_to(&mut bytes, &file, &items, &BTreeMap::new())?;
        to.write(&bytes)?;
        if to.is_stdout() {
            return Ok(());
        }
    }
    let file = args.output.as_ref().map(|path| path.display().to_string());
    if output.format() == Format::Json {
        let outputs = made.iter().map(|(name, tensor)| {
            let (dtype, shape) = (tensor.dtype().name(), tensor.dims());
            Tensors { name, dtype, shape }
        });
        return output.json(&Report { file, outputs: outputs.collect(), milliseconds });
    }
    if output.quiet() {
        return Ok(());
    }
    let mut rows = table(&["output", "type", "shape", "smallest", "largest"], &[3, 4]);
    for (name, host) in &hosts {
        let (least, most) = range(host);
        let (dtype, shape) = (host.ty().dtype.name(), dims(host.shape().dims()));
        rows.add_row([name, dtype, &shape, &least, &most]);
    }
    output.table(&rows)?;
    let wrote = file.map_or_else(String::new, |file| format!("wrote {file}; "));
    output.done(&format!("{wrote}{milliseconds:.1} ms"))
}

/// `NAME=FILE`, or a file alone. Names may hold the sign, and slashes; so may those of files.
fn named(text: &str) -> (Option<&str>, &Path) {
    let whole = Path::new(text);
    if whole.exists() {
        return (None, whole);
    }
    let splits =
        || text.match_indices('=').map(|(at, _)| (&text[..at], Path::new(&text[at + 1..])));
    let split = splits().find(|(_, path)| path.exists()).or_else(|| splits().next());
    match split {
        Some((name, path)) => (Some(name), path),
        None => (None, whole),
    }
}

/// The inputs by name.
fn read_inputs(
    model: &Model,
    given: &[(Option<&str>, &Path)],
    device: &Device,
) -> Result<Vec<(String, Tensor)>> {
    let names: Vec<&str> = model.inputs().iter().map(|port| &*port.name).collect();
    let mut inputs = Vec::new();
    for &(name, path) in given {
        let file = path.display();
        if has_extension(path, "safetensors") {
            let tensors = TensorFile::open(path)?;
            let held: Vec<String> = tensors.names().map(ToOwned::to_owned).collect();
            for tensor in &held {
                let input = match (name, &held[..]) {
                    (Some(name), [_]) => name.to_owned(),
                    (Some(name), _) if name != tensor => continue,
                    _ => tensor.clone(),
                };
                inputs.push((input, tensors.stored(tensor, device)?));
            }
            tensors.check_unchanged()?;
            continue;
        }
        let name = match (name, &names[..]) {
            (Some(name), _) => name,
            (None, [only]) => only,
            _ => {
                let names = names.join(", ");
                return Err(Error::Usage(format!(
                    "which input is '{file}'? write NAME={file}; the model has {names}"
                )));
            }
        };
        if !has_extension(path, "npy") {
            return Err(Error::Usage(format!("'{file}' must end in .npy or .safetensors")));
        }
        inputs.push((name.to_owned(), Tensor::from_host(npy::read_tensor(path)?, device)?));
    }
    Ok(inputs)
}

/// The smallest and the largest number of a tensor, for people.
fn range(host: &HostTensor) -> (String, String) {
    let values = host.values().to_f64();
    if values.is_empty() {
        return ("-".into(), "-".into());
    }
    if values.iter().any(|x| x.is_nan()) {
        return ("NaN".into(), "NaN".into());
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shown = |x: f64| format!("{:.6}", x).trim_end_matches('0').trim_end_matches('.').to_owned();
    (shown(least), shown(most))
}

/// What the model takes and gives.
fn describe(model: &Model, args: &RunArgs, output: &mut Output) -> Result<()> {
    if args.output.is_some() {
        let names: Vec<&str> = model.inputs().iter().map(|port| &*port.name).collect();
        let names = names.join(", ");
        return Err(Error::Usage(format!("expected an --input for each of: {names}")));
    }
    if output.format() == Format::Json {
        let inputs = onnx::by_name(model.inputs());
        return output.json(&Described { inputs, outputs: onnx::by_name(model.outputs()) });
    }
    output.table(&onnx::table(model))
}
