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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use striate_tensor::{Buffer, BufferData, DType, Operand, Result, TensorType};

use crate::device::{ALIGN_BYTES, Gpu};

/// A free buffer serves a request of at least this part of its size (as 1 / n).
const SLACK: u64 = 2;
/// Sizes are rounded to this part of their power of two (as 1 / n), so that near sizes share buffers.
const FINENESS: u64 = 32;
/// Free memory that is kept in any case.
const KEPT_BYTES: u64 = 64 << 20;
/// What is kept beyond the most that was on loan at once, as a part of that (1 / n). A step of training asks
/// for the same sizes in the same order each time, and buffers of several sizes lie free at its height: without
/// this the steps of MobileNetV2 would make buffers for ever, and let go of others.
const SPARE: u64 = 4;

const USAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

/// Buffers, or what stands for them in tests.
struct Free<B> {
    buffers: BTreeMap<u64, Vec<B>>,
    bytes: u64,
    /// Bytes of buffers on loan, and the most that there were.
    lent: u64,
    most_lent: u64,
    /// Buffers made so far.
    made: u64,
}

impl<B> Default for Free<B> {
    fn default() -> Self {
        Free { buffers: BTreeMap::new(), bytes: 0, lent: 0, most_lent: 0, made: 0 }
    }
}

impl<B> Free<B> {
    fn lend(&mut self, bytes: u64) {
        self.lent += bytes;
        self.most_lent = self.most_lent.max(self.lent);
    }

    /// Takes a buffer of so many bytes back. It is kept: whether it is too many, is seen when another one has
    /// to be made. Memory does not grow by keeping, and a step of training asks for all of it again.
    fn take_back(&mut self, bytes: u64, buffer: B) {
        self.lent = self.lent.saturating_sub(bytes);
        self.bytes += bytes;
        self.buffers.entry(bytes).or_default().push(buffer);
    }

    /// The smallest free buffer that serves a request of `size` bytes.
    fn reuse(&mut self, size: u64) -> Option<B> {
        let (&found, buffers) = self.buffers.range_mut(size..=size * SLACK).next()?;
        let buffer = buffers.pop()?;
        if buffers.is_empty() {
            self.buffers.remove(&found);
        }
        self.bytes -= found;
        self.lend(found);
        Some(buffer)
    }

    /// What has to go before a buffer of so many bytes is made: the largest free ones, of which one makes room
    /// for many.
    fn surplus(&mut self, size: u64) -> Vec<B> {
        let lent = self.lent + size;
        let most = self.most_lent.max(lent);
        let limit = (most + most / SPARE).max(lent + KEPT_BYTES);
        let mut surplus = Vec::new();
        while lent + self.bytes > limit
            && let Some(mut largest) = self.buffers.last_entry()
        {
            self.bytes -= if largest.get().is_empty() { 0 } else { *largest.key() };
            surplus.extend(largest.get_mut().pop());
            if largest.get().is_empty() {
                largest.remove();
            }
        }
        surplus
    }
}

/// The size of the buffer that is made for a request.
fn rounded(bytes: u64) -> u64 {
    let step = (bytes.max(1).next_power_of_two() / FINENESS).max(ALIGN_BYTES);
    bytes.max(1).next_multiple_of(step)
}

/// Buffers that tensors return to and come from.
///
/// One may be taken again while the GPU has yet to use it for its last owner: whatever is done with
/// it next is queued behind that.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Free<wgpu::Buffer>>>);

/// A wgpu buffer on loan from a [`Pool`].
pub(crate) struct Chunk {
    pub(crate) buffer: wgpu::Buffer,
    pool: Pool,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.pool.free().take_back(self.buffer.size(), self.buffer.clone());
    }
}

impl Pool {
    /// A buffer of at least `bytes` bytes. What is in it is whatever the last owner left.
    pub(crate) fn take(&self, gpu: &Gpu, bytes: u64) -> Result<Chunk> {
        let size = rounded(bytes);
        let reused = self.free().reuse(size);
        if let Some(buffer) = reused {
            return Ok(Chunk { buffer, pool: self.clone() });
        }
        let surplus = self.free().surplus(size);
        drop(surplus);
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
        let mut free = self.free();
        free.made += 1;
        free.lend(buffer.size());
        Ok(Chunk { buffer, pool: self.clone() })
    }

