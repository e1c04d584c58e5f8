//! Networks: specifications with their weights on a device.

mod forward;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use striate_tensor::{DType, Device, Given, LeafId, Tensor, no_grad};

use crate::layers::{Context, Module, Visitor, VisitorMut};
use crate::shapes::dims;
use crate::{Error, LayerShape, NetworkSpec, Result, Summary};

/// The weights and biases of a layer.
#[derive(Clone, Debug)]
pub struct LayerParameters {
    /// `[out, kernel rows, kernel cols, channels / groups]` or `[out, in]`; f32 or f16.
    pub weight: Tensor,
    /// `[out]`; f32 or f16.
    pub bias: Tensor,
}

/// What a model file says beside the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Metadata {
    /// The names of the classes, in their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// The crop protocol that the network was made for, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The view that training tested the network with, which the protocol `tested` classifies with:
    /// an object as `striate_data::augment::TestView` is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<serde_json::Value>,
    /// The recipe that the network was trained with: an object as `striate_data::Recipe` is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<serde_json::Value>,
    /// A word for people: what it was trained on, by whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Anything else, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
}

/// A network with its weights on a device, to be run.
///
/// Weights are shared, so a clone is cheap. Convolutions and full-connect layers run as one op
/// with their bias and ReLU, and each activation is dropped as soon as the next exists.
///
/// ```
/// use striate_nn::{NetworkSpec, Seed, conv, pool};
/// use striate_tensor::{Device, Reference, Tensor};
///
/// # fn main() -> striate_nn::Result<()> {
/// let device = Device::new(Reference::new());
/// let spec = NetworkSpec::new([8, 8, 3])
///     .conv(conv(4, 3).padding(1)).max_pool(pool(2))
///     .full_connect(10);
/// let network = spec.build(&device, Seed(7))?;
///
/// let images = Tensor::zeros([2, 8, 8, 3], &device)?;
/// assert_eq!(network.forward(&images)?.dims(), [2, 10]);
/// network.activations(&images, |layer, activation| {
///     println!("{layer}: {}", activation.shape());
///     Ok(())
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Network {
    spec: NetworkSpec,
    shapes: Vec<LayerShape>,
    parameters: Vec<Option<LayerParameters>>,
    device: Device,
    mean: Option<Tensor>,
    metadata: Metadata,
}

impl Network {
    /// A network of these weights, one entry a layer: `None` for layers without. What is on another
    /// device is moved; a [leaf](Tensor::require_grad) becomes a leaf of its own there, and clones of
    /// one leaf stay tied.
    ///
    /// The layers must fit each other ([`NetworkSpec::shapes`]); they need not be a classifier
    /// ([`NetworkSpec::verify`]): a network that ends in a convolution is one of features.
    ///
    /// # Errors
    /// [`Error::Layer`] where a layer does not fit its input, or its weights are missing, not
    /// expected, of another shape or not floats; [`Error::Network`] where the entries are not as
    /// many as the layers; [`Error::Op`] where a device fails.
    pub fn new(
        spec: NetworkSpec,
        parameters: Vec<Option<LayerParameters>>,
        device: &Device,
    ) -> Result<Network> {
        let shapes = spec.shapes()?;
        if parameters.len() != spec.layers.len() {
            let expected = format!("weights for {} layers", spec.layers.len());
            return Err(Error::network(expected, format!("for {}", parameters.len())));
        }
        let mut leaves = Leaves::default();
        let parameters = parameters
            .into_iter()
            .zip(&shapes)
            .map(|(parameters, shape)| check_layer(parameters, shape, device, &mut leaves))
            .collect::<Result<Vec<_>>>()?;
        let device = device.clone();
        Ok(Network { spec, shapes, parameters, device, mean: None, metadata: Metadata::default() })
    }

    /// The specification.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The weights and biases, one entry a layer; `None` for layers without.
    pub fn parameters(&self) -> &[Option<LayerParameters>] {
        &self.parameters
    }

    /// The shapes of the layers, for the input that the network is made for.
    pub fn shapes(&self) -> &[LayerShape] {
        &self.shapes
    }

    /// The mean image, `[rows, cols, channels]` f32, as large as the whole image.
    pub fn mean(&self) -> Option<&Tensor> {
        self.mean.as_ref()
    }

    /// With a mean image, `[rows, cols, channels]` f32, as large as the whole image. Running the
    /// network does not subtract it: forming its input does.
    ///
    /// # Errors
    /// [`Error::Network`] where it has another shape or type; [`Error::Tensor`] where a device
    /// fails.
    pub fn with_mean(self, mean: Tensor) -> Result<Network> {
        let [rows, cols] = self.spec.image;
        let expected = [rows, cols, self.spec.input[2]];
        if mean.dims() != expected || mean.dtype() != DType::F32 {
            let expected = format!("a mean image of f32[{}]", dims(&expected));
            return Err(Error::network(expected, mean.ty()));
        }
        let mean = Some(mean.to(&self.device)?);
        Ok(Network { mean, ..self })
    }

