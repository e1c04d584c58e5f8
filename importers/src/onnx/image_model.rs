//! ONNX models that rank the classes of pictures, as they are.

use std::sync::Arc;

use striate_nn::Metadata;
use striate_tensor::{DType, Device, Tensor};

use super::attributes::Attributes;
use super::compile::is_standard;
use super::model::{Model, RunOptions};
use super::pictures::{COLOURS, ImageInput, Pictures, USUAL, usual_pixels};
use super::port::{Extent, Port};
use super::read::File;
use crate::limits::check_image;
use crate::{Error, ReadOptions, Result};

/// The types of images and of numbers for classes.
const FLOATS: [&str; 3] = ["f32", "f16", "bf16"];

/// An ONNX model that ranks the classes of pictures, run as its file has it: one image in, a number for each
/// class out.
///
/// It serves models with operators that are no layers, such as transformers, which
/// [`Model::to_network`] refuses. It classifies, and does nothing else that networks of layers do.
///
/// The image is the only input: `[n, channels, rows, cols]` or `[n, rows, cols, channels]` of floats, with 1 or
/// 3 channels. The classes are the first output of `[n, classes]` or `[n, classes, 1, 1]`. Extents that the file
/// leaves open are 3 channels and 224 rows and columns, see also [`with_size`](ImageModel::with_size). How
/// pictures are prepared, and what classes are called, is what [`ModelFile::read`](crate::ModelFile::read) takes
/// for ONNX files.
///
/// ```no_run
/// use striate_importers::ReadOptions;
/// use striate_importers::onnx::{ImageModel, Model};
/// use striate_tensor::{Device, Reference, Tensor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Device::new(Reference::new());
/// let model = ImageModel::new(Model::open("vit.onnx")?, &device, &ReadOptions::default())?;
/// let [rows, cols, channels] = model.input();
/// let pictures = Tensor::zeros([2, rows, cols, channels], &device)?;
/// assert_eq!(model.forward(&pictures)?.dims(), [2, model.classes()]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ImageModel {
    model: Arc<Model>,
    device: Device,
    options: ReadOptions,
    half: bool,
    image_input: ImageInput,
    input: [usize; 3],
    image: [usize; 2],
    mean: Option<Tensor>,
    /// What each channel of a picture is multiplied by, once the mean is subtracted.
    factors: Option<Tensor>,
    /// The model sees blue first and red last.
    bgr: bool,
    output: Vector,
    is_probabilities: bool,
    metadata: Metadata,
}

/// An output with a number for each class.
#[derive(Clone, Debug, PartialEq)]
struct Vector {
    name: String,
    classes: usize,
    rank: usize,
}

impl ImageModel {
    /// Of a model that takes images and gives classes, on a device.
    ///
    /// # Errors
    /// [`Error::Content`] where it takes anything but one image, gives no vector, or where the options ask for
    /// weights of another type than f32, which such a model keeps; and for options that do not fit the file, as in
    /// [`ModelFile::read`](crate::ModelFile::read). Where the file does not say the shapes of its outputs, it
    /// runs once: what [`Model::run`] says.
    pub fn new(model: Model, device: &Device, options: &ReadOptions) -> Result<Self> {
        Self::of(Arc::new(model), device, options, None)
    }

