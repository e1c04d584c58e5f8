//! The threads of a device.

use std::sync::{Mutex, OnceLock, PoisonError};

use rayon::prelude::*;
use striate_tensor::{Error, Result};

/// A pool of threads, started at the first use that needs more than one.
pub(crate) struct Threads {
    count: usize,
    pool: OnceLock<Option<rayon::ThreadPool>>,
}

impl Threads {
    /// `count` threads; as many as the processor runs at once (or `RAYON_NUM_THREADS`) if not said.
    pub(crate) fn new(count: Option<usize>) -> Result<Self> {
        if count == Some(0) {
            return Err(Error::parameter("cpu", "threads", "at least 1", 0));
        }
        let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
        let count = count.or(asked.filter(|&n| n > 0)).unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
        });
        Ok(Threads { count, pool: OnceLock::new() })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn pool(&self) -> Option<&rayon::ThreadPool> {
        if self.count == 1 {
            return None;
        }
        let start = || {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(self.count);
            let pool = builder.thread_name(|i| format!("striate-{i}")).build();
            pool.inspect_err(|e| log::warn!("no threads could be started, computing on one: {e}"))
                .ok()
        };
        self.pool.get_or_init(start).as_ref()
    }

    /// Runs it on one of the threads, from where handing out tasks costs least.
    pub(crate) fn on_pool<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match self.pool() {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Calls `task` with each of `0..tasks`, in any order, on any thread.
    pub(crate) fn for_each(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        match self.pool() {
            Some(pool) if tasks > 1 => {
                pool.install(|| (0..tasks).into_par_iter().with_max_len(1).for_each(&task));
            }
            _ => (0..tasks).for_each(task),
        }
    }

    /// Calls `task` with each part of `part` elements (the last may be shorter) and its index.
    pub(crate) fn for_each_part<T: Send>(
        &self,
        all: &mut [T],
        part: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let part = part.max(1);
        match self.pool() {
            Some(pool) if all.len() > part => pool.install(|| {
                let parts = all.par_chunks_mut(part).enumerate().with_max_len(1);
                parts.for_each(|(index, part)| task(index, part));
            }),
            _ => all.chunks_mut(part).enumerate().for_each(|(index, part)| task(index, part)),
        }
    }
}

impl Threads {
    /// As [`for_each`](Threads::for_each), with tasks that may fail: the error of one of those that
    /// did.
    pub(crate) fn try_for_each(
        &self,
        tasks: usize,
        task: impl Fn(usize) -> Result<()> + Sync,
    ) -> Result<()> {
        let failure = Mutex::new(None);
        self.for_each(tasks, |index| {
            if let Err(error) = task(index) {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// As [`for_each_part`](Threads::for_each_part), with tasks that may fail: the error of one of
    /// those that did.
    pub(crate) fn try_for_each_part<T: Send>(
        &self,
        all: &mut [T],
        part: usize,
        task: impl Fn(usize, &mut [T]) -> Result<()> + Sync,
    ) -> Result<()> {
        let failure = Mutex::new(None);
        self.for_each_part(all, part, |index, part| {
            if let Err(error) = task(index, part) {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// An output that tasks write into side by side, each its own part.
#[derive(Clone, Copy)]
pub(crate) struct SharedOutput(*mut f32);

// SAFETY: it is only an address; whoever writes through it vouches for the part being its own.
unsafe impl Sync for SharedOutput {}
// SAFETY: as above.
unsafe impl Send for SharedOutput {}

impl SharedOutput {
    pub(crate) fn new(output: &mut [f32]) -> Self {
        SharedOutput(output.as_mut_ptr())
    }

    /// The address of an element.
    ///
    /// # Safety
    /// The offset must be inside the output, which must still be there.
    pub(crate) unsafe fn at(&self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's.
        unsafe { self.0.add(offset) }
    }
}
