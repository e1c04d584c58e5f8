//! Gradients of shards, summed in a fixed tree: within a rank first, over the ranks then, bucket by
//! bucket while the backward pass goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use striate_nn::{Module, Network, ParameterId, leaf_parameters};
use striate_tensor::{HostTensor, LeafId, Shape, Tensor};

use super::{Exchange, Pending};
use crate::Result;

/// Numbers of a bucket at least: short arrays travel together. (1 MiB: 4 messages to each rank.)
const BUCKET: usize = 256 * 1024;

/// Gradients by the numbers of their parameters.
pub(super) type Numbered = BTreeMap<ParameterId, Tensor>;

/// Sums of so many shards in a tree: neighbours, then neighbouring pairs, and so on. Counts as a
/// binary number does: two sums of the same height become one of the next.
#[derive(Debug, Default)]
pub(super) struct ShardSums {
    heights: Vec<Option<Numbered>>,
}

impl ShardSums {
    /// Adds the gradients of the next shard.
    pub(super) fn push(&mut self, mut gradients: Numbered) -> Result<()> {
        for height in 0.. {
            if height == self.heights.len() {
                self.heights.push(None);
            }
            let Some(left) = self.heights[height].take() else {
                self.heights[height] = Some(gradients);
                break;
            };
            gradients = left
                .into_iter()
                .map(|(id, sum)| match gradients.remove(&id) {
                    Some(right) => Ok((id, sum.add(&right)?)),
                    None => Ok((id, sum)),
                })
                .collect::<Result<_>>()?;
        }
        Ok(())
    }

    /// The sum with the gradient that the last shard has of this parameter. Shards must have come
    /// as many as makes a power of two with it.
    pub(super) fn with_last(&mut self, id: ParameterId, last: Tensor) -> Result<Tensor> {
        let mut sum = last;
        for height in self.heights.iter_mut().flatten() {
            if let Some(left) = height.remove(&id) {
                sum = left.add(&sum)?;
            }
        }
        Ok(sum)
    }
}

/// The parameters of a network in the order in which a backward pass completes their gradients, and
/// which of them travel together. All ranks have the same.
#[derive(Debug)]
pub(super) struct Plan {
    parameters: Vec<(ParameterId, Shape)>,
    /// The place of each in this order.
    places: BTreeMap<ParameterId, usize>,
    /// Where each bucket ends.
    ends: Vec<usize>,
}

impl Plan {
    /// For parameters in the order of the forward pass.
    pub(super) fn new(forward: Vec<(ParameterId, Shape)>) -> Self {
        let mut parameters = forward;
        parameters.reverse();
        let ends = bucket_ends(parameters.iter().map(|(_, shape)| shape.count()));
        let places = parameters.iter().enumerate().map(|(place, (id, _))| (*id, place)).collect();
        Plan { parameters, places, ends }
    }

    /// For a network, or the part of one that every rank has.
    pub(super) fn of(network: &Network) -> Self {
        let infos = network.parameter_infos().iter().enumerate();
        Plan::new(infos.map(|(id, info)| (ParameterId(id as u32), info.shape)).collect())
    }

    /// Gradients of 0: of a shard without samples.
    pub(super) fn zeros(&self, device: &striate_tensor::Device) -> Result<Numbered> {
        let zero = |(id, shape): &(ParameterId, Shape)| Ok((*id, Tensor::zeros(*shape, device)?));
        self.parameters.iter().map(zero).collect()
    }
}

/// Where buckets end that gradients of so many numbers fill, in the order in which they come.
pub(crate) fn bucket_ends(counts: impl ExactSizeIterator<Item = usize>) -> Vec<usize> {
    let (mut ends, mut gathered, all) = (Vec::new(), 0usize, counts.len());
    for (i, count) in counts.enumerate() {
        gathered = gathered.saturating_add(count);
        if gathered >= BUCKET || i + 1 == all {
            ends.push(i + 1);
            gathered = 0;
        }
    }
    ends
}

/// Which leaves the parameters of a module are, by which a backward pass tells of them.
pub(super) struct Leaves(BTreeMap<LeafId, ParameterId>);

impl Leaves {
    /// Of a module whose parameters are tracked.
    pub(super) fn of(module: &dyn Module) -> Self {
        Leaves(leaf_parameters(module))
    }

    /// The parameter of a leaf.
    pub(super) fn id(&self, leaf: LeafId) -> Option<ParameterId> {
        self.0.get(&leaf).copied()
    }
}

/// Sums gradients over the ranks as they come.
pub(super) struct Buckets<'a> {
    plan: &'a Plan,
    exchange: &'a Arc<Exchange>,
    /// By place in the plan: what has come and is not on its way.
    come: BTreeMap<usize, Tensor>,
    sent: Vec<Pending<Vec<f32>>>,
}

impl<'a> Buckets<'a> {
    pub(super) fn new(plan: &'a Plan, exchange: &'a Arc<Exchange>) -> Self {
        Buckets { plan, exchange, come: BTreeMap::new(), sent: Vec::new() }
    }

