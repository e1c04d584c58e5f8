//! A state dict's numbers, brought into the order and the units used here.

use striate_models::imagenet::{Order, labels};
use striate_nn::{LayerParameters, LayerShape, LayerSpec, Metadata, Network};
use striate_tensor::{DType, Device, HostTensor, HostValues, Shape, Tensor, f16};

use super::layout::Layout;
use crate::options::ReadOptions;
use crate::safetensors::file::TensorFile;
use crate::values::{Narrowing, Stored, narrow, non_finite, warn_non_finite, widen};
use crate::{Error, Result};

/// What is done to a picture before the network: `(pixel / 255 - mean) / deviation`, by channel.
pub(super) struct Normalisation {
    pub(super) mean: [f64; 3],
    pub(super) deviation: [f64; 3],
}

/// torchvision's, for everything that it trained on ImageNet.
pub(super) const IMAGENET: Normalisation =
    Normalisation { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };

/// Pixels here run to this, torchvision's to 1.
const PIXEL_MAX: f64 = 255.0;

/// The network of a state dict whose tensors are those of `layout`.
pub(super) fn import(
    file: &TensorFile,
    layout: &Layout,
    normalisation: &Normalisation,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    let mut parameters = Vec::with_capacity(layout.prefixes.len());
    let shapes = layout.shapes(file.name())?;
    for (shape, prefix) in shapes.iter().zip(&layout.prefixes) {
        let Some(prefix) = prefix else {
            parameters.push(None);
            continue;
        };
        let weight =
            Weight::new(layout, shape, normalisation).load(file, prefix, device, options)?;
        let bias = file.tensor(&format!("{prefix}.bias"), device, options.dtype)?;
        parameters.push(Some(LayerParameters { weight, bias }));
    }
    let failed = |e| Error::network(file.name(), e);
    let mean = mean_image(layout, normalisation, device)
        .map_err(|e| Error::tensor(file.name(), "the mean image", e))?;
    Network::new(layout.spec.clone(), parameters, device)
        .and_then(|network| network.with_metadata(metadata(layout)).with_mean(mean))
        .map_err(failed)
}

/// Labels where the classes are ImageNet's, and how torchvision cuts pictures.
pub(super) fn metadata(layout: &Layout) -> Metadata {
    let labels = labels(Order::Sorted);
    Metadata {
        labels: (layout.spec.classes() == labels.len()).then_some(labels),
        protocol: Some("centre".into()),
        note: Some(format!("imported from a state dict of torchvision's {}", layout.name)),
        ..Metadata::default()
    }
}

/// `255 · mean` everywhere.
fn mean_image(
    layout: &Layout,
    normalisation: &Normalisation,
    device: &Device,
) -> striate_tensor::Result<Tensor> {
    let [rows, cols] = layout.spec.image;
    let pixel = normalisation.mean.map(|mean| (PIXEL_MAX * mean) as f32);
    Tensor::from_vec(pixel.repeat(rows * cols), [rows, cols, pixel.len()], device)
}

/// What happens to a weight: `[out, channels, spatial]` becomes `[out, spatial, channels]`, and a
/// channel may be scaled.
struct Weight<'a> {
    shape: &'a LayerShape,
    channels: usize,
    /// Positions that each channel has: of the kernel, or of the picture that is flattened.
    spatial: usize,
    /// The factor of each channel, for the layer that sees the pixels.
    scale: Option<[f64; 3]>,
}

impl<'a> Weight<'a> {
    fn new(layout: &Layout, shape: &'a LayerShape, normalisation: &Normalisation) -> Self {
        let first = shape.layer == 0 && shape.input[2] == normalisation.deviation.len();
        let scale = first.then(|| normalisation.deviation.map(|d| 1.0 / (PIXEL_MAX * d)));
        let [rows, cols, channels] = shape.input;
        let (channels, spatial) = match &layout.spec.layers[shape.layer] {
            LayerSpec::Conv(conv) => (channels / conv.groups, conv.kernel.iter().product()),
            _ => (channels, rows * cols),
        };
        Weight { shape, channels, spatial, scale }
    }

    fn load(
        &self,
        file: &TensorFile,
        prefix: &str,
        device: &Device,
        options: &ReadOptions,
    ) -> Result<Tensor> {
        let name = format!("{prefix}.weight");
        if self.spatial == 1 && self.scale.is_none() {
            return file.tensor(&name, device, options.dtype);
        }
        let (entry, stored) = file.floats(&name)?;
        // Dividing by about 58 would push small halves into the subnormals: the few weights that
        // are scaled stay as exact as they can be, unless halves are asked for.
        let kept = if self.scale.is_some() { DType::F32 } else { stored.dtype() };
        let dtype = options.dtype.unwrap_or(kept);
        let values = self.permute(file.data(entry).bytes(), stored, dtype);
        warn_non_finite(file.name(), &format!("tensor {name}"), non_finite(&values), values.len());
        let shape = self.shape.weight.unwrap_or(Shape::scalar());
        HostTensor::new(shape, values)
            .and_then(|host| Tensor::from_host(host, device))
            .map_err(|e| Error::tensor(file.name(), format!("tensor {name}"), e))
    }

    /// Output by output, so that only the result and one row are held.
    fn permute(&self, bytes: &[u8], stored: Stored, dtype: DType) -> HostValues {
        let row = self.channels * self.spatial;
        let rows = bytes.chunks_exact((row * stored.size_bytes()).max(1));
        let mut values = HostValues::zeros(dtype, rows.len() * row);
        let (mut wide, mut turned) = (vec![0.0f32; row], vec![0.0f32; row]);
        for (out, bytes) in rows.enumerate() {
            widen(bytes, stored, &mut wide);
            let out = out * row..(out + 1) * row;
            match &mut values {
                HostValues::F32(values) => self.turn(&wide, &mut values[out]),
                HostValues::F16(values) => {
                    self.turn(&wide, &mut turned);
                    let out: &mut [f16] = &mut values[out];
                    narrow(&turned, Narrowing::Nearest, out);
                }
                HostValues::U32(_) => {}
            }
        }
        values
    }

    /// `[channels, spatial]` to `[spatial, channels]`, scaled.
    fn turn(&self, from: &[f32], to: &mut [f32]) {
        for (channel, from) in from.chunks_exact(self.spatial).enumerate() {
            let scale = self.scale.map(|scale| scale[channel]);
            for (at, value) in from.iter().enumerate() {
                to[at * self.channels + channel] = match scale {
                    // In double precision, so that there is one rounding.
                    Some(scale) => (f64::from(*value) * scale) as f32,
                    None => *value,
                };
            }
        }
    }
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
