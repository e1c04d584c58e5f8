//! The worker threads, and the batches that come from them in order.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::order::Orders;
use super::{Batch, BatchPosition, Purpose, Skipped, Source, lock};
use crate::augment::SampleKey;
use crate::source::Picture;
use crate::{Error, Result};

/// Batches in order, formed ahead by worker threads. Dropping it stops them: each ends after the
/// picture that it is at.
#[derive(Debug)]
pub struct Batches {
    shared: Arc<Shared>,
    reported: Arc<Mutex<HashSet<usize>>>,
    workers: Vec<JoinHandle<()>>,
}

/// What the workers and the receiver share.
#[derive(Debug)]
struct Shared {
    source: Arc<Source>,
    orders: Orders,
    batches_per_epoch: u64,
    /// Tickets end here; a ticket is a batch's number from the start of epoch 0.
    end: u64,
    state: Mutex<State>,
    /// Something was formed, or will never be.
    formed: Condvar,
    /// Something was taken, or the workers are to stop.
    taken: Condvar,
}

#[derive(Debug)]
struct State {
    /// The ticket that the receiver waits for.
    wanted: u64,
    /// The next ticket that a worker takes.
    next: u64,
    done: BTreeMap<u64, Result<Batch>>,
    /// Buffers of images to be used again.
    buffers: Vec<Vec<f32>>,
    stop: bool,
}

impl Batches {
    pub(super) fn start(
        source: Arc<Source>,
        reported: Arc<Mutex<HashSet<usize>>>,
        from: BatchPosition,
        end_epoch: u32,
    ) -> Result<Self> {
        let batches_per_epoch = source.batches_per_epoch() as u64;
        let ticket = u64::from(from.epoch) * batches_per_epoch + from.batch as u64;
        let end = u64::from(end_epoch) * batches_per_epoch;
        let workers = source.options.workers.min(source.options.ahead);
        let state = State {
            wanted: ticket,
            next: ticket,
            done: BTreeMap::new(),
            buffers: Vec::new(),
            stop: false,
        };
        let shared = Arc::new(Shared {
            source,
            orders: Orders::default(),
            batches_per_epoch,
            end,
            state: Mutex::new(state),
            formed: Condvar::new(),
            taken: Condvar::new(),
        });
        let mut batches = Self { shared, reported, workers: Vec::new() };
        for number in 0..workers {
            let shared = Arc::clone(&batches.shared);
            let worker = thread::Builder::new()
                .name(format!("striate-loader-{number}"))
                .spawn(move || shared.work())
                .map_err(|source| Error::Thread { source })?;
            batches.workers.push(worker);
        }
        Ok(batches)
    }

    /// The next batch, waiting for it where it must; none after the last.
    ///
    /// # Errors
    /// [`Error::Panicked`] when forming the batch failed in a way that is no picture's fault. The
    /// batches after it still come.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut state = self.shared.lock();
        if state.wanted >= self.shared.end {
            return Ok(None);
        }
        let ticket = state.wanted;
        let batch = loop {
            if let Some(batch) = state.done.remove(&ticket) {
                break batch;
            }
            state = self.shared.formed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.wanted += 1;
        drop(state);
        self.shared.taken.notify_all();
        let mut batch = batch?;
        let mut reported = lock(&self.reported);
        batch.skipped.retain(|skipped| reported.insert(skipped.index));
        Ok(Some(batch))
    }

    /// Takes back the images of a batch that is done with, so that their memory serves another.
    pub fn recycle(&mut self, images: Vec<f32>) {
        let mut state = self.shared.lock();
        if state.buffers.len() <= self.shared.source.options.ahead {
            state.buffers.push(images);
        }
    }
}

