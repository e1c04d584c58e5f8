//! Batch norms that become part of the convolutions before them, for good: for networks that train no
//! more. Running folds them anyway, each time; a file is smaller without them, and stays exact where its
//! weights are rounded.

use striate_tensor::{HostTensor, HostValues, Tensor};

use super::Network;
use crate::parameters::Role;
use crate::spec::{INPUT, Inputs, LayerSpec, Node};
use crate::{BatchNormSpec, Error, NetworkSpec, Result};

/// What becomes of the nodes.
struct Folding {
    /// For each node, the batch norm that becomes part of it.
    norm: Vec<Option<(usize, BatchNormSpec)>>,
    /// For each node, the one in whose place it stands then: itself, or the convolution before.
    stands_for: Vec<usize>,
}

impl Network {
    /// The same function with fewer layers: each batch norm that alone sees a convolution becomes part of
    /// its weights and biases, by its running statistics. Other batch norms stay. Weights are f32, and
    /// [levels](Network::with_levels) go where anything was folded.
    ///
    /// # Errors
    /// [`Error::Op`] where a device fails.
    pub fn fold_batch_norms(&self) -> Result<Network> {
        let folding = Folding::of(&self.spec)?;
        if folding.norm.iter().all(Option::is_none) {
            return Ok(self.clone());
        }
        let (spec, kept) = folding.spec(&self.spec)?;
        let (mut parameters, mut buffers) = (Vec::new(), Vec::new());
        for shape in spec.shapes()? {
            let old = kept[shape.layer];
            let failed = |source| Error::op(&self.spec, old, source);
            let folded = match folding.norm[old] {
                Some((norm, of)) => Some(self.folded(old, norm, of)?),
                None => None,
            };
            for info in &shape.parameters {
                let tensor = match (&folded, info.role) {
                    (Some([weight, _]), Role::Weight) => weight.clone(),
                    (Some([_, bias]), Role::Bias) => bias.clone(),
                    (_, role) => {
                        let id = self.parameter_id(old, role).ok_or_else(|| {
                            Error::layer(&self.spec, old, info.name.clone(), "none")
                        })?;
                        self.parameters[id.index()].clone()
                    }
                };
                parameters.push(tensor.reshape(info.shape).map_err(failed)?);
            }
            let own = self.layout.buffers.iter().zip(&self.buffers);
            buffers
                .extend(own.filter(|(info, _)| info.layer == old).map(|(_, b)| b.value().clone()));
        }
        let network = Network::of(spec, parameters, buffers, &self.device)?;
        let (mean, metadata) = (self.mean.clone(), self.metadata.clone());
        let (algorithm, precision) = (self.algorithm, self.precision);
        Ok(Network { mean, metadata, algorithm, precision, ..network })
    }

    /// The weights and biases of a convolution with a batch norm in them.
    fn folded(&self, conv: usize, norm: usize, of: BatchNormSpec) -> Result<[Tensor; 2]> {
        let failed = |source| Error::op(&self.spec, conv, source);
        let values = |layer, role| {
            let tensor = self.parameter_id(layer, role).map(|id| &self.parameters[id.index()]);
            tensor.map(|tensor| wide(tensor).map_err(failed)).transpose()
        };
        let missing = |what| Error::layer(&self.spec, norm, what, "none");
        let weight = self.parameter_id(conv, Role::Weight).map(|id| &self.parameters[id.index()]);
        let weight = weight.ok_or_else(|| missing("a convolution with weights"))?;
        let bias = values(conv, Role::Bias)?;
        let scale = values(norm, Role::Scale)?.ok_or_else(|| missing("a scale"))?;
        let shift = values(norm, Role::Shift)?.ok_or_else(|| missing("a shift"))?;
        let own = self.layout.buffers.iter().zip(&self.buffers);
        let running = own.filter(|(info, _)| info.layer == norm).map(|(_, b)| b.value()).next();
        let running = running.ok_or_else(|| missing("running statistics"))?;
        let running = wide(running).map_err(failed)?;
        let channels = scale.len();
        let (mean, variance) = running.split_at(channels);

        let mut weights = wide(weight).map_err(failed)?;
        let mut biases = Vec::with_capacity(channels);
        let row = (weights.len() / channels.max(1)).max(1);
        for (channel, weights) in weights.chunks_exact_mut(row).enumerate() {
            let factor = scale[channel] / (variance[channel] + f64::from(of.epsilon)).sqrt();
            weights.iter_mut().for_each(|weight| *weight *= factor);
            let before = bias.as_ref().map_or(0.0, |bias| bias[channel]);
            biases.push(((before - mean[channel]) * factor + shift[channel]) as f32);
        }
        let narrow: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
        let weight = Tensor::from_vec(narrow, *weight.shape(), &self.device).map_err(failed)?;
        Ok([weight, Tensor::from_vec(biases, [channels], &self.device).map_err(failed)?])
    }
}

