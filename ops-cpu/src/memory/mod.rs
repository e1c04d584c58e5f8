//! Aligned memory from a pool, so that a network that runs again takes none from the system.

mod allocation;
mod segments;

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use allocation::{ALIGN_BYTES, Allocation};
use segments::{Range, Segments};
use striate_tensor::Result;

/// Blocks from here on are cut from segments, of their exact size in pages. Smaller ones are rounded
/// up and stay what they are: there are many of them, and little in all.
const LARGE_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;
/// A free small block serves a request of at least this part of its size (as 1 / n), so that small
/// tensors do not sit on large blocks.
const SLACK: usize = 2;
/// The pool always keeps up to this much memory. Beyond it, it frees cached blocks once the whole
/// exceeds the pool's peak use by more than one part in [`UNFIT`], which allows for free blocks that
/// no request fits. So a training step, which frees nearly all of its memory, takes none from the
/// system the next time. (With one part in 16 a step of VGG-D on 4 images is no faster, and keeps
/// 50 MB more.) Where that is too little, because the order of requests leaves gaps, it grows.
const KEPT_BYTES: usize = 64 << 20;
const UNFIT: usize = 32;

enum Block {
    Small(Allocation),
    Large(Range),
}

impl Block {
    fn start(&self) -> NonNull<u8> {
        match self {
            Block::Small(block) => block.start(),
            Block::Large(range) => range.start,
        }
    }

    fn size(&self) -> usize {
        match self {
            Block::Small(block) => block.size(),
            Block::Large(range) => range.size,
        }
    }
}

#[derive(Default)]
struct Blocks {
    small: BTreeMap<usize, Vec<Allocation>>,
    large: Segments,
    /// Bytes that are free.
    free: usize,
    /// Bytes that are on loan, and the most that ever were.
    lent: usize,
    most_lent: usize,
    /// Bytes that were given back to the system and then asked of it again, though no more was in use
    /// than before: so much more is kept.
    missed: usize,
    has_released: bool,
}

impl Blocks {
    /// A free small block of this size, or not much larger.
    fn small(&mut self, size: usize) -> Option<Block> {
        let fits = self.small.range(size..=size.saturating_mul(SLACK)).next();
        let size = fits.map(|(&size, _)| size)?;
        let blocks = self.small.get_mut(&size)?;
        let block = blocks.pop();
        if blocks.is_empty() {
            self.small.remove(&size);
        }
        block.map(Block::Small)
    }

    fn lend(&mut self, block: Block) -> Block {
        self.lent += block.size();
        self.most_lent = self.most_lent.max(self.lent);
        block
    }

    /// What is to be given back to the system before it gives so many bytes more.
    fn surplus(&mut self, more: usize) -> Vec<Allocation> {
        let most = self.most_lent.max(self.lent.saturating_add(more));
        let unfit = (most / UNFIT).max(self.missed.min(most));
        let kept = most.saturating_add(unfit).max(KEPT_BYTES);
        let surplus = (self.lent + self.free).saturating_add(more).saturating_sub(kept);
        let released = self.large.release(surplus);
        self.free -= released.iter().map(Allocation::size).sum::<usize>();
        self.has_released |= !released.is_empty();
        released
    }

    /// Notes that no free range is as large as this.
    fn miss(&mut self, size: usize) {
        if self.has_released && self.lent.saturating_add(size) <= self.most_lent {
            self.missed = self.missed.saturating_add(size);
        }
    }
}

/// Memory that tensors of a device return to and come from.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Blocks>>);

