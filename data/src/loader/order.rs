//! Which picture stands at a position of an epoch.

use std::sync::{Arc, Mutex};

use super::{Purpose, lock};
use crate::augment::epoch_order;

/// The orders of the epochs in work: while batches of one are still being formed, those of the next
/// are begun.
#[derive(Debug, Default)]
pub(super) struct Orders {
    recent: Mutex<Vec<(u32, Arc<Vec<u32>>)>>,
}

impl Orders {
    /// The order of an epoch; none where it is that of the data set.
    pub(super) fn of(&self, purpose: Purpose, epoch: u32, count: u32) -> Option<Arc<Vec<u32>>> {
        let Purpose::Train { seed } = purpose else { return None };
        let mut recent = lock(&self.recent);
        if let Some((_, order)) = recent.iter().find(|(known, _)| *known == epoch) {
            return Some(Arc::clone(order));
        }
        // Under the lock: the others would only compute the same.
        let order = Arc::new(epoch_order(seed, epoch, count));
        recent.retain(|(known, _)| known.abs_diff(epoch) <= 1);
        recent.push((epoch, Arc::clone(&order)));
        Some(order)
    }
}
