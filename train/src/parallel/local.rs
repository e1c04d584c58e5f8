//! Ranks that are threads of one process, a device each.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::collective::{Counters, Incoming, Outgoing, Transport};
use crate::{Error, Result};

/// A rank of a group within this process: one for each device, each on a thread of its own.
///
/// When a rank is dropped, what the others wait for from it fails; so a thread that returns an
/// error, or panics, ends the others too. What a rank [abandons](super::Collective::abandon) fails
/// for all at once, with its reason.
#[derive(Debug)]
pub struct Local {
    rank: usize,
    shared: Arc<Shared>,
    counters: Counters,
}

#[derive(Debug)]
struct Shared {
    size: usize,
    state: Mutex<State>,
    /// A message has come, or a rank has gone.
    news: Condvar,
}

#[derive(Debug)]
struct State {
    /// Messages that wait: from rank `f` to rank `t` at `f · size + t`.
    waiting: Vec<VecDeque<Vec<f32>>>,
    /// The first rank that could not go on, and why: that ends all.
    failed: Option<(usize, String)>,
    /// Ranks that are not there any more.
    gone: Vec<bool>,
    /// Memory of messages that have been read.
    spare: Vec<Vec<f32>>,
}

impl Local {
    /// A group of so many ranks (at least one).
    pub fn group(size: usize) -> Vec<Local> {
        let size = size.max(1);
        let state = State {
            waiting: vec![VecDeque::new(); size * size],
            failed: None,
            gone: vec![false; size],
            spare: Vec::new(),
        };
        let shared = Arc::new(Shared { size, state: Mutex::new(state), news: Condvar::new() });
        let rank =
            |rank| Local { rank, shared: Arc::clone(&shared), counters: Counters::default() };
        (0..size).map(rank).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing here is half done where a holder panicked: messages are put and taken whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.size
    }

    fn exchange(&self, send: &[Outgoing<'_>], receive: &mut [Incoming<'_>]) -> Result<()> {
        let size = self.shared.size;
        for (to, message) in send {
            let mut memory = self.shared.lock().spare.pop().unwrap_or_default();
            // Copied outside of the lock: others exchange meanwhile.
            memory.clear();
            memory.extend_from_slice(message);
            self.shared.lock().waiting[self.rank * size + to].push_back(memory);
            self.shared.news.notify_all();
        }
        for (from, memory) in receive {
            let mut state = self.shared.lock();
            let message = loop {
                if let Some((rank, reason)) = &state.failed {
                    return Err(Error::Rank { rank: *rank, reason: reason.clone() });
                }
                // What a rank sent before it ended counts.
                if let Some(message) = state.waiting[*from * size + self.rank].pop_front() {
                    break message;
                }
                if state.gone[*from] {
                    return Err(Error::Rank { rank: *from, reason: "it has ended".into() });
                }
                state = self.shared.news.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            if message.len() != memory.len() {
                return Err(Error::Option {
                    expected: format!("{} numbers from rank {from}", memory.len()),
                    got: message.len().to_string(),
                });
            }
            memory.copy_from_slice(&message);
            self.shared.lock().spare.push(message);
        }
        Ok(())
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn keep_alive(&self) -> Result<()> {
        match &self.shared.lock().failed {
            Some((rank, reason)) => Err(Error::Rank { rank: *rank, reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn abandon(&self, reason: &str) {
        self.shared.lock().failed.get_or_insert_with(|| (self.rank, reason.to_owned()));
        self.shared.news.notify_all();
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if std::thread::panicking() {
            Transport::abandon(self, "its thread panicked");
        }
        self.shared.lock().gone[self.rank] = true;
        self.shared.news.notify_all();
    }
}
