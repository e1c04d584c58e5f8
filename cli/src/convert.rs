//! `striate convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use striate::DeviceByName;
use striate::importers::{self, Inspection, WriteOptions};
use striate::tensor::{DType, Device};

use crate::args::{Format, Global, ReadArgs};
use crate::error::{Error, Result, chain};
use crate::model::{self, Unweighted};
use crate::output::{Output, bytes, grouped};
use crate::outputs::{Destination, Files, is_same_file};

/// Options of `striate convert`.
#[derive(Debug, Args)]
#[command(after_help = "\
The extension of OUT says in which format: .safetensors, or .sqlite3 for ccv's. OUT is written
beside its place and then renamed: it is whole or untouched. It may be IN itself where nothing is
lost: not with a lower precision, not without the state of its training, and in the same format. The
state of a training stays where both have the same form and --strip is not given; in safetensors not
with --dtype f16. Class names, the view that training tested, the recipe and the note stay in any
case.

Examples:
  striate convert vgg-d.sqlite3 vgg-d.safetensors
  striate convert vgg-d.sqlite3 vgg-d.half.sqlite3 --dtype f16
  striate convert working.sqlite3 model.safetensors --strip
  striate convert mobilenet_v2.pth small.safetensors --dtype i8 --fold-batch-norms
  striate convert mobilenet_v2 fresh.safetensors --seed 7
  striate convert my-network.json fresh.safetensors
  curl -s https://example.org/vgg-d.sqlite3 | striate convert - vgg-d.safetensors")]
pub(crate) struct ConvertArgs {
    /// The model file to read: ccv's .sqlite3, .safetensors, .onnx, or torchvision's state dict (.pth,
    /// .safetensors); `-` is standard input. The name of a network, where there is no such file, and a JSON
    /// specification (.json) give one with fresh weights.
    input: PathBuf,
    /// The model file to write; `-` is standard output.
    output: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
    /// The format of OUT [default: what its name ends in; safetensors where that is `-` or a
    /// pipe].
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    form: Option<Form>,
    /// The precision of the weights in OUT [default: as in IN]. Half precision in ccv's files is
    /// cut off, as ccv does; in safetensors it is rounded.
    #[arg(long, value_enum)]
    dtype: Option<Stored>,
    /// Make batch norms and layer scales part of the convolutions before them: the same network with fewer
    /// layers, which trains no more.
    #[arg(long)]
    fold_batch_norms: bool,
    /// Leave out what only training needs: velocities, the position, curves. All that classifying
    /// needs stays.
    #[arg(long)]
    strip: bool,
}

/// The formats that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Our own.
    Safetensors,
    /// ccv's.
    Sqlite3,
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stored {
    /// Single precision, 4 bytes a weight.
    F32,
    /// Half precision, 2 bytes a weight.
    F16,
    /// One byte a weight, and a scale for each output channel; all else in half precision. Safetensors
    /// only. It is widened to f32 where it is read.
    I8,
}

impl From<Stored> for DType {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::F32 => DType::F32,
            Stored::F16 => DType::F16,
            Stored::I8 => DType::I8,
        }
    }
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
    let mut files = Files::default();
    files.reads("model", &*args.input);
    let to = Destination::of_whole(&args.output, "a model", true)?;
    to.check_report(output)?;
    let fresh = Unweighted::find(&args.input)?;
    // A specification is no model that could be rewritten.
    let in_place = fresh.is_none() && is_same_file(&args.input, &args.output)?;
    if !in_place {
        files.writes("OUT", &*args.output);
    }
    files.check()?;
    let form = form(args, &to)?;
    let input = fresh.is_none().then(|| args.read.applied(model::file(&args.input)?));
    let input = input.transpose()?;
    if let Some(input) = input.as_ref().filter(|_| in_place) {
        check_in_place(args, form, &input.inspect()?)?;
    }

    // Nothing is computed, so no other device is any better.
    let device = Device::by_name("cpu", &global.device_options())?;
    let dtype = args.dtype.map(Into::into);
    let options = WriteOptions::default().dtype(dtype).strip(args.strip);
    let options = options.fold_batch_norms(args.fold_batch_norms);
    // A model is not written from its beginning to its end, as a pipe wants it: by way of a file.
    // So is one whose name says another format than the one that is asked for.
    let by_name = importers::Format::of_extension(&args.output).ok();
    let through = !matches!(to, Destination::File(_)) || by_name != Some(form);
    let spool = match through {
        true => Some(
            tempfile::Builder::new()
                .prefix("striate-")
                .tempdir()
                .map_err(|e| Error::because("cannot make a temporary folder for the model", e))?,
        ),
        false => None,
    };
    let path = match (&spool, form) {
        (None, _) => args.output.clone(),
        (Some(spool), importers::Format::Ccv) => spool.path().join("model.sqlite3"),
        (Some(spool), _) => spool.path().join("model.safetensors"),
    };
    let written = match (&input, fresh) {
        (Some(input), _) => input.convert(&path, &device, &options),
        (None, Some(fresh)) => {
            let seed = global.seed.unwrap_or(1);
            let fresh = fresh.build(&args.input, &device, seed, output)?;
            importers::write(&path, &fresh, &options)
        }
        (None, None) => Ok(()),
    };
    written.map_err(|error| {
        let error = Error::from(error);
        match &spool {
            None => error,
            // The temporary file is nothing that anybody has named.
            Some(_) => Error::message(
                chain(&error).replace(&*path.to_string_lossy(), &args.output.to_string_lossy()),
            ),
        }
    })?;
    // Looked up in the file itself: what counts is what is there now.
    let mut written = importers::inspect(&path)?;
    if spool.is_some() {
        to.copy(&path)?;
        written.file = args.output.display().to_string();
    }
    if to.is_stdout() {
        return Ok(());
    }
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

/// The format asked for, else the one that the name of the file says.
fn form(args: &ConvertArgs, to: &Destination) -> Result<importers::Format> {
    match args.form {
        Some(Form::Safetensors) => Ok(importers::Format::Safetensors),
        Some(Form::Sqlite3) => Ok(importers::Format::Ccv),
        None => match (importers::Format::of_extension(&args.output), to) {
            (Err(_), Destination::Stdout | Destination::Stream(_)) => {
                Ok(importers::Format::Safetensors)
            }
            (Err(error), _) => Err(Error::Usage(chain(&error))),
            (Ok(form), _) => Ok(form),
        },
    }
}

/// Refuses to replace a model by one that holds less: there would be no other copy.
fn check_in_place(args: &ConvertArgs, form: importers::Format, model: &Inspection) -> Result<()> {
    let narrows = args.dtype.is_some_and(|dtype| {
        let dtype: DType = dtype.into();
        dtype != DType::F32 && model.dtype() != Some(dtype)
    });
    let lost = if model.format != form {
        format!("the format {}", model.format)
    } else if narrows {
        "the precision of its weights".to_owned()
    } else if args.fold_batch_norms {
        "the layers of its batch norms".to_owned()
    } else if args.strip && !model.training_state.is_empty() {
        "the state of its training".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Usage(format!(
        "'OUT' would write {} over the model {}, which this command reads, and {lost} would be \
         lost; name another file",
        args.output.display(),
        args.input.display()
    )))
}
