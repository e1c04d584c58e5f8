//! Pictures of what a network holds and does: its first kernels, the activations of its layers, and
//! (see [`Classifier::occlusion`](crate::Classifier::occlusion)) which parts of a photo it looks at.
//!
//! Tiles are laid out in a sheet by [`image::render::draw_tiles`](crate::image::render::draw_tiles).
//!
//! ```
//! use striate::image::render::{TileOptions, TileSection, draw_tiles};
//! use striate::prelude::*;
//! use striate::visualize::{Contrast, first_filters};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = striate::digits_model(&Device::cpu(None)?)?;
//! let tiles = first_filters(&network, Contrast::Each)?;
//! let section = TileSection { caption: String::new(), tiles };
//! let sheet = draw_tiles(&[section], &TileOptions::default())?;
//! # let _ = sheet;
//! # Ok(())
//! # }
//! ```

use crate::classifier::recorded_view;
use striate_data::render::heat_color;
use striate_data::{FloatImage, Geometry, Image, Protocol};
use striate_nn::{LayerKind, LayerShape, Network, Role};
use striate_tensor::Tensor;

use crate::{Error, Result};

/// Which tiles of a sheet share a scale of brightness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Contrast {
    /// Each has its own: the largest value of every tile is fully bright, and weak ones are seen.
    #[default]
    Each,
    /// All have one: tiles can be compared, and weak ones are dark.
    Common,
}

impl Contrast {
    /// What each tile of `length` values is divided by, so that it lies in -1..=1.
    fn scales(self, values: &[f32], length: usize) -> Vec<f32> {
        let largest = |values: &[f32]| {
            values.iter().map(|v| v.abs()).filter(|v| v.is_finite()).fold(0.0, f32::max)
        };
        let tiles = values.chunks(length.max(1));
        let scales: Vec<f32> = match self {
            Contrast::Each => tiles.map(largest).collect(),
            Contrast::Common => vec![largest(values); tiles.len()],
        };
        // A tile of zeros stays one of zeros.
        scales.into_iter().map(|scale| if scale > 0.0 { scale } else { 1.0 }).collect()
    }
}

/// The kernels of the first convolution as pictures, one an output channel: grey is 0, brighter is
/// positive, darker negative, in each colour of the input (red, green and blue, or grey).
///
/// # Errors
/// [`Error::Visualize`] where there is no convolution, or the first one's kernels have other than 1
/// or 3 channels; [`Error::Tensor`] where the device fails.
pub fn first_filters(network: &Network, contrast: Contrast) -> Result<Vec<Image>> {
    let refuse = |expected: &str, got: String| {
        let expected = expected.into();
        Error::Visualize { what: "the first filters", expected, got }
    };
    let layers = &network.spec().nodes;
    let first = layers.iter().position(|layer| layer.kind() == LayerKind::Conv);
    let weights = first.and_then(|layer| network.parameter_id(layer, Role::Weight));
    let Some(weights) = weights.and_then(|id| network.parameters().get(id.index())) else {
        return Err(refuse("a convolution", format!("{} layers without one", layers.len())));
    };
    let [_, rows, cols, channels] = weights.shape().nhwc("visualize", "the kernels")?;
    if channels != 1 && channels != 3 {
        let got = format!("{channels}");
        return Err(refuse("kernels of 1 channel (grey) or 3 (red, green, blue)", got));
    }
    let weights = floats(weights)?;
    let length = rows * cols * channels;
    let scales = contrast.scales(&weights, length);
    let tiles = weights.chunks(length).zip(scales).map(|(kernel, scale)| {
        // 0 is the middle grey, 128.
        let bytes = kernel.iter().map(|w| (w / scale).mul_add(127.0, 128.0).round() as u8);
        Ok(Image::new(rows, cols, channels, bytes.collect())?)
    });
    tiles.collect()
}

