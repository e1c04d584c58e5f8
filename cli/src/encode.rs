//! `striate encode`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use striate::image::{self, Limits, npy};
use striate::importers::safetensors::TensorFile;
use striate::nn::Network;
use striate::tensor::Tensor;
use striate::visualize::centre_view;

use crate::args::{Format, Global, Precision, positive};
use crate::error::{Error, Result};
use crate::output::{Output, dims};
use crate::{model, target, tensors};

/// The name of the tensor that goes in, where a file has several.
const INPUT: &str = "input";

/// The name of the tensor that comes out.
const OUTPUT: &str = "output";

/// Images that run through the network together. More would only hold more memory.
const IMAGES_AT_ONCE: usize = 16;

/// Options of `striate encode`.
#[derive(Debug, Args)]
#[command(after_help = "\
A tensor is taken as it is: channels last, the network's own size, the mean already subtracted.
The layers before the first full-connect one take larger ones too. An image is formed as for the
protocol `centre`: resized, its centre cut out, the mean subtracted.

Examples:
  striate encode --model vgg-d.sqlite3 --output logits.safetensors photo.jpg
  striate encode --model vgg-d.sqlite3 --layer 17 --output features.safetensors batch.npy")]
pub(crate) struct EncodeArgs {
    /// The model file [default: the embedded model for handwritten digits].
    #[arg(short, long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// The layer whose output is saved, from 0 (see `striate inspect`) [default: the last one].
    #[arg(long, value_name = "N")]
    layer: Option<usize>,
    /// The file to write, .safetensors (the tensor is called `output`) or .npy.
    #[arg(short, long, value_name = "OUT.safetensors")]
    output: PathBuf,
    /// A .safetensors file (the tensor `input`, or the only one) or a .npy file, [n, rows, cols,
    /// channels] or [rows, cols, channels]; or an image.
    input: PathBuf,
    /// Hold the weights in this precision [default: as they are stored].
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Refuse images of more pixels.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels,
        value_parser = positive::<u64>())]
    max_pixels: u64,
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
    target::check(&args.output)?;
    let to_npy = target::has_extension(&args.output, "npy");
    if !to_npy && !target::has_extension(&args.output, "safetensors") {
        let file = args.output.display();
        return Err(Error::Usage(format!("'{file}' must end in .safetensors or .npy")));
    }
    let device = global.device()?;
    let dtype = args.dtype.map(Into::into);
    let network = model::load(args.model.as_deref(), dtype, &device)?;
    let layers = network.spec().layers.len();
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
    if to_npy {
        let array = npy::Array { shape: encoded.shape.clone(), values: encoded.values };
        npy::write(&args.output, &array)?;
    } else {
        write_safetensors(&args.output, &encoded)?;
    }
    let file = args.output.display().to_string();
    if output.format() == Format::Json {
        return output.json(&Report { file, layer, shape: &encoded.shape });
    }
    let kind = network.spec().layers[layer].kind();
    let shape = dims(&encoded.shape);
    output.done(&format!("wrote {file}: output of layer {layer} ({kind}), {shape}"))
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
    let mut array = if target::has_extension(path, "npy") {
        let array = npy::read(path)?;
        Array { shape: array.shape, values: array.values }
    } else if target::has_extension(path, "safetensors") {
        read_safetensors(path)?
    } else {
        let limits = Limits { max_pixels: args.max_pixels, ..Limits::default() };
        let view = centre_view(network, &image::open_with(path, &limits)?)?;
        Array { shape: view.shape().to_vec(), values: view.into_values() }
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

fn read_safetensors(path: &Path) -> Result<Array> {
    let file = path.display().to_string();
    let (shape, values) = tensors::read(&TensorFile::open(path)?, &file, INPUT)?;
    Ok(Array { shape, values })
}

fn write_safetensors(path: &Path, array: &Array) -> Result<()> {
    let file = path.display().to_string();
    let bytes = tensors::bytes(&file, OUTPUT, &array.shape, array.values.clone())?;
    image::output::write_whole(path, &bytes)?;
    Ok(())
}
