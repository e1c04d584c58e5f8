//! Ranks that are processes, on one machine or many, over Open MPI or MPICH.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::time::{Duration, Instant};

use ::mpi::Threading;
use ::mpi::environment::Universe;
use ::mpi::request::{Request, StaticScope};
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, Destination, MatchedReceiveVec, Source};

use super::collective::{Counters, Incoming, Outgoing, Transport};
use super::exchange::{Exchange, KEEP_ALIVE, Lost};
use crate::{Error, Result};

/// Tags of messages: numbers of a collective, and signs of life.
const NUMBERS: i32 = 1;
const SIGN: i32 = 2;

/// What a sign says, in its first byte. After the last one comes why.
const ALIVE: u8 = 0;
const ENDED: u8 = 1;
const FAILED: u8 = 2;

/// How often what is under way is looked at before the processor is left to others: messages within
/// a machine take microseconds.
const SPINS: u32 = 200;

/// Between two looks afterwards.
const NAP: Duration = Duration::from_micros(50);

/// How long a rank that ends tries to tell the others.
const FAREWELL: Duration = Duration::from_secs(1);

/// A rank of all processes that `mpirun` has started. It lives on the thread of its [`Exchange`]:
/// no other one calls MPI.
///
/// Ranks send signs of life, so that a rank that computes for minutes is told from one that is
/// killed, hangs or is cut off: one that is not heard of for `timeout` is lost, and whoever waits
/// gets an error that names it. MPI cannot go on without it then: the process has to end, by which
/// `mpirun` ends those that are left.
pub struct Mpi {
    world: SimpleCommunicator,
    /// Ends MPI when it is dropped, which waits for all ranks; not where one of them is lost.
    universe: Option<Universe>,
    rank: usize,
    size: usize,
    timeout: Duration,
    peers: RefCell<Vec<Peer>>,
    /// When this rank has shown itself last.
    shown: Cell<Instant>,
    failed: Cell<bool>,
    counters: Counters,
    lost: Lost,
}

/// What is known of another rank.
struct Peer {
    heard: Instant,
    /// Why it ended, where it did: nothing where all was well.
    ended: Option<Option<String>>,
    /// A sign to it that is not sent yet.
    sign: Option<Request<'static, [u8], StaticScope>>,
}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Mpi { rank, size, timeout, .. } = self;
        f.debug_struct("Mpi")
            .field("rank", rank)
            .field("size", size)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

impl Mpi {
    /// The exchange with all processes. To be called once in a process.
    ///
    /// # Errors
    /// Where MPI was begun before, or gives no answer that makes sense.
    pub fn start(timeout: Duration) -> Result<Exchange> {
        Exchange::start(move |lost| Mpi::new(timeout, lost))
    }

