//! Statistics of normalization, merged over shards and ranks in the tree in which gradients are summed.

use striate_nn::{BatchMoments, Network};
use striate_tensor::{HostTensor, Tensor};

use super::Exchange;
use super::reports::gather_numbers;
use crate::{Error, Result};

/// The statistics of a rank's shards together: neighbours first, then neighbouring pairs, and so on.
/// None of a shard without samples.
pub(super) fn merge_shards(
    shards: Vec<Option<Vec<BatchMoments>>>,
) -> Result<Option<Vec<BatchMoments>>> {
    let mut level = shards;
    while level.len() > 1 {
        let mut next = Vec::with_capacity(level.len().div_ceil(2));
        let mut pairs = level.into_iter();
        while let Some(left) = pairs.next() {
            next.push(match (left, pairs.next().flatten()) {
                (Some(left), Some(right)) => Some(merge(&left, &right)?),
                (left, right) => left.or(right),
            });
        }
        level = next;
    }
    Ok(level.into_iter().next().flatten())
}

fn merge(left: &[BatchMoments], right: &[BatchMoments]) -> Result<Vec<BatchMoments>> {
    if left.len() != right.len() {
        let message = "shards have recorded other statistics than one another".into();
        return Err(Error::Exchange { message });
    }
    left.iter().zip(right).map(|(left, right)| Ok(left.merge(right)?)).collect()
}

/// The statistics of all ranks together, on every rank; those of this rank are `own`.
pub(super) fn gather_statistics(
    exchange: &Exchange,
    network: &Network,
    own: Option<Vec<BatchMoments>>,
) -> Result<Vec<BatchMoments>> {
    if network.buffers().is_empty() {
        return Ok(Vec::new());
    }
    if exchange.size() == 1 {
        return Ok(own.unwrap_or_default());
    }
    let mut numbers = Vec::new();
    for record in own.iter().flatten() {
        let place = network.buffers().iter().position(|buffer| buffer.key() == record.buffer);
        let Some(place) = place else { continue };
        numbers.extend([place as f64, record.count as f64]);
        numbers.extend(record.moments.to_vec::<f32>()?.into_iter().map(f64::from));
    }
    let all = gather_numbers(exchange, &numbers)?;
    let ranks = all.iter().map(|numbers| read(network, numbers));
    Ok(merge_shards(ranks.collect::<Result<_>>()?)?.unwrap_or_default())
}

/// A rank's statistics out of its numbers.
fn read(network: &Network, numbers: &[f64]) -> Result<Option<Vec<BatchMoments>>> {
    let wrong =
        || Error::Exchange { message: "a rank's statistics are not of this network".into() };
    let mut records = Vec::new();
    let mut rest = numbers;
    while let [place, count, after @ ..] = rest {
        let place = *place as usize;
        let (Some(buffer), Some(info)) =
            (network.buffers().get(place), network.buffer_infos().get(place))
        else {
            return Err(wrong());
        };
        let values = after.get(..info.shape.count()).ok_or_else(wrong)?;
        rest = &after[values.len()..];
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        let moments = Tensor::from_host(HostTensor::new(info.shape, values)?, network.device())?;
        let (buffer, momentum) = (buffer.key(), info.momentum);
        records.push(BatchMoments { buffer, count: *count as u64, momentum, moments });
    }
    Ok((!records.is_empty()).then_some(records))
}
