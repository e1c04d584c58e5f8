//! Batch norms and layer scales that become part of the convolutions before them, for good: for networks
//! that train no more. Running folds them anyway, each time; a file is smaller without them, and stays
//! exact where its weights are rounded.

use striate_tensor::{HostTensor, HostValues, Shape, Tensor};

use super::Network;
use crate::parameters::Role;
use crate::spec::{INPUT, Inputs, LayerSpec, Node};
use crate::{BatchNormSpec, Error, NetworkSpec, Result};

/// A layer that becomes part of the one before.
#[derive(Clone, Copy)]
enum Folded {
    Norm(BatchNormSpec),
    /// A layer scale.
    Scale,
}

/// What becomes of the nodes.
struct Folding {
    /// For each node, the layer that becomes part of it.
    after: Vec<Option<(usize, Folded)>>,
    /// For each node, the one in whose place it stands then: itself, or the convolution before.
    stands_for: Vec<usize>,
}

impl Network {
    /// The same function with fewer layers: each batch norm that alone sees a convolution becomes part of
    /// its weights and biases, by its running statistics. So does a layer scale. Others stay. Weights are f32, and
    /// [levels](Network::with_levels) go where anything was folded.
    ///
    /// # Errors
    /// [`Error::Op`] where a device fails.
    pub fn fold_batch_norms(&self) -> Result<Network> {
        let folding = Folding::of(&self.spec)?;
        if folding.after.iter().all(Option::is_none) {
            return Ok(self.clone());
        }
        let (spec, kept) = folding.spec(&self.spec)?;
        let (mut parameters, mut buffers) = (Vec::new(), Vec::new());
        for shape in spec.shapes()? {
            let old = kept[shape.layer];
            let failed = |source| Error::op(&self.spec, old, source);
            let folded = match folding.after[old] {
                Some((after, of)) => Some(self.folded(old, after, of)?),
                None => None,
            };
            for info in &shape.parameters {
                let tensor = match (&folded, info.role) {
                    (Some((weight, _)), Role::Weight) => weight.clone(),
                    (Some((_, Some(bias))), Role::Bias) => bias.clone(),
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

    /// The weights and biases of a convolution with the layer after it in them.
    fn folded(&self, conv: usize, after: usize, of: Folded) -> Result<(Tensor, Option<Tensor>)> {
        let failed = |source| Error::op(&self.spec, conv, source);
        let values = |layer, role| {
            let tensor = self.parameter_id(layer, role).map(|id| &self.parameters[id.index()]);
            tensor.map(|tensor| wide(tensor).map_err(failed)).transpose()
        };
        let missing = |what| Error::layer(&self.spec, after, what, "none");
        let weight = self.parameter_id(conv, Role::Weight).map(|id| &self.parameters[id.index()]);
        let weight = weight.ok_or_else(|| missing("a convolution with weights"))?;
        let bias = values(conv, Role::Bias)?;
        let scale = values(after, Role::Scale)?.ok_or_else(|| missing("a scale"))?;
        let channels = scale.len();
        let (factors, biases) = match of {
            Folded::Scale => {
                let times = |bias: Vec<f64>| bias.iter().zip(&scale).map(|(b, s)| b * s).collect();
                let biases: Option<Vec<f64>> = bias.map(times);
                (scale, biases)
            }
            Folded::Norm(norm) => {
                let shift = values(after, Role::Shift)?.ok_or_else(|| missing("a shift"))?;
                let own = self.layout.buffers.iter().zip(&self.buffers);
                let running =
                    own.filter(|(info, _)| info.layer == after).map(|(_, b)| b.value()).next();
                let running = running.ok_or_else(|| missing("running statistics"))?;
                let running = wide(running).map_err(failed)?;
                let (mean, variance) = running.split_at(channels);
                let deviation = |variance: &f64| (variance + f64::from(norm.epsilon)).sqrt();
                let factors: Vec<f64> =
                    scale.iter().zip(variance).map(|(s, v)| s / deviation(v)).collect();
                let biases = (0..channels).map(|channel| {
                    let before = bias.as_ref().map_or(0.0, |bias| bias[channel]);
                    (before - mean[channel]) * factors[channel] + shift[channel]
                });
                let biases = Some(biases.collect());
                (factors, biases)
            }
        };

        let mut weights = wide(weight).map_err(failed)?;
        let row = (weights.len() / channels.max(1)).max(1);
        for (weights, factor) in weights.chunks_exact_mut(row).zip(factors) {
            weights.iter_mut().for_each(|weight| *weight *= factor);
        }
        let tensor = |values: Vec<f64>, shape: Shape| {
            let narrow: Vec<f32> = values.iter().map(|value| *value as f32).collect();
            Tensor::from_vec(narrow, shape, &self.device).map_err(failed)
        };
        let biases = match biases {
            Some(biases) => Some(tensor(biases, Shape::new(&[channels]).map_err(failed)?)?),
            None => None,
        };
        Ok((tensor(weights, *weight.shape())?, biases))
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
        let mut after = vec![None; spec.nodes.len()];
        let mut stands_for: Vec<usize> = (0..spec.nodes.len()).collect();
        for (place, (node, inputs)) in spec.nodes.iter().zip(&sources).enumerate() {
            let of = match &node.layer {
                LayerSpec::BatchNorm(of) => Folded::Norm(*of),
                LayerSpec::Scale(_) => Folded::Scale,
                _ => continue,
            };
            let &[Some(before)] = &inputs[..] else { continue };
            let is_linear = matches!(spec.nodes[before].layer, LayerSpec::Conv(conv) if !conv.relu);
            if is_linear && readers[before] == 1 && after[before].is_none() {
                after[before] = Some((place, of));
                stands_for[place] = before;
            }
        }
        Ok(Folding { after, stands_for })
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
            if let (LayerSpec::Conv(conv), Some((_, Folded::Norm(_)))) =
                (&mut layer, self.after[was])
            {
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
