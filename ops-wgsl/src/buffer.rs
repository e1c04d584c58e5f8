//! Tensors in GPU memory.
//!
//! A tensor is a list of chunks: wgpu buffers that one binding can take whole. Most tensors are one
//! chunk; a full-connect weight of 302 MB is three at WebGPU's default limit of 128 MiB. All chunks
//! but the last are of one size, a power of two, so a place in a tensor is a chunk and an offset by
//! shifting, and chunks of all element types begin at common elements.
//!
//! Kernels bind [`View`]s. A range of elements inside one chunk is bound in place; one that lies
//! across two (a row of a matrix, say) is copied together first: `views` does.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use striate_tensor::{Buffer, BufferData, DType, Operand, Result, TensorType};

use crate::device::{ALIGN_BYTES, Gpu};

/// A free buffer serves a request of at least this part of its size (as 1 / n).
const SLACK: u64 = 2;
/// Free memory that is kept in any case. More is kept up to the most that was in use at once; the rest goes
/// back to the driver.
const KEPT_BYTES: u64 = 512 << 20;

const USAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

#[derive(Default)]
struct Free {
    buffers: BTreeMap<u64, Vec<wgpu::Buffer>>,
    bytes: u64,
    /// Bytes of buffers on loan, and the most that there were.
    lent: u64,
    most_lent: u64,
    /// Buffers made so far.
    made: u64,
}

impl Free {
    fn lend(&mut self, bytes: u64) {
        self.lent += bytes;
        self.most_lent = self.most_lent.max(self.lent);
    }

    /// Takes a buffer of so many bytes back; whether it is kept. A step of training gives back all of
    /// its activations and asks for as many in the next one: what it had at its height stays.
    fn take_back(&mut self, bytes: u64) -> bool {
        self.lent = self.lent.saturating_sub(bytes);
        let kept = self.lent + self.bytes + bytes <= self.most_lent.max(self.lent + KEPT_BYTES);
        self.bytes += if kept { bytes } else { 0 };
        kept
    }
}

/// Buffers that tensors return to and come from.
///
/// One may be taken again while the GPU has yet to use it for its last owner: whatever is done with
/// it next is queued behind that.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Free>>);

/// A wgpu buffer on loan from a [`Pool`].
pub(crate) struct Chunk {
    pub(crate) buffer: wgpu::Buffer,
    pool: Pool,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let size = self.buffer.size();
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.take_back(size) {
            free.buffers.entry(size).or_default().push(self.buffer.clone());
        }
    }
}

impl Pool {
    /// A buffer of at least `bytes` bytes. What is in it is whatever the last owner left.
    pub(crate) fn take(&self, gpu: &Gpu, bytes: u64) -> Result<Chunk> {
        // Sizes are rounded to an eighth of their power of two, so that near sizes share buffers.
        let step = (bytes.max(1).next_power_of_two() / 8).max(ALIGN_BYTES);
        let size = bytes.max(1).next_multiple_of(step);
        if let Some(buffer) = self.reuse(size) {
            return Ok(self.lend(buffer));
        }
        let allocate = || {
            let descriptor = wgpu::BufferDescriptor {
                label: None,
                size,
                usage: USAGE,
                mapped_at_creation: false,
            };
            gpu.scoped(bytes as usize, || gpu.device.create_buffer(&descriptor))
        };
        let buffer = match allocate() {
            Err(striate_tensor::Error::OutOfMemory { .. }) => {
                // What the pool keeps may be what is missing.
                self.clear();
                gpu.wait(None)?;
                allocate()?
            }
            result => result?,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).made += 1;
        Ok(self.lend(buffer))
    }

    fn lend(&self, buffer: wgpu::Buffer) -> Chunk {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lend(buffer.size());
        Chunk { buffer, pool: self.clone() }
    }

    fn reuse(&self, size: u64) -> Option<wgpu::Buffer> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (&found, buffers) = free.buffers.range_mut(size..=size * SLACK).next()?;
        let buffer = buffers.pop();
        if buffers.is_empty() {
            free.buffers.remove(&found);
        }
        free.bytes -= if buffer.is_some() { found } else { 0 };
        buffer
    }

    fn clear(&self) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Memory is short: what was in use once is no reason to keep as much.
        let Free { made, lent, .. } = *free;
        *free = Free { made, lent, most_lent: lent, ..Free::default() };
    }

    /// Buffers made so far.
    pub(crate) fn allocations(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).made
    }
}

/// A tensor's memory on the GPU.
pub(crate) struct GpuBuffer {
    pub(crate) chunks: Vec<Chunk>,
    bytes: usize,
    derived: Mutex<Vec<(DerivedKey, Arc<GpuBuffer>)>>,
}

