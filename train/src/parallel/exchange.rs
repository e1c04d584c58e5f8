//! The thread that communicates while the others compute.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Collective;
use super::collective::{Traffic, consecutive};
use crate::{Error, Result};

/// How often ranks that have nothing to say show that they live.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// How often who waits for the thread looks whether it is still of use.
const LOOK: Duration = Duration::from_millis(50);

/// A collective on a thread of its own: what is asked of it is done one after another, in the
/// order asked, while the asking thread computes. (MPI wants to be called by one thread only: it is
/// this one.)
///
/// ```
/// use striate_train::parallel::{Exchange, Local};
///
/// # fn main() -> striate_train::Result<()> {
/// let exchanges = Local::group(2).into_iter().map(Exchange::new).collect::<Result<Vec<_>, _>>()?;
/// // Asked of both, waited for afterwards: what lies between is hidden behind computation.
/// let sums: Vec<_> = exchanges.iter().map(|e| e.all_reduce(vec![e.rank() as f32; 4])).collect();
/// for sum in sums {
///     assert_eq!(sum.wait()?, [1.0; 4]);
/// }
/// assert_eq!(exchanges[0].report().traffic.bytes, 16);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Exchange {
    rank: usize,
    size: usize,
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce(&dyn Collective) + Send>;

/// What the threads share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The rank that is lost, and why: nothing works any more.
    lost: Option<(usize, String)>,
    traffic: Traffic,
    exposed: Duration,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> Option<Error> {
        let state = self.lock();
        let (rank, reason) = state.lost.as_ref()?;
        Some(Error::Rank { rank: *rank, reason: reason.clone() })
    }
}

/// Where the thread that communicates says that a rank is lost, so that nobody waits for an answer.
#[derive(Clone, Debug)]
pub struct Lost(Arc<Shared>);

impl Lost {
    /// Says so. The first one counts.
    pub fn tell(&self, rank: usize, reason: String) {
        self.0.lock().lost.get_or_insert((rank, reason));
    }
}

/// What an [`Exchange`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExchangeReport {
    /// What was sent, and the time inside of collectives.
    pub traffic: Traffic,
    /// How long computing threads have waited for it. The rest of the time was hidden.
    pub exposed: Duration,
}

impl ExchangeReport {
    /// What came after `before`.
    #[must_use]
    pub fn since(&self, before: &ExchangeReport) -> ExchangeReport {
        ExchangeReport {
            traffic: self.traffic.since(&before.traffic),
            exposed: self.exposed.saturating_sub(before.exposed),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &ExchangeReport) -> ExchangeReport {
        let (own, other_traffic) = (&self.traffic, &other.traffic);
        ExchangeReport {
            traffic: Traffic {
                bytes: own.bytes + other_traffic.bytes,
                messages: own.messages + other_traffic.messages,
                calls: own.calls + other_traffic.calls,
                time: own.time + other_traffic.time,
            },
            exposed: self.exposed + other.exposed,
        }
    }

    /// The time in collectives during which computation went on.
    pub fn hidden(&self) -> Duration {
        self.traffic.time.saturating_sub(self.exposed)
    }
}

impl Exchange {
    /// Moves a collective to a thread of its own.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn new<C: Collective + Send + 'static>(collective: C) -> Result<Exchange> {
        Exchange::start(|_| Ok(collective))
    }