    fn of(
        model: Arc<Model>,
        device: &Device,
        options: &ReadOptions,
        size: Option<[usize; 2]>,
    ) -> Result<Self> {
        let file = &model.file;
        let content = |place: &str, expected: &str, got: String| {
            Err(Error::content(&file.name, place, expected, got))
        };
        if let Some(dtype) = options.dtype.filter(|dtype| *dtype != DType::F32) {
            let expected = "f32, in which a model that is run as its file has it keeps them";
            return content("weights", expected, dtype.to_string());
        }
        let image_input = ImageInput::of(file)?;
        if let Some(port) = model.inputs().first().filter(|port| !is_float(port)) {
            return content("inputs", "an image of floats", format!("`{}` {port}", port.name));
        }
        let channels = image_input.channels.unwrap_or(COLOURS);
        if channels != 1 && channels != COLOURS {
            return content("inputs", "an image of 1 or 3 channels", channels.to_string());
        }
        if let Some(batch) = image_input.batch.filter(|&batch| batch != 1) {
            return content("inputs", "one image, or any number of them", batch.to_string());
        }
        let [rows, cols] = sides(file, &image_input, size)?;
        let input = [rows, cols, channels];
        let pictures = Pictures::of(file, input)?;
        let image = pictures.image();
        let failed = |e| Error::tensor(&file.name, "the mean image", e);
        let mut own = (None, None, false);
        match &pictures {
            Pictures::Own(properties) => {
                options.pixels.refuse(&file.name)?;
                if properties.spec.input != input {
                    let expected = format!("a network for images of {input:?}, as the input");
                    return content("metadata", &expected, format!("{:?}", properties.spec.input));
                }
                own.0 = properties.mean(device).map_err(failed)?;
            }
            Pictures::Usual(preset, image) => {
                let pixels = usual_pixels(file, preset, *image, options)?;
                let mean = pixels.mean_image(*image, channels, device).map_err(failed)?;
                let of_colour = |channel| match channels {
                    COLOURS => pixels.factor(pixels.seen_as(channel)),
                    _ => pixels.factor(channel),
                };
                let factors: Vec<f32> = (0..channels).map(of_colour).collect();
                let factors = Tensor::from_vec(factors, [channels], device).map_err(failed)?;
                own = (Some(mean), Some(factors), pixels.bgr && channels == COLOURS);
            }
        }
        let (mean, factors, bgr) = own;
        let output = match declared(model.outputs()) {
            Some(output) => output,
            None => found(&model, device, &image_input, input)?,
        };
        Ok(ImageModel {
            metadata: pictures.metadata(file, output.classes),
            is_probabilities: ends_in_softmax(file, &output),
            device: device.clone(),
            options: options.clone(),
            half: false,
            image_input,
            input,
            image,
            mean,
            factors,
            bgr,
            output,
            model,
        })
    }

    /// The same model for pictures of `[rows, cols]` pixels, the whole picture larger in proportion.
    ///
    /// # Errors
    /// [`Error::Content`] where the file fixes another size; else as [`new`](ImageModel::new).
    pub fn with_size(&self, size: [usize; 2]) -> Result<Self> {
        let model = Arc::clone(&self.model);
        let sized = Self::of(model, &self.device, &self.options, Some(size))?;
        Ok(ImageModel { half: self.half, ..sized })
    }

    /// With activations in this precision, f32 or f16, as [`RunOptions::half`] says.
    ///
    /// # Errors
    /// [`Error::Content`] for any other.
    pub fn with_precision(self, precision: DType) -> Result<Self> {
        match precision {
            DType::F32 | DType::F16 => Ok(ImageModel { half: precision == DType::F16, ..self }),
            other => {
                let expected = "f32 or f16";
                Err(Error::content(self.model.name(), "activations", expected, other.to_string()))
            }
        }
    }

    /// The model itself.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What it sees: rows, cols, channels.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// Rows and cols of the whole picture that views are cut from, and of the mean image.
    pub fn image(&self) -> [usize; 2] {
        self.image
    }

    /// The mean image that is subtracted from pictures, `[rows, cols, channels]`.
    pub fn mean(&self) -> Option<&Tensor> {
        self.mean.as_ref()
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.output.classes
    }

    /// Whether the model ends in a softmax over the classes, so that its outputs are probabilities.
    pub fn is_probabilities(&self) -> bool {
        self.is_probabilities
    }

