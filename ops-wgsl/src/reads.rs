//! Reads that are under way: values that the GPU copies out while the host goes on.
//!
//! A read is cut into pieces, so that no more host memory is mapped than one of them. The first is copied
//! when the read is asked for. A read of more pieces shares the tensor's buffer until the last one is
//! copied: who writes to it in place meanwhile gets a copy, and the read its own values.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use striate_tensor::{Buffer, Coming, HostTensor, HostValues, Pending, Result, TensorType};

use crate::buffer::own;
use crate::pending::PendingCopy;
use crate::queue::Context;
use crate::staging::READBACK_BYTES;

/// A tensor on its way to the host.
struct Reading {
    /// The device, which lives as long as the read.
    cx: Arc<Context>,
    /// The tensor's memory, as long as pieces of it are to be copied.
    from: Option<Buffer>,
    ty: TensorType,
    values: HostValues,
    /// Bytes of `values` that are there.
    done: usize,
    piece: Option<PendingCopy>,
}

/// Asks for a tensor's values.
pub(crate) fn read(
    cx: &Arc<Context>,
    buffer: &Buffer,
    ty: &TensorType,
) -> Result<Pending<HostTensor>> {
    let gpu = &cx.gpu;
    let bytes = own(gpu, buffer)?.bytes();
    if bytes != ty.size_bytes() {
        return Err(gpu.error(format!("a buffer of {bytes} bytes is no {ty}")));
    }
    let mut reading = Reading {
        cx: Arc::clone(cx),
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
            let cx = &self.cx;
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
        let cx = &self.cx;
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
        self.cx.gpu.check()?;
        HostTensor::new(
            self.ty.shape,
            std::mem::replace(&mut self.values, Vec::<f32>::new().into()),
        )
    }

    fn advance(&mut self, task: &TaskContext<'_>) -> Result<Poll<()>> {
        while let Some(piece) = &mut self.piece {
            if piece.poll(&self.cx.gpu, task)?.is_pending() {
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
            return Err(self.cx.gpu.error(message));
        }
        while let Some(piece) = &self.piece {
            self.cx.wait_for(&piece.submission)?;
            piece.wait(&self.cx.gpu)?;
            self.land()?;
        }
        self.take()
    }
}
