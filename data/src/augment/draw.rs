//! Random numbers by counting, one sequence a sample.

use striate_tensor::RandomKey;
use striate_tensor::random::{normal_pair, unit_float};

/// The streams of a seed for what happens to a sample, one an epoch. ("AUGM" in ASCII.)
const SAMPLE_STREAMS: u64 = 0x4155_474d << 32;

/// The streams of a seed for the order of an epoch. ("ORDR" in ASCII.)
const ORDER_STREAMS: u64 = 0x4f52_4452 << 32;

/// Blocks of four numbers that a sample may draw.
const BLOCKS_PER_SAMPLE: u64 = 16;

/// What everything random about a training sample depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SampleKey {
    /// The seed of the run.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u32,
    /// The position in the epoch's order, from 0 (not the number of the picture).
    pub position: u64,
}

/// The numbers of one sample, one after another.
pub(super) struct Draw {
    key: RandomKey,
    next: u64,
}

impl Draw {
    pub(super) fn new(key: SampleKey) -> Self {
        let next = key.position.wrapping_mul(4 * BLOCKS_PER_SAMPLE);
        Self { key: RandomKey::new(key.seed, SAMPLE_STREAMS | u64::from(key.epoch)), next }
    }

    fn number(&mut self) -> u32 {
        let number = self.key.number(self.next);
        self.next = self.next.wrapping_add(1);
        number
    }

    /// Uniform in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f32 {
        unit_float(self.number())
    }

    /// Two independent normal numbers.
    pub(super) fn normal_pair(&mut self) -> [f32; 2] {
        let (a, b) = (self.number(), self.number());
        normal_pair(a, b)
    }
}

/// A number of `[0, 1)` as one of `0..count`.
pub(super) fn below(unit: f32, count: usize) -> usize {
    ((f64::from(unit) * count as f64) as usize).min(count.saturating_sub(1))
}

/// The order of `count` pictures in an epoch: a permutation that depends on the seed and the epoch
/// only (Fisher and Yates' shuffle).
///
/// ```
/// use striate_data::augment::epoch_order;
///
/// let mut order = epoch_order(1, 0, 5);
/// assert_ne!(order, epoch_order(1, 1, 5));
/// order.sort();
/// assert_eq!(order, [0, 1, 2, 3, 4]);
/// ```
pub fn epoch_order(seed: u64, epoch: u32, count: u32) -> Vec<u32> {
    let key = RandomKey::new(seed, ORDER_STREAMS | u64::from(epoch));
    let mut order: Vec<u32> = (0..count).collect();
    for last in (1..order.len()).rev() {
        let [a, b, ..] = key.block(last as u64);
        // The upper half of a 64-bit number times the count: the bias is below 2^-32.
        let number = u64::from(a) << 32 | u64::from(b);
        let other = ((u128::from(number) * (last as u128 + 1)) >> 64) as usize;
        order.swap(last, other);
    }
    order
}