    /// Labels, the view that is tested, and notes.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The number of each class, `[n, classes]`, for pictures of 0 to 255 less the mean image,
    /// `[n, rows, cols, channels]`. They run together where the file leaves their number open, else one after
    /// the other.
    ///
    /// # Errors
    /// [`Error::Content`] where the pictures are of another size; what [`Model::run`] says.
    pub fn forward(&self, pictures: &Tensor) -> Result<Tensor> {
        let name = self.model.name();
        let failed = |e| Error::tensor(name, format!("input `{}`", self.image_input.name), e);
        let &[count, rows, cols, channels] = pictures.dims() else {
            return Err(self.other_pictures(pictures));
        };
        if [rows, cols, channels] != self.input {
            return Err(self.other_pictures(pictures));
        }
        let x = self.seen(pictures).map_err(failed)?;
        if self.image_input.batch.is_none() || count == 1 {
            return self.run(&x, count);
        }
        let mut rows = Vec::with_capacity(count);
        for place in 0..count {
            rows.push(self.run(&x.narrow(0, place..place + 1).map_err(failed)?, 1)?);
        }
        let rows: Vec<&Tensor> = rows.iter().collect();
        Tensor::concatenate(&rows, 0)
            .map_err(|e| Error::tensor(name, format!("output `{}`", self.output.name), e))
    }

    fn other_pictures(&self, pictures: &Tensor) -> Error {
        let [rows, cols, channels] = self.input;
        let expected = format!("[n, {rows}, {cols}, {channels}]");
        Error::content(self.model.name(), "pictures", expected, pictures.shape().to_string())
    }

    /// Pictures as the model sees them.
    fn seen(&self, pictures: &Tensor) -> striate_tensor::Result<Tensor> {
        let mut x = match &self.factors {
            Some(factors) => pictures.mul(factors)?,
            None => pictures.clone(),
        };
        if self.bgr {
            let [red, green, blue] = [0, 1, 2].map(|channel| x.narrow(3, channel..channel + 1));
            x = Tensor::concatenate(&[&blue?, &green?, &red?], 3)?;
        }
        match self.image_input.channels_last {
            true => Ok(x),
            false => x.permute([0, 3, 1, 2]),
        }
    }

    fn run(&self, x: &Tensor, count: usize) -> Result<Tensor> {
        let options = RunOptions::new().half(self.half);
        let inputs = [(&*self.image_input.name, x.clone())];
        let made = self.model.run_with(&inputs, &self.device, &options)?;
        let Vector { name, classes, .. } = &self.output;
        let place = format!("output `{name}`");
        let found = made.into_iter().find(|(own, _)| own == name).map(|(_, made)| made);
        let fits = |made: &Tensor| vector(made.dims()) == Some(*classes) && made.dims()[0] == count;
        let Some(made) = found.as_ref().filter(|made| fits(made)) else {
            let got = found.map_or_else(|| "none".into(), |made| made.shape().to_string());
            let expected = format!("[{count}, {classes}]");
            return Err(Error::content(self.model.name(), place, expected, got));
        };
        let numbers = made.cast(DType::F32).and_then(|made| made.reshape([count, *classes]));
        numbers.map_err(|e| Error::tensor(self.model.name(), place, e))
    }
}

fn is_float(port: &Port) -> bool {
    FLOATS.contains(&&*port.element)
}

/// Rows and cols of the image: what the file fixes, else what is asked for, else what is usual.
fn sides(file: &File, image: &ImageInput, size: Option<[usize; 2]>) -> Result<[usize; 2]> {
    let fixed = [image.rows, image.cols];
    let sides = [0, 1].map(|axis| {
        let asked = size.map(|size| size[axis]);
        fixed[axis].or(asked).unwrap_or(USUAL)
    });
    match size {
        Some(size) if size != sides => {
            let [rows, cols] = sides;
            let expected = format!("pictures of {rows} x {cols}, the size that the file fixes");
            let got = format!("{} x {}", size[0], size[1]);
            Err(Error::content(&file.name, "inputs", expected, got))
        }
        _ => check_image(&file.name, "inputs", sides).map(|_| sides),
    }
}

