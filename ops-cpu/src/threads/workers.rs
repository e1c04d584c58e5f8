//! Threads that wait for loops to share.
//!
//! A convolution of a small network takes less time than the operating system needs to wake a thread, so
//! workers that have just worked look for the next loop by themselves for a while before they sleep. A
//! loop is announced by one address. Each thread has its share of the indices, in their order, so that it
//! meets in a loop what it left in its caches in the loop before; who is done takes from the others' shares.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a worker looks for the next loop before it sleeps: longer than what stands between two ops
/// of a network, short beside what a person or a battery notices.
const AWAKE: Duration = Duration::from_micros(200);
/// Looks between two readings of the clock.
const LOOKS: usize = 64;

thread_local! {
    /// Whether this thread runs a part of a loop: what that part shares in turn, it does by itself.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The next index of a thread's share, on cache lines of its own.
#[repr(align(128))]
struct Share(AtomicUsize);

/// A loop over `0..tasks`.
struct Loop<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    shares: &'a [Share],
    /// What the first task that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Loop<'_> {
    /// Where the share of a thread begins, and that of the one before it ends.
    fn start(&self, thread: usize) -> usize {
        // Tasks are far fewer than the square root of what a number holds.
        thread * self.tasks / self.shares.len()
    }

    /// Runs tasks until none are left, from the share of this thread on.
    fn work(&self, thread: usize) {
        let was_inside = INSIDE.replace(true);
        let threads = self.shares.len();
        let worked = catch_unwind(AssertUnwindSafe(|| {
            for other in 0..threads {
                let owner = (thread + other) % threads;
                let end = self.start(owner + 1);
                loop {
                    let index = self.shares[owner].0.fetch_add(1, Ordering::Relaxed);
                    if index >= end {
                        break;
                    }
                    (self.task)(index);
                }
            }
        }));
        INSIDE.set(was_inside);
        if let Err(panic) = worked {
            // The others finish the tasks that they have, and begin no more.
            for share in self.shares {
                share.0.store(self.tasks, Ordering::Relaxed);
            }
            lock(&self.panic).get_or_insert(panic);
        }
    }
}

