//! Networks: specifications with their weights on a device.

mod fold;
mod forward;
mod int8;
mod plans;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use striate_tensor::ops::Algorithm;
use striate_tensor::{DType, Device, Tensor};

use crate::layers::{Buffer, Context, Leaves, Module, Visitor, VisitorMut};
use crate::parameters::{BufferInfo, Layout, ParameterInfo, Role};
use crate::shapes::dims;
use crate::{Error, LayerShape, NetworkSpec, ParameterId, Result, Summary};
use plans::Plans;

pub use forward::RunLimits;
pub use int8::Calibration;

/// The weights and biases of a layer that has both: a convolution or a full-connect layer with a bias.
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
/// Weights are shared, so a clone is cheap. It runs as a [graph](striate_graph): convolutions and
/// full-connect layers with their bias, residual addend and ReLU as one op, and each activation is
/// freed at its last use. Running is `&self`, from any number of threads at once.
///
/// ```
/// use striate_nn::{NetworkSpec, Seed, conv2d, pool};
/// use striate_tensor::{Device, Reference, Tensor};
///
/// # fn main() -> striate_nn::Result<()> {
/// let device = Device::new(Reference::new());
/// let spec = NetworkSpec::new([8, 8, 3])
///     .conv(conv2d(4, 3).padding(1)).relu().max_pool(pool(2))
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
    layout: Layout,
    parameters: Vec<Tensor>,
    buffers: Vec<Buffer>,
    device: Device,
    mean: Option<Tensor>,
    metadata: Metadata,
    algorithm: Algorithm,
    precision: DType,
    /// Of a network that computes with integers of 8 bits.
    integers: Option<Arc<int8::Integers>>,
    plans: Plans,
}

