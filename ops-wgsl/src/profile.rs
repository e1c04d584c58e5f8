//! What was asked of the GPU, and how long it took.

use std::collections::BTreeMap;

use striate_tensor::Result;

use crate::device::Gpu;
use crate::staging::read_mapped;

/// What a device was asked to do since it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Batches of commands.
    pub submissions: u64,
    /// Shaders run.
    pub dispatches: u64,
    /// How often the host waited for the device: to read from it, because too many batches were on their
    /// way, or because it was told to.
    pub waits: u64,
    /// Of these, how often everything submitted was waited for: the device had nothing left to do.
    pub drains: u64,
    /// Buffers that the driver was asked for; tensors share them by turns.
    pub allocations: u64,
    /// Bytes copied to the device.
    pub bytes_uploaded: u64,
    /// Bytes copied from the device.
    pub bytes_downloaded: u64,
    /// Bytes copied from buffer to buffer on the device.
    pub bytes_copied: u64,
    /// Bytes of the operands that dispatches had bound, each once a dispatch: what they read and
    /// write of the device's memory at the least, where they need all of them.
    pub bytes_bound: u64,
    /// Time on the GPU by op, by the device's own clock; empty where it was not asked for, or the
    /// adapter has no clock.
    pub timings: Vec<Timing>,
}

/// The time that an op took.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// The op.
    pub op: &'static str,
    /// How many dispatches it took.
    pub dispatches: u64,
    /// Their time together.
    pub nanoseconds: f64,
}

/// What times are taken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The GPU's own: from the beginning of each dispatch to its end.
    Gpu,
    /// The host's, around recording, submission and completion: the adapter has none.
    Wall,
}

impl Profile {
    /// What was asked since an earlier one of the same device.
    #[must_use]
    pub fn since(&self, earlier: &Profile) -> Profile {
        let before = |op| earlier.timings.iter().find(|timing| timing.op == op);
        let timing = |now: &Timing| match before(now.op) {
            None => now.clone(),
            Some(before) => Timing {
                op: now.op,
                dispatches: now.dispatches.saturating_sub(before.dispatches),
                nanoseconds: now.nanoseconds - before.nanoseconds,
            },
        };
        Profile {
            submissions: self.submissions.saturating_sub(earlier.submissions),
            dispatches: self.dispatches.saturating_sub(earlier.dispatches),
            waits: self.waits.saturating_sub(earlier.waits),
            drains: self.drains.saturating_sub(earlier.drains),
            allocations: self.allocations.saturating_sub(earlier.allocations),
            bytes_uploaded: self.bytes_uploaded.saturating_sub(earlier.bytes_uploaded),
            bytes_downloaded: self.bytes_downloaded.saturating_sub(earlier.bytes_downloaded),
            bytes_copied: self.bytes_copied.saturating_sub(earlier.bytes_copied),
            bytes_bound: self.bytes_bound.saturating_sub(earlier.bytes_bound),
            timings: self.timings.iter().map(timing).collect(),
        }
    }

    /// The time on the GPU of all ops together; 0 without a clock.
    pub fn nanoseconds(&self) -> f64 {
        self.timings.iter().map(|timing| timing.nanoseconds).sum()
    }
}

const TIMESTAMP_BYTES: u64 = 8;

pub(crate) struct Profiler {
    pub(crate) counts: Profile,
    clock: Option<Timestamps>,
}

struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
    /// Nanoseconds of a tick.
    period: f64,
    /// The ops of this batch.
    batch: Vec<&'static str>,
    times: BTreeMap<&'static str, (u64, f64)>,
}

impl Profiler {
    /// Counts always; takes times where asked and where the device has a clock, of batches of so many
    /// dispatches at most.
    pub(crate) fn new(gpu: &Gpu, times: bool, dispatches: u32) -> Result<Self> {
        let clock = times && gpu.features.contains(wgpu::Features::TIMESTAMP_QUERY);
        let clock = if clock { Some(Timestamps::new(gpu, 2 * dispatches)?) } else { None };
        Ok(Profiler { counts: Profile::default(), clock })
    }

    /// What times are taken by.
    pub(crate) fn clock(&self) -> Clock {
        if self.clock.is_some() { Clock::Gpu } else { Clock::Wall }
    }

    /// Where the next dispatch writes its times, if it does.
    pub(crate) fn next(
        &mut self,
        op: &'static str,
    ) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let clock = self.clock.as_mut()?;
        let index = 2 * clock.batch.len() as u32;
        clock.batch.push(op);
        Some(wgpu::ComputePassTimestampWrites {
            query_set: &clock.queries,
            beginning_of_pass_write_index: Some(index),
            end_of_pass_write_index: Some(index + 1),
        })
    }

    /// Called at the end of a batch.
    pub(crate) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        let Some(clock) = self.clock.as_ref().filter(|clock| !clock.batch.is_empty()) else {
            return;
        };
        let count = 2 * clock.batch.len() as u32;
        encoder.resolve_query_set(&clock.queries, 0..count, &clock.resolved, 0);
        let bytes = u64::from(count) * TIMESTAMP_BYTES;
        encoder.copy_buffer_to_buffer(&clock.resolved, 0, &clock.readback, 0, bytes);
    }

    /// Called when a batch is submitted. Waits for it: the times are of the GPU, and stay right.
    pub(crate) fn collect(&mut self, gpu: &Gpu) -> Result<()> {
        let Some(clock) = self.clock.as_mut().filter(|clock| !clock.batch.is_empty()) else {
            return Ok(());
        };
        let mut ticks = vec![0u64; 2 * clock.batch.len()];
        read_mapped(gpu, &clock.readback, bytemuck::cast_slice_mut(&mut ticks))?;
        for (op, ticks) in clock.batch.drain(..).zip(ticks.chunks_exact(2)) {
            let time = clock.times.entry(op).or_default();
            time.0 += 1;
            // A clock may be reset between the two: such a pair says nothing.
            time.1 += ticks[1].saturating_sub(ticks[0]) as f64 * clock.period;
        }
        Ok(())
    }

    pub(crate) fn snapshot(&self) -> Profile {
        let times = self.clock.iter().flat_map(|clock| &clock.times);
        let timing = |(&op, &(dispatches, nanoseconds))| Timing { op, dispatches, nanoseconds };
        Profile { timings: times.map(timing).collect(), ..self.counts.clone() }
    }
}

impl Timestamps {
    fn new(gpu: &Gpu, queries: u32) -> Result<Self> {
        let buffer = |usage| wgpu::BufferDescriptor {
            label: Some("times"),
            size: u64::from(queries) * TIMESTAMP_BYTES,
            usage: usage | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let readback = buffer(wgpu::BufferUsages::MAP_READ);
        let query_set = wgpu::QuerySetDescriptor {
            label: Some("times"),
            ty: wgpu::QueryType::Timestamp,
            count: queries,
        };
        gpu.scoped(0, || Timestamps {
            queries: gpu.device.create_query_set(&query_set),
            resolved: gpu.device.create_buffer(&resolved),
            readback: gpu.device.create_buffer(&readback),
            period: f64::from(gpu.queue.get_timestamp_period()),
            batch: Vec::new(),
            times: BTreeMap::new(),
        })
    }
}
