//! Recording and submission: ops go into one command encoder, and to the GPU in batches.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use striate_tensor::Result;
use striate_tensor::ops::Custom;

use crate::buffer::{GpuBuffer, Pool, View};
use crate::choice::{Choices, Class, class_of};
use crate::device::Gpu;
use crate::options::Options;
use crate::pending::{PendingCopy, Submission};
use crate::pipelines::{Constants, Pipelines, Shader};
use crate::profile::{Clock, Profile, Profiler};
use crate::staging::Staging;

/// Dispatches of a batch: a forward pass of a deep network is one or two, and the GPU begins while
/// the rest is recorded.
const BATCH_DISPATCHES: u32 = 64;
/// Bytes copied in or about by a batch: what staging memory a batch may hold.
const BATCH_BYTES: u64 = 64 << 20;
/// Batches on their way. More would let memory grow with no gain in speed.
const BATCHES_IN_FLIGHT: usize = 3;
/// Bytes of the parameters of a dispatch. A multiple of every adapter's alignment of uniforms.
pub(crate) const PARAMS_BYTES: usize = 256;

/// What kernels need of the device.
pub(crate) struct Context {
    pub(crate) gpu: Gpu,
    pub(crate) pool: Pool,
    pub(crate) pipelines: Pipelines,
    /// What kernels are chosen for.
    pub(crate) class: Class,
    pub(crate) choices: Choices,
    /// What it was opened with.
    pub(crate) options: Options,
    recorder: Mutex<Recorder>,
}

/// A dispatch of a shader.
pub(crate) struct Launch<'a> {
    /// The op's name, for the profile.
    pub(crate) op: &'static str,
    pub(crate) shader: &'static Shader,
    pub(crate) constants: Constants<'a>,
    /// The uniform `Params`, in 32-bit words.
    pub(crate) params: &'a [u32],
    /// Bound as `read_write` from binding 1 on.
    pub(crate) outputs: &'a [&'a View],
    /// Bound as `read` after the outputs.
    pub(crate) inputs: &'a [&'a View],
    pub(crate) groups: Groups,
}

/// A dispatch of a user's own shader.
pub(crate) struct CustomLaunch<'a> {
    pub(crate) op: &'a Custom,
    /// As in [`Launch`].
    pub(crate) params: &'a [u32],
    pub(crate) output: &'a View,
    pub(crate) inputs: &'a [&'a View],
    /// So many workgroups, which the shader numbers.
    pub(crate) groups: usize,
}

/// What a dispatch binds.
struct Bound<'a> {
    op: &'static str,
    params: &'a [u32],
    outputs: &'a [&'a View],
    inputs: &'a [&'a View],
}

/// How many workgroups.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Groups {
    /// So many, which the shader numbers by `flat_group`.
    Flat(usize),
    /// A grid, each extent of which the shader knows to be within the limit.
    Grid([u32; 3]),
}

struct Recorder {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    params: Vec<u8>,
    params_buffer: wgpu::Buffer,
    dispatches: u32,
    bytes: u64,
    in_flight: VecDeque<Submission>,
    last: Option<Submission>,
    staging: Staging,
    profiler: Profiler,
}