impl Network {
    /// A network of these weights, one entry a layer: `None` for layers without. What is on another
    /// device is moved; a [leaf](Tensor::require_grad) becomes a leaf of its own there, and clones of
    /// one leaf stay tied. [`of`](Network::of) takes any network's parameters, this one those of
    /// networks whose layers have weights with biases or nothing, such as ccv's.
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
        let (shapes, layout) = spec.layout()?;
        if parameters.len() != spec.nodes.len() {
            let expected = format!("weights for {} layers", spec.nodes.len());
            return Err(Error::network(expected, format!("for {}", parameters.len())));
        }
        let mut tensors = Vec::with_capacity(layout.parameters.len());
        for (given, shape) in parameters.into_iter().zip(&shapes) {
            let refuse = |expected: String, got: String| {
                Err(Error::layer(&spec, shape.layer, expected, got))
            };
            let roles: Vec<Role> = shape.parameters.iter().map(|known| known.role).collect();
            match (&roles[..], given) {
                ([], None) => {}
                ([], Some(given)) => {
                    return refuse("no weights".into(), given.weight.ty().to_string());
                }
                ([Role::Weight, Role::Bias], Some(given)) => {
                    tensors.extend([given.weight, given.bias]);
                }
                ([Role::Weight, Role::Bias], None) => {
                    let [weight, bias] = [0, 1].map(|place| shape.parameters[place].shape);
                    return refuse(format!("weights {weight} and biases {bias}"), "none".into());
                }
                _ => {
                    let expected = "weights with biases, or none".to_owned();
                    return refuse(expected, format!("{} parameters of other kinds", roles.len()));
                }
            }
        }
        let buffers = layout.fresh_buffers(device)?;
        Self::assemble(spec, (shapes, layout), tensors, buffers, device)
    }

    /// A network of these parameters and buffers, in the order of
    /// [`parameter_infos`](Network::parameter_infos) and [`buffer_infos`](Network::buffer_infos). What
    /// is on another device is moved, as [`new`](Network::new) does it.
    ///
    /// # Errors
    /// As [`new`](Network::new).
    pub fn of(
        spec: NetworkSpec,
        parameters: Vec<Tensor>,
        buffers: Vec<Tensor>,
        device: &Device,
    ) -> Result<Network> {
        let layout = spec.layout()?;
        Self::assemble(spec, layout, parameters, buffers, device)
    }

    fn assemble(
        spec: NetworkSpec,
        (shapes, layout): (Vec<LayerShape>, Layout),
        parameters: Vec<Tensor>,
        buffers: Vec<Tensor>,
        device: &Device,
    ) -> Result<Network> {
        for (what, expected, got) in [
            ("parameters", layout.parameters.len(), parameters.len()),
            ("buffers", layout.buffers.len(), buffers.len()),
        ] {
            if expected != got {
                return Err(Error::network(format!("{expected} {what}"), got.to_string()));
            }
        }
        let mut leaves = Leaves::default();
        let mut moved = Vec::with_capacity(parameters.len());
        for (tensor, info) in parameters.into_iter().zip(&layout.parameters) {
            if *tensor.shape() != info.shape || !tensor.dtype().is_float() {
                let what = match info.role {
                    Role::Weight => "weights",
                    Role::Bias => "biases",
                    Role::Scale => "a scale",
                    Role::Shift => "a shift",
                    Role::Slope => "slopes",
                };
                let expected = format!("{what} {} of f32 or f16", info.shape);
                return Err(Error::layer(&spec, info.layer, expected, tensor.ty()));
            }
            let tensor = if tensor.device().is(device) {
                tensor
            } else {
                let moved = leaves.change(&tensor, |tensor| tensor.to(device));
                moved.map_err(|source| Error::op(&spec, info.layer, source))?
            };
            moved.push(tensor);
        }
        let mut kept = Vec::with_capacity(buffers.len());
        for (tensor, info) in buffers.into_iter().zip(&layout.buffers) {
            if *tensor.shape() != info.shape || tensor.dtype() != DType::F32 {
                let expected = format!("running statistics {} of f32", info.shape);
                return Err(Error::layer(&spec, info.layer, expected, tensor.ty()));
            }
            let tensor =
                tensor.to(device).map_err(|source| Error::op(&spec, info.layer, source))?;
            kept.push(Buffer::new(tensor));
        }
        let (device, plans) = (device.clone(), Plans::default());
        let (mean, metadata) = (None, Metadata::default());
        let parameters = moved;
        let buffers = kept;
        let algorithm = Algorithm::Auto;
        Ok(Network {
            spec,
            shapes,
            layout,
            parameters,
            buffers,
            device,
            mean,
            metadata,
            algorithm,
            precision: DType::F32,
            integers: None,
            plans,
        })
    }

    /// The same network, mean image and metadata with other parameters and buffers.
    ///
    /// # Errors
    /// As [`of`](Network::of).
    pub fn with_tensors(&self, parameters: Vec<Tensor>, buffers: Vec<Tensor>) -> Result<Network> {
        let layout = (self.shapes.clone(), self.layout.clone());
        let spec = self.spec.clone();
        let network = Self::assemble(spec, layout, parameters, buffers, &self.device)?;
        let (mean, metadata) = (self.mean.clone(), self.metadata.clone());
        Ok(Network { mean, metadata, ..network })
    }

    /// The specification.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The parameters, by [`ParameterId`](crate::ParameterId).
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// What each parameter is, by [`ParameterId`](crate::ParameterId).
    pub fn parameter_infos(&self) -> &[ParameterInfo] {
        &self.layout.parameters
    }

    /// The parameter of this layer that has this role there.
    pub fn parameter_id(&self, layer: usize, role: Role) -> Option<ParameterId> {
        let is = |info: &ParameterInfo| info.layer == layer && info.role == role;
        let place = self.layout.parameters.iter().position(is)?;
        Some(ParameterId(place as u32))
    }

    /// The buffers, by [`BufferId`](crate::BufferId).
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// What each buffer is, by [`BufferId`](crate::BufferId).
    pub fn buffer_infos(&self) -> &[BufferInfo] {
        &self.layout.buffers
    }

    /// The weights and biases, one entry a layer; `None` for layers that have not both.
    pub fn layer_parameters(&self) -> Vec<Option<LayerParameters>> {
        let mut layers = vec![None; self.spec.nodes.len()];
        let pairs = self.layout.parameters.windows(2).zip(self.parameters.windows(2));
        for (infos, tensors) in pairs {
            let ([weight, bias], [a, b]) = (infos, tensors) else { continue };
            if (weight.role, bias.role) == (Role::Weight, Role::Bias) && weight.layer == bias.layer
            {
                let (weight_tensor, bias) = (a.clone(), b.clone());
                layers[weight.layer] = Some(LayerParameters { weight: weight_tensor, bias });
            }
        }
        layers
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

    /// Without its mean image.
    #[must_use]
    pub fn without_mean(self) -> Network {
        Network { mean: None, ..self }
    }

    /// What the model file says beside the numbers.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// With convolutions computed so: [`Algorithm::Direct`] where the rounding of faster ones matters. Casts
    /// keep it, files and other devices do not.
    #[must_use]
    pub fn with_algorithm(self, algorithm: Algorithm) -> Network {
        Network { algorithm, plans: Plans::default(), ..self }
    }

    /// With activations of inference in this precision: [`DType::F16`] takes half the memory of f32, and
    /// reads weights in f16 too. Devices compute on f16 in f32 and round each layer's outputs, which come
    /// out within a hundredth of the largest of those of f32; activations beyond 65,504 become infinite, and
    /// those below 6e-8 become 0.
    /// The weights that the network holds stay as they are ([`cast`](Network::cast) changes those), as do
    /// training, and the types of what goes in and comes out. Casts keep it, files and other devices do
    /// not.
    ///
    /// # Errors
    /// [`Error::Network`] where it is neither f32 nor f16.
    pub fn with_precision(self, precision: DType) -> Result<Network> {
        match precision {
            DType::F32 | DType::F16 => Ok(Network { precision, plans: Plans::default(), ..self }),
            other => Err(Error::network("activations of f32 or f16", other.name())),
        }
    }

    /// The precision of activations in inference.
    pub fn precision(&self) -> DType {
        self.precision
    }

    /// With other metadata.
    #[must_use]
    pub fn with_metadata(self, metadata: Metadata) -> Network {
        Network { metadata, ..self }
    }

    /// A table of the layers, with the bytes that the weights take as they are stored here.
    pub fn summary(&self) -> Summary {
        let mut bytes = vec![0u64; self.spec.nodes.len()];
        for (info, tensor) in self.layout.parameters.iter().zip(&self.parameters) {
            bytes[info.layer] += tensor.ty().size_bytes() as u64;
        }
        Summary::with_bytes(&self.spec, &self.shapes, bytes.into_iter())
    }

    /// The same network with parameters of another float type. The mean image and running statistics
    /// stay f32. Halving rounds to the nearest number; ccv's files cut instead, which its writer does.
    /// A [leaf](Tensor::require_grad) of another type becomes a leaf of its own, and clones of one leaf
    /// stay tied.
    ///
    /// # Errors
    /// [`Error::Network`] where the type is not a float; [`Error::Op`] where the device fails.
    pub fn cast(&self, dtype: DType) -> Result<Network> {
        if !dtype.is_float() {
            return Err(Error::network("weights of f32 or f16", dtype.name()));
        }
        let mut cast = self.clone();
        cast.plans = Plans::default();
        let mut leaves = Leaves::default();
        for (tensor, info) in cast.parameters.iter_mut().zip(&self.layout.parameters) {
            if tensor.dtype() != dtype {
                let changed = leaves.change(tensor, |tensor| tensor.cast(dtype));
                *tensor = changed.map_err(|source| Error::op(&self.spec, info.layer, source))?;
            }
        }
        Ok(cast)
    }

    /// The same network on another device, with its mean image and metadata.
    ///
    /// # Errors
    /// [`Error::Op`] where a device fails.
    pub fn to(&self, device: &Device) -> Result<Network> {
        let buffers = self.buffers.iter().map(|buffer| buffer.value().clone()).collect();
        let layout = (self.shapes.clone(), self.layout.clone());
        let (spec, parameters) = (self.spec.clone(), self.parameters.clone());
        let moved = Self::assemble(spec, layout, parameters, buffers, device)?;
        let mean = self.mean.as_ref().map(|mean| mean.to(device)).transpose()?;
        Network { mean, metadata: self.metadata.clone(), ..moved }.with_levels(self.levels())
    }
}

/// A network among other modules. Parameters are named by their nodes: `0.weight`, `0.bias` and so on
/// where these have no names.
impl Module for Network {
    fn forward(&self, x: &Tensor, cx: &Context) -> striate_tensor::Result<Tensor> {
        self.forward_with(x, cx).map_err(Error::into_tensor_error)
    }

    fn parameters<'a>(&'a self, visit: &mut Visitor<'a>) {
        for (info, tensor) in self.layout.parameters.iter().zip(&self.parameters) {
            visit.parameter(&info.name, tensor);
        }
        for (info, buffer) in self.layout.buffers.iter().zip(&self.buffers) {
            visit.buffer(&info.name, buffer);
        }
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut VisitorMut<'a>) {
        // Whoever has these may change them: what was computed of them is out of date.
        self.plans.forget_prepared();
        if self.integers.take().is_some() {
            self.plans = Plans::default();
        }
        for (info, tensor) in self.layout.parameters.iter().zip(&mut self.parameters) {
            visit.parameter(&info.name, tensor);
        }
        for (info, buffer) in self.layout.buffers.iter().zip(&mut self.buffers) {
            visit.buffer(&info.name, buffer);
        }
    }
}
