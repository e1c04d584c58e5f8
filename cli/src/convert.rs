//! `striate convert`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use striate::DeviceByName;
use striate::importers::{self, WriteOptions};
use striate::tensor::Device;

use crate::args::{Format, Global, Precision};
use crate::error::{Error, Result};
use crate::output::{Output, bytes, grouped};
use crate::target;

/// Options of `striate convert`.
#[derive(Debug, Args)]
#[command(after_help = "\
The extension of OUT says in which format: .safetensors, or .sqlite3 for ccv's.
OUT is written beside its place and then renamed: it is whole or untouched, and may be IN itself.
The state of a training stays where both are ccv's and --strip is not given; labels need a place of
their own, which ccv's form has in a checkpoint only.

Examples:
  striate convert vgg-d.sqlite3 vgg-d.safetensors
  striate convert vgg-d.sqlite3 vgg-d.half.sqlite3 --dtype f16
  striate convert working.sqlite3 model.safetensors --strip")]
pub(crate) struct ConvertArgs {
    /// The model file to read: ccv's .sqlite3, .safetensors, or torchvision's state dict.
    input: PathBuf,
    /// The model file to write.
    output: PathBuf,
    /// The precision of the weights in OUT [default: as in IN]. Half precision in ccv's files is
    /// cut off, as ccv does; in safetensors it is rounded.
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Leave out what only training needs: velocities, the position, notes.
    #[arg(long)]
    strip: bool,
}

/// What was written, as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a str,
    format: importers::Format,
    bytes: u64,
    dtype: Option<&'static str>,
    parameters: usize,
}

/// Reads, writes, and tells what was written.
pub(crate) fn run(args: &ConvertArgs, global: &Global, output: &mut Output) -> Result<()> {
    // Before the long work of reading.
    target::check(&args.output)?;
    importers::Format::of_extension(&args.output).map_err(|e| Error::Usage(e.to_string()))?;
    // Nothing is computed, so no other device is any better.
    let device = Device::by_name("cpu", &global.device_options())?;
    let dtype = args.dtype.map(Into::into);
    let options = WriteOptions::default().dtype(dtype).strip(args.strip);
    importers::convert(&args.input, &args.output, &device, &options)?;

    // Looked up in the file itself: what counts is what is there now.
    let written = importers::inspect(&args.output)?;
    let dtype = written.dtype().map(|dtype| dtype.name());
    if output.format() == Format::Json {
        return output.json(&Report {
            file: &written.file,
            format: written.format,
            bytes: written.bytes,
            dtype,
            parameters: written.parameters(),
        });
    }
    output.done(&format!(
        "wrote {}: {}, {} parameters in {}, {}",
        written.file,
        written.format,
        grouped(written.parameters() as u64),
        dtype.unwrap_or("mixed precision"),
        bytes(written.bytes),
    ))
}
