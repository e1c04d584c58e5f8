//! `striate export`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use striate::DeviceByName;
use striate::importers::ReadOptions;
use striate::importers::onnx::{EXPORT_OPSETS, ExportOptions, export};
use striate::tensor::Device;

use crate::args::{Format, Global, Precision, ReadArgs};
use crate::error::{Error, Result};
use crate::model::{self, Unweighted};
use crate::output::{Output, bytes, grouped};
use crate::outputs::{Files, has_extension};

/// Options of `striate export`.
#[derive(Debug, Args)]
#[command(after_help = "\
The file takes images channels first, `input` of [batch, channels, rows, cols], and gives `output`.
Its pixels are those that the network takes: 0 to 255 less the mean image, unless --with-mean says
that the file subtracts it. Class names, protocol and notes are properties of the model
(`striate.metadata`). Weights of more than 1.9 GB go into a second file, OUT.onnx.data, which
belongs beside the first. Files are written beside their place and then renamed: they are whole or
untouched.

Examples:
  striate export resnet18.safetensors resnet18.onnx
  striate export vgg-d.sqlite3 vgg-d.onnx --with-mean
  striate export mobilenet_v2 fresh.onnx --seed 7
  striate export convnext-tiny fresh.onnx --opset 20 --dtype f16")]
pub(crate) struct ExportArgs {
    /// The model file to read: ccv's .sqlite3, .safetensors, .onnx, or torchvision's state dict (.pth,
    /// .safetensors); `-` is standard input. The name of a network, where there is no such file, and a JSON
    /// specification (.json) give one with fresh weights.
    input: PathBuf,
    /// The ONNX file to write, .onnx.
    output: PathBuf,
    /// Subtract the model's mean image in the file: it then takes pixels of 0 to 255.
    #[arg(long)]
    with_mean: bool,
    /// The version of ONNX's operators.
    #[arg(long, value_name = "N", default_value_t = 17, value_parser = clap::value_parser!(i64).range(EXPORT_OPSETS))]
    opset: i64,
    /// The precision of the weights in OUT [default: as in IN]. The file computes in single precision in
    /// any case.
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    #[command(flatten)]
    read: ReadArgs,
}

/// What was written, as one line of JSON.
#[derive(Serialize)]
struct Report {
    file: String,
    format: &'static str,
    opset: i64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_bytes: Option<u64>,
    parameters: u64,
}

/// Reads, writes, and tells what was written.
pub(crate) fn run(args: &ExportArgs, global: &Global, output: &mut Output) -> Result<()> {
    if !has_extension(&args.output, "onnx") {
        let file = args.output.display();
        return Err(Error::Usage(format!("'{file}' must end in .onnx")));
    }
    let mut beside = args.output.clone().into_os_string();
    beside.push(".data");
    let beside = PathBuf::from(beside);
    let mut files = Files::default();
    files.reads("model", &*args.input);
    files.writes("OUT", &*args.output);
    files.writes("the weights of OUT", &*beside);
    files.check()?;

    // Nothing is computed, so no other device is any better.
    let device = Device::by_name("cpu", &global.device_options())?;
    let dtype = args.dtype.map(Into::into);
    let network = match Unweighted::find(&args.input)? {
        Some(fresh) => {
            let seed = global.seed.unwrap_or(1);
            let fresh = fresh.build(&args.input, &device, seed, output)?;
            dtype.map_or(Ok(fresh.clone()), |dtype| fresh.cast(dtype))?
        }
        None => (args.read.applied(model::file(&args.input)?)?)
            .read(&device, &ReadOptions::default().dtype(dtype))?,
    };
    let options = ExportOptions::new().opset(args.opset).with_mean(args.with_mean);
    let weights: u64 = network.parameters().iter().map(|p| p.ty().size_bytes() as u64).sum();
    export(&args.output, &network, &options)?;

    let size = |path: &PathBuf| std::fs::metadata(path).map(|metadata| metadata.len());
    let file = args.output.display().to_string();
    let written = size(&args.output)
        .map_err(|e| Error::because(format!("cannot look up what was written to {file}"), e))?;
    let data = match weights > written {
        true => size(&beside).ok(),
        false => None,
    };
    let parameters = network.parameters().iter().map(|p| p.ty().count() as u64).sum();
    if output.format() == Format::Json {
        return output.json(&Report {
            file,
            format: "onnx",
            opset: args.opset,
            bytes: written,
            data_file: data.map(|_| beside.display().to_string()),
            data_bytes: data,
            parameters,
        });
    }
    let more = data.map(|size| format!(", and {}: {}", beside.display(), bytes(size)));
    output.done(&format!(
        "wrote {file}: ONNX of opset {}, {} parameters, {}{}",
        args.opset,
        grouped(parameters),
        bytes(written),
        more.unwrap_or_default(),
    ))
}