    /// What the model file says beside the numbers.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// With other metadata.
    #[must_use]
    pub fn with_metadata(self, metadata: Metadata) -> Network {
        Network { metadata, ..self }
    }

    /// A table of the layers, with the bytes that the weights take as they are stored here.
    pub fn summary(&self) -> Summary {
        let bytes = self.parameters.iter().map(|parameters| {
            parameters.as_ref().map_or(0, |parameters| {
                let LayerParameters { weight, bias } = parameters;
                (weight.ty().size_bytes() + bias.ty().size_bytes()) as u64
            })
        });
        Summary::with_bytes(&self.spec, &self.shapes, bytes)
    }

    /// The same network with weights and biases of another float type. The mean image stays f32.
    /// Halving rounds to the nearest number; ccv's files cut instead, which its writer does. A
    /// [leaf](Tensor::require_grad) of another type becomes a leaf of its own, and clones of one leaf
    /// stay tied.
    ///
    /// # Errors
    /// [`Error::Network`] where the type is not a float; [`Error::Op`] where the device fails.
    pub fn cast(&self, dtype: DType) -> Result<Network> {
        if !dtype.is_float() {
            return Err(Error::network("weights of f32 or f16", dtype.name()));
        }
        let mut cast = self.clone();
        let mut leaves = Leaves::default();
        for (parameters, shape) in cast.parameters.iter_mut().zip(&self.shapes) {
            if let Some(LayerParameters { weight, bias }) = parameters {
                for tensor in [weight, bias] {
                    if tensor.dtype() != dtype {
                        let changed = leaves.change(tensor, |tensor| tensor.cast(dtype));
                        *tensor = changed.map_err(|e| in_layer(shape, e))?;
                    }
                }
            }
        }
        Ok(cast)
    }
}

/// A network among other modules. Parameters are named `0.weight`, `0.bias` and so on, by layer.
impl Module for Network {
    fn forward(&self, x: &Tensor, cx: &Context) -> striate_tensor::Result<Tensor> {
        self.forward_with(x, cx).map_err(Error::into_tensor_error)
    }

    fn parameters(&self, visit: &mut Visitor) {
        for (layer, parameters) in self.parameters.iter().enumerate() {
            if let Some(LayerParameters { weight, bias }) = parameters {
                visit.parameter(&format!("{layer}.weight"), weight);
                visit.parameter(&format!("{layer}.bias"), bias);
            }
        }
    }

    fn parameters_mut(&mut self, visit: &mut VisitorMut) {
        for (layer, parameters) in self.parameters.iter_mut().enumerate() {
            if let Some(LayerParameters { weight, bias }) = parameters {
                visit.parameter(&format!("{layer}.weight"), weight);
                visit.parameter(&format!("{layer}.bias"), bias);
            }
        }
    }
}

fn in_layer(shape: &LayerShape, source: striate_tensor::Error) -> Error {
    Error::Op { layer: shape.layer, kind: shape.kind, source }
}

/// The leaves of a network that have been moved or cast, so that clones of one stay one.
#[derive(Default)]
struct Leaves {
    changed: BTreeMap<LeafId, Tensor>,
}

impl Leaves {
    /// Changes a parameter. A leaf is changed once, into a leaf.
    fn change(
        &mut self,
        tensor: &Tensor,
        change: impl FnOnce(&Tensor) -> striate_tensor::Result<Tensor>,
    ) -> striate_tensor::Result<Tensor> {
        let Some(leaf) = tensor.leaf_id() else { return change(tensor) };
        if let Some(changed) = self.changed.get(&leaf) {
            return Ok(changed.clone());
        }
        let changed = no_grad(|| change(tensor))?.require_grad();
        self.changed.insert(leaf, changed.clone());
        Ok(changed)
    }
}

/// The layer's weights, checked and on the device.
fn check_layer(
    parameters: Option<LayerParameters>,
    shape: &LayerShape,
    device: &Device,
    leaves: &mut Leaves,
) -> Result<Option<LayerParameters>> {
    let refuse =
        |expected: String, got: Given| Err(Error::layer(shape.layer, shape.kind, expected, got));
    let (Some(weight), Some(bias)) = (&shape.weight, &shape.bias) else {
        return match parameters {
            None => Ok(None),
            Some(given) => refuse("no weights".into(), given.weight.ty().into()),
        };
    };
    let Some(given) = parameters else {
        return refuse(format!("weights {weight} and biases {bias}"), "none".into());
    };
    for (what, expected, tensor) in
        [("weights", weight, &given.weight), ("biases", bias, &given.bias)]
    {
        if tensor.shape() != expected || !tensor.dtype().is_float() {
            let expected = format!("{what} {expected} of f32 or f16");
            return refuse(expected, tensor.ty().into());
        }
    }
    let mut on_device = |tensor: &Tensor| {
        if tensor.device().is(device) {
            return Ok(tensor.clone());
        }
        leaves.change(tensor, |tensor| tensor.to(device)).map_err(|e| in_layer(shape, e))
    };
    let (weight, bias) = (on_device(&given.weight)?, on_device(&given.bias)?);
    Ok(Some(LayerParameters { weight, bias }))
}
