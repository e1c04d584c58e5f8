//! A training in ccv's model file.
//!
//! ccv's tables hold the network, the velocities and the position; what ccv never stored (options,
//! seed, curves) is in a table of ours beside them.
//!
//! ccv's training weights are ours divided by `1 - dropout rate`, and so are its velocities. They
//! are stored as it has them where that costs no bit (a rate of 0.5, the only one that its own
//! program uses), as ours otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use striate_importers::ccv::{self, TrainingState};
use striate_nn::{LayerParameters, LayerSpec, Network, OptimizerState, ParameterId, Role};
use striate_tensor::{Device, HostTensor, Tensor};

use super::{NOTES, Position, Saved, Snapshot, notes, texts};
use crate::Result;

/// What a working file holds: the network alone where nobody has trained in it.
pub(super) fn read(path: &Path, device: &Device) -> Result<(Network, Option<Saved>)> {
    let ccv::Checkpoint { network, state } = ccv::read_checkpoint(path, device)?;
    let Some(state) = state else { return Ok((network, None)) };
    let network = with_exact(network, state.exact, device)?;
    let mut velocities = BTreeMap::new();
    let scales = stored_scales(&network);
    for (layer, stored) in state.velocities.into_iter().enumerate() {
        if let (Some(stored), Some([weight_id, bias_id])) = (stored, pair(&network, layer)) {
            let LayerParameters { weight, bias } = scaled(&stored, scales[layer].recip())?;
            velocities.insert(weight_id, weight);
            velocities.insert(bias_id, bias);
        }
    }
    let notes = state.notes.get(NOTES).map(|text| notes(path, text, &state.notes)).transpose()?;
    let position = Position { epoch: state.epoch, iteration: state.iteration };
    let colour = state.colour;
    let state = OptimizerState::of_velocities(velocities);
    Ok((network, Some(Saved { state, position, colour, notes })))
}

/// The network with the weights that training has, where the file holds others to classify with
/// (half-precision ones).
fn with_exact(
    network: Network,
    exact: Vec<Option<LayerParameters>>,
    device: &Device,
) -> Result<Network> {
    if exact.iter().all(Option::is_none) {
        return Ok(network);
    }
    let parameters = exact.into_iter().zip(network.layer_parameters());
    let parameters = parameters.map(|(exact, held)| exact.or(held)).collect();
    let mut whole = Network::new(network.spec().clone(), parameters, device)?
        .with_metadata(network.metadata().clone());
    if let Some(mean) = network.mean() {
        whole = whole.with_mean(mean.clone())?;
    }
    Ok(whole)
}

/// Saves a training: the file is whole, or as it was before.
pub(super) fn write(path: &Path, snapshot: Snapshot<'_>) -> Result<()> {
    let Snapshot { network, state, position, order, colour, notes } = snapshot;
    let all_velocities = state.velocities();
    let mut velocities = Vec::new();
    let scales = stored_scales(network);
    for (layer, parameters) in network.layer_parameters().iter().enumerate() {
        let (Some(parameters), Some([weight_id, bias_id])) = (parameters, pair(network, layer))
        else {
            velocities.push(None);
            continue;
        };
        let velocity = |id: ParameterId, like: &Tensor| match all_velocities.get(&id) {
            Some(velocity) => Ok(velocity.clone()),
            None => Tensor::zeros(*like.shape(), like.device()),
        };
        let own = LayerParameters {
            weight: velocity(weight_id, &parameters.weight)?,
            bias: velocity(bias_id, &parameters.bias)?,
        };
        velocities.push(Some(scaled(&own, scales[layer])?));
    }
    let (text, lists) = texts(path, notes)?;
    let mut texts = lists;
    texts.insert(NOTES.to_owned(), text);
    let state = TrainingState {
        velocities,
        exact: vec![None; network.spec().nodes.len()],
        epoch: position.epoch,
        iteration: position.iteration,
        order,
        colour,
        notes: texts,
        ..TrainingState::default()
    };
    Ok(ccv::write_checkpoint(path, network, &state)?)
}

/// What velocities of each layer are multiplied by in the file.
fn stored_scales(network: &Network) -> Vec<f32> {
    let mut scales = vec![1.0; network.spec().nodes.len()];
    // A dropout node that follows a layer is that layer's, as ccv has it.
    for layer in network.spec().chain().unwrap_or_default() {
        if let LayerSpec::FullConnect(full) = layer.layer
            // A power of two moves the exponent only.
            && (1.0 - full.dropout).log2().fract() == 0.0
        {
            scales[layer.node] = full.kept_scale();
        }
    }
    scales
}

/// The weights and the biases of a layer.
fn pair(network: &Network, layer: usize) -> Option<[ParameterId; 2]> {
    let id = |role| network.parameter_id(layer, role);
    Some([id(Role::Weight)?, id(Role::Bias)?])
}

fn scaled(parameters: &LayerParameters, factor: f32) -> Result<LayerParameters> {
    if factor == 1.0 {
        return Ok(parameters.clone());
    }
    let scale = |tensor: &Tensor| -> Result<Tensor> {
        let host = tensor.to_host()?;
        let shape = host.ty().shape;
        let values = host.into_values().into_vec::<f32>().unwrap_or_default();
        let values: Vec<f32> = values.into_iter().map(|v| v * factor).collect();
        Ok(Tensor::from_host(HostTensor::new(shape, values)?, tensor.device())?)
    };
    Ok(LayerParameters { weight: scale(&parameters.weight)?, bias: scale(&parameters.bias)? })
}
