//! The plans that a network has run by: made once for each type of input, and kept.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use striate_graph::{Plan, Value};
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

/// A plan before any pass, in which every layer has an output of its own.
#[derive(Debug)]
pub(super) struct EachLayer {
    pub(super) plan: Plan,
    /// The layers whose output each value is.
    pub(super) layers: BTreeMap<Value, Vec<usize>>,
    /// The layers that are run, in order.
    pub(super) order: Vec<usize>,
}

/// A network's plans. A clone has the same ones and then its own.
#[derive(Debug, Default)]
pub(super) struct Plans {
    /// The last used comes last.
    known: Mutex<Vec<(Key, Ready)>>,
    /// For the type of the input that was seen last.
    each_layer: Mutex<Option<(TensorType, Arc<EachLayer>)>>,
}

impl Clone for Plans {
    fn clone(&self) -> Self {
        let each_layer = self.each_layer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Plans { known: Mutex::new(self.lock().clone()), each_layer: Mutex::new(each_layer) }
    }
}

impl Plans {
    fn lock(&self) -> MutexGuard<'_, Vec<(Key, Ready)>> {
        // Entries are put in and taken out whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plan in which each layer is shown, for this type of input: kept, or made.
    pub(super) fn each_layer<E>(
        &self,
        input: &TensorType,
        make: impl FnOnce() -> Result<EachLayer, E>,
    ) -> Result<Arc<EachLayer>, E> {
        let kept = || self.each_layer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = kept().as_ref().filter(|(of, _)| of == input) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(make()?);
        *kept() = Some((*input, Arc::clone(&made)));
        Ok(made)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Ready> {
        let mut known = self.lock();
        let place = known.iter().position(|(of, _)| of == key)?;
        let entry = known.remove(place);
        let ready = entry.1.clone();
        known.push(entry);
        Some(ready)
    }

    /// Those that computed constants of parameters.
    pub(super) fn prepared(&self) -> Vec<Ready> {
        let known = self.lock();
        let all = known.iter().map(|(_, ready)| ready);
        all.filter(|ready| ready.prepared.is_some()).cloned().collect()
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
