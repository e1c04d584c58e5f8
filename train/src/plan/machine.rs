//! What computes.

use std::ops::RangeInclusive;

use striate_nn::NetworkSpec;

use super::network;
use crate::{Error, Result};

/// A device: all of a training are alike.
///
/// ```
/// use striate_nn::{NetworkSpec, conv2d};
/// use striate_train::plan::Machine;
///
/// let device = Machine::new(4.5e12)?.with_memory(12_000_000_000);
/// assert_eq!(device.flops, 4.5e12);
/// // Or by what a step was measured to take: 16 samples in half a second.
/// let spec = NetworkSpec::new([32, 32, 3]).conv(conv2d(64, 3).relu()).full_connect(10);
/// let device = Machine::measured(&spec, 16, 0.5)?;
/// assert!(device.flops > 1e8);
/// # Ok::<(), striate_train::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Arithmetic operations a second that it reaches in a step of training: not what its data
    /// sheet says, but about what `striate bench MODEL --pass step` does.
    pub flops: f64,
    /// Bytes a second of its memory, where ops that read much and calculate little are to take as
    /// long as reading does.
    pub bandwidth: Option<f64>,
    /// Bytes of its memory, where a step must fit.
    pub memory: Option<u64>,
}

impl Machine {
    /// One that reaches so many operations a second.
    ///
    /// # Errors
    /// [`Error::Plan`] where that is no such number: 1 to 1e24.
    pub fn new(flops: f64) -> Result<Machine> {
        check("operations a second", flops, RATES)?;
        Ok(Machine { flops, bandwidth: None, memory: None })
    }

    /// The one that takes so many seconds for a step of so many samples by itself.
    ///
    /// # Errors
    /// [`Error::Plan`] where these are beyond all devices, [`Error::Network`] where the network
    /// cannot be trained.
    pub fn measured(spec: &NetworkSpec, samples: u64, seconds: f64) -> Result<Machine> {
        check("seconds of a step", seconds, SECONDS)?;
        let layers = network::layers(spec)?;
        let flops: f64 = layers.iter().map(|layer| layer.step_flops()).sum();
        Machine::new(flops * samples as f64 / seconds)
    }

    /// With memory of this bandwidth.
    ///
    /// # Errors
    /// [`Error::Plan`] where that is no such number: 1 to 1e24.
    pub fn with_bandwidth(self, bandwidth: f64) -> Result<Machine> {
        check("bytes a second of memory", bandwidth, RATES)?;
        Ok(Machine { bandwidth: Some(bandwidth), ..self })
    }

    /// With so much memory.
    #[must_use]
    pub fn with_memory(self, bytes: u64) -> Machine {
        Machine { memory: Some(bytes), ..self }
    }

    /// How long an op of this arithmetic takes that reads and writes so many bytes.
    pub(super) fn seconds(&self, flops: f64, bytes: f64) -> f64 {
        let calculating = flops / self.flops;
        self.bandwidth.map_or(calculating, |bandwidth| calculating.max(bytes / bandwidth))
    }

    /// How long something takes that only reads and writes: nothing, where nobody counts that.
    pub(super) fn moving(&self, bytes: f64) -> f64 {
        self.bandwidth.map_or(0.0, |bandwidth| bytes / bandwidth)
    }
}

/// What no device is beyond: so all that follows is a number too.
const RATES: RangeInclusive<f64> = 1.0..=1e24;

/// As few and as many seconds as a step may take.
const SECONDS: RangeInclusive<f64> = 1e-9..=1e12;

/// Refuses what no device is, infinities and NaN too.
pub(super) fn check(what: &str, value: f64, allowed: RangeInclusive<f64>) -> Result<()> {
    match allowed.contains(&value) {
        true => Ok(()),
        false => {
            let (least, most) = allowed.into_inner();
            Err(Error::plan(format!("{least:e} to {most:e} {what}"), format!("{value:e}")))
        }
    }
}