impl Folding {
    fn of(spec: &NetworkSpec) -> Result<Self> {
        let sources = spec.sources()?;
        let mut readers = vec![0usize; spec.nodes.len()];
        for input in sources.iter().flatten().flatten() {
            readers[*input] += 1;
        }
        for output in &spec.auxiliary {
            if let Some(node) = spec.node(&output.node) {
                readers[node] += 1;
            }
        }
        let mut norm = vec![None; spec.nodes.len()];
        let mut stands_for: Vec<usize> = (0..spec.nodes.len()).collect();
        for (place, (node, inputs)) in spec.nodes.iter().zip(&sources).enumerate() {
            let (LayerSpec::BatchNorm(of), &[Some(before)]) = (&node.layer, &inputs[..]) else {
                continue;
            };
            let is_linear = matches!(spec.nodes[before].layer, LayerSpec::Conv(conv) if !conv.relu);
            if is_linear && readers[before] == 1 && norm[before].is_none() {
                norm[before] = Some((place, *of));
                stands_for[place] = before;
            }
        }
        Ok(Folding { norm, stands_for })
    }

    /// The nodes that stay, and for each which one it was.
    fn spec(&self, old: &NetworkSpec) -> Result<(NetworkSpec, Vec<usize>)> {
        let sources = old.sources()?;
        let kept: Vec<usize> =
            (0..old.nodes.len()).filter(|place| self.stands_for[*place] == *place).collect();
        let new_place = |place: usize| kept.iter().position(|kept| *kept == self.stands_for[place]);
        let name_of = |place: usize| match &*old.nodes[self.stands_for[place]].name {
            "" => new_place(place).unwrap_or_default().to_string(),
            name => name.to_owned(),
        };
        let nodes = kept.iter().enumerate().map(|(place, &was)| {
            let Node { name, mut layer, .. } = old.nodes[was].clone();
            if let (LayerSpec::Conv(conv), Some(_)) = (&mut layer, self.norm[was]) {
                conv.bias = true;
            }
            let follows = match sources[was][..] {
                [None] => place == 0,
                [Some(before)] => new_place(before).is_some_and(|before| before + 1 == place),
                _ => false,
            };
            let inputs = match follows {
                true => Inputs::Previous,
                false => {
                    let seen = sources[was].iter();
                    Inputs::Of(seen.map(|seen| seen.map_or(INPUT.into(), name_of)).collect())
                }
            };
            Node { name, layer, inputs }
        });
        let mut spec = NetworkSpec { nodes: nodes.collect(), head: None, ..old.clone() };
        for output in &mut spec.auxiliary {
            if let Some(place) = old.node(&output.node) {
                output.node = name_of(place);
            }
        }
        Ok((spec, kept))
    }
}

/// The values in double precision.
fn wide(tensor: &Tensor) -> striate_tensor::Result<Vec<f64>> {
    let host: HostTensor = tensor.to_host()?;
    Ok(match host.values() {
        HostValues::F16(values) => values.iter().map(|value| value.to_f64()).collect(),
        HostValues::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        _ => Vec::new(),
    })
}