/// The number of classes, where extents are those of an output for classes.
fn vector(dims: &[usize]) -> Option<usize> {
    match *dims {
        // One number for a picture ranks nothing.
        [_, classes] | [_, classes, 1, 1] if classes > 1 => Some(classes),
        _ => None,
    }
}

/// The output for classes, where the file says enough of its outputs to tell.
fn declared(outputs: &[Port]) -> Option<Vector> {
    for port in outputs.iter().filter(|port| is_float(port)) {
        let extents = port.extents.as_ref()?;
        // The number of pictures may be open.
        let fixed = extents.iter().enumerate().map(|(axis, extent)| match extent {
            Extent::Fixed(extent) => Some(*extent),
            Extent::Open(_) => (axis == 0).then_some(0),
        });
        let dims: Option<Vec<usize>> = fixed.collect();
        match dims {
            None if matches!(extents.len(), 2 | 4) => return None,
            None => {}
            Some(dims) => {
                if let Some(classes) = vector(&dims) {
                    return Some(Vector { name: port.name.clone(), classes, rank: dims.len() });
                }
            }
        }
    }
    None
}

/// The output for classes by what a run on an image of zeros gives.
fn found(
    model: &Model,
    device: &Device,
    image: &ImageInput,
    [rows, cols, channels]: [usize; 3],
) -> Result<Vector> {
    let refuse = |got: Vec<String>| {
        let expected = "an output of a number for each class, [n, classes]";
        let got = format!("{}; `run` runs it as it is", got.join(", "));
        Error::content(model.name(), "outputs", expected, got)
    };
    let told = |port: &Port| format!("`{}` {port}", port.name);
    // What the file says may rule all of them out.
    let may_be = |port: &Port| {
        let rank = port.extents.as_ref().map(Vec::len);
        is_float(port) && rank.is_none_or(|rank| matches!(rank, 2 | 4))
    };
    if !model.outputs().iter().any(may_be) {
        return Err(refuse(model.outputs().iter().map(told).collect()));
    }
    let dims = match image.channels_last {
        true => [1, rows, cols, channels],
        false => [1, channels, rows, cols],
    };
    let zeros = Tensor::zeros(dims, device);
    let zeros = zeros.map_err(|e| Error::tensor(model.name(), &*image.name, e))?;
    let made = model.run(&[(&image.name, zeros)], device)?;
    let of_classes = |(name, made): &(String, Tensor)| {
        let classes = vector(made.dims()).filter(|_| made.dtype().is_float())?;
        Some(Vector { name: name.clone(), classes, rank: made.dims().len() })
    };
    made.iter().find_map(of_classes).ok_or_else(|| {
        refuse(made.iter().map(|(name, made)| format!("`{name}` {}", made.shape())).collect())
    })
}

/// Whether an output is what a softmax over the classes makes, but for nodes that only pass it on.
fn ends_in_softmax(file: &File, output: &Vector) -> bool {
    let mut name = &output.name;
    let mut is_reshaped = false;
    for node in file.graph.nodes.iter().rev() {
        if node.output.first() != Some(name) || !is_standard(node) {
            continue;
        }
        match &*node.op_type {
            "Identity" | "Cast" => {}
            "Flatten" | "Reshape" | "Squeeze" => is_reshaped = true,
            "Softmax" => {
                // Older ones are over all axes from this one on.
                let default = if file.opset < 13 { 1 } else { -1 };
                let axis = Attributes { node, opset: file.opset }.int("axis", default);
                return match (is_reshaped, output.rank) {
                    (true, _) => axis != 0,
                    (false, 2) => matches!(axis, 1 | -1),
                    (false, _) => matches!(axis, 1 | -3),
                };
            }
            _ => return false,
        }
        let Some(input) = node.input.first() else { return false };
        name = input;
    }
    false
}
