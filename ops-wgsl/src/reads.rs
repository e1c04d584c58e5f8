//! Reads that are under way: values that the GPU copies out while the host goes on.
//!
//! A read is cut into pieces, so that no more host memory is mapped than one of them. The first is copied
//! when the read is asked for. A read of more pieces shares the tensor's buffer until the last one is
//! copied: who writes to it in place meanwhile gets a copy, and the read its own values.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use striate_tensor::{Buffer, Coming, HostTensor, HostValues, Pending, Result, TensorType};

use crate::backend::Wgpu;
use crate::buffer::own;
use crate::device::Gpu;
use crate::queue::{Context, Submission};
use crate::staging::READBACK_BYTES;

/// How long a callback may take that another thread is about to make: 10 seconds.
const CALLBACK_ROUND: Duration = Duration::from_millis(1);
const CALLBACK_ROUNDS: usize = 10_000;

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
}

/// Bytes on their way to a readback buffer.
pub(crate) struct PendingCopy {
    buffer: wgpu::Buffer,
    bytes: usize,
    submission: Submission,
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
    fn poll(&mut self, gpu: &Gpu, task: &TaskContext<'_>) -> Result<Poll<()>> {
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
            landing.set(Err(match polled {
                // Where it was mapped, this is not heard.
                Ok(_) => "a buffer is not ready though the device is".into(),
                Err(error) => error.to_string(),
            }));
        };
        let thread = std::thread::Builder::new().name("striate-read".into()).spawn(wait);
        thread.map(|_| ()).map_err(|e| gpu.error(format!("no thread to wait for the device: {e}")))
    }

    #[cfg(target_arch = "wasm32")]
    fn watch(&mut self, _: &Gpu) -> Result<()> {
        self.watched = true;
        Ok(())
    }

    /// Blocks until it is there.
    fn wait(&self, cx: &Context) -> Result<()> {
        cx.wait_for(&self.submission)?;
        for _ in 0..CALLBACK_ROUNDS {
            let state = self.landing.lock();
            match &state.mapped {
                Some(Ok(())) => return Ok(()),
                Some(Err(message)) => return Err(cx.gpu.error(message)),
                // Another thread has seen the submission end, and is about to call back.
                None => drop(self.landing.told.wait_timeout(state, CALLBACK_ROUND)),
            }
            cx.gpu.poll()?;
        }
        Err(cx.gpu.error("a buffer is not ready though the device is"))
    }
}

/// A tensor on its way to the host.
struct Reading {
    device: Wgpu,
    /// The tensor's memory, as long as pieces of it are to be copied.
    from: Option<Buffer>,
    ty: TensorType,
    values: HostValues,
    /// Bytes of `values` that are there.
    done: usize,
    piece: Option<PendingCopy>,
}

/// Asks for a tensor's values.
pub(crate) fn read(device: &Wgpu, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>> {
    let gpu = &device.context().gpu;
    let bytes = own(gpu, buffer)?.bytes();
    if bytes != ty.size_bytes() {
        return Err(gpu.error(format!("a buffer of {bytes} bytes is no {ty}")));
    }
    let mut reading = Reading {
        device: device.clone(),
        from: Some(buffer.clone()),
        ty: *ty,
        values: HostValues::zeros(ty.dtype, ty.count()),
        done: 0,
        piece: None,
    };
    reading.ask()?;
    Ok(Pending::coming(reading))
}

impl Reading {
    /// Asks for the next piece.
    fn ask(&mut self) -> Result<()> {
        let all = self.values.bytes().len();
        if let Some(from) = self.from.as_ref().filter(|_| self.done < all) {
            let cx = self.device.context();
            let end = all.min(self.done + READBACK_BYTES as usize);
            self.piece = Some(cx.read(own(&cx.gpu, from)?, self.done..end)?);
            if end < all {
                return Ok(());
            }
        }
        self.from = None;
        Ok(())
    }

    /// Takes a piece that is there, and asks for the next one.
    fn land(&mut self) -> Result<()> {
        let Some(PendingCopy { buffer, bytes, .. }) = self.piece.take() else { return Ok(()) };
        let cx = self.device.context();
        {
            let range = ..(bytes as u64).next_multiple_of(4);
            let view = buffer.get_mapped_range(range).map_err(|e| cx.gpu.error(e.to_string()))?;
            let to = &mut self.values.bytes_mut()[self.done..self.done + bytes];
            to.copy_from_slice(&view[..bytes]);
        }
        buffer.unmap();
        cx.give_back(buffer);
        self.done += bytes;
        self.ask()
    }

    fn take(&mut self) -> Result<HostTensor> {
        // What was asked for before may have failed.
        self.device.context().gpu.check()?;
        HostTensor::new(
            self.ty.shape,
            std::mem::replace(&mut self.values, Vec::<f32>::new().into()),
        )
    }

    fn advance(&mut self, task: &TaskContext<'_>) -> Result<Poll<()>> {
        while let Some(piece) = &mut self.piece {
            if piece.poll(&self.device.context().gpu, task)?.is_pending() {
                return Ok(Poll::Pending);
            }
            self.land()?;
        }
        Ok(Poll::Ready(()))
    }
}

impl Coming<HostTensor> for Reading {
    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<HostTensor>> {
        match self.advance(task) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(self.take()),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn wait(mut self: Box<Self>) -> Result<HostTensor> {
        if cfg!(target_arch = "wasm32") && self.piece.is_some() {
            let message = "a page in a browser cannot wait for the device: await the read";
            return Err(self.device.context().gpu.error(message));
        }
        while let Some(piece) = &self.piece {
            piece.wait(self.device.context())?;
            self.land()?;
        }
        self.take()
    }
}
