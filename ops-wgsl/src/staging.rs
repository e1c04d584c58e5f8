//! Bytes on their way to the GPU and back.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use striate_tensor::Result;

use crate::device::Gpu;
use crate::pending::CALLBACK_TIME;

/// Bytes of a staging buffer.
const BUFFER_BYTES: u64 = 8 << 20;
/// Staging buffers for uploads that are kept in any case: writing one overlaps with copying another.
const KEPT_BUFFERS: usize = 8;
/// Staging buffers for uploads at most, 256 MiB. More are made as long as none is free, so that a large
/// mini-batch (AlexNet's of 128 pictures has 79 MB) is written while the GPU still copies the one before.
const MOST_BUFFERS: usize = 32;
/// After so many submissions buffers go that were not needed in any of them.
const TRIM_AFTER: usize = 64;
/// Bytes read back at a time.
pub(crate) const READBACK_BYTES: u64 = 32 << 20;
/// Readback buffers that are kept for the next reads.
const READBACKS_KEPT: usize = 4;

/// The ring of upload buffers, and readback buffers.
///
/// Each upload buffer goes round: mapped and filled from the front, submitted, asked for again, and
/// free when the GPU has copied from it.
#[derive(Default)]
pub(crate) struct Staging {
    /// The one being filled, and how far it is.
    open: Option<(wgpu::Buffer, u64)>,
    /// Full, or to be submitted.
    closed: Vec<wgpu::Buffer>,
    /// Mapped again.
    free: Arc<Mutex<Vec<wgpu::Buffer>>>,
    made: usize,
    /// The most that were in use at once in the last `submissions`.
    needed: usize,
    submissions: usize,
    /// Readback buffers that nobody uses.
    readbacks: Vec<wgpu::Buffer>,
}

/// Room in a staging buffer.
pub(crate) struct StagingRange {
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) at: u64,
    pub(crate) bytes: usize,
}

impl StagingRange {
    /// Copies bytes there, zeros up to a whole word after them.
    pub(crate) fn fill(&self, gpu: &Gpu, bytes: &[u8]) -> Result<()> {
        let padded = (bytes.len() as u64).next_multiple_of(4);
        let mut view = self
            .buffer
            .get_mapped_range_mut(self.at..self.at + padded)
            .map_err(|e| gpu.error(e.to_string()))?;
        let whole = bytes.len() - bytes.len() % 4;
        if whole > 0 {
            view.slice(..whole).copy_from_slice(&bytes[..whole]);
        }
        if whole < bytes.len() {
            let mut last = [0; 4];
            last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            view.slice(whole..).copy_from_slice(&last);
        }
        Ok(())
    }
}

impl Staging {
    /// Room for some of `bytes` bytes; none while every buffer is on its way.
    pub(crate) fn room(&mut self, gpu: &Gpu, bytes: usize) -> Result<Option<StagingRange>> {
        if self.open.as_ref().is_some_and(|(_, at)| *at == BUFFER_BYTES) {
            self.close_open();
        }
        let (buffer, at) = match self.open.take() {
            Some(open) => open,
            None => match self.next(gpu)? {
                Some(buffer) => (buffer, 0),
                None => return Ok(None),
            },
        };
        let bytes = bytes.min((BUFFER_BYTES - at) as usize);
        // Places that are mapped begin at multiples of 8.
        let end = (at + bytes as u64).next_multiple_of(wgpu::MAP_ALIGNMENT);
        self.open = Some((buffer.clone(), end.min(BUFFER_BYTES)));
        Ok(Some(StagingRange { buffer, at, bytes }))
    }

    fn next(&mut self, gpu: &Gpu) -> Result<Option<wgpu::Buffer>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = free.pop();
        self.needed = self.needed.max(self.made - free.len());
        drop(free);
        // In a browser buffers come back when the program lets it go on, so none is waited for.
        if taken.is_some() || (self.made == MOST_BUFFERS && cfg!(not(target_arch = "wasm32"))) {
            return Ok(taken);
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some("upload"),
            size: BUFFER_BYTES,
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        };
        let buffer = gpu.scoped(BUFFER_BYTES as usize, || gpu.device.create_buffer(&descriptor))?;
        self.made += 1;
        self.needed = self.needed.max(self.made);
        Ok(Some(buffer))
    }

    /// Gives back to the driver what was not needed for a while.
    fn trim(&mut self) {
        self.submissions += 1;
        if self.submissions < TRIM_AFTER {
            return;
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let surplus = self.made.saturating_sub(self.needed.max(KEPT_BUFFERS)).min(free.len());
        free.drain(..surplus);
        self.made -= surplus;
        self.needed = self.made - free.len();
        self.submissions = 0;
    }

    fn close_open(&mut self) {
        if let Some((buffer, _)) = self.open.take() {
            buffer.unmap();
            self.closed.push(buffer);
        }
    }

    /// Called before a submission: the GPU may not use what is mapped.
    pub(crate) fn close(&mut self) {
        self.close_open();
    }

    /// Called after a submission: asks for the buffers back.
    pub(crate) fn recall(&mut self) {
        self.trim();
        for buffer in self.closed.drain(..) {
            let free = Arc::clone(&self.free);
            let back = buffer.clone();
            // On failure the device is lost, and says so itself.
            buffer.map_async(wgpu::MapMode::Write, .., move |result| {
                if result.is_ok() {
                    free.lock().unwrap_or_else(PoisonError::into_inner).push(back);
                }
            });
        }
    }

    /// A buffer to copy to what is to be read.
    pub(crate) fn readback(&mut self, gpu: &Gpu, bytes: usize) -> Result<wgpu::Buffer> {
        let size = (bytes as u64).next_power_of_two().clamp(1 << 16, READBACK_BYTES);
        if let Some(place) = self.readbacks.iter().position(|buffer| buffer.size() == size) {
            return Ok(self.readbacks.swap_remove(place));
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some("readback"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        gpu.scoped(size as usize, || gpu.device.create_buffer(&descriptor))
    }

    /// Takes a readback buffer back that is not mapped any more.
    pub(crate) fn give_back(&mut self, buffer: wgpu::Buffer) {
        self.readbacks.push(buffer);
        if self.readbacks.len() > READBACKS_KEPT {
            self.readbacks.remove(0);
        }
    }
}

/// Maps a readback buffer when what was submitted is done, and copies from its start.
pub(crate) fn read_mapped(gpu: &Gpu, from: &wgpu::Buffer, to: &mut [u8]) -> Result<()> {
    let range = ..(to.len() as u64).next_multiple_of(4);
    let (sender, receiver) = mpsc::channel();
    from.map_async(wgpu::MapMode::Read, range, move |result| {
        // Nobody listens where waiting has failed.
        let _ = sender.send(result);
    });
    gpu.wait(None)?;
    // Another thread may have seen the work end, and be about to call back.
    match receiver.recv_timeout(CALLBACK_TIME) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(gpu.error(format!("a buffer cannot be read: {error}"))),
        Err(_) => return Err(gpu.error("a buffer is not ready though the device is idle")),
    }
    {
        let view = from.get_mapped_range(range).map_err(|e| gpu.error(e.to_string()))?;
        to.copy_from_slice(&view[..to.len()]);
    }
    from.unmap();
    Ok(())
}
