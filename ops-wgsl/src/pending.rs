//! What is on its way: batches that were submitted, and the copies for the host that are in them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use striate_tensor::Result;

use crate::device::Gpu;

/// How long a callback may take that another thread is about to make.
pub(crate) const CALLBACK_TIME: Duration = Duration::from_secs(10);
/// How long to wait for it before the device is polled again, and how often.
const CALLBACK_ROUND: Duration = Duration::from_millis(1);
const CALLBACK_ROUNDS: u128 = CALLBACK_TIME.as_millis() / CALLBACK_ROUND.as_millis();

/// A batch on its way.
#[derive(Clone)]
pub(crate) struct Submission {
    pub(crate) index: wgpu::SubmissionIndex,
    /// How many there were, with it.
    pub(crate) number: u64,
    done: Arc<AtomicBool>,
}

impl Submission {
    /// What was submitted last: with it there were so many.
    pub(crate) fn last(gpu: &Gpu, index: wgpu::SubmissionIndex, number: u64) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        gpu.queue.on_submitted_work_done(move || told.store(true, Ordering::Release));
        Submission { index, number, done }
    }

    /// Whether it is known to be done; does not wait. (A poll that waits for no time would tell, too, but fails
    /// where another thread meanwhile sees the end of the work.)
    pub(crate) fn is_done(&self, gpu: &Gpu) -> Result<bool> {
        gpu.poll()?;
        Ok(self.done.load(Ordering::Acquire))
    }
}

/// Whether a readback buffer is mapped yet, and who wants to know.
#[derive(Default)]
struct Landing {
    state: Mutex<State>,
    told: Condvar,
}

#[derive(Default)]
struct State {
    mapped: Option<Result<(), String>>,
    waker: Option<Waker>,
}

impl Landing {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how it went, once.
    fn set(&self, mapped: Result<(), String>) {
        let mut state = self.lock();
        state.mapped.get_or_insert(mapped);
        let waker = state.waker.take();
        drop(state);
        self.told.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Blocks until it is said how it went. The submission has ended: another thread may have seen that, and be
    /// about to call back. `poll` makes the callbacks that nobody else makes.
    fn wait<E>(&self, poll: impl Fn() -> Result<(), E>) -> Result<Result<(), String>, E> {
        for _ in 0..CALLBACK_ROUNDS {
            let state = self.lock();
            if let Some(mapped) = &state.mapped {
                return Ok(mapped.clone());
            }
            drop(self.told.wait_timeout(state, CALLBACK_ROUND));
            poll()?;
        }
        Ok(Err("a buffer is not ready though the device is".into()))
    }
}

/// Bytes on their way to a readback buffer.
pub(crate) struct PendingCopy {
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) bytes: usize,
    pub(crate) submission: Submission,
    landing: Arc<Landing>,
    /// Whether a thread waits for it.
    watched: bool,
}

impl PendingCopy {
    /// Of a buffer whose copy has been submitted.
    pub(crate) fn new(buffer: wgpu::Buffer, bytes: usize, submission: Submission) -> Self {
        let landing = Arc::new(Landing::default());
        let told = Arc::clone(&landing);
        let range = ..(bytes as u64).next_multiple_of(4);
        buffer.map_async(wgpu::MapMode::Read, range, move |result| {
            told.set(result.map_err(|error| format!("a buffer cannot be read: {error}")));
        });
        PendingCopy { buffer, bytes, submission, landing, watched: false }
    }

    /// Whether it is there; the task is woken when it is.
    pub(crate) fn poll(&mut self, gpu: &Gpu, task: &TaskContext<'_>) -> Result<Poll<()>> {
        // Callbacks are called from here, where nobody else polls the device.
        gpu.poll()?;
        let mut state = self.landing.lock();
        match &state.mapped {
            Some(Ok(())) => return Ok(Poll::Ready(())),
            Some(Err(message)) => return Err(gpu.error(message)),
            None => state.waker = Some(task.waker().clone()),
        }
        drop(state);
        self.watch(gpu)?;
        Ok(Poll::Pending)
    }

    /// Outside of a browser callbacks are called by who polls the device: a thread does, so that any
    /// executor may sleep meanwhile.
    #[cfg(not(target_arch = "wasm32"))]
    fn watch(&mut self, gpu: &Gpu) -> Result<()> {
        if std::mem::replace(&mut self.watched, true) {
            return Ok(());
        }
        let (device, landing) = (gpu.device.clone(), Arc::clone(&self.landing));
        let submission_index = Some(self.submission.index.clone());
        let wait = move || {
            let polled = device.poll(wgpu::PollType::Wait { submission_index, timeout: None });
            let poll = || device.poll(wgpu::PollType::Poll).map(drop);
            let mapped = polled.and_then(|_| landing.wait(poll));
            // The callback has said it before, as a rule.
            landing.set(mapped.unwrap_or_else(|error| Err(error.to_string())));
        };
        let thread = std::thread::Builder::new().name("striate-read".into()).spawn(wait);
        thread.map(|_| ()).map_err(|e| gpu.error(format!("no thread to wait for the device: {e}")))
    }

    #[cfg(target_arch = "wasm32")]
    fn watch(&mut self, _: &Gpu) -> Result<()> {
        self.watched = true;
        Ok(())
    }

    /// Blocks until it is there. Its submission has been waited for.
    pub(crate) fn wait(&self, gpu: &Gpu) -> Result<()> {
        self.landing.wait(|| gpu.poll())?.map_err(|message| gpu.error(message))
    }
}
