//! Decoded pictures that are kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::Image;

/// Pictures kept until a budget of bytes is used up; none is ever given up for another.
#[derive(Debug)]
pub(super) struct Cache {
    /// One a picture of the set; empty where nothing is to be kept.
    slots: Vec<OnceLock<Arc<Image>>>,
    left_bytes: AtomicUsize,
}

impl Cache {
    pub(super) fn new(pictures: usize, budget_bytes: usize) -> Self {
        let slots = if budget_bytes == 0 { 0 } else { pictures };
        let slots = (0..slots).map(|_| OnceLock::new()).collect();
        Self { slots, left_bytes: AtomicUsize::new(budget_bytes) }
    }

    pub(super) fn get(&self, index: usize) -> Option<Arc<Image>> {
        self.slots.get(index)?.get().cloned()
    }

    /// Keeps a picture if there is room.
    pub(super) fn put(&self, index: usize, image: &Arc<Image>) {
        let Some(slot) = self.slots.get(index) else { return };
        let bytes = image.values().len();
        let take = |left: usize| left.checked_sub(bytes);
        let taken = self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if taken.is_ok() && slot.set(Arc::clone(image)).is_err() {
            // Another worker kept it meanwhile.
            self.left_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.slots.iter().filter(|slot| slot.get().is_some()).count()
    }
}