impl Pool {
    /// Memory of `bytes` bytes. What is in it is whatever the last owner left, zeros at first.
    pub(crate) fn take(&self, bytes: usize) -> Result<Memory> {
        let block = match bytes < LARGE_BYTES {
            true => self.small(bytes)?,
            false => self.large(bytes.checked_next_multiple_of(PAGE_BYTES).unwrap_or(bytes))?,
        };
        Ok(Memory { block: Some(block), bytes, pool: self.clone() })
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn small(&self, bytes: usize) -> Result<Block> {
        // Sizes are rounded to an eighth of their power of two, so that near sizes share blocks.
        let step = (bytes.next_power_of_two() / 8).max(ALIGN_BYTES);
        let size = bytes.max(1).next_multiple_of(step);
        let mut blocks = self.blocks();
        let block = match blocks.small(size) {
            Some(block) => {
                blocks.free -= block.size();
                block
            }
            None => {
                drop(blocks);
                let block = Block::Small(Allocation::zeroed(size)?);
                blocks = self.blocks();
                block
            }
        };
        Ok(blocks.lend(block))
    }

    fn large(&self, size: usize) -> Result<Block> {
        let released = {
            let mut blocks = self.blocks();
            if let Some(range) = blocks.large.take(size) {
                blocks.free -= size;
                return Ok(blocks.lend(Block::Large(range)));
            }
            blocks.miss(size);
            blocks.surplus(size)
        };
        drop(released);
        let segment = Allocation::zeroed(size)?;
        let mut blocks = self.blocks();
        let range = blocks.large.add(segment);
        Ok(blocks.lend(Block::Large(range)))
    }

    fn give(&self, block: Block) {
        let released = {
            let mut blocks = self.blocks();
            blocks.lent -= block.size();
            blocks.free += block.size();
            match block {
                Block::Small(block) => blocks.small.entry(block.size()).or_default().push(block),
                Block::Large(range) => blocks.large.give(range),
            }
            blocks.surplus(0)
        };
        // Giving back takes time, and nobody need wait for it.
        drop(released);
    }
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
            Some(block) => unsafe {
                std::slice::from_raw_parts(block.start().as_ptr(), self.bytes)
            },
            None => &[],
        }
    }

    /// The bytes, to write into.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.block {
            // SAFETY: as in `bytes`, and borrowed exclusively.
            Some(block) => unsafe {
                std::slice::from_raw_parts_mut(block.start().as_ptr(), self.bytes)
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
    use striate_tensor::Error;

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

    /// Bytes of the system that the pool holds.
    fn held(pool: &Pool) -> usize {
        let blocks = pool.blocks();
        blocks.free + blocks.lent
    }

    #[test]
    fn what_was_in_use_at_a_time_is_kept() {
        let pool = Pool::default();
        let take = || (0..3).map(|_| pool.take(KEPT_BYTES).unwrap()).collect::<Vec<_>>();
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
    fn large_blocks_are_cut_from_larger_ones_and_take_no_more_than_their_pages() {
        let pool = Pool::default();
        drop(pool.take(8 * LARGE_BYTES).unwrap());
        let odd = LARGE_BYTES + PAGE_BYTES / 2;
        let parts: Vec<Memory> = (0..7).map(|_| pool.take(odd).unwrap()).collect();
        assert!(parts.iter().all(|part| part.bytes().len() == odd));
        assert_eq!(pool.blocks().lent, 7 * (LARGE_BYTES + PAGE_BYTES));
        drop(parts);
        drop(pool.take(8 * LARGE_BYTES).unwrap());
        assert_eq!(held(&pool), 8 * LARGE_BYTES, "all of it from the same memory");
    }

    #[test]
    fn what_fits_nothing_goes_back_to_the_system() {
        let pool = Pool::default();
        // Each larger than those before: none fits.
        for n in 1..=16 {
            drop(pool.take(n * KEPT_BYTES / 4).unwrap());
            let most = n * KEPT_BYTES / 4;
            assert!(
                held(&pool) <= (most + most / UNFIT).max(KEPT_BYTES),
                "{} of {most}",
                held(&pool)
            );
        }
        assert_eq!(held(&pool), 4 * KEPT_BYTES);
    }

    #[test]
    fn what_is_missed_again_and_again_is_kept_in_the_end() {
        let pool = Pool::default();
        // Each round leaves gaps that its last block does not fit into.
        let round = || {
            let keep = pool.take(KEPT_BYTES / 2).unwrap();
            let first = pool.take(3 * KEPT_BYTES / 2).unwrap();
            drop(keep);
            let second = pool.take(KEPT_BYTES).unwrap();
            drop(first);
            drop((second, pool.take(KEPT_BYTES + LARGE_BYTES).unwrap()));
        };
        for _ in 0..8 {
            round();
        }
        let missed = pool.blocks().missed;
        for _ in 0..8 {
            round();
        }
        assert_eq!(pool.blocks().missed, missed, "nothing is asked of the system any more");
        assert!(held(&pool) <= 2 * pool.blocks().most_lent);
    }

    #[test]
    fn what_no_machine_has_is_an_error() {
        assert!(matches!(
            Pool::default().take(isize::MAX as usize / 2),
            Err(Error::OutOfMemory { .. })
        ));
        assert!(matches!(Pool::default().take(usize::MAX), Err(Error::OutOfMemory { .. })));
    }
}