impl Context {
    pub(crate) fn new(
        gpu: Gpu,
        pipelines: Pipelines,
        choices: Choices,
        options: Options,
    ) -> Result<Self> {
        let class = options.class.unwrap_or_else(|| class_of(gpu.kind, &gpu.info));
        let descriptor = wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: u64::from(BATCH_DISPATCHES) * PARAMS_BYTES as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let params_buffer =
            gpu.scoped(descriptor.size as usize, || gpu.device.create_buffer(&descriptor))?;
        let profiler = Profiler::new(&gpu, options.profile, BATCH_DISPATCHES)?;
        let recorder = Recorder {
            encoder: None,
            pass: None,
            params: Vec::new(),
            params_buffer,
            dispatches: 0,
            bytes: 0,
            in_flight: VecDeque::new(),
            last: None,
            staging: Staging::default(),
            profiler,
        };
        Ok(Context {
            gpu,
            pool: Pool::default(),
            pipelines,
            class,
            choices,
            options,
            recorder: Mutex::new(recorder),
        })
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a dispatch.
    pub(crate) fn launch(&self, launch: Launch<'_>) -> Result<()> {
        let groups = match launch.groups {
            Groups::Flat(groups) => {
                fold(groups, self.gpu.limits.max_compute_workgroups_per_dimension)
            }
            Groups::Grid(grid) => grid,
        };
        if groups.contains(&0) {
            return Ok(());
        }
        self.gpu.check()?;
        let pipeline = self.pipelines.get(&self.gpu, launch.shader, launch.constants)?;
        let Launch { op, params, outputs, inputs, .. } = launch;
        let bound = Bound { op, params, outputs, inputs };
        self.recorder().dispatch(&self.gpu, &bound, &pipeline, groups)
    }

    /// Records a dispatch of a user's own shader.
    pub(crate) fn launch_custom(&self, launch: CustomLaunch<'_>) -> Result<()> {
        let limit = self.gpu.limits.max_compute_workgroups_per_dimension;
        let groups = fold(launch.groups, limit);
        if groups.contains(&0) {
            return Ok(());
        }
        let op = launch.op.op().name();
        if groups[1] > limit {
            let most = u64::from(limit) * u64::from(limit);
            let reason = format!("{} workgroups, and there can be {most}", launch.groups);
            return Err(self.gpu.unsupported(op, reason));
        }
        self.gpu.check()?;
        let pipeline = self.pipelines.custom(&self.gpu, launch.op, launch.inputs.len())?;
        let CustomLaunch { params, inputs, .. } = launch;
        let bound = Bound { op, params, outputs: &[launch.output], inputs };
        self.recorder().dispatch(&self.gpu, &bound, &pipeline, groups)
    }

    /// Records a copy between buffers; places and size are multiples of 4.
    pub(crate) fn copy(
        &self,
        (from, from_at): (&wgpu::Buffer, u64),
        (to, to_at): (&wgpu::Buffer, u64),
        bytes: u64,
    ) -> Result<()> {
        let mut recorder = self.recorder();
        recorder.encoder(&self.gpu).copy_buffer_to_buffer(from, from_at, to, to_at, bytes);
        recorder.profiler.counts.bytes_copied += bytes;
        recorder.copied(&self.gpu, bytes)
    }

    /// Writes bytes to a buffer, after everything recorded before; the rest of a last word becomes
    /// zeros.
    pub(crate) fn write(&self, buffer: &wgpu::Buffer, at: u64, bytes: &[u8]) -> Result<()> {
        self.gpu.check()?;
        let mut done = 0;
        while done < bytes.len() {
            let mut recorder = self.recorder();
            let place = match recorder.staging.room(&self.gpu, bytes.len() - done)? {
                Some(place) => place,
                None => {
                    // All staging memory waits to be submitted, or is on its way.
                    recorder.flush(&self.gpu)?;
                    recorder.wait_for_oldest(&self.gpu)?;
                    continue;
                }
            };
            let piece = &bytes[done..done + place.bytes];
            place.fill(&self.gpu, piece)?;
            let padded = (piece.len() as u64).next_multiple_of(4);
            let to = at + done as u64;
            recorder.encoder(&self.gpu).copy_buffer_to_buffer(
                &place.buffer,
                place.at,
                buffer,
                to,
                padded,
            );
            recorder.profiler.counts.bytes_uploaded += piece.len() as u64;
            done += piece.len();
            recorder.copied(&self.gpu, padded)?;
        }
        Ok(())
    }

    /// Asks for bytes of a tensor, from a multiple of 4 on, after everything recorded before. All of it is
    /// submitted.
    pub(crate) fn read(&self, tensor: &GpuBuffer, range: Range<usize>) -> Result<PendingCopy> {
        self.gpu.check()?;
        let chunk = self.gpu.chunk_bytes() as usize;
        let mut recorder = self.recorder();
        let target = recorder.staging.readback(&self.gpu, range.len())?;
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min((at / chunk + 1) * chunk);
            let (from, place) = (&tensor.chunks[at / chunk].buffer, (at % chunk) as u64);
            let (to, bytes) = ((at - range.start) as u64, ((end - at) as u64).next_multiple_of(4));
            recorder.encoder(&self.gpu).copy_buffer_to_buffer(from, place, &target, to, bytes);
            at = end;
        }
        recorder.flush(&self.gpu)?;
        recorder.profiler.counts.bytes_downloaded += range.len() as u64;
        match recorder.last.clone() {
            Some(submission) => Ok(PendingCopy::new(target, range.len(), submission)),
            None => Err(self.gpu.error("a read was not submitted")),
        }
    }

