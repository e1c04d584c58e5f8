//! The threads of a device.

mod workers;

use std::sync::{Mutex, OnceLock, PoisonError};

use striate_tensor::{Error, Result};

use workers::Workers;

/// A number of threads: the one that calls, and workers that are started at the first use that needs
/// more than one.
pub(crate) struct Threads {
    count: usize,
    shares: usize,
    workers: OnceLock<Workers>,
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
        Ok(Threads { count, shares: count, workers: OnceLock::new() })
    }

    /// So many threads, and loops cut as for another number of them.
    #[cfg(feature = "task-times")]
    pub(crate) fn cut_for(self, shares: usize) -> Self {
        Threads { shares: shares.max(1), ..self }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Into how many tasks a loop is cut at the least, where it is long enough: with fewer, threads would be
    /// idle. Only loops whose results are the same bits however they are cut may ask for it; those that sum
    /// over tasks are cut by the shape alone.
    pub(crate) fn shares(&self) -> usize {
        self.shares
    }

    /// Whether one thread does all. (Where tasks are timed it goes the way of several, on which they are.)
    fn runs_alone(&self) -> bool {
        self.count == 1 && !cfg!(feature = "task-times")
    }

    /// Calls `task` with each of `0..tasks`, in any order, on any thread. Inside of such a task, on its
    /// own thread.
    pub(crate) fn for_each(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        match self.count {
            2.. if tasks > 1 => {
                self.workers.get_or_init(|| Workers::start(self.count - 1)).run(tasks, &task);
            }
            #[cfg(feature = "task-times")]
            _ => crate::task_times::each(tasks, task),
            #[cfg(not(feature = "task-times"))]
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
        let len = all.len();
        if len <= part || self.runs_alone() {
            return all.chunks_mut(part).enumerate().for_each(|(index, part)| task(index, part));
        }
        let all = SharedOutput::new(all);
        self.for_each(len.div_ceil(part), |index| {
            let first = index * part;
            // SAFETY: parts of different tasks do not overlap and lie inside `all`, which is borrowed
            // until `for_each` is over.
            let part =
                unsafe { std::slice::from_raw_parts_mut(all.at(first), part.min(len - first)) };
            task(index, part);
        });
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
pub(crate) struct SharedOutput<T = f32>(*mut T);

// SAFETY: it is only an address; whoever writes through it vouches for the part being its own.
unsafe impl<T: Send> Sync for SharedOutput<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedOutput<T> {}

impl<T> SharedOutput<T> {
    pub(crate) fn new(output: &mut [T]) -> Self {
        SharedOutput(output.as_mut_ptr())
    }

    /// The address of an element.
    ///
    /// # Safety
    /// The offset must be inside the output, which must still be there.
    pub(crate) unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: the caller's.
        unsafe { self.0.add(offset) }
    }
}
