//! The plans that a network has run by: made once for each type of input, and kept.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use striate_graph::Plan;
use striate_tensor::{Tensor, TensorType};

/// As many plans are kept: the batch that is classified, the rest of the list, a picture alone.
const KEPT: usize = 8;

/// What a plan is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) layers: Range<usize>,
    pub(super) input: TensorType,
    pub(super) training: bool,
    /// Whether it may compute constants of parameters beforehand, and so fold layers.
    pub(super) folds: bool,
}

/// A plan, and the constants that it needs of the network's parameters.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) plan: Arc<Plan>,
    pub(super) prepared: Option<Arc<Vec<Option<Tensor>>>>,
}

/// A network's plans. A clone has the same ones and then its own.
#[derive(Debug, Default)]
pub(super) struct Plans {
    /// The last used comes last.
    known: Mutex<Vec<(Key, Ready)>>,
}

impl Clone for Plans {
    fn clone(&self) -> Self {
        Plans { known: Mutex::new(self.lock().clone()) }
    }
}

impl Plans {
    fn lock(&self) -> MutexGuard<'_, Vec<(Key, Ready)>> {
        // Entries are put in and taken out whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Ready> {
        let mut known = self.lock();
        let place = known.iter().position(|(of, _)| of == key)?;
        let entry = known.remove(place);
        let ready = entry.1.clone();
        known.push(entry);
        Some(ready)
    }

    pub(super) fn put(&self, key: Key, ready: Ready) {
        let mut known = self.lock();
        known.retain(|(of, _)| *of != key);
        if known.len() == KEPT {
            known.remove(0);
        }
        known.push((key, ready));
    }

    /// Drops what was computed of parameters that may change now.
    pub(super) fn forget_prepared(&mut self) {
        self.lock().retain(|(_, ready)| ready.prepared.is_none());
    }
}
