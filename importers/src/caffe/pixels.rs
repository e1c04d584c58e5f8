//! What is done to pictures before a network sees them: part of the layers that see the image, and of the
//! mean.

use striate_nn::{LayerSpec, Node, Role};
use striate_tensor::{Device, Tensor};

use super::Options;
use super::lift::{Numbers, Values};
use super::mean::Mean;
use super::net::Steps;
use super::proto::Transform;
use crate::limits::check_image;
use crate::preset::{Filter, Pixels, Preset};
use crate::{Error, Result};

/// The mean that is subtracted by default: of ImageNet's pictures, blue, green, red.
const USUAL_MEAN: [f64; COLOURS] = [104.0, 117.0, 123.0];

/// Channels of a colour image.
const COLOURS: usize = 3;

/// Extents of images that Caffe's models cut out of images of 256x256.
const CUT: [[usize; 2]; 2] = [[224, 224], [227, 227]];
const USUAL_IMAGE: [usize; 2] = [256, 256];

/// How the pictures of a network were prepared.
pub(super) struct Pictures {
    pub(super) preset: Preset,
    /// Rows and cols of whole pictures.
    pub(super) image: [usize; 2],
    channels: usize,
    mean: Option<Mean>,
}

impl Pictures {
    /// For a network that sees so many channels, rows and cols. Options go before what the definition says,
    /// and that before what is usual.
    pub(super) fn of(
        name: &str,
        [channels, rows, cols]: [usize; 3],
        options: &Options<'_>,
        transform: &Transform,
    ) -> Result<Self> {
        let mut image = match [rows, cols] {
            own if CUT.contains(&own) => USUAL_IMAGE,
            // An eighth larger than what is cut out of them.
            own => own.map(|extent| extent.saturating_mul(8).div_ceil(7)),
        };
        // A mean image has as many numbers as the pixels of a colour image of this size.
        let size =
            |[rows, cols]: [usize; 2]| [rows, cols.saturating_mul(channels.div_ceil(COLOURS))];
        check_image(name, "input", size(image))?;
        let mut pixels = usual(name, channels, options.mean_file.is_some(), transform)?;
        let Some(path) = options.mean_file else {
            pixels = options.pixels.over(name, pixels)?;
            let preset = preset(pixels);
            return Ok(Pictures { preset, image, channels, mean: None });
        };
        options.pixels.refuse(name)?;
        let mean = Mean::read(path)?;
        let [own, mean_rows, mean_cols] = mean.dims;
        let refuse = |expected: String, got: String| {
            Err(Error::content(&path.display().to_string(), "mean image", expected, got))
        };
        if own != channels {
            return refuse(format!("{channels} channels"), own.to_string());
        }
        match [mean_rows, mean_cols] {
            [1, 1] => {}
            [r, c] if r >= rows && c >= cols => image = [r, c],
            [r, c] => {
                let expected = format!("at least the {rows}x{cols} pixels that the network sees");
                return refuse(expected, format!("{r}x{c}"));
            }
        }
        check_image(name, "mean image", size(image))?;
        Ok(Pictures { preset: preset(pixels), image, channels, mean: Some(mean) })
    }

    /// What each of the network's channels is multiplied by; nothing where that changes nothing.
    pub(super) fn factors(&self) -> Option<Vec<f32>> {
        let factors: Vec<f32> = (0..self.channels).map(|c| self.preset.pixels.factor(c)).collect();
        factors.iter().any(|&factor| factor != 1.0).then_some(factors)
    }

    /// The mean image, in the order of a picture's channels, `[rows, cols, channels]`.
    pub(super) fn mean_image(&self, device: &Device) -> striate_tensor::Result<Tensor> {
        let Some(mean) = &self.mean else {
            return self.preset.pixels.mean_image(self.image, self.channels, device);
        };
        let [rows, cols] = self.image;
        let pixels = mean.dims[1] * mean.dims[2];
        let mut values = Vec::with_capacity(rows * cols * self.channels);
        for pixel in 0..rows * cols {
            for at in 0..self.channels {
                let channel = if self.preset.pixels.bgr { self.channels - 1 - at } else { at };
                // One number for each channel is that of all pixels.
                let place = channel * pixels + pixel.min(pixels - 1);
                values.push(mean.values.get(place).copied().unwrap_or(0.0));
            }
        }
        Tensor::from_vec(values, [rows, cols, self.channels], device)
    }
}

fn preset(pixels: Pixels) -> Preset {
    // Caffe's own classification stretches pictures.
    Preset { maker: "Caffe", pixels, filter: Filter::Bilinear, stretch: true }
}