    /// Takes back a buffer that was read.
    pub(crate) fn give_back(&self, readback: wgpu::Buffer) {
        self.recorder().staging.give_back(readback);
    }

    /// Waits for a submission, while others may record.
    pub(crate) fn wait_for(&self, submission: &Submission) -> Result<()> {
        if submission.is_done(&self.gpu)? {
            return Ok(());
        }
        self.recorder().count_wait(submission.number);
        self.gpu.wait(Some(submission.index.clone()))
    }

    /// Submits what is recorded, and waits for all of it.
    pub(crate) fn synchronize(&self) -> Result<()> {
        let mut recorder = self.recorder();
        recorder.flush(&self.gpu)?;
        let all = recorder.profiler.counts.submissions;
        recorder.count_wait(all);
        self.gpu.wait(None)?;
        recorder.in_flight.clear();
        drop(recorder);
        self.pipelines.save();
        Ok(())
    }

    /// What times are taken by.
    pub(crate) fn clock(&self) -> Clock {
        self.recorder().profiler.clock()
    }

    /// Counts and times so far.
    pub(crate) fn profile(&self) -> Profile {
        let profile = self.recorder().profiler.snapshot();
        Profile { allocations: self.pool.allocations(), ..profile }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.pipelines.save();
    }
}

/// Bytes that a dispatch has at hand, each buffer once: kernels bind some of them twice.
fn bound_bytes(launch: &Bound<'_>) -> u64 {
    let views: Vec<&View> = launch.outputs.iter().chain(launch.inputs).copied().collect();
    let same = |a: &View, b: &View| a.buffer == b.buffer && a.offset == b.offset;
    let first = |&(i, view): &(usize, &&View)| !views[..i].iter().any(|other| same(other, view));
    views.iter().enumerate().filter(first).map(|(_, view)| view.size).sum()
}

/// Workgroups as a grid: those beyond the limit of the first extent go on in the second.
fn fold(groups: usize, limit: u32) -> [u32; 3] {
    let cols = groups.min(limit as usize);
    let rows = groups.div_ceil(cols.max(1));
    [cols as u32, rows as u32, 1]
}