    /// Makes a collective on a thread of its own: one that must stay on its thread, as MPI's does.
    /// It may say by [`Lost`] that a rank is lost and never return from where it waits.
    ///
    /// # Errors
    /// What making it says, and where no thread can be started.
    pub fn start<C: Collective + 'static>(
        make: impl FnOnce(Lost) -> Result<C> + Send + 'static,
    ) -> Result<Exchange> {
        let shared = Arc::new(Shared::default());
        let (jobs, work) = channel::<Job>();
        let (tell, told) = channel();
        let state = Arc::clone(&shared);
        let run = move || match make(Lost(Arc::clone(&state))) {
            Ok(collective) => {
                if tell.send(Ok((collective.rank(), collective.size()))).is_ok() {
                    serve(&collective, &work, &state);
                }
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        };
        let thread = std::thread::Builder::new()
            .name("striate-exchange".into())
            .spawn(run)
            .map_err(|source| striate_data::Error::Thread { source })?;
        let (rank, size) = told.recv().map_err(|_| panicked())??;
        Ok(Exchange { rank, size, shared, jobs: Some(jobs), thread: Some(thread) })
    }

    /// Which rank this is, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many ranks there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Has something done after everything that was asked before.
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Collective) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (answer, answers) = channel();
        let shared = Arc::clone(&self.shared);
        let job = move |collective: &dyn Collective| {
            let result = catch_unwind(AssertUnwindSafe(|| work(collective)));
            let result = result.unwrap_or_else(|panic| Err(said(&*panic)));
            if let Err(Error::Rank { rank, reason }) = &result {
                Lost(Arc::clone(&shared)).tell(*rank, reason.clone());
            }
            // Counted before the answer: who has it sees everything that was done for it.
            shared.lock().traffic = collective.traffic();
            // Nobody waits for it where the asking thread failed meanwhile.
            let _ = answer.send(result);
        };
        if let Some(jobs) = &self.jobs {
            // Where the thread is gone the answer never comes, which `wait` tells.
            let _ = jobs.send(Box::new(job));
        }
        Pending { answers, shared: Arc::clone(&self.shared) }
    }

    /// [`Collective::all_reduce`] on these numbers.
    pub fn all_reduce(&self, mut data: Vec<f32>) -> Pending<Vec<f32>> {
        self.submit(move |group| group.all_reduce(&mut data).map(|()| data))
    }

    /// [`Collective::all_gather`] of these numbers.
    pub fn all_gather(&self, own: Vec<f32>, counts: Vec<usize>) -> Pending<Vec<f32>> {
        self.submit(move |group| {
            let mut all = vec![0.0; counts.iter().sum()];
            group.all_gather(&own, &counts, &mut all)?;
            Ok(all)
        })
    }

    /// [`Collective::reduce_scatter`] of these numbers.
    pub fn reduce_scatter(&self, data: Vec<f32>, counts: Vec<usize>) -> Pending<Vec<f32>> {
        self.submit(move |group| {
            let mut own = vec![0.0; counts.get(group.rank()).copied().unwrap_or(0)];
            group.reduce_scatter(&data, &counts, &mut own)?;
            Ok(own)
        })
    }

    /// [`Collective::broadcast`] of these numbers, which are as many on all ranks.
    pub fn broadcast(&self, mut data: Vec<f32>, root: usize) -> Pending<Vec<f32>> {
        self.submit(move |group| group.broadcast(&mut data, root).map(|()| data))
    }

    /// The bytes of every rank, to all, however many each has.
    pub fn gather_bytes(&self, own: &[u8]) -> Pending<Vec<Vec<u8>>> {
        let own = own.to_vec();
        self.submit(move |group| {
            let mut lengths = vec![0.0; 2 * group.size()];
            let length = words(&(own.len() as u64).to_le_bytes());
            group.all_gather(&length, &vec![2; group.size()], &mut lengths)?;
            let lengths: Vec<usize> = lengths.chunks(2).map(length_of).collect();
            let counts: Vec<usize> = lengths.iter().map(|length| length.div_ceil(4)).collect();
            let mut all = vec![0.0; counts.iter().sum()];
            group.all_gather(&words(&own), &counts, &mut all)?;
            let parts = consecutive(&counts).into_iter().zip(lengths);
            Ok(parts.map(|(part, length)| bytes(&all[part], length)).collect())
        })
    }

    /// The bytes of rank `root`, to all; what the others give does not matter.
    pub fn broadcast_bytes(&self, own: Vec<u8>, root: usize) -> Pending<Vec<u8>> {
        self.submit(move |group| {
            let mut length = words(&(own.len() as u64).to_le_bytes());
            group.broadcast(&mut length, root)?;
            let length = length_of(&length);
            let mut data = words(&own);
            data.resize(length.div_ceil(4), 0.0);
            group.broadcast(&mut data, root)?;
            Ok(bytes(&data, length))
        })
    }

    /// Returns when all ranks have come here.
    ///
    /// # Errors
    /// Where a rank is lost.
    pub fn barrier(&self) -> Result<()> {
        self.submit(|group| group.barrier()).wait()
    }

    /// Tells the others that this rank cannot go on, and why.
    pub fn abandon(&self, reason: &str) {
        let reason = reason.to_owned();
        let told = self.submit(move |group| {
            group.abandon(&reason);
            Ok(())
        });
        // Where another one is lost already there is nothing to tell.
        let _ = told.wait();
    }

    /// What was done so far.
    pub fn report(&self) -> ExchangeReport {
        let state = self.shared.lock();
        ExchangeReport { traffic: state.traffic, exposed: state.exposed }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abandon("its thread panicked");
        }
        self.jobs = None;
        // A thread that waits for a lost rank may do so for ever; the process ends without it.
        if let (Some(thread), None) = (self.thread.take(), self.shared.lost()) {
            let _ = thread.join();
        }
    }
}

/// The thread's life.
fn serve(collective: &dyn Collective, work: &Receiver<Job>, shared: &Arc<Shared>) {
    loop {
        match work.recv_timeout(KEEP_ALIVE) {
            Ok(job) => job(collective),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(Error::Rank { rank, reason }) = collective.keep_alive() {
                    Lost(Arc::clone(shared)).tell(rank, reason);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What was asked of an [`Exchange`], and is perhaps not there yet.
#[derive(Debug)]
#[must_use = "whether it worked is known only after wait"]
pub struct Pending<T> {
    answers: Receiver<Result<T>>,
    shared: Arc<Shared>,
}

impl<T> Pending<T> {
    /// Waits for it.
    ///
    /// # Errors
    /// What went wrong, and [`Error::Rank`] where a rank was lost before or meanwhile.
    pub fn wait(self) -> Result<T> {
        let started = Instant::now();
        let result = loop {
            match self.answers.recv_timeout(LOOK) {
                Ok(result) => break result,
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(error) = self.shared.lost() {
                        break Err(error);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    break Err(self.shared.lost().unwrap_or_else(panicked));
                }
            }
        };
        self.shared.lock().exposed += started.elapsed();
        result
    }
}

fn panicked() -> Error {
    Error::Exchange { message: "its thread has ended".into() }
}

fn said(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::Exchange { message: format!("panicked: {}", text.unwrap_or("no message")) }
}

/// Bytes as the bits of numbers, which nobody calculates with.
fn words(bytes: &[u8]) -> Vec<f32> {
    let word = |four: &[u8]| {
        let mut word = [0; 4];
        word[..four.len()].copy_from_slice(four);
        f32::from_bits(u32::from_le_bytes(word))
    };
    bytes.chunks(4).map(word).collect()
}

fn bytes(words: &[f32], length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_bits().to_le_bytes()).collect();
    bytes.truncate(length);
    bytes
}

fn length_of(words: &[f32]) -> usize {
    let mut length = [0; 8];
    length.copy_from_slice(&bytes(words, 8)[..8]);
    u64::from_le_bytes(length) as usize
}