    /// Takes a gradient. Buckets leave in the order of the plan, on all ranks alike, as soon as
    /// they and all before them are full.
    pub(super) fn give(&mut self, id: ParameterId, gradient: Tensor) -> Result<()> {
        if let Some(place) = self.plan.places.get(&id) {
            self.come.insert(*place, gradient);
        }
        while let Some(&end) = self.plan.ends.get(self.sent.len()) {
            let start = match self.sent.len() {
                0 => 0,
                bucket => self.plan.ends[bucket - 1],
            };
            if self.come.range(start..end).count() < end - start {
                break;
            }
            let mut data = Vec::new();
            for place in start..end {
                if let Some(gradient) = self.come.remove(&place) {
                    data.append(&mut gradient.to_vec::<f32>()?);
                }
            }
            self.sent.push(self.exchange.all_reduce(data));
        }
        Ok(())
    }

    /// Waits for the sums of all. What has not come is 0 on this rank.
    pub(super) fn finish(mut self, device: &striate_tensor::Device) -> Result<Numbered> {
        for (place, (id, shape)) in self.plan.parameters.iter().enumerate() {
            let sent = self.plan.ends[..self.sent.len()].last().copied().unwrap_or(0);
            if place >= sent && !self.come.contains_key(&place) {
                self.give(*id, Tensor::zeros(*shape, device)?)?;
            }
        }
        let mut parameters = self.plan.parameters.iter();
        let mut sums = Numbered::new();
        let mut start = 0;
        for (pending, &end) in self.sent.into_iter().zip(&self.plan.ends) {
            let data = pending.wait()?;
            let mut rest = &data[..];
            for (id, shape) in parameters.by_ref().take(end - start) {
                let (own, after) = rest.split_at(shape.count());
                let sum = HostTensor::new(*shape, own.to_vec())?;
                sums.insert(*id, Tensor::from_host(sum, device)?);
                rest = after;
            }
            start = end;
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use striate_tensor::{Device, Reference};

    use super::super::Local;
    use super::*;

    /// The same for all: tensors of two do not add up.
    fn device() -> Device {
        thread_local! { static DEVICE: Device = Device::new(Reference::new()) }
        DEVICE.with(Device::clone)
    }

    /// A gradient of so many numbers.
    fn gradient(count: usize, value: f32) -> Tensor {
        Tensor::full([count], value, striate_tensor::DType::F32, &device()).unwrap()
    }

    /// Three layers: the weights of the last fill a bucket, those of the others share one.
    fn plan() -> Plan {
        let shape = |count| Shape::new(&[count]).unwrap();
        let counts = [5, 2, 7, BUCKET];
        let numbered = counts.iter().enumerate();
        Plan::new(numbered.map(|(id, &count)| (ParameterId(id as u32), shape(count))).collect())
    }

    #[test]
    fn what_is_complete_leaves_while_the_rest_is_computed() {
        let plan = plan();
        assert_eq!(plan.ends, [1, 4]);
        let exchange = Arc::new(Exchange::new(Local::group(1).remove(0)).unwrap());
        let mut buckets = Buckets::new(&plan, &exchange);
        // What comes early waits for its turn: all ranks send in the same order.
        buckets.give(ParameterId(2), gradient(7, 2.0)).unwrap();
        assert_eq!(buckets.sent.len(), 0);
        buckets.give(ParameterId(3), gradient(BUCKET, 5.0)).unwrap();
        assert_eq!(buckets.sent.len(), 1, "the last layer is on its way");
        buckets.give(ParameterId(0), gradient(5, 1.0)).unwrap();
        assert_eq!(buckets.sent.len(), 1);
        // The bias never comes: it is 0 here.
        let sums = buckets.finish(&device()).unwrap();
        let values = |id: u32| sums[&ParameterId(id)].to_vec::<f32>().unwrap();
        assert_eq!(values(0), [1.0; 5]);
        assert_eq!(values(1), [0.0; 2]);
        assert_eq!(values(2), [2.0; 7]);
        assert!(values(3).iter().all(|&v| v == 5.0));
    }

    #[test]
    fn shards_are_summed_in_the_documented_tree() {
        // Numbers whose sum depends on the order.
        let numbers = [1e8f32, 3.0, -1e8, 5.0, 7.0, 1e7, 2.0, -1e7];
        let one = |i: usize| Numbered::from([(ParameterId(0), gradient(1, numbers[i]))]);
        let sum_of = |range: std::ops::Range<usize>| {
            let mut sums = ShardSums::default();
            for i in range.start..range.end - 1 {
                sums.push(one(i)).unwrap();
            }
            let last = gradient(1, numbers[range.end - 1]);
            sums.with_last(ParameterId(0), last).unwrap().to_vec::<f32>().unwrap()[0]
        };
        let [a, b, c, d, e, f, g, h] = numbers;
        assert_eq!(sum_of(0..8), ((a + b) + (c + d)) + ((e + f) + (g + h)));
        // A rank's part of it is a part of the tree, whatever the number of ranks.
        assert_eq!(sum_of(0..4) + sum_of(4..8), sum_of(0..8));
        assert_eq!(sum_of(2..3), c);
    }
}
