//! Networks of torchvision in ours: what each tensor of a state dict is here, and in which order; and
//! weights that follow a formula, so that only names and shapes need to be recorded.
//!
//! The formula: of a name and an index, `h` is FNV-1a (64 bits) of the name, xor the seed; `z` is the
//! output function of splitmix64 for `h + (index + 1) · 0x9E3779B97F4A7C15`; `u` is
//! `(z >> 40) / 2^23 - 1`. Indices are row-major in PyTorch's shapes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use striate::importers::torch::{ElementOrder, StateSlot, StateTensor, state_dict};
use striate::nn::{LayerSpec, Network, NetworkSpec};
use striate::prelude::*;

/// Numbers in `[-1, 1)` that belong to a name, from index 0.
pub(crate) fn numbers(name: &str, seed: u64) -> impl Iterator<Item = f64> + use<> {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut state = hash ^ seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

/// A tensor of a state dict: name, shape and kind.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listed(pub(crate) String, pub(crate) Vec<usize>, pub(crate) String);

/// What is recorded of a network beside its logits.
#[derive(Debug, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) seed: u64,
    /// Rows and cols of the images.
    pub(crate) size: usize,
    /// The state dict, in its order.
    pub(crate) parameters: Vec<Listed>,
    /// Mean and variance that the running statistics of a layer lie around.
    batch_norm: BTreeMap<String, [f64; 2]>,
}

impl Recorded {
    /// A tensor's values, by the formula for its kind.
    pub(crate) fn values(&self, Listed(name, shape, kind): &Listed) -> Vec<f32> {
        let owner = name.rsplit_once('.').unwrap().0;
        let [mean, variance] = self.batch_norm.get(owner).copied().unwrap_or([0.0, 1.0]);
        let fan_in = shape.iter().skip(1).product::<usize>() as f64;
        let scale = 2.0f64.sqrt() * (3.0 / fan_in).sqrt();
        let value = |u: f64| match kind.as_str() {
            "weight" => scale * u,
            "norm_weight" => 1.0 + 0.25 * u,
            "norm_bias" => 0.25 * u,
            "layer_scale" => 0.2 + 0.1 * u,
            "bias" => 0.1 * u,
            "running_mean" => mean + 0.25 * variance.sqrt() * u,
            "running_var" => variance * (1.0 + 0.5 * u),
            kind => panic!("{name}: values of kind {kind} are not known"),
        };
        let count = shape.iter().product();
        numbers(name, self.seed).take(count).map(|u| value(u) as f32).collect()
    }

    /// So many images by the formula, `[n, size, size, 3]`.
    pub(crate) fn images(&self, count: usize, size: usize, device: &Device) -> Tensor {
        let order = ElementOrder { channels: 3, spatial: size * size };
        let torch: Vec<f32> =
            numbers("input", self.seed).take(count * size * size * 3).map(|u| u as f32).collect();
        let ours = (0..torch.len()).map(|ours| torch[order.in_torch(ours)]);
        Tensor::from_vec(ours.collect(), [count, size, size, 3], device).unwrap()
    }

    /// The network with weights by the formula, and where each tensor of the state dict is in it.
    pub(crate) fn network(&self, spec: NetworkSpec, device: &Device) -> (Network, Vec<Held>) {
        let held = held(&spec, &self.parameters);
        let shapes = spec.shapes().unwrap();
        let parameters: Vec<_> = shapes.iter().flat_map(|shape| &shape.parameters).collect();
        let mut buffers: Vec<Vec<f32>> = shapes
            .iter()
            .flat_map(|shape| &shape.buffers)
            .map(|buffer| vec![0.0; buffer.shape.count()])
            .collect();
        let mut tensors = vec![None; parameters.len()];
        for one in &held {
            let values = one.to_ours(&self.values(&one.torch));
            match one.tensor.slot {
                StateSlot::Parameter(id) => {
                    let tensor = Tensor::from_vec(values, parameters[id.index()].shape, device);
                    tensors[id.index()] = Some(tensor.unwrap());
                }
                StateSlot::Buffer { buffer, row } => {
                    let channels = values.len();
                    buffers[buffer][row * channels..][..channels].copy_from_slice(&values);
                }
            }
        }
        let tensors = tensors.into_iter().zip(&parameters).map(|(tensor, info)| {
            tensor.unwrap_or_else(|| panic!("{} is not in the state dict", info.name))
        });
        let buffers = buffers.into_iter().map(|values| {
            let channels = values.len() / 2;
            Tensor::from_vec(values, [2, channels], device).unwrap()
        });
        let network = Network::of(spec, tensors.collect(), buffers.collect(), device).unwrap();
        (network, held)
    }
}

