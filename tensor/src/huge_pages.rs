//! Large pages for large memory: fewer page faults, and fewer walks of the page table.

/// What the system joins to one page: of 2 MiB with x86-64, and with Arm at pages of 4 KiB.
#[cfg(all(target_os = "linux", not(miri)))]
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Asks the system to back this memory by huge pages, before it is written for the first time.
///
/// Weights are read from one end to the other in every pass, from more pages than the processor
/// remembers the places of. Most systems give huge pages only to who asks. This is Linux's
/// `MADV_HUGEPAGE`; elsewhere, and where the system has none, nothing happens. What the memory holds
/// stays as it is, and less than a whole huge page of it is left alone.
///
/// ```
/// let mut weights = vec![0.0f32; 4 << 20];
/// striate_tensor::prefer_huge_pages(&mut weights);
/// ```
pub fn prefer_huge_pages<T>(memory: &mut [T]) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let range = memory.as_mut_ptr_range();
        let start = range.start.addr().next_multiple_of(HUGE_PAGE_BYTES);
        let end = range.end.addr() - range.end.addr() % HUGE_PAGE_BYTES;
        if start < end {
            let first = range.start.cast::<u8>().wrapping_add(start - range.start.addr());
            // SAFETY: whole pages inside the slice; the advice changes how the system backs them, not
            // what they hold. It fails where the system has no huge pages: then they stay small.
            unsafe { libc::madvise(first.cast(), end - start, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = memory;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_keeps_what_it_holds() {
        // Less than a huge page, one that lies across a border, several; and elements of no size.
        for bytes in [0, 1, 4096, 2 << 20, (2 << 20) + 5, 9 << 20] {
            let mut memory: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
            prefer_huge_pages(&mut memory);
            assert!(memory.iter().enumerate().all(|(i, &b)| b == (i % 251) as u8), "{bytes}");
        }
        prefer_huge_pages(&mut [(); 3]);
    }
}
