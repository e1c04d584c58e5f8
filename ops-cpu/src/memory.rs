//! Aligned memory from a pool, so that a network that runs again takes none from the system.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use striate_tensor::{Error, Result};

/// Cache lines, and the widest vectors, are this long.
const ALIGN_BYTES: usize = 64;
/// A free block serves a request of at least this part of its size (as 1 / n), so that small
/// tensors do not sit on large blocks.
const SLACK: usize = 2;
/// Free memory up to this is kept. Beyond it goes back to the system what makes the whole more than
/// was ever in use at a time, and a quarter (for blocks that fit nothing): a training step, which
/// gives almost all of its memory back, takes none from the system the next time.
const KEPT_BYTES: usize = 512 << 20;

/// A block of memory, always initialised.
struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block owns its memory alone.
unsafe impl Send for Block {}
// SAFETY: `&Block` gives only reads.
unsafe impl Sync for Block {}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) }
    }
}

#[derive(Default)]
struct Free {
    blocks: BTreeMap<usize, Vec<Block>>,
    bytes: usize,
    /// Bytes that are on loan, and the most that ever were.
    lent: usize,
    most_lent: usize,
}

impl Free {
    fn lend(&mut self, bytes: usize) {
        self.lent += bytes;
        self.most_lent = self.most_lent.max(self.lent);
    }
}

/// Memory that tensors of a device return to and come from.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Free>>);

impl Pool {
    /// Memory of `bytes` bytes. What is in it is whatever the last owner left, zeros at first.
    pub(crate) fn take(&self, bytes: usize) -> Result<Memory> {
        // Sizes are rounded to an eighth of their power of two, so that near sizes share blocks.
        let step = (bytes.next_power_of_two() / 8).max(ALIGN_BYTES);
        let size = bytes.max(1).next_multiple_of(step);
        let reused = {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = free.blocks.range(size..=size.saturating_mul(SLACK)).next().map(|(&n, _)| n);
            fits.and_then(|n| {
                let blocks = free.blocks.get_mut(&n)?;
                let block = blocks.pop();
                if blocks.is_empty() {
                    free.blocks.remove(&n);
                }
                free.bytes -= n;
                free.lend(n);
                block
            })
        };
        let block = match reused {
            Some(block) => block,
            None => {
                let block = allocate(size)?;
                self.0.lock().unwrap_or_else(PoisonError::into_inner).lend(size);
                block
            }
        };
        Ok(Memory { block: Some(block), bytes, pool: self.clone() })
    }

    fn give(&self, block: Block) {
        let size = block.layout.size();
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = free.bytes + free.lent;
        free.lent -= size;
        if free.bytes + size > KEPT_BYTES && whole > free.most_lent / 4 * 5 {
            return;
        }
        free.bytes += size;
        free.blocks.entry(size).or_default().push(block);
    }
}

fn allocate(size: usize) -> Result<Block> {
    let failed = || Error::OutOfMemory { device: "cpu".into(), bytes: size };
    let layout = Layout::from_size_align(size, ALIGN_BYTES).map_err(|_| failed())?;
    // Zeroed, so that a kernel's output slice is never uninitialised memory; large blocks come
    // zeroed from the system at no cost.
    // SAFETY: the size is not 0.
    let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).ok_or_else(failed)?;
    Ok(Block { start, layout })
}

/// Memory on loan from a [`Pool`], aligned to 64 bytes.
pub(crate) struct Memory {
    /// Present until dropped.
    block: Option<Block>,
    bytes: usize,
    pool: Pool,
}

impl Memory {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.block {
            // SAFETY: the block has at least `bytes` initialised bytes and is ours while borrowed.
            Some(block) => unsafe { std::slice::from_raw_parts(block.start.as_ptr(), self.bytes) },
            None => &[],
        }
    }

    /// The bytes, to write into.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.block {
            // SAFETY: as in `bytes`, and borrowed exclusively.
            Some(block) => unsafe {
                std::slice::from_raw_parts_mut(block.start.as_ptr(), self.bytes)
            },
            None => &mut [],
        }
    }

    /// The elements; as many as fit whole.
    pub(crate) fn slice<T: bytemuck::Pod>(&self) -> &[T] {
        bytemuck::cast_slice(self.bytes())
    }

    /// As many pointers as fit, to write into; they point nowhere before.
    pub(crate) fn pointers_mut(&mut self) -> &mut [*const f32] {
        let bytes = self.bytes_mut();
        let count = bytes.len() / size_of::<*const f32>();
        // SAFETY: the memory is aligned to 64 bytes, initialised, borrowed exclusively, and any
        // bytes are a pointer (without provenance, so of no use before it is overwritten).
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) }
    }

    /// The elements, to write into.
    pub(crate) fn slice_mut<T: bytemuck::Pod>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(self.bytes_mut())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.pool.give(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_block_serves_the_next_request_of_its_size() {
        let pool = Pool::default();
        let first = pool.take(1000).unwrap();
        let place = first.bytes().as_ptr();
        drop(first);
        let second = pool.take(1010).unwrap();
        assert_eq!(second.bytes().as_ptr(), place);
        assert_eq!(second.bytes().len(), 1010);
        // Much smaller ones leave it alone.
        drop(second);
        assert_ne!(pool.take(100).unwrap().bytes().as_ptr(), place);
    }

    #[test]
    fn memory_is_aligned_zeroed_at_first_and_may_be_empty() {
        let pool = Pool::default();
        let mut memory = pool.take(4 * 33).unwrap();
        assert_eq!(memory.bytes().as_ptr() as usize % ALIGN_BYTES, 0);
        assert!(memory.slice::<f32>().iter().all(|&x| x == 0.0));
        memory.slice_mut::<f32>().fill(1.0);
        assert_eq!(pool.take(0).unwrap().slice::<f32>().len(), 0);
    }

    #[test]
    fn what_was_in_use_at_a_time_is_kept() {
        let pool = Pool::default();
        let take = || (0..3).map(|_| pool.take(KEPT_BYTES / 2).unwrap()).collect::<Vec<_>>();
        let places = |all: &[Memory]| {
            let mut places: Vec<_> = all.iter().map(|m| m.bytes().as_ptr().addr()).collect();
            places.sort_unstable();
            places
        };
        let first = take();
        let before = places(&first);
        drop(first);
        assert_eq!(places(&take()), before);
    }

    #[test]
    fn what_no_machine_has_is_an_error() {
        assert!(matches!(
            Pool::default().take(isize::MAX as usize / 2),
            Err(Error::OutOfMemory { .. })
        ));
    }
}
