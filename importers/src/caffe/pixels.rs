//! Red, green and blue in the place of blue, green and red: the layers that see the image, and its mean.

use std::path::Path;

use striate_nn::{LayerSpec, Node, Role};
use striate_tensor::{Device, Tensor};

use super::lift::{Numbers, Values};
use super::mean::Mean;
use super::proto::Transform;
use crate::limits::check_image;
use crate::{Error, Result};

/// What is subtracted from pixels where no one says anything else: the mean of ImageNet's pictures, blue,
/// green, red.
const USUAL_MEAN: [f32; 3] = [104.0, 117.0, 123.0];

/// Channels of a colour image.
const COLOURS: usize = 3;

/// Extents of images that Caffe's models cut out of images of 256x256.
const CUT: [[usize; 2]; 2] = [[224, 224], [227, 227]];
const USUAL_IMAGE: [usize; 2] = [256, 256];

/// What is subtracted from the pixels of whole images of so many rows and cols.
pub(super) struct Subtracted {
    pub(super) image: [usize; 2],
    /// Channel after channel, blue first: of each pixel, or one number for all.
    channels: Vec<Vec<f32>>,
}

impl Subtracted {
    /// For a network that sees so many channels, rows and cols: what a file says, or else what was noted
    /// with the network, or else what is usual.
    pub(super) fn of(
        name: &str,
        [channels, rows, cols]: [usize; 3],
        mean_file: Option<&Path>,
        transform: &Transform,
    ) -> Result<Self> {
        let mut image = match [rows, cols] {
            own if CUT.contains(&own) => USUAL_IMAGE,
            // An eighth larger than what is cut out of them.
            own => own.map(|extent| extent.saturating_mul(8).div_ceil(7)),
        };
        check_image(name, "input", image)?;
        let Some(path) = mean_file else {
            let values = usual(name, channels, transform)?;
            return Ok(Subtracted {
                image,
                channels: values.into_iter().map(|v| vec![v]).collect(),
            });
        };
        let Mean { dims: [own, mean_rows, mean_cols], values } = Mean::read(path)?;
        let place = path.display().to_string();
        if own != channels {
            let expected = format!("{channels} channels");
            return Err(Error::content(&place, "mean image", expected, own.to_string()));
        }
        match [mean_rows, mean_cols] {
            [1, 1] => {}
            [r, c] if r >= rows && c >= cols => image = [r, c],
            [r, c] => {
                let expected = format!("at least the {rows}x{cols} pixels that the network sees");
                return Err(Error::content(&place, "mean image", expected, format!("{r}x{c}")));
            }
        }
        let pixels = values.len() / own.max(1);
        let channels = values.chunks(pixels.max(1)).map(<[f32]>::to_vec).collect();
        Ok(Subtracted { image, channels })
    }

    /// The mean image, red first, `[rows, cols, channels]`.
    pub(super) fn mean_image(&self, device: &Device) -> striate_tensor::Result<Tensor> {
        let [rows, cols] = self.image;
        let count = self.channels.len();
        let mut values = Vec::with_capacity(rows * cols * count);
        for pixel in 0..rows * cols {
            for at in 0..count {
                let own = &self.channels[if count == COLOURS { count - 1 - at } else { at }];
                values.push(own.get(pixel).or(own.first()).copied().unwrap_or(0.0));
            }
        }
        Tensor::from_vec(values, [rows, cols, count], device)
    }
}

/// One number for each channel.
fn usual(name: &str, channels: usize, transform: &Transform) -> Result<Vec<f32>> {
    match &transform.mean_value[..] {
        [] => {}
        [one] => return Ok(vec![*one; channels]),
        each if each.len() == channels => return Ok(each.to_vec()),
        each => {
            let expected = format!("1 or {channels} numbers");
            return Err(Error::content(name, "mean_value", expected, each.len().to_string()));
        }
    }
    if let Some(file) = &transform.mean_file {
        log::warn!(
            "{name}: it was trained on pictures less the mean image `{file}`, which is read where it is \
             given; what is usual is taken"
        );
    }
    match channels {
        COLOURS => Ok(USUAL_MEAN.to_vec()),
        _ => Ok(vec![0.0; channels]),
    }
}

/// Has the layers that see the image see red, green and blue: the weights of the others change their order.
///
/// # Errors
/// What sees the image and cannot.
pub(super) fn reverse(
    nodes: &[Node],
    sources: &[Vec<Option<usize>>],
    numbers: &mut [Numbers],
    running: &mut [(usize, Vec<f32>)],
) -> std::result::Result<(), String> {
    // Which layers put out an image of red, green and blue; the network sees one.
    let mut colours = vec![false; nodes.len()];
    for (place, (node, inputs)) in nodes.iter().zip(sources).enumerate() {
        let sees = |input: &Option<usize>| input.is_none_or(|input| colours[input]);
        let seen = inputs.iter().filter(|input| sees(input)).count();
        if seen == 0 {
            continue;
        }
        let refuse = || Err(format!("`{}`, a {} layer", node.name, node.kind()));
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
            _ => return refuse(),
        };
        colours[place] = keeps;
        for own in numbers.iter_mut().filter(|own| own.node == place && own.role != Role::Bias) {
            match &mut own.values {
                Values::Stored(stored) => stored.reversed = Some(COLOURS),
                Values::Known(values) => values.chunks_mut(COLOURS).for_each(<[f32]>::reverse),
            }
        }
        for (_, values) in running.iter_mut().filter(|(node, _)| *node == place) {
            values.chunks_mut(COLOURS).for_each(<[f32]>::reverse);
        }
    }
    match colours.last() {
        Some(true) => Err("the output of the network".into()),
        _ => Ok(()),
    }
}

/// Whether an image has colours.
pub(super) fn is_colour(channels: usize) -> bool {
    channels == COLOURS
}