    fn free(&self) -> MutexGuard<'_, Free<wgpu::Buffer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(&self) {
        let mut free = self.free();
        // Memory is short: what was in use once is no reason to keep as much.
        let Free { made, lent, .. } = *free;
        *free = Free { made, lent, most_lent: lent, ..Free::default() };
    }

    /// Buffers made so far.
    pub(crate) fn allocations(&self) -> u64 {
        self.free().made
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

    /// A pool without a device: each buffer is its size.
    #[derive(Default)]
    struct Sizes {
        free: Free<u64>,
        /// Of all buffers that there are, and the most that there were.
        all: u64,
        most: u64,
    }

    impl Sizes {
        fn take(&mut self, bytes: u64) -> u64 {
            let size = rounded(bytes);
            if let Some(size) = self.free.reuse(size) {
                return size;
            }
            self.all -= self.free.surplus(size).iter().sum::<u64>();
            self.free.made += 1;
            self.free.lend(size);
            self.all += size;
            self.most = self.most.max(self.all);
            size
        }

        fn give(&mut self, size: u64) {
            self.free.take_back(size, size);
        }
    }

    #[test]
    fn memory_is_kept_up_to_the_most_that_was_in_use() {
        let (count, size) = (10, 2 * KEPT_BYTES);
        let mut pool = Sizes::default();
        let taken: Vec<u64> = (0..count).map(|_| pool.take(size)).collect();
        taken.into_iter().for_each(|own| pool.give(own));
        // All of it stays, since it was in use at once, and serves what comes.
        assert_eq!((pool.free.lent, pool.free.bytes), (0, count * size));
        let own = pool.take(size);
        pool.give(own);
        assert_eq!(pool.free.made, count);
        // What nothing free is large enough for takes the place of what is there.
        let own = pool.take(4 * size);
        assert_eq!(pool.all, pool.free.lent + pool.free.bytes);
        assert!(pool.all <= count * size * (SPARE + 1) / SPARE, "{} bytes", pool.all);
        pool.give(own);
        // Little is kept in any case.
        let mut pool = Sizes::default();
        for bytes in [KEPT_BYTES / 2, KEPT_BYTES / 8] {
            let own = pool.take(bytes);
            pool.give(own);
        }
        assert_eq!(pool.all, KEPT_BYTES / 2 + KEPT_BYTES / 8);
    }

    /// As a step of a network whose images become smaller and deeper: activations stay until the way back,
    /// gradients as large as they go from one to the next, and what weights are transformed to comes and goes.
    #[test]
    fn a_step_of_many_sizes_makes_no_buffers_in_the_long_run() {
        let layers: Vec<u64> = (0..40).map(|i| (96 << 20) / (1 + i) + 12_345 * i).collect();
        let mut pool = Sizes::default();
        // Something else comes first, and leaves buffers of sizes that the step does not ask for.
        let others: Vec<u64> = (0..6).map(|i| pool.take((150 << 20) + (i << 20))).collect();
        others.into_iter().for_each(|own| pool.give(own));
        let mut asked = 0;
        let mut step = |pool: &mut Sizes| {
            let mut kept = Vec::new();
            for &layer in &layers {
                let scratch = pool.take(layer / 3);
                kept.push(pool.take(layer));
                pool.give(scratch);
            }
            asked = pool.free.lent;
            let mut gradient = pool.take(layers[layers.len() - 1]);
            for (&layer, own) in layers.iter().zip(kept).rev() {
                let weights = pool.take(layer / 7);
                let next = pool.take(layer);
                let scratch = pool.take(layer / 2);
                [scratch, own, gradient, weights].into_iter().for_each(|own| pool.give(own));
                gradient = next;
            }
            pool.give(gradient);
        };
        (0..3).for_each(|_| step(&mut pool));
        let made = pool.free.made;
        (0..5).for_each(|_| step(&mut pool));
        assert_eq!(pool.free.made, made);
        // The sizes of a step fit each other so well that it needs little more than it has at its height.
        let height = pool.free.most_lent;
        assert!(pool.most <= height.max(asked) * (SPARE + 1) / SPARE, "{} of {height}", pool.most);
        assert_eq!(pool.free.lent, 0);
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
