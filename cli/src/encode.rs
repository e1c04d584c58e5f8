//! `striate encode`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;
use striate::image::{self, Limits, npy};
use striate::importers::safetensors::TensorFile;
use striate::nn::Network;
use striate::tensor::ops::Algorithm;
use striate::tensor::{SharedBytes, Tensor};
use striate::visualize::centre_view;

use crate::args::{ComputeArgs, Format, Global, Precision, ReadArgs, positive};
use crate::error::{Error, Result};
use crate::inputs::{self, STDIN_NAME, is_stdin};
use crate::model;
use crate::output::{Output, dims};
use crate::outputs::{Destination, Files, has_extension};
use crate::tensors;

/// The name of the tensor that goes in, where a file has several.
const INPUT: &str = "input";

/// The name of the tensor that comes out.
const OUTPUT: &str = "output";

/// How a .npy file begins.
const NPY: &[u8] = b"\x93NUMPY";

/// The longest input that is taken from standard input.
const MAX_STDIN_BYTES: u64 = 4 << 30;

/// Images that run through the network together. More would only hold more memory.
const IMAGES_AT_ONCE: usize = 16;

/// Options of `striate encode`.
#[derive(Debug, Args)]
#[command(after_help = "\
A tensor is taken as it is: channels last, the network's own size, the mean already subtracted. The
layers before the first full-connect one take larger ones too. An image is formed as the model says,
see `striate classify --help`: resized, its centre cut out, the mean subtracted.

Examples:
  striate encode --model vgg-d.sqlite3 --output logits.safetensors photo.jpg
  striate encode --model vgg-d.sqlite3 --layer 17 --output features.safetensors batch.npy
  striate encode --model vgg-d.sqlite3 --output - --type npy photo.jpg | python3 count.py")]
pub(crate) struct EncodeArgs {
    /// The model file; `-` is standard input [default: the embedded one].
    #[arg(short, long, value_name = "MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
    /// The layer whose output is saved, from 0 (see `striate inspect`) [default: the last one].
    #[arg(long, value_name = "N")]
    layer: Option<usize>,
    /// The file to write, .safetensors (the tensor is called `output`) or .npy; `-` is standard
    /// output.
    #[arg(short, long, value_name = "OUT.safetensors")]
    output: PathBuf,
    /// The form of the file [default: what its name ends in; safetensors where that is `-` or a
    /// pipe].
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    form: Option<Form>,
    /// A .safetensors file (the tensor `input`, or the only one) or a .npy file, [n, rows, cols,
    /// channels] or [rows, cols, channels]; or an image. `-` is standard input.
    input: PathBuf,
    /// Hold the weights in this precision [default: as they are stored].
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Compute convolutions as they are defined, without Winograd's faster and less exact form.
    #[arg(long)]
    direct: bool,
    /// Refuse images of more pixels.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels,
        value_parser = positive::<u64>())]
    max_pixels: u64,
}

/// The form of a file of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Named tensors.
    Safetensors,
    /// An array of numpy's.
    Npy,
}

/// What was written, as one line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    file: String,
    layer: usize,
    shape: &'a [usize],
}