/// What Caffe does to pixels, by what was noted with the network.
fn usual(name: &str, channels: usize, has_mean: bool, transform: &Transform) -> Result<Pixels> {
    let wide = f64::from;
    let mean = match transform.mean_value[..] {
        _ if has_mean => [0.0; COLOURS],
        [one] => [wide(one); COLOURS],
        [blue, green, red] if channels == COLOURS => [wide(blue), wide(green), wide(red)],
        [] if channels == COLOURS => {
            if let Some(file) = &transform.mean_file {
                log::warn!(
                    "{name}: it was trained on pictures less the mean image `{file}`; without that file \
                     {USUAL_MEAN:?} is taken"
                );
            }
            USUAL_MEAN
        }
        [] => [0.0; COLOURS],
        _ => {
            let (expected, got) = (format!("1 or {channels} numbers"), transform.mean_value.len());
            return Err(Error::content(name, "mean_value", expected, got.to_string()));
        }
    };
    let scale = wide(transform.scale.unwrap_or(1.0));
    if !(scale.is_normal() && scale > 0.0) {
        let expected = "a factor of pixels above 0";
        return Err(Error::content(name, "transform_param: scale", expected, scale.to_string()));
    }
    let std = [1.0 / scale; COLOURS];
    Ok(Pixels { range: 255.0, mean, std, bgr: channels == COLOURS })
}

/// Whether the layers that see the image multiply it by weights: factors of pixels become part of them.
pub(super) fn is_linear(steps: &Steps) -> bool {
    let mut seeing = steps.steps.iter().filter(|step| step.inputs.contains(&0));
    seeing.all(|step| matches!(step.layer.kind(), "Convolution" | "InnerProduct"))
}

/// The order of the channels alone, without factors.
pub(super) fn order_alone(pixels: Pixels) -> Pixels {
    Pixels { range: 255.0, std: [1.0; COLOURS], ..pixels }
}

/// Makes what is done to pixels part of numbers, which are those of one pixel's channels after another.
pub(super) fn fold_each(pixels: &Pixels, channels: usize, values: &mut [f32]) {
    values.chunks_mut(channels.max(1)).for_each(|pixel| pixels.fold(pixel));
}

/// Makes what is done to pixels part of the layers that see the image. Factors need a network that
/// [`is_linear`]; the order of the channels does not.
///
/// # Errors
/// Names the layer that sees the image and cannot take it over.
pub(super) fn fold(
    pixels: &Pixels,
    channels: usize,
    (nodes, sources): (&[Node], &[Vec<Option<usize>>]),
    numbers: &mut [Numbers],
    running: &mut [(usize, Vec<f32>)],
) -> std::result::Result<(), String> {
    if !pixels.bgr && (0..channels).all(|channel| pixels.factor(channel) == 1.0) {
        return Ok(());
    }
    // Which layers put out an image whose channels are still those of the picture.
    let mut colours = vec![false; nodes.len()];
    for (place, (node, inputs)) in nodes.iter().zip(sources).enumerate() {
        let sees = |input: &Option<usize>| input.is_none_or(|input| colours[input]);
        let seen = inputs.iter().filter(|input| sees(input)).count();
        if seen == 0 {
            continue;
        }
        let keeps = match &node.layer {
            LayerSpec::Conv(conv) if conv.groups == 1 => false,
            LayerSpec::FullConnect(_) => false,
            LayerSpec::Activation(_)
            | LayerSpec::Dropout(_)
            | LayerSpec::MaxPool(_)
            | LayerSpec::AvgPool(_)
            | LayerSpec::GlobalAvgPool(_)
            | LayerSpec::GlobalMaxPool(_)
            | LayerSpec::Flatten(_)
            // Its windows are symmetric.
            | LayerSpec::Lrn(_)
            | LayerSpec::BatchNorm(_)
            | LayerSpec::Scale(_)
            | LayerSpec::Prelu(_) => true,
            LayerSpec::Add(_) | LayerSpec::Multiply(_) if seen == inputs.len() => true,
            _ => return Err(format!("`{}`, a {} layer", node.name, node.kind())),
        };
        colours[place] = keeps;
        for own in numbers.iter_mut().filter(|own| own.node == place && own.role != Role::Bias) {
            match &mut own.values {
                Values::Stored(stored) => stored.pixels = Some((*pixels, channels)),
                Values::Known(values) => fold_each(pixels, channels, values),
            }
        }
        for (_, values) in running.iter_mut().filter(|(node, _)| *node == place) {
            fold_each(pixels, channels, values);
        }
    }
    match colours.last() {
        Some(true) => Err("the output of the network".into()),
        _ => Ok(()),
    }
}
