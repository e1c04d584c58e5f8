//! What shards showed, added up over all ranks in a fixed order.

use super::Exchange;
use crate::{Result, StepReport};

/// What all ranks saw of a mini-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BatchReport {
    pub(crate) step: StepReport,
    /// Samples that could not be read.
    pub(crate) missing: usize,
    /// Whether a rank was asked to stop.
    pub(crate) stop: bool,
}

/// Joins what the shards of all ranks showed, first to last.
pub(super) fn gather_reports(
    exchange: &Exchange,
    shards: &[StepReport],
    missing: usize,
    stop: bool,
) -> Result<BatchReport> {
    let mut own = vec![missing as f64, f64::from(u8::from(stop))];
    for StepReport { samples, loss_sum, misses } in shards {
        own.extend([*samples as f64, *loss_sum, *misses as f64]);
    }
    let mut all = BatchReport::default();
    for rank in gather_numbers(exchange, &own)? {
        let [missing, stop, shards @ ..] = &rank[..] else { continue };
        all.missing += *missing as usize;
        all.stop |= *stop > 0.0;
        for shard in shards.chunks_exact(3) {
            all.step.samples += shard[0] as usize;
            all.step.loss_sum += shard[1];
            all.step.misses += shard[2] as usize;
        }
    }
    Ok(all)
}

/// The numbers of each rank, to all.
pub(super) fn gather_numbers(exchange: &Exchange, own: &[f64]) -> Result<Vec<Vec<f64>>> {
    let bytes: Vec<u8> = own.iter().flat_map(|number| number.to_le_bytes()).collect();
    let number = |bytes: &[u8]| {
        let mut eight = [0; 8];
        eight.copy_from_slice(bytes);
        f64::from_le_bytes(eight)
    };
    let all = exchange.gather_bytes(&bytes).wait()?;
    Ok(all.iter().map(|rank| rank.chunks_exact(8).map(number).collect()).collect())
}

/// Whether something is so on every rank.
pub(super) fn all_agree(exchange: &Exchange, own: bool) -> Result<bool> {
    let all = exchange.gather_bytes(&[u8::from(own)]).wait()?;
    Ok(all.iter().all(|rank| rank == &[1]))
}
