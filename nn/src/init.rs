//! Fresh weights.

use striate_tensor::{DType, Device, RandomKey, Shape, Tensor};

use crate::parameters::Layout;
use crate::{Error, Init, Network, NetworkSpec, Result};

/// What the random numbers of a run start from: the same seed gives the same weights on every
/// device.
///
/// ```
/// use striate_nn::{NetworkSpec, Seed};
/// use striate_tensor::{Device, Reference};
///
/// let device = Device::new(Reference::new());
/// let spec = NetworkSpec::new([4, 4, 1]).full_connect(2);
/// let [a, b] = [spec.build(&device, Seed(7))?, spec.build(&device, Seed(7))?];
/// assert_eq!(a.parameters()[0].to_vec::<f32>()?, b.parameters()[0].to_vec::<f32>()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);

/// The streams of a seed from here on are for initial weights, one a layer, so that nothing else
/// drawn from the seed repeats them. ("INIT" in ASCII.)
const INIT_STREAMS: u64 = 0x494e_4954 << 32;

impl Seed {
    /// The random sequence of the initial weights of layer (or parameter) `index`.
    pub fn init_key(self, index: usize) -> RandomKey {
        RandomKey::new(self.0, INIT_STREAMS + index as u64)
    }
}

/// How fresh weights are drawn. `fan in` is the number of products that an output sums, `fan out`
/// the number of outputs that an input goes to (as PyTorch counts: outputs times kernel cells).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Initializer {
    /// Uniform in `±gain / √(fan in + count)`, `count` the outputs: what ccv does.
    Ccv {
        /// The factor; √2 in all of ccv's networks.
        gain: f32,
    },
    /// Uniform in `±√(6 / fan in)` (He et al. 2015): variance 2 / fan in, for layers with ReLU.
    KaimingUniform,
    /// Normal of deviation `√(2 / fan in)` (He et al. 2015).
    KaimingNormal,
    /// Uniform in `±√(6 / (fan in + fan out))` (Glorot and Bengio 2010).
    XavierUniform,
    /// Normal of deviation `√(2 / (fan in + fan out))` (Glorot and Bengio 2010).
    XavierNormal,
}

impl From<Init> for Initializer {
    fn from(init: Init) -> Self {
        Initializer::Ccv { gain: init.gain }
    }
}

impl Initializer {
    /// Fresh weights `[out, kernel rows, kernel cols, channels / groups]` or `[out, in]`, f32.
    ///
    /// # Errors
    /// Where the shape has no axes or no elements to sum, the gain is not finite, or the device
    /// fails.
    pub fn weights(
        self,
        shape: &Shape,
        key: RandomKey,
        device: &Device,
    ) -> striate_tensor::Result<Tensor> {
        let [_, count, fan_in] = shape.around(0, "initial weights")?;
        if fan_in == 0 {
            let expected = "weights that an output sums";
            return Err(striate_tensor::Error::shape("init", expected, shape));
        }
        // In double precision: ccv's range is this, rounded once.
        let (count, fan_in) = (count as f64, fan_in as f64);
        let per_group = shape.dims().last().map_or(1.0, |&channels| channels as f64);
        let fan_out = count * fan_in / per_group;
        match self {
            Initializer::Ccv { gain } => {
                let bound = (f64::from(gain.abs()) / (fan_in + count).sqrt()) as f32;
                Tensor::uniform(*shape, -bound, bound, key, device)
            }
            Initializer::KaimingUniform => {
                let bound = (6.0 / fan_in).sqrt() as f32;
                Tensor::uniform(*shape, -bound, bound, key, device)
            }
            Initializer::KaimingNormal => {
                Tensor::normal(*shape, 0.0, (2.0 / fan_in).sqrt() as f32, key, device)
            }
            Initializer::XavierUniform => {
                let bound = (6.0 / (fan_in + fan_out)).sqrt() as f32;
                Tensor::uniform(*shape, -bound, bound, key, device)
            }
            Initializer::XavierNormal => {
                let deviation = (2.0 / (fan_in + fan_out)).sqrt() as f32;
                Tensor::normal(*shape, 0.0, deviation, key, device)
            }
        }
    }
}

/// What a fresh parameter is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fresh {
    /// Drawn at random.
    Weights(Initializer),
    /// One number everywhere.
    Constant(f32),
}

impl NetworkSpec {
    /// The network with fresh weights, as ccv draws them: uniform in `±gain / √(fan in + count)`,
    /// biases constant, each layer from its own [`Init`]. Normalization starts with a scale of 1, a
    /// shift of 0, and running statistics of mean 0 and variance 1. Single precision.
    ///
    /// # Errors
    /// As [`shapes`](NetworkSpec::shapes) where the layers do not fit each other;
    /// [`Error::Op`] where the device has no memory or fails.
    pub fn build(&self, device: &Device, seed: Seed) -> Result<Network> {
        let (_, layout) = self.layout()?;
        let mut parameters = Vec::with_capacity(layout.parameters.len());
        for parameter in &layout.parameters {
            let fresh = match parameter.fresh {
                Fresh::Constant(value) => Tensor::full(parameter.shape, value, DType::F32, device),
                Fresh::Weights(initializer) => {
                    initializer.weights(&parameter.shape, seed.init_key(parameter.layer), device)
                }
            };
            parameters.push(fresh.map_err(|source| Error::op(self, parameter.layer, source))?);
        }
        Network::of(self.clone(), parameters, layout.fresh_buffers(device)?, device)
    }
}

impl Layout {
    /// The buffers of a network that nobody has trained.
    pub(crate) fn fresh_buffers(&self, device: &Device) -> Result<Vec<Tensor>> {
        let fresh = self.buffers.iter().map(|buffer| {
            let rows = buffer.fresh.len().max(1);
            let row = |value: &f32| std::iter::repeat_n(*value, buffer.shape.count() / rows);
            let values: Vec<f32> = buffer.fresh.iter().flat_map(row).collect();
            Ok(Tensor::from_vec(values, buffer.shape, device)?)
        });
        fresh.collect()
    }
}