/// A tensor of a state dict that is listed, and what it is in a network of ours.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) torch: Listed,
    pub(crate) tensor: StateTensor,
}

impl Held {
    /// Our elements in PyTorch's order.
    pub(crate) fn to_torch(&self, ours: &[f32]) -> Vec<f32> {
        let order = self.tensor.order;
        (0..ours.len()).map(|torch| ours[order.from_torch(torch)]).collect()
    }

    /// PyTorch's elements in our order.
    fn to_ours(&self, torch: &[f32]) -> Vec<f32> {
        let order = self.tensor.order;
        (0..torch.len()).map(|ours| torch[order.in_torch(ours)]).collect()
    }
}

/// Where each tensor of a state dict is in a network: by its name where our nodes have names, else by
/// its place in the order of layers.
pub(crate) fn held(spec: &NetworkSpec, listed: &[Listed]) -> Vec<Held> {
    let tensors = state_dict(spec).unwrap();
    let by_name = tensors.iter().all(|tensor| !spec.nodes[tensor.layer].name.is_empty());
    let listed: Vec<&Listed> = listed.iter().filter(|Listed(.., kind)| kind != "zero").collect();
    assert_eq!(listed.len(), tensors.len(), "tensors in the state dict, and in {}", spec.name);
    let places: BTreeMap<&str, usize> =
        listed.iter().enumerate().map(|(place, Listed(name, ..))| (name.as_str(), place)).collect();
    let find = |(at, tensor): (usize, StateTensor)| {
        let name = &tensor.name;
        let place = if by_name { places.get(name.as_str()).copied() } else { Some(at) };
        let place = place.unwrap_or_else(|| panic!("{name} is not in the state dict"));
        let torch = listed[place].clone();
        assert!(tensor.fits(&torch.1), "{name} {:?}: {torch:?}", tensor.shape);
        Held { torch, tensor }
    };
    tensors.into_iter().enumerate().map(find).collect()
}

/// A network for square images of another size.
pub(crate) fn sized(mut spec: NetworkSpec, size: usize) -> NetworkSpec {
    (spec.input[0], spec.input[1]) = (size, size);
    spec.with_image([size; 2])
}

/// A network for images of another size, that drops nothing in training.
pub(crate) fn without_dropout(mut spec: NetworkSpec, size: usize) -> NetworkSpec {
    for node in &mut spec.nodes {
        match &mut node.layer {
            LayerSpec::Dropout(dropout) => dropout.rate = 0.0,
            LayerSpec::StochasticDepth(depth) => depth.rate = 0.0,
            LayerSpec::FullConnect(full) => full.dropout = 0.0,
            _ => {}
        }
    }
    sized(spec, size)
}

/// The numbers of a `.npy` file of f64.
pub(crate) fn doubles(path: &Path) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap();
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (header, values) = bytes[10..].split_at(length);
    let header = String::from_utf8_lossy(header);
    assert!(header.contains("'<f8'") && header.contains("'fortran_order': False"), "{header}");
    values.chunks_exact(8).map(|eight| f64::from_le_bytes(eight.try_into().unwrap())).collect()
}