/// Numbers with their shape.
struct Array {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// Runs, writes, and tells what was written.
pub(crate) fn run(args: &EncodeArgs, global: &Global, output: &mut Output) -> Result<()> {
    let mut all = Files::default();
    all.reads("model", args.model.as_deref());
    all.reads("input", &*args.input);
    all.writes("--output", &*args.output);
    all.check()?;
    let to = Destination::of_whole(&args.output, "a file of numbers", true)?;
    to.check_report(output)?;
    let form = form(args, &to)?;
    let model = inputs::model_or_usual(args.model.as_deref(), &args.read)?;
    let device = global.device()?;
    let dtype = args.dtype.map(Into::into);
    let network = model::load(&model, dtype, &device)?;
    let algorithm = if args.direct { Algorithm::Direct } else { Algorithm::Auto };
    let network = args.compute.applied(network.with_algorithm(algorithm))?;
    let layers = network.spec().nodes.len();
    let layer = args.layer.unwrap_or(layers.saturating_sub(1));
    if layer >= layers {
        return Err(Error::message(format!(
            "there is no layer {layer}: the network has {layers}, counted from 0"
        )));
    }

    let encoded = encode(&network, layer, read_input(args, &network)?)
        .map_err(|e| Error::because(args.input.display().to_string(), e))?;
    let not_finite = encoded.values.iter().filter(|value| !value.is_finite()).count();
    if not_finite > 0 {
        output.warning(&format!(
            "{}: {not_finite} of {} values of layer {layer} are not finite (NaN or infinite): the \
             network's numbers overflow, or the input holds such",
            args.output.display(),
            encoded.values.len()
        ));
    }
    let shape = encoded.shape.clone();
    let bytes = match form {
        Form::Npy => npy::bytes(&npy::Array { shape: encoded.shape, values: encoded.values })?,
        Form::Safetensors => {
            let file = args.output.display().to_string();
            tensors::bytes(&file, OUTPUT, &encoded.shape, encoded.values)?
        }
    };
    to.write(&bytes)?;
    if to.is_stdout() {
        return Ok(());
    }
    let file = args.output.display().to_string();
    if output.format() == Format::Json {
        return output.json(&Report { file, layer, shape: &shape });
    }
    let kind = network.spec().nodes[layer].kind();
    let shape = dims(&shape);
    output.done(&format!("wrote {file}: output of layer {layer} ({kind}), {shape}"))
}

/// The form asked for, else the one that the name of the file says.
fn form(args: &EncodeArgs, to: &Destination) -> Result<Form> {
    match args.form {
        Some(form) => Ok(form),
        None if has_extension(&args.output, "npy") => Ok(Form::Npy),
        None if has_extension(&args.output, "safetensors") => Ok(Form::Safetensors),
        None if !matches!(to, Destination::File(_)) => Ok(Form::Safetensors),
        None => {
            let file = args.output.display();
            Err(Error::Usage(format!("'{file}' must end in .safetensors or .npy")))
        }
    }
}

/// The output of a layer for all images.
fn encode(network: &Network, layer: usize, input: Array) -> Result<Array> {
    let image = &input.shape[1..];
    let per_image: usize = image.iter().product();
    let mut encoded = Array { shape: Vec::new(), values: Vec::new() };
    for values in input.values.chunks(per_image * IMAGES_AT_ONCE) {
        let shape = [values.len() / per_image, image[0], image[1], image[2]];
        let x = Tensor::from_vec(values.to_vec(), shape, network.device())?;
        let y = network.forward_layers(0..layer + 1, &x)?;
        encoded.shape = y.dims().to_vec();
        encoded.values.extend(y.to_vec::<f32>()?);
    }
    encoded.shape[0] = input.shape[0];
    Ok(encoded)
}

/// The input as `[n, rows, cols, channels]`, at least one image of at least one pixel.
fn read_input(args: &EncodeArgs, network: &Network) -> Result<Array> {
    let path = &args.input;
    let limits = Limits { max_pixels: args.max_pixels, ..Limits::default() };
    let mut array = if is_stdin(path) {
        let bytes = inputs::read_stdin("a tensor or an image", MAX_STDIN_BYTES)?;
        let name = STDIN_NAME;
        if bytes.starts_with(NPY) {
            let array = npy::parse(&bytes, name)?;
            Array { shape: array.shape, values: array.values }
        } else if bytes.get(8) == Some(&b'{') {
            from_tensors(&TensorFile::from_bytes(SharedBytes::new(Arc::new(bytes)), name)?, name)?
        } else {
            form_image(network, path, &image::decode::decode_with(&bytes, name, &limits)?)?
        }
    } else if has_extension(path, "npy") {
        let array = npy::read(path)?;
        Array { shape: array.shape, values: array.values }
    } else if has_extension(path, "safetensors") {
        let file = path.display().to_string();
        from_tensors(&TensorFile::open(path)?, &file)?
    } else {
        form_image(network, path, &image::open_with(path, &limits)?)?
    };
    if array.shape.len() == 3 {
        array.shape.insert(0, 1);
    }
    let channels = network.spec().input[2];
    match array.shape[..] {
        [_, _, _, c] if c == channels && !array.values.is_empty() => Ok(array),
        _ => Err(Error::message(format!(
            "{}: expected a tensor [n, rows, cols, {channels}] or [rows, cols, {channels}], \
             got {:?}",
            path.display(),
            array.shape
        ))),
    }
}

/// An image, of this file, as the network takes it.
fn form_image(network: &Network, path: &Path, image: &image::Image) -> Result<Array> {
    let view = centre_view(network, image).map_err(|e| inputs::about_picture(path, e))?;
    Ok(Array { shape: view.shape().to_vec(), values: view.into_values() })
}

/// The input among the tensors of a file.
fn from_tensors(tensors: &TensorFile, file: &str) -> Result<Array> {
    let (shape, values) = tensors::read(tensors, file, INPUT)?;
    Ok(Array { shape, values })
}