/// What a network sees of a picture: the view that its metadata record, else that of the protocol
/// [`Protocol::Centre`]: resized, its centre cut out, the mean subtracted; `[rows, cols, channels]` of the
/// network's input.
///
/// # Errors
/// [`Error::Image`] where the picture cannot be cut so; [`Error::Tensor`] where the mean image
/// cannot be read back from the device.
pub fn centre_view(network: &Network, image: &Image) -> Result<FloatImage> {
    let spec = network.spec();
    let [rows, cols, channels] = spec.input;
    // A network without a convolution has no scan; this protocol does not look at it.
    let scan_scale = spec.scan().map_or(1, |scan| scan.scale);
    let geometry = Geometry { image: spec.image, net: [rows, cols], channels, scan_scale };
    let mean = match network.mean() {
        Some(mean) => {
            let [rows, cols] = spec.image;
            Some(FloatImage::new(rows, cols, channels, mean.to_vec::<f32>()?)?)
        }
        None => None,
    };
    if let Some(view) = recorded_view(network.metadata(), &geometry, mean.as_ref()) {
        return Ok(view.form(image)?);
    }
    let prepared = Protocol::Centre.prepare(image, &geometry, mean.as_ref())?;
    prepared.pictures().first().cloned().ok_or_else(|| Error::Visualize {
        what: "the centre of a picture",
        expected: "one view".into(),
        got: "none".into(),
    })
}

/// What a layer puts out for a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// The layer, counted from 0.
    pub layer: usize,
    /// What kind of layer it is.
    pub kind: LayerKind,
    /// Rows, cols and channels; `[1, 1, outputs]` for a full-connect layer.
    pub shape: [usize; 3],
    /// A picture a channel, coloured by [`heat_color`]: 0 is black.
    pub tiles: Vec<Image>,
    /// Values that are not finite (NaN or infinite): the network's numbers overflow. They are black,
    /// or as bright as can be.
    pub not_finite: usize,
}

/// The layers whose activations tell most: the convolutions.
pub fn convolutions(network: &Network) -> Vec<usize> {
    let nodes = network.spec().nodes.iter().enumerate();
    nodes.filter(|(_, node)| node.kind() == LayerKind::Conv).map(|(layer, _)| layer).collect()
}

/// What these layers put out for a view (see [`centre_view`]), after their ReLU, in the order of the
/// layers, each once.
///
/// # Errors
/// [`Error::Visualize`] where there is no such layer; [`Error::Network`] where the view does not fit
/// the network or the device fails.
pub fn activations(
    network: &Network,
    view: &FloatImage,
    layers: &[usize],
    contrast: Contrast,
) -> Result<Vec<Activation>> {
    let shapes = network.shapes();
    let mut layers = layers.to_vec();
    layers.sort_unstable();
    layers.dedup();
    if let Some(layer) = layers.iter().find(|&&layer| layer >= shapes.len()) {
        return Err(Error::Visualize {
            what: "an activation",
            expected: format!("one of the network's {} layers, counted from 0", shapes.len()),
            got: layer.to_string(),
        });
    }
    let [rows, cols, channels] = view.shape();
    let x = Tensor::from_vec(view.values().to_vec(), [1, rows, cols, channels], network.device())?;
    let mut activations = Vec::with_capacity(layers.len());
    let shown = network.activations(&x, |layer, y| {
        if layers.contains(&layer) {
            let activation = activation(&shapes[layer], y, contrast);
            activations.push(activation.map_err(striate_nn::Error::visit)?);
        }
        Ok(())
    });
    match shown {
        Ok(_) => Ok(activations),
        Err(striate_nn::Error::Visit(error)) => match error.downcast::<Error>() {
            Ok(own) => Err(*own),
            Err(other) => Err(striate_nn::Error::Visit(other).into()),
        },
        Err(other) => Err(other.into()),
    }
}

/// A layer's output as pictures.
fn activation(shape: &LayerShape, y: &Tensor, contrast: Contrast) -> Result<Activation> {
    let dims = match *y.dims() {
        [_, rows, cols, channels] => [rows, cols, channels],
        _ => [1, 1, y.dims().iter().product()],
    };
    let values = y.to_vec::<f32>()?;
    let not_finite = values.iter().filter(|value| !value.is_finite()).count();
    let tiles = channel_tiles(&values, dims, contrast)?;
    Ok(Activation { layer: shape.layer, kind: shape.kind, shape: dims, tiles, not_finite })
}

/// The channels of `[rows, cols, channels]` values as pictures.
fn channel_tiles(values: &[f32], shape: [usize; 3], contrast: Contrast) -> Result<Vec<Image>> {
    let [rows, cols, channels] = shape;
    let channel = |c: usize| values.iter().skip(c).step_by(channels.max(1));
    let planes: Vec<f32> = (0..channels).flat_map(channel).copied().collect();
    // A plane of one value has nothing to be compared with but the others.
    let contrast = if rows * cols == 1 { Contrast::Common } else { contrast };
    let scales = contrast.scales(&planes, rows * cols);
    let tiles = planes.chunks((rows * cols).max(1)).zip(scales).map(|(plane, scale)| {
        let pixels: Vec<u8> = plane.iter().flat_map(|value| heat_color(value / scale)).collect();
        Ok(Image::new(rows, cols, 3, pixels)?)
    });
    tiles.collect()
}

