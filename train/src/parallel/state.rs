//! What rank 0 read of the working file, for the others: they need not see the file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use striate_data::statistics::ColorComponents;
use striate_nn::{LayerParameters, Metadata, Network, NetworkSpec};
use striate_tensor::{Device, HostTensor, Shape, Tensor};

use super::Exchange;
use crate::checkpoint::Known;
use crate::{Error, History, Position, Result};

/// Where a training begins, or goes on.
pub(crate) struct Beginning {
    /// With its mean image and metadata.
    pub(crate) network: Network,
    pub(crate) velocities: BTreeMap<String, Tensor>,
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
    velocities: Vec<String>,
    resumed: bool,
    shards: usize,
}

impl Beginning {
    /// Rank 0's, to all.
    pub(crate) fn broadcast(
        own: Option<Beginning>,
        exchange: &Exchange,
        device: &Device,
    ) -> Result<Beginning> {
        let header = own.as_ref().map(Header::of).map(|header| serde_json::to_vec(&header));
        let header = header.transpose().map_err(described)?.unwrap_or_default();
        let header = exchange.broadcast_bytes(header, 0).wait()?;
        let header: Header = serde_json::from_slice(&header).map_err(described)?;
        let spec = &header.spec;
        let network = own.as_ref().map(|own| &own.network);
        let parameters = broadcast_parameters(exchange, spec, network, device)?;
        let mut network = Network::new(spec.clone(), parameters, device)?;
        if header.has_mean {
            let [rows, cols] = spec.image;
            let shape = Shape::new(&[rows, cols, spec.input[2]])?;
            let mean = own.as_ref().and_then(|own| own.network.mean());
            network = network.with_mean(broadcast_tensor(exchange, shape, mean, device)?)?;
        }
        let network = network.with_metadata(header.metadata);
        let mut velocities = BTreeMap::new();
        for name in header.velocities {
            let shape = striate_nn::named_parameters(&network)
                .into_iter()
                .find_map(|(known, tensor)| (known == name).then_some(*tensor.shape()));
            let Some(shape) = shape else { return Err(damaged(&name)) };
            let velocity = own.as_ref().and_then(|own| own.velocities.get(&name));
            velocities.insert(name, broadcast_tensor(exchange, shape, velocity, device)?);
        }
        Ok(Beginning {
            network,
            velocities,
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
    fn of(own: &Beginning) -> Header {
        Header {
            spec: own.network.spec().clone(),
            epoch: own.position.epoch,
            iteration: own.position.iteration,
            history: own.history.clone(),
            colours: own.colours.clone(),
            metadata: own.network.metadata().clone(),
            has_mean: own.network.mean().is_some(),
            velocities: own.velocities.keys().cloned().collect(),
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
    let parameters = broadcast_parameters(exchange, like.spec(), own, like.device())?;
    with_parameters(like, parameters)
}

/// The same network with other weights.
pub(super) fn with_parameters(
    like: &Network,
    parameters: Vec<Option<LayerParameters>>,
) -> Result<Network> {
    let network = Network::new(like.spec().clone(), parameters, like.device())?
        .with_metadata(like.metadata().clone());
    Ok(match like.mean() {
        Some(mean) => network.with_mean(mean.clone())?,
        None => network,
    })
}

/// Rank 0's tensors, to all, which have the same by name.
pub(super) fn broadcast_named(
    exchange: &Exchange,
    own: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    let broadcast = |(name, tensor): (&String, &Tensor)| {
        let root = (exchange.rank() == 0).then_some(tensor);
        let tensor = broadcast_tensor(exchange, *tensor.shape(), root, tensor.device())?;
        Ok((name.clone(), tensor))
    };
    own.iter().map(broadcast).collect()
}

fn broadcast_parameters(
    exchange: &Exchange,
    spec: &NetworkSpec,
    own: Option<&Network>,
    device: &Device,
) -> Result<Vec<Option<LayerParameters>>> {
    let mut all = Vec::new();
    for (layer, shape) in spec.shapes()?.into_iter().enumerate() {
        let (Some(weight), Some(bias)) = (shape.weight, shape.bias) else {
            all.push(None);
            continue;
        };
        let own = own.and_then(|own| own.parameters()[layer].as_ref());
        let weight = broadcast_tensor(exchange, weight, own.map(|own| &own.weight), device)?;
        let bias = broadcast_tensor(exchange, bias, own.map(|own| &own.bias), device)?;
        all.push(Some(LayerParameters { weight, bias }));
    }
    Ok(all)
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