#[cfg(test)]
impl Batches {
    /// How many batches are formed or being formed.
    pub(super) fn formed_ahead(&self) -> u64 {
        let state = self.shared.lock();
        state.next - state.wanted
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        self.next_batch().transpose()
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.taken.notify_all();
        for worker in self.workers.drain(..) {
            // A worker's panics were caught, and there is nobody left to tell.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A worker's life: ticket after ticket, never further ahead than allowed.
    fn work(&self) {
        let ahead = self.source.options.ahead as u64;
        loop {
            let mut state = self.lock();
            while !state.stop && state.next < self.end && state.next >= state.wanted + ahead {
                state = self.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stop || state.next >= self.end {
                return;
            }
            let ticket = state.next;
            state.next += 1;
            let buffer = state.buffers.pop().unwrap_or_default();
            drop(state);

            let position = self.position(ticket);
            let work = || self.form(position, buffer);
            let formed = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
                let name = format!("epoch {}, batch {}", position.epoch, position.batch);
                Some(Err(Error::Panicked { name, detail: said(&*panic) }))
            });
            // Nothing was formed where everybody is stopping.
            let Some(formed) = formed else { return };
            self.lock().done.insert(ticket, formed);
            self.formed.notify_all();
        }
    }

    fn position(&self, ticket: u64) -> BatchPosition {
        // There is a batch an epoch, or there would be no ticket.
        let per_epoch = self.batches_per_epoch.max(1);
        BatchPosition { epoch: (ticket / per_epoch) as u32, batch: (ticket % per_epoch) as usize }
    }

    /// One batch; none when the workers are told to stop meanwhile.
    fn form(&self, position: BatchPosition, mut images: Vec<f32>) -> Option<Result<Batch>> {
        let source = &*self.source;
        let (count, size) = (source.dataset.len(), source.options.batch);
        let order = self.orders.of(source.purpose, position.epoch, count as u32);
        let first = position.batch * size;
        let in_batch = count.min(first + size) - first;
        let parts = &source.options.shards;
        let parts = parts.own.clone().map(|shard| parts.places(shard, in_batch));
        let all: usize = parts.clone().map(|part| part.len()).sum();
        let length = source.augmenter.input_len();
        images.resize(all * length, 0.0);
        let mut labels = Vec::with_capacity(all);
        let mut shards = vec![0; parts.len()];
        let mut skipped = Vec::new();
        for (shard, place) in parts.enumerate().flat_map(|(i, part)| part.map(move |p| (i, p))) {
            if self.lock().stop {
                return None;
            }
            let place = first + place;
            let index = match &order {
                Some(order) => order.get(place).map_or(place, |&index| index as usize),
                None => place,
            };
            // A missing picture's place is taken by the next.
            let at = labels.len() * length;
            let input = &mut images[at..at + length];
            let formed = catch_unwind(AssertUnwindSafe(|| {
                source.form_one(index, position.epoch, place as u64, input)
            }));
            match formed {
                Ok(Ok(())) => {
                    labels.push(source.dataset.labels()[index]);
                    shards[shard] += 1;
                }
                Ok(Err(error)) => skipped.push(Skipped::new(&source.dataset, index, error)),
                Err(panic) => {
                    let name = source.dataset.name(index);
                    let error = Error::Panicked { name, detail: said(&*panic) };
                    skipped.push(Skipped::new(&source.dataset, index, error));
                }
            }
        }
        images.truncate(labels.len() * length);
        let (input, missing) = (source.augmenter.input(), skipped.len());
        Some(Ok(Batch { position, input, images, labels, shards, missing, skipped }))
    }
}

impl Source {
    /// Forms the picture that stands at a position.
    fn form_one(&self, index: usize, epoch: u32, position: u64, input: &mut [f32]) -> Result<()> {
        let form = |image: &crate::Image, input: &mut [f32]| match self.purpose {
            Purpose::Train { seed } => {
                self.augmenter.train(image, SampleKey { seed, epoch, position }, input)
            }
            Purpose::Test => self.augmenter.test(image, input),
        };
        if let Some(image) = self.cache.get(index) {
            return form(&image, input);
        }
        // Pictures in memory are used where they lie.
        if let Some(Picture::Image(image)) = self.dataset.picture(index) {
            return form(&image, input);
        }
        let image = Arc::new(self.dataset.load(index, &self.options.limits)?);
        form(&image, input)?;
        self.cache.put(index, &image);
        Ok(())
    }
}

/// The message of a panic.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