/// Weights as floats, whatever their precision.
fn floats(weights: &Tensor) -> Result<Vec<f32>> {
    Ok(weights.cast(striate_tensor::DType::F32)?.to_vec::<f32>()?)
}

#[cfg(test)]
mod tests {
    use striate_nn::{LayerParameters, NetworkSpec, Seed, conv2d};
    use striate_tensor::Device;

    use super::*;
    use crate::DeviceByName;

    fn device() -> Device {
        Device::cpu(Some(1)).unwrap()
    }

    /// One 1 x 2 convolution over one channel, two kernels.
    fn network(weights: [f32; 4]) -> Network {
        let device = device();
        let layer = conv2d(2, 1).kernel([1, 2]).relu();
        let spec = NetworkSpec::new([2, 3, 1]).conv(layer);
        let parameters = LayerParameters {
            weight: Tensor::from_vec(weights.to_vec(), [2, 1, 2, 1], &device).unwrap(),
            bias: Tensor::zeros([2], &device).unwrap(),
        };
        Network::new(spec, vec![Some(parameters)], &device).unwrap()
    }

    #[test]
    fn kernels_are_grey_at_zero_and_symmetric() {
        let network = network([1.0, -1.0, 0.0, 0.5]);
        let values = |contrast| {
            let tiles = first_filters(&network, contrast).unwrap();
            tiles.iter().map(|tile| tile.values().to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(values(Contrast::Each), [[255, 1], [128, 255]]);
        assert_eq!(values(Contrast::Common), [[255, 1], [128, 192]]);
    }

    #[test]
    fn activations_are_the_outputs_of_the_layers() {
        let network = network([1.0, 0.0, 0.0, -1.0]);
        let view = FloatImage::new(2, 3, 1, vec![0.0, 2.0, 5.0, 4.0, 1.0, 7.0]).unwrap();
        let all = activations(&network, &view, &[0, 0], Contrast::Each).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].layer, all[0].shape), (0, [2, 2, 2]));
        // The first kernel copies, the second gives only negative numbers, which ReLU takes away.
        let expected: Vec<u8> = [0.0, 0.5, 1.0, 0.25].into_iter().flat_map(heat_color).collect();
        assert_eq!(all[0].tiles[0].values(), expected);
        assert_eq!(all[0].tiles[1].values(), [0; 12]);
    }

    #[test]
    fn values_that_are_not_finite_are_counted() {
        let network = network([1e38, 0.0, 1.0, 0.0]);
        let view = FloatImage::new(2, 3, 1, vec![0.0, 200.0, 5.0, 4.0, 1.0, 7.0]).unwrap();
        let all = activations(&network, &view, &[0], Contrast::Each).unwrap();
        // 200 and 4 times 1e38 are beyond f32; 0 and 1 times it are not.
        assert_eq!(all[0].not_finite, 2);
    }

    #[test]
    fn what_cannot_be_drawn_says_why() {
        let device = device();
        let plain = NetworkSpec::new([4, 4, 1]).full_connect(3).build(&device, Seed(1)).unwrap();
        let error = first_filters(&plain, Contrast::Each).unwrap_err().to_string();
        assert!(error.contains("expected a convolution"), "{error}");
        assert!(convolutions(&plain).is_empty());
        let deep =
            NetworkSpec::new([4, 4, 2]).conv(conv2d(3, 3).relu()).build(&device, Seed(1)).unwrap();
        let error = first_filters(&deep, Contrast::Each).unwrap_err().to_string();
        assert!(error.contains("1 channel (grey) or 3") && error.ends_with("got 2"), "{error}");
        let view = FloatImage::filled(4, 4, 1, 0.0).unwrap();
        let error = activations(&plain, &view, &[1], Contrast::Each).unwrap_err().to_string();
        assert!(error.contains("1 layers, counted from 0, got 1"), "{error}");
        let view = FloatImage::filled(4, 5, 1, 0.0).unwrap();
        assert!(activations(&plain, &view, &[0], Contrast::Each).is_err());
    }
}
