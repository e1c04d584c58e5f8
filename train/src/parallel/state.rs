//! What rank 0 read of the working file, for the others: they need not see the file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use striate_data::statistics::ColorComponents;
use striate_nn::{Metadata, Network, NetworkSpec, OptimizerState, ParameterId, Seed};
use striate_tensor::{Device, HostTensor, Shape, Tensor};

use super::Exchange;
use crate::checkpoint::Known;
use crate::{Error, History, Position, Result};

/// What a training starts or resumes from.
pub(crate) struct InitialState {
    /// With its mean image and metadata.
    pub(crate) network: Network,
    /// What the optimizer remembers, and averages of the weights.
    pub(crate) state: OptimizerState,
    pub(crate) position: Position,
    pub(crate) history: History,
    pub(crate) colours: Option<ColorComponents>,
    pub(crate) resumed: bool,
    /// In how many shards the mini-batches were cut before.
    pub(crate) shards: usize,
    /// The test samples of before. Only the first rank, who writes the file, needs them.
    pub(crate) tested: Option<Known>,
}

/// All of it but the large arrays, which follow.
#[derive(Serialize, Deserialize)]
struct Header {
    spec: NetworkSpec,
    epoch: u64,
    iteration: u64,
    history: History,
    colours: Option<ColorComponents>,
    metadata: Metadata,
    has_mean: bool,
    steps: u64,
    /// The parameters of which there is state, by what it is.
    state: BTreeMap<String, Vec<u32>>,
    resumed: bool,
    shards: usize,
}

impl InitialState {
    /// Rank 0's, to all.
    pub(crate) fn broadcast(
        own: Option<InitialState>,
        exchange: &Exchange,
        device: &Device,
    ) -> Result<InitialState> {
        let header = own.as_ref().map(Header::of).map(|header| serde_json::to_vec(&header));
        let header = header.transpose().map_err(described)?.unwrap_or_default();
        let header = exchange.broadcast_bytes(header, 0).wait()?;
        let header: Header = serde_json::from_slice(&header).map_err(described)?;
        let spec = &header.spec;
        let network = own.as_ref().map(|own| &own.network);
        let mut network = broadcast_tensors(exchange, &spec.build(device, Seed(0))?, network)?;
        if header.has_mean {
            let [rows, cols] = spec.image;
            let shape = Shape::new(&[rows, cols, spec.input[2]])?;
            let mean = own.as_ref().and_then(|own| own.network.mean());
            network = network.with_mean(broadcast_tensor(exchange, shape, mean, device)?)?;
        }
        let network = network.with_metadata(header.metadata);
        let mut state = OptimizerState { steps: header.steps, ..OptimizerState::default() };
        for (kind, ids) in header.state {
            let known = own.as_ref().and_then(|own| own.state.tensors.get(&kind));
            let mut tensors = BTreeMap::new();
            for id in ids.into_iter().map(ParameterId) {
                let info = network.parameter_infos().get(id.index());
                let Some(shape) = info.map(|info| info.shape) else { return Err(damaged(id.0)) };
                let tensor = known.and_then(|known| known.get(&id));
                tensors.insert(id, broadcast_tensor(exchange, shape, tensor, device)?);
            }
            state.tensors.insert(kind, tensors);
        }
        Ok(InitialState {
            network,
            state,
            position: Position { epoch: header.epoch, iteration: header.iteration },
            history: header.history,
            colours: header.colours,
            resumed: header.resumed,
            shards: header.shards,
            tested: own.and_then(|own| own.tested),
        })
    }
}

impl Header {
    fn of(own: &InitialState) -> Header {
        Header {
            spec: own.network.spec().clone(),
            epoch: own.position.epoch,
            iteration: own.position.iteration,
            history: own.history.clone(),
            colours: own.colours.clone(),
            metadata: own.network.metadata().clone(),
            has_mean: own.network.mean().is_some(),
            steps: own.state.steps,
            state: (own.state.tensors.iter())
                .map(|(kind, tensors)| (kind.clone(), tensors.keys().map(|id| id.0).collect()))
                .collect(),
            resumed: own.resumed,
            shards: own.shards,
        }
    }
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::Exchange { message: format!("the beginning of the training: {what}") }
}

fn described(source: serde_json::Error) -> Error {
    Error::Encode { source }
}

/// Rank 0's weights, to all, in a network like this one.
pub(super) fn broadcast_network(exchange: &Exchange, like: &Network) -> Result<Network> {
    let own = (exchange.rank() == 0).then_some(like);
    broadcast_tensors(exchange, like, own)
}

/// Rank 0's tensors of the parameters that `which` names, to all, which have the same by number; the others
/// stay as they are.
pub(super) fn broadcast_state(
    exchange: &Exchange,
    own: &OptimizerState,
    which: impl Fn(ParameterId) -> bool,
) -> Result<OptimizerState> {
    let mut all = own.clone();
    for tensors in all.tensors.values_mut() {
        for (id, tensor) in tensors {
            if which(*id) {
                let root = (exchange.rank() == 0).then_some(&*tensor);
                *tensor = broadcast_tensor(exchange, *tensor.shape(), root, tensor.device())?;
            }
        }
    }
    Ok(all)
}

/// Rank 0's parameters and buffers, to all, in a network like this one.
fn broadcast_tensors(
    exchange: &Exchange,
    like: &Network,
    own: Option<&Network>,
) -> Result<Network> {
    let device = like.device();
    let mut parameters = Vec::with_capacity(like.parameters().len());
    for (id, info) in like.parameter_infos().iter().enumerate() {
        let own = own.and_then(|own| own.parameters().get(id));
        parameters.push(broadcast_tensor(exchange, info.shape, own, device)?);
    }
    let mut buffers = Vec::with_capacity(like.buffers().len());
    for (id, info) in like.buffer_infos().iter().enumerate() {
        let own = own.and_then(|own| own.buffers().get(id)).map(striate_nn::Buffer::value);
        buffers.push(broadcast_tensor(exchange, info.shape, own, device)?);
    }
    Ok(like.with_tensors(parameters, buffers)?)
}

/// In f32, in which all training is.
fn broadcast_tensor(
    exchange: &Exchange,
    shape: Shape,
    own: Option<&Tensor>,
    device: &Device,
) -> Result<Tensor> {
    let values = match own {
        Some(own) => own.cast(striate_tensor::DType::F32)?.to_vec::<f32>()?,
        None => vec![0.0; shape.count()],
    };
    let values = exchange.broadcast(values, 0).wait()?;
    Ok(Tensor::from_host(HostTensor::new(shape, values)?, device)?)
}
