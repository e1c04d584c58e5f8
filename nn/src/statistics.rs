//! Running statistics: what mini-batches leave in buffers.

use std::collections::BTreeMap;

use striate_tensor::ops::RunningMoments;
use striate_tensor::{HostTensor, Result, Tensor, no_grad};

use crate::layers::{BatchMoments, Buffer, BufferKey, Module, buffers_mut};

/// Applies the statistics of a mini-batch to a module's buffers, once the backward pass is over:
/// `running = (1 - momentum) · running + momentum · batch`, with the unbiased variance of the batch, as
/// in PyTorch. A batch of one element a channel has no variance and changes nothing. Records of other
/// modules' buffers are left alone.
///
/// ```
/// use striate_nn::{
///     BatchNorm2d, Context, Module, batch_norm, update_statistics,
/// };
/// use striate_tensor::{Device, RandomKey, Reference, Tensor};
///
/// # fn main() -> striate_tensor::Result<()> {
/// let device = Device::new(Reference::new());
/// let mut norm = BatchNorm2d::new(batch_norm(), 1, &device)?;
/// let x = Tensor::from_vec(vec![1.0f32, 3.0], [2, 1, 1, 1], &device)?;
/// let cx = Context::training(RandomKey::new(7, 0));
/// assert_eq!(norm.forward(&x, &cx)?.to_vec::<f32>()?.map_signs(), [-1.0, 1.0]);
/// update_statistics(&mut norm, &cx.take_records())?;
/// let running = norm.running().to_vec::<f32>()?; // 0.1 · 2, and 0.9 · 1 + 0.1 · 2
/// assert!((running[0] - 0.2).abs() < 1e-6 && (running[1] - 1.1).abs() < 1e-6);
/// # Ok(())
/// # }
/// # trait Signs { fn map_signs(self) -> Vec<f32>; }
/// # impl Signs for Vec<f32> {
/// #     fn map_signs(self) -> Vec<f32> { self.into_iter().map(f32::signum).collect() }
/// # }
/// ```
///
/// # Errors
/// Where the device fails.
pub fn update_statistics(module: &mut dyn Module, records: &[BatchMoments]) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    // Clones of one buffer in several places of a module stay one.
    let mut buffers: BTreeMap<BufferKey, Vec<&mut Buffer>> = BTreeMap::new();
    for (_, buffer) in buffers_mut(module) {
        buffers.entry(buffer.key()).or_default().push(buffer);
    }
    no_grad(|| {
        for record in records {
            let Some(places) = buffers.get_mut(&record.buffer) else { continue };
            let Some(buffer) = places.first().filter(|_| record.count >= 2) else { continue };
            let step = RunningMoments { momentum: record.momentum, count: record.count };
            let updated = buffer.value().running_moments(&record.moments, step)?;
            places.iter_mut().for_each(|buffer| buffer.set(updated.clone()));
        }
        Ok(())
    })
}

impl BatchMoments {
    /// The statistics of two shards together (Chan, Golub and LeVeque, "Updating formulae and a pairwise
    /// algorithm for computing sample variances", 1979), in double precision on the host, so that they
    /// have the same bits wherever the shards were. A shard without elements changes nothing.
    ///
    /// # Errors
    /// Where the statistics are not of as many channels, or the device fails.
    pub fn merge(&self, other: &BatchMoments) -> Result<BatchMoments> {
        let (own, others) = (self.moments.to_vec::<f32>()?, other.moments.to_vec::<f32>()?);
        if own.len() != others.len() {
            let expected = format!("statistics {}", self.moments.shape());
            let got = other.moments.shape();
            return Err(striate_tensor::Error::shape("merge", expected, got));
        }
        let channels = own.len() / 2;
        let (a, b) = (self.count as f64, other.count as f64);
        let all = a + b;
        let mut merged = vec![0.0f32; own.len()];
        for channel in 0..channels {
            let [mean, variance] = [0, channels].map(|row| f64::from(own[row + channel]));
            let [other_mean, other_variance] =
                [0, channels].map(|row| f64::from(others[row + channel]));
            if self.count == 0 || other.count == 0 {
                let kept =
                    if other.count == 0 { [mean, variance] } else { [other_mean, other_variance] };
                [merged[channel], merged[channels + channel]] = kept.map(|value| value as f32);
                continue;
            }
            let difference = other_mean - mean;
            let squares = variance * a + other_variance * b + difference * difference * a * b / all;
            merged[channel] = (mean + difference * b / all) as f32;
            merged[channels + channel] = (squares / all) as f32;
        }
        let shape = *self.moments.shape();
        let moments = Tensor::from_host(HostTensor::new(shape, merged)?, self.moments.device())?;
        Ok(BatchMoments { count: self.count + other.count, moments, ..self.clone() })
    }
}