/// What workers and callers share.
struct Shared {
    /// The loop that is shared, or null.
    current: AtomicPtr<Loop<'static>>,
    /// How many loops there were: a worker that has seen this one waits for the next.
    count: AtomicUsize,
    /// Workers that may be looking at `current`.
    active: AtomicUsize,
    /// Workers that sleep.
    asleep: AtomicUsize,
    stop: AtomicBool,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl Shared {
    /// Waits for another loop than the one that was seen; none where the workers are to stop.
    fn next(&self, seen: usize) -> Option<usize> {
        let fresh = || {
            let count = self.count.load(Ordering::SeqCst);
            (count != seen).then_some(count)
        };
        let mut since = None;
        loop {
            for _ in 0..LOOKS {
                if let Some(count) = fresh() {
                    return Some(count);
                }
                std::hint::spin_loop();
            }
            if since.get_or_insert_with(Instant::now).elapsed() > AWAKE {
                break;
            }
        }
        let mut sleep = lock(&self.sleep);
        // Counted before `fresh` looks once more: a caller that finds nobody asleep has counted its
        // loop before that.
        self.asleep.fetch_add(1, Ordering::SeqCst);
        let count = loop {
            if self.stop.load(Ordering::SeqCst) {
                break None;
            }
            if let Some(count) = fresh() {
                break Some(count);
            }
            sleep = self.wake.wait(sleep).unwrap_or_else(PoisonError::into_inner);
        };
        self.asleep.fetch_sub(1, Ordering::SeqCst);
        count
    }

    /// What a worker does.
    fn serve(&self, thread: usize) {
        let mut seen = 0;
        while let Some(count) = self.next(seen) {
            seen = count;
            // Counted before it looks: a caller takes its loop away, then waits until nobody looks.
            self.active.fetch_add(1, Ordering::SeqCst);
            // SAFETY: what is not null stays valid until `active` is back at 0, see `run`.
            if let Some(current) = unsafe { self.current.load(Ordering::SeqCst).as_ref() } {
                current.work(thread);
            }
            self.active.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A number of workers.
pub(super) struct Workers {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
    /// Of the caller and each worker.
    shares: Vec<Share>,
    /// Held by whoever shares a loop.
    caller: Mutex<()>,
}

impl Workers {
    /// Starts up to so many, as many as the system gives.
    pub(super) fn start(count: usize) -> Self {
        let shared = Arc::new(Shared {
            current: AtomicPtr::new(std::ptr::null_mut()),
            count: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut handles = Vec::with_capacity(count);
        for i in 0..count {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("striate-{i}"));
            match thread.spawn(move || shared.serve(i + 1)) {
                Ok(handle) => handles.push(handle),
                Err(e) => {
                    log::warn!("{i} of {count} threads could be started: {e}");
                    break;
                }
            }
        }
        let shares = (0..=handles.len()).map(|_| Share(AtomicUsize::new(0))).collect();
        Workers { shared, handles, shares, caller: Mutex::new(()) }
    }

    /// Calls `task` with each of `0..tasks` from this thread and the workers, and waits until all are
    /// done. Inside such a task it does so by itself.
    ///
    /// # Panics
    /// As the first task that panics; tasks that nobody had begun are left out then.
    pub(super) fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.handles.is_empty() || INSIDE.get() {
            return (0..tasks).for_each(task);
        }
        let shared = &*self.shared;
        let one_at_a_time = lock(&self.caller);
        let work = Loop { task, tasks, shares: &self.shares, panic: Mutex::new(None) };
        // Nobody looks at the shares between two loops.
        for (thread, share) in self.shares.iter().enumerate() {
            share.0.store(work.start(thread), Ordering::Relaxed);
        }
        // The lifetime is dropped from the type here: the loop is taken away again, and nobody looks at
        // it any more, before this function returns, and `work` does not unwind.
        shared.current.store((&raw const work).cast_mut().cast(), Ordering::SeqCst);
        shared.count.fetch_add(1, Ordering::SeqCst);
        let asleep = shared.asleep.load(Ordering::SeqCst);
        if asleep > 0 {
            let _sleep = lock(&shared.sleep);
            for _ in 0..asleep.min(tasks - 1) {
                shared.wake.notify_one();
            }
        }
        work.work(0);
        shared.current.store(std::ptr::null_mut(), Ordering::SeqCst);
        let mut looks = 0;
        while shared.active.load(Ordering::SeqCst) > 0 {
            std::hint::spin_loop();
            looks += 1;
            // A worker may have lost its processor to another program.
            if looks % 4096 == 0 {
                std::thread::yield_now();
            }
        }
        drop(one_at_a_time);
        let panic = work.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.sleep));
        self.shared.wake.notify_all();
        for handle in self.handles.drain(..) {
            // A worker hands panics to its callers.
            let _ = handle.join();
        }
    }
}

/// Nothing here is left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tasks of a loop, each of which counts itself.
    fn counted(workers: &Workers, tasks: usize) -> Vec<usize> {
        let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        workers.run(tasks, &|i| {
            counts[i].fetch_add(1, Ordering::Relaxed);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_task_runs_once_in_loops_of_any_length() {
        let workers = Workers::start(3);
        for round in 0..300 {
            for tasks in [0, 1, 2, 3, 7, 64] {
                assert_eq!(counted(&workers, tasks), vec![1; tasks]);
            }
            // Now and then the workers are asleep.
            if round % 100 == 0 {
                std::thread::sleep(4 * AWAKE);
            }
        }
    }

    #[test]
    fn loops_are_shared_from_several_threads_and_inside_each_other() {
        let workers = Workers::start(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let sum = AtomicUsize::new(0);
                        workers.run(5, &|i| {
                            workers.run(3, &|j| {
                                sum.fetch_add(10 * i + j, Ordering::Relaxed);
                            });
                        });
                        assert_eq!(sum.into_inner(), 3 * 100 + 5 * 3);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_workers_live_on() {
        let workers = Workers::start(2);
        for at in 0..20 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                workers.run(20, &|i| assert_ne!(i, at, "task {at}"));
            }));
            let text = caught.unwrap_err().downcast::<String>().unwrap();
            assert!(text.contains(&format!("task {at}")), "{text}");
            assert_eq!(counted(&workers, 9), vec![1; 9]);
        }
    }

    #[test]
    fn without_workers_the_caller_does_it_all() {
        assert_eq!(counted(&Workers::start(0), 5), vec![1; 5]);
    }
}
