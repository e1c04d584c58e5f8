//! Memory of the system.

use std::alloc::Layout;
use std::ptr::NonNull;

use striate_tensor::{Error, Result, prefer_huge_pages};

/// Cache lines, and the widest vectors, are this long.
pub(super) const ALIGN_BYTES: usize = 64;
/// The standard library asks the system for zeroed memory up to this alignment; beyond it takes any
/// and writes zeros, of which each page costs time, and is in use though nobody has asked for it.
const SYSTEM_ALIGN_BYTES: usize = 16;

/// A block of memory, aligned to [`ALIGN_BYTES`] and always initialised.
pub(super) struct Allocation {
    system: NonNull<u8>,
    layout: Layout,
    /// From `system` to the block.
    offset: usize,
    size: usize,
}

// SAFETY: an allocation owns its memory alone.
unsafe impl Send for Allocation {}
// SAFETY: `&Allocation` gives only an address.
unsafe impl Sync for Allocation {}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { std::alloc::dealloc(self.system.as_ptr(), self.layout) }
    }
}

impl Allocation {
    /// A block of `size` bytes, at least 1.
    pub(super) fn zeroed(size: usize) -> Result<Self> {
        let failed = || Error::OutOfMemory { device: "cpu".into(), bytes: size };
        let padded = size.checked_add(ALIGN_BYTES).ok_or_else(failed)?;
        let layout = Layout::from_size_align(padded, SYSTEM_ALIGN_BYTES).map_err(|_| failed())?;
        // Zeroed, so that a kernel's output slice is never uninitialised memory; large blocks come
        // zeroed from the system at no cost.
        // SAFETY: the size is not 0.
        let system =
            NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).ok_or_else(failed)?;
        let address = system.as_ptr().addr();
        let offset = address.next_multiple_of(ALIGN_BYTES) - address;
        // SAFETY: the memory that was just allocated, zeroed, and nobody else's.
        prefer_huge_pages(unsafe { std::slice::from_raw_parts_mut(system.as_ptr(), padded) });
        Ok(Allocation { system, layout, offset, size })
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        // SAFETY: less than the alignment, by which the allocation is longer than the block.
        unsafe { self.system.add(self.offset) }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }
}