/// What a derived form of weights was made for: the maker's name and its parameters.
pub(crate) type DerivedKey = (&'static str, [u32; 6]);

impl GpuBuffer {
    /// Of chunks that hold so many bytes together.
    pub(crate) fn new(chunks: Vec<Chunk>, bytes: usize) -> Self {
        GpuBuffer { chunks, bytes, derived: Mutex::default() }
    }

    /// The form of these weights that `make` gives (packed, transformed), made at the first call
    /// and kept as long as the buffer is not written.
    pub(crate) fn derived(
        &self,
        key: DerivedKey,
        make: impl FnOnce() -> Result<GpuBuffer>,
    ) -> Result<Arc<GpuBuffer>> {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, form)) = derived.iter().find(|(k, _)| *k == key) {
            return Ok(Arc::clone(form));
        }
        let form = Arc::new(make()?);
        derived.push((key, Arc::clone(&form)));
        Ok(form)
    }

    /// Called before it is written: derived forms of the old values go.
    pub(crate) fn changed(&mut self) {
        self.derived.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl BufferData for GpuBuffer {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn size_bytes(&self) -> usize {
        self.bytes
    }
}

/// An operand of a kernel.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) buffer: &'a GpuBuffer,
    pub(crate) ty: TensorType,
}

impl<'a> Source<'a> {
    pub(crate) fn new(gpu: &Gpu, operand: &Operand<'a>) -> Result<Self> {
        Ok(Source { buffer: own(gpu, operand.buffer)?, ty: *operand.ty })
    }

    pub(crate) fn half(&self) -> bool {
        self.ty.dtype == DType::F16
    }
}

/// This backend's own buffer inside a general one.
pub(crate) fn own<'a>(gpu: &Gpu, buffer: &'a Buffer) -> Result<&'a GpuBuffer> {
    buffer.downcast().ok_or_else(|| gpu.error("a buffer of another backend was given to the GPU"))
}

/// What a kernel binds: a range of a buffer, and how many elements of it come before the first one
/// that was asked for (bindings begin at multiples of 256 bytes).
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) skip: u32,
    /// Keeps a copy out of the pool until it is bound.
    _copy: Option<Arc<Chunk>>,
}

impl View {
    /// Of bytes where they are.
    pub(crate) fn within(buffer: &wgpu::Buffer, offset: u64, size: u64, skip: u32) -> Self {
        View { buffer: buffer.clone(), offset, size, skip, _copy: None }
    }

    /// Of so many bytes that were copied together.
    pub(crate) fn of_copy(copy: Chunk, bytes: u64, skip: u32) -> Self {
        View {
            buffer: copy.buffer.clone(),
            offset: 0,
            size: bytes.max(1).next_multiple_of(16),
            skip,
            _copy: Some(Arc::new(copy)),
        }
    }
}

/// Where rows must be cut, in bytes of a row and of a chunk: `Context::cuts` gives them for kernels.
pub(crate) fn row_cuts(rows: usize, row_bytes: usize, chunk: usize) -> Vec<usize> {
    let mut cuts = vec![0];
    let total = rows * row_bytes;
    for boundary in (chunk..total).step_by(chunk) {
        let row = boundary / row_bytes;
        cuts.push(row);
        if !boundary.is_multiple_of(row_bytes) {
            cuts.push(row + 1);
        }
    }
    cuts.push(rows);
    cuts.dedup();
    cuts
}

/// The parts that several lists of cuts leave: each can be bound in every one of the tensors.
pub(crate) fn parts(lists: &[Vec<usize>]) -> Vec<Range<usize>> {
    let mut cuts: Vec<usize> = lists.iter().flatten().copied().collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_up_to_the_most_that_was_in_use() {
        let mut free = Free::default();
        // More than is kept in any case: all of it stays, since it was in use at once.
        let (count, size) = (10, KEPT_BYTES / 4);
        (0..count).for_each(|_| free.lend(size));
        assert!((0..count).all(|_| free.take_back(size)));
        assert_eq!((free.lent, free.bytes), (0, count * size));
        // Of what nobody takes from the free ones, no more is kept than that.
        free.lend(size);
        assert!(!free.take_back(size));
        assert_eq!((free.lent, free.bytes), (0, count * size));
    }

    #[test]
    fn rows_are_cut_at_chunks_and_a_row_across_them_is_alone() {
        assert_eq!(row_cuts(10, 4, 1000), [0, 10]);
        assert_eq!(row_cuts(10, 100, 500), [0, 5, 10]);
        assert_eq!(row_cuts(10, 100, 250), [0, 2, 3, 5, 7, 8, 10]);
        assert_eq!(row_cuts(0, 100, 250), [0]);
        assert_eq!(parts(&[vec![0, 4, 9], vec![0, 5, 9]]), [0..4, 4..5, 5..9]);
        assert_eq!(parts(&[vec![0]]), []);
    }
}