impl Recorder {
    /// The encoder, outside any pass.
    fn encoder(&mut self, gpu: &Gpu) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder.get_or_insert_with(|| gpu.device.create_command_encoder(&Default::default()))
    }

    fn dispatch(
        &mut self,
        gpu: &Gpu,
        launch: &Bound<'_>,
        pipeline: &crate::pipelines::Pipeline,
        groups: [u32; 3],
    ) -> Result<()> {
        let at = self.params.len();
        self.params.extend_from_slice(bytemuck::cast_slice(launch.params));
        if self.params.len() > at + PARAMS_BYTES {
            self.params.truncate(at);
            return Err(gpu.error(format!("{}: too many parameters", launch.op)));
        }
        self.params.resize(at + PARAMS_BYTES, 0);

        let params = wgpu::BufferBinding {
            buffer: &self.params_buffer,
            offset: 0,
            size: std::num::NonZero::new(PARAMS_BYTES as u64),
        };
        let mut entries = Vec::with_capacity(1 + launch.outputs.len() + launch.inputs.len());
        entries.push(wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(params),
        });
        for (view, binding) in launch.outputs.iter().chain(launch.inputs).zip(1..) {
            let buffer = wgpu::BufferBinding {
                buffer: &view.buffer,
                offset: view.offset,
                size: std::num::NonZero::new(view.size),
            };
            let resource = wgpu::BindingResource::Buffer(buffer);
            entries.push(wgpu::BindGroupEntry { binding, resource });
        }
        let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        });

        let timed = self.profiler.next(launch.op);
        if timed.is_some() || self.pass.is_none() {
            let descriptor =
                wgpu::ComputePassDescriptor { label: Some(launch.op), timestamp_writes: timed };
            // `encoder()` would borrow all of `self`, and the query set is a part of it.
            self.pass = None;
            let encoder = self
                .encoder
                .get_or_insert_with(|| gpu.device.create_command_encoder(&Default::default()));
            self.pass = Some(encoder.begin_compute_pass(&descriptor).forget_lifetime());
        }
        if let Some(pass) = &mut self.pass {
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &group, &[at as u32]);
            pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        }
        self.profiler.counts.dispatches += 1;
        self.profiler.counts.bytes_bound += bound_bytes(launch);
        self.dispatches += 1;
        if self.dispatches >= BATCH_DISPATCHES {
            return self.flush(gpu);
        }
        Ok(())
    }

    /// Counts bytes that the encoder copies.
    fn copied(&mut self, gpu: &Gpu, bytes: u64) -> Result<()> {
        self.bytes += bytes;
        if self.bytes >= BATCH_BYTES {
            return self.flush(gpu);
        }
        Ok(())
    }

    fn flush(&mut self, gpu: &Gpu) -> Result<()> {
        self.pass = None;
        let Some(mut encoder) = self.encoder.take() else { return gpu.check() };
        self.profiler.resolve(&mut encoder);
        self.staging.close();
        if !self.params.is_empty() {
            gpu.queue.write_buffer(&self.params_buffer, 0, &self.params);
        }
        let index = gpu.queue.submit([encoder.finish()]);
        self.profiler.counts.submissions += 1;
        let submission = Submission::last(gpu, index, self.profiler.counts.submissions);
        self.in_flight.push_back(submission.clone());
        self.last = Some(submission);
        self.staging.recall();
        self.params.clear();
        self.dispatches = 0;
        self.bytes = 0;
        gpu.check()?;
        self.profiler.collect(gpu)?;
        while let Some(oldest) = self.in_flight.front() {
            if oldest.is_done(gpu)? {
                self.in_flight.pop_front();
            } else if self.in_flight.len() > BATCHES_IN_FLIGHT {
                self.wait_for_oldest(gpu)?;
            } else {
                break;
            }
        }
        gpu.poll()
    }

    /// Waits for the first batch that may be on its way yet; for none where all are done.
    fn wait_for_oldest(&mut self, gpu: &Gpu) -> Result<()> {
        let Some(oldest) = self.in_flight.pop_front() else { return gpu.poll() };
        if oldest.is_done(gpu)? {
            return Ok(());
        }
        self.count_wait(oldest.number);
        gpu.wait(Some(oldest.index))
    }

    /// Counts a wait for so many submissions.
    fn count_wait(&mut self, number: u64) {
        let counts = &mut self.profiler.counts;
        counts.waits += 1;
        counts.drains += u64::from(number == counts.submissions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_groups_are_folded() {
        assert_eq!(fold(0, 65_535), [0, 0, 1]);
        assert_eq!(fold(65_535, 65_535), [65_535, 1, 1]);
        assert_eq!(fold(65_536, 65_535), [65_535, 2, 1]);
        assert_eq!(fold(1 << 24, 65_535), [65_535, 257, 1]);
    }
}
