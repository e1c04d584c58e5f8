//! Networks that compute with integers of 8 bits, and what they round to.

use std::collections::BTreeMap;

use striate_graph::passes::{Int8Weights, weights_of};
use striate_graph::{Node, ParameterId, Source, Value};
use striate_tensor::ops::{Conv2d, Conv2dInt8, Levels, int8_weights};
use striate_tensor::{DType, Shape, Tensor, TensorType};

use super::{Network, Plans};
use crate::{Error, Result};

/// The integers of a network: for each parameter what its layer's input is rounded to, and its weights where
/// the device computes with them.
#[derive(Clone, Debug, Default)]
pub(super) struct Integers {
    pub(super) levels: BTreeMap<ParameterId, Levels>,
    pub(super) weights: BTreeMap<ParameterId, Int8Weights>,
}

impl Network {
    /// With convolutions and full-connect layers that compute with integers of 8 bits in inference: for their
    /// weights, the levels that their input is rounded to ([`Calibration`] finds them). Weights are rounded
    /// to 255 integers, with a scale for each output; the f32 ones stay beside them. None of an empty map.
    ///
    /// Where a device has no kernels for them, as GPUs, the network runs in f32. Grouped convolutions do so
    /// everywhere, and so does a convolution before a batch norm that is not [folded](Network::fold_batch_norms).
    /// A network with levels is not trained.
    ///
    /// # Errors
    /// [`Error::Network`] where there is no such parameter, or it is no weight; [`Error::Op`] where weights
    /// are not finite, or the device fails; [`Error::Tensor`] where levels have no proper scale.
    pub fn with_levels(self, levels: BTreeMap<ParameterId, Levels>) -> Result<Network> {
        let mut weights = BTreeMap::new();
        for (&id, &levels) in &levels {
            let known = self.layout.parameters.get(id.index()).zip(self.parameters.get(id.index()));
            let Some((info, tensor)) = known.filter(|(info, _)| info.role == crate::Role::Weight)
            else {
                let expected = "levels for weights of the network";
                return Err(Error::network(expected, format!("for parameter {}", id.index())));
            };
            levels.check("levels")?;
            let failed = |source| Error::op(&self.spec, info.layer, source);
            if self.has_integers() {
                let [weights_of, scales] = rounded(tensor).map_err(failed)?;
                weights.insert(id, Int8Weights { weights: weights_of, scales, levels });
            }
        }
        let integers = (!levels.is_empty()).then(|| Integers { levels, weights }.into());
        Ok(Network { integers, plans: Plans::default(), ..self })
    }

    /// The [levels](Network::with_levels) that layers round their input to, by their weights; nothing for a
    /// network of floats.
    pub fn levels(&self) -> BTreeMap<ParameterId, Levels> {
        self.integers.as_ref().map(|integers| integers.levels.clone()).unwrap_or_default()
    }

    /// Whether it computes with integers of 8 bits, where the device can.
    pub fn is_quantized(&self) -> bool {
        self.integers.is_some()
    }

    /// Whether its device has kernels for integers.
    fn has_integers(&self) -> bool {
        let pixel = |dtype| Shape::new(&[1, 1, 1, 1]).map(|shape| TensorType::new(shape, dtype));
        let scales = Shape::new(&[1]).map(TensorType::f32);
        let (Ok(x), Ok(weights), Ok(scales)) = (pixel(DType::F32), pixel(DType::I8), scales) else {
            return false;
        };
        let op = Conv2dInt8 { conv: Conv2d::default(), levels: Levels { scale: 1.0, zero: 0 } };
        self.device.backend().supports(&op.into(), &[x, weights, scales])
    }
}

/// Weights `[out, …]` as integers, and the scale of each output.
fn rounded(weights: &Tensor) -> striate_tensor::Result<[Tensor; 2]> {
    let values = weights.cast(DType::F32)?.to_vec::<f32>()?;
    if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
        let got = bad.to_string();
        return Err(striate_tensor::Error::parameter("levels", "weights", "finite ones", got));
    }
    let outputs = weights.dims().first().copied().unwrap_or(1);
    let (integers, scales) = int8_weights(&values, outputs);
    let (device, shape) = (weights.device(), *weights.shape());
    Ok([Tensor::from_vec(integers, shape, device)?, Tensor::from_vec(scales, [outputs], device)?])
}