    fn new(timeout: Duration, lost: Lost) -> Result<Mpi> {
        let refuse = |message: &str| Error::Exchange { message: message.into() };
        let started = ::mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) =
            started.ok_or_else(|| refuse("MPI has been started before in this process"))?;
        if threading < Threading::Funneled {
            return Err(refuse(
                "this MPI knows no threads: one built with thread support is needed",
            ));
        }
        let world = universe.world();
        let rank = usize::try_from(world.rank()).map_err(|_| refuse("MPI gives no rank"))?;
        let size = usize::try_from(world.size()).map_err(|_| refuse("MPI gives no size"))?;
        let now = Instant::now();
        let peers = (0..size).map(|_| Peer { heard: now, ended: None, sign: None }).collect();
        Ok(Mpi {
            world,
            universe: Some(universe),
            rank,
            size,
            timeout: timeout.max(2 * KEEP_ALIVE),
            peers: RefCell::new(peers),
            shown: Cell::new(now),
            failed: Cell::new(false),
            counters: Counters::default(),
            lost,
        })
    }

    fn peer(&self, rank: usize) -> ::mpi::topology::Process<'_> {
        // Ranks come of MPI's own numbers, which are of this type.
        self.world.process_at_rank(rank as i32)
    }

    /// Shows the others that this rank lives, where it is time, and hears what they say.
    fn look(&self) {
        let now = Instant::now();
        if now.duration_since(self.shown.get()) >= KEEP_ALIVE {
            self.shown.set(now);
            self.sign(&[ALIVE]);
        }
        self.hear(now);
    }

    fn hear(&self, now: Instant) {
        let any = self.world.any_process();
        while let Some(matched) = any.immediate_matched_probe_with_tag(SIGN) {
            let (sign, status) = matched.matched_receive_vec::<u8>();
            let from = usize::try_from(status.source_rank()).unwrap_or(usize::MAX);
            let mut peers = self.peers.borrow_mut();
            let Some(peer) = peers.get_mut(from) else { continue };
            peer.heard = now;
            match sign.split_first() {
                Some((&ENDED, _)) => peer.ended = Some(None),
                Some((&FAILED, why)) => {
                    peer.ended = Some(Some(String::from_utf8_lossy(why).into_owned()));
                }
                _ => {}
            }
        }
    }

    /// Sends a sign to all that have taken the one before.
    fn sign(&self, sign: &'static [u8]) {
        let mut peers = self.peers.borrow_mut();
        for (rank, peer) in peers.iter_mut().enumerate() {
            if rank == self.rank || peer.ended.is_some() {
                continue;
            }
            peer.sign = peer.sign.take().and_then(|request| request.test().err());
            if peer.sign.is_none() {
                let request = self.peer(rank).immediate_send_with_tag(StaticScope, sign, SIGN);
                peer.sign = Some(request);
            }
        }
    }

    /// The rank that nothing can be hoped of any more, of those that are waited for or of all.
    fn missing(&self, waited_for: &[usize]) -> Option<(usize, String)> {
        let peers = self.peers.borrow();
        let others = || peers.iter().enumerate().filter(|(rank, _)| *rank != self.rank);
        for (rank, peer) in others() {
            match &peer.ended {
                Some(Some(why)) => return Some((rank, why.clone())),
                Some(None) if waited_for.contains(&rank) => {
                    return Some((rank, "it has ended".into()));
                }
                _ => {}
            }
        }
        let silent = |peer: &Peer| peer.ended.is_none() && peer.heard.elapsed() > self.timeout;
        let mut silent = others().filter(|(_, peer)| silent(peer)).map(|(rank, _)| rank);
        let first = silent.next()?;
        let seconds = self.timeout.as_secs();
        let mut why = format!(
            "not heard of for {seconds} s: it was killed or hangs, or the link to it is cut"
        );
        let more: Vec<String> = silent.map(|rank| rank.to_string()).collect();
        if !more.is_empty() {
            why += &format!(" (so are ranks {})", more.join(", "));
        }
        Some((first, why))
    }

    /// Says that a rank is lost, and waits for the process to end: MPI still holds the memory of
    /// what is under way, and there is no way to take it back from a rank that does not answer.
    fn give_up(&self, rank: usize, why: String) -> Infallible {
        self.lost.tell(rank, why);
        loop {
            std::thread::park();
        }
    }
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, send: &[Outgoing<'_>], receive: &mut [Incoming<'_>]) -> Result<()> {
        // Also where everything goes so fast that nobody ever waits.
        if self.shown.get().elapsed() >= KEEP_ALIVE {
            self.look();
        }
        ::mpi::request::scope(|scope| {
            let mut open = Vec::with_capacity(send.len() + receive.len());
            for (from, memory) in receive.iter_mut() {
                let peer = self.peer(*from);
                let request = peer.immediate_receive_into_with_tag(scope, &mut **memory, NUMBERS);
                open.push((*from, request));
            }
            for (to, message) in send {
                let peer = self.peer(*to);
                open.push((*to, peer.immediate_send_with_tag(scope, *message, NUMBERS)));
            }
            for spins in 0u32.. {
                open = open
                    .into_iter()
                    .filter_map(|(rank, request)| Some((rank, request.test().err()?)))
                    .collect();
                if open.is_empty() {
                    break;
                }
                if spins < SPINS {
                    std::thread::yield_now();
                    continue;
                }
                self.look();
                let waited_for: Vec<usize> = open.iter().map(|(rank, _)| *rank).collect();
                if let Some((rank, why)) = self.missing(&waited_for) {
                    match self.give_up(rank, why) {}
                }
                std::thread::sleep(NAP);
            }
        });
        let mut peers = self.peers.borrow_mut();
        let now = Instant::now();
        for (from, _) in receive.iter() {
            peers[*from].heard = now;
        }
        Ok(())
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn keep_alive(&self) -> Result<()> {
        self.look();
        match self.missing(&[]) {
            Some((rank, reason)) => Err(Error::Rank { rank, reason }),
            None => Ok(()),
        }
    }

    fn abandon(&self, reason: &str) {
        self.failed.set(true);
        // For the rest of the process, which is short.
        let sign = [&[FAILED], reason.as_bytes()].concat().leak();
        farewell(self, sign);
    }
}

/// Sends a last sign to all, as long as it takes but no longer than that.
fn farewell(mpi: &Mpi, sign: &'static [u8]) {
    let started = Instant::now();
    let sent = || {
        // Who has ended meanwhile takes no more.
        mpi.hear(Instant::now());
        let mut peers = mpi.peers.borrow_mut();
        peers.iter_mut().all(|peer| {
            peer.sign = peer.sign.take().and_then(|request| request.test().err());
            peer.sign.is_none() || peer.ended.is_some()
        })
    };
    // What was on its way before goes first.
    for last in [false, true] {
        while !sent() && started.elapsed() < FAREWELL {
            std::thread::sleep(NAP);
        }
        if !last {
            mpi.sign(sign);
        }
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if std::thread::panicking() {
            Transport::abandon(self, "its thread panicked");
        } else if !self.failed.get() {
            farewell(self, &[ENDED]);
        }
        let stuck = self.peers.borrow_mut().iter_mut().fold(false, |stuck, peer| {
            // Dropping a request that is under way would be an error; it ends with the process.
            let sign = peer.sign.take();
            let is_stuck = sign.is_some() && peer.ended.is_none();
            std::mem::forget(sign);
            stuck || is_stuck
        });
        let lost = self.missing(&[]);
        if self.failed.get() || stuck || lost.is_some() {
            log::debug!(
                "rank {} leaves without the others: failed {}, a sign is stuck {stuck}, lost {lost:?}",
                self.rank,
                self.failed.get()
            );
            std::mem::forget(self.universe.take());
        }
    }
}