/// Finds what layers should round their input to, by looking at what they see in f32.
///
/// ```
/// use striate_nn::{Calibration, NetworkSpec, Seed, conv2d};
/// use striate_tensor::{Device, Reference, Tensor};
///
/// # fn main() -> striate_nn::Result<()> {
/// let device = Device::new(Reference::new());
/// let spec = NetworkSpec::new([4, 4, 3]).conv(conv2d(2, 3)).relu().full_connect(2);
/// let network = spec.build(&device, Seed(1))?;
/// let mut calibration = Calibration::new(&network, 1.0)?;
/// calibration.observe(&Tensor::ones([1, 4, 4, 3], &device)?)?;
/// let levels = calibration.finish();
/// assert_eq!(levels.len(), 2);
/// assert!(network.with_levels(levels)?.is_quantized());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Calibration<'a> {
    network: &'a Network,
    fraction: f64,
    /// The lowest and the highest number that each layer sees.
    ranges: BTreeMap<ParameterId, [f32; 2]>,
}

impl<'a> Calibration<'a> {
    /// For a network of floats. In each batch, this fraction of the numbers that a layer sees lies within
    /// its range; above 0.5, up to 1. Those beyond are clipped for the sake of all others.
    ///
    /// # Errors
    /// [`Error::Network`] where the fraction is none, or the network has levels already.
    pub fn new(network: &'a Network, fraction: f64) -> Result<Self> {
        if !(fraction > 0.5 && fraction <= 1.0) {
            return Err(Error::network("a fraction above 0.5, up to 1", fraction.to_string()));
        }
        if network.is_quantized() {
            return Err(Error::network("a network of floats", "one of integers of 8 bits"));
        }
        Ok(Calibration { network, fraction, ranges: BTreeMap::new() })
    }

    /// Runs the network in f32 on images `[n, rows, cols, channels]` of its own size, sees what each layer
    /// sees, and gives the network's outputs.
    ///
    /// # Errors
    /// As [`Network::forward`]; [`Error::Network`] where a layer sees what is not finite.
    pub fn observe(&mut self, x: &Tensor) -> Result<Tensor> {
        let plan = self.network.plan(x.dims().first().copied().unwrap_or(0))?;
        let graph = plan.graph();
        let mut seen: BTreeMap<Value, Vec<ParameterId>> = BTreeMap::new();
        for node in graph.nodes() {
            if let (Some(id), Some(&input)) = (weights_of(graph, node), node.inputs.first()) {
                seen.entry(input).or_default().push(id);
            }
        }
        let inputs: Vec<Value> = seen.keys().copied().collect();
        for input in inputs {
            if let Source::Input(_) = graph.source(input) {
                let readers = seen.remove(&input).unwrap_or_default();
                self.widen(&readers, x)?;
            }
        }
        let network = self.network;
        network.forward_observed(x, |node: &Node, output: &Tensor| match seen.get(&node.output) {
            Some(readers) => self.widen(readers, output),
            None => Ok(()),
        })
    }

    /// What was found: levels for the weights of each layer.
    pub fn finish(self) -> BTreeMap<ParameterId, Levels> {
        let levels = |[low, high]: [f32; 2]| Levels::of_range(low, high);
        self.ranges.into_iter().map(|(id, range)| (id, levels(range))).collect()
    }

    fn widen(&mut self, readers: &[ParameterId], seen: &Tensor) -> Result<()> {
        let mut values = seen.cast(DType::F32)?.to_vec::<f32>()?;
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::network("finite numbers before each layer", bad.to_string()));
        }
        if values.is_empty() {
            return Ok(());
        }
        let beyond = ((1.0 - self.fraction) / 2.0 * values.len() as f64) as usize;
        let last = values.len() - 1;
        let mut at = |place: usize| *values.select_nth_unstable_by(place, f32::total_cmp).1;
        let (low, high) = (at(beyond), at(last - beyond));
        for reader in readers {
            let range = self.ranges.entry(*reader).or_insert([low, high]);
            *range = [range[0].min(low), range[1].max(high)];
        }
        Ok(())
    }
}
