//! What ranks do together: collectives, and how they are made of messages.
//!
//! Every rank calls the same collectives in the same order. Sums are formed in a fixed tree over
//! the ranks, `(0 + 1) + (2 + 3)` and so on, by the rank that owns the part: so they are the same
//! bits on every rank, in every run, over every transport.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Numbers of one message at most: large arrays go in such pieces, so that what is in flight stays
/// small, and a lost rank is noticed between two of them. (256 KiB: long enough to hide latency.)
pub(crate) const CHUNK: usize = 64 * 1024;

/// What a group of ranks does together. Every rank must call the same methods in the same order
/// with arrays of the same lengths.
///
/// ```
/// use striate_train::parallel::{Collective, Local};
///
/// # fn main() -> striate_train::Result<()> {
/// let sum = |rank: Local| {
///     let mut numbers = vec![rank.rank() as f32 + 1.0; 3];
///     rank.all_reduce(&mut numbers).map(|()| numbers)
/// };
/// let ranks = Local::group(2);
/// let threads: Vec<_> =
///     ranks.into_iter().map(|rank| std::thread::spawn(move || sum(rank))).collect();
/// for thread in threads {
///     assert_eq!(thread.join().expect("no panic")?, [3.0; 3]);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Every method gives [`Error::Rank`] where a rank is lost, and [`Error::Option`] where the
/// arrays are not as long as they must be.
pub trait Collective {
    /// Which rank this is, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// The data of rank `root`, to all.
    ///
    /// # Errors
    /// See [`Collective`].
    fn broadcast(&self, data: &mut [f32], root: usize) -> Result<()>;

    /// The sum over the ranks, to all: the same bits everywhere.
    ///
    /// # Errors
    /// See [`Collective`].
    fn all_reduce(&self, data: &mut [f32]) -> Result<()>;

    /// The sum over the ranks in parts of `counts`: rank `r` gets part `r`.
    ///
    /// # Errors
    /// See [`Collective`].
    fn reduce_scatter(&self, data: &[f32], counts: &[usize], own: &mut [f32]) -> Result<()>;

    /// The parts of all ranks one after another, to all; rank `r` gives `counts[r]` numbers.
    ///
    /// # Errors
    /// See [`Collective`].
    fn all_gather(&self, own: &[f32], counts: &[usize], all: &mut [f32]) -> Result<()>;

    /// Returns when all ranks have called it.
    ///
    /// # Errors
    /// See [`Collective`].
    fn barrier(&self) -> Result<()>;

    /// What this rank has sent so far.
    fn traffic(&self) -> Traffic;

    /// Called about once a second while there is nothing to do: the moment to show the others that
    /// this rank lives, and to see whether they do.
    ///
    /// # Errors
    /// [`Error::Rank`] where another one is lost.
    fn keep_alive(&self) -> Result<()> {
        Ok(())
    }

    /// Tells the others that this rank cannot go on, and why: what they wait for fails.
    fn abandon(&self, reason: &str) {
        let _ = reason;
    }
}

/// What a rank has sent, and the time that it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent to other ranks.
    pub bytes: u64,
    /// In so many messages.
    pub messages: u64,
    /// Collectives called.
    pub calls: u64,
    /// The time spent in them, waiting for others included.
    pub time: Duration,
}

impl Traffic {
    /// What came after `before`.
    #[must_use]
    pub fn since(&self, before: &Traffic) -> Traffic {
        Traffic {
            bytes: self.bytes.saturating_sub(before.bytes),
            messages: self.messages.saturating_sub(before.messages),
            calls: self.calls.saturating_sub(before.calls),
            time: self.time.saturating_sub(before.time),
        }
    }
}

/// Counts while threads look on.
#[derive(Debug, Default)]
pub struct Counters {
    bytes: AtomicU64,
    messages: AtomicU64,
    calls: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Counters {
    fn traffic(&self) -> Traffic {
        Traffic {
            bytes: self.bytes.load(Ordering::Relaxed),
            messages: self.messages.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }

    fn call(&self, started: Instant) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// A message to a rank.
pub type Outgoing<'a> = (usize, &'a [f32]);

/// A message from a rank, as long as the memory for it.
pub type Incoming<'a> = (usize, &'a mut [f32]);

/// How messages go from rank to rank. Whatever has this is a [`Collective`].
pub trait Transport {
    /// Which rank this is, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// Sends and receives all of these, at most one message to and from each other rank; returns
    /// when the memory is free again and filled. Messages between two ranks keep their order, and
    /// none is longer than 65,536 numbers.
    ///
    /// # Errors
    /// [`Error::Rank`] where a rank is lost.
    fn exchange(&self, send: &[Outgoing<'_>], receive: &mut [Incoming<'_>]) -> Result<()>;

    /// Where it is counted what was sent.
    fn counters(&self) -> &Counters;

    /// As [`Collective::keep_alive`].
    ///
    /// # Errors
    /// [`Error::Rank`] where another one is lost.
    fn keep_alive(&self) -> Result<()> {
        Ok(())
    }

    /// As [`Collective::abandon`].
    fn abandon(&self, reason: &str) {
        let _ = reason;
    }
}

impl<T: Transport> Collective for T {
    fn rank(&self) -> usize {
        Transport::rank(self)
    }

    fn size(&self) -> usize {
        Transport::size(self)
    }

    fn broadcast(&self, data: &mut [f32], root: usize) -> Result<()> {
        if root >= Collective::size(self) {
            return refuse("broadcast", format!("a rank below {}", Collective::size(self)), root);
        }
        timed(self, || data.chunks_mut(CHUNK).try_for_each(|part| binomial(self, part, root)))
    }

    fn all_reduce(&self, data: &mut [f32]) -> Result<()> {
        let size = Collective::size(self);
        timed(self, || {
            let mut scratch = Vec::new();
            for block in data.chunks_mut(size * CHUNK) {
                let parts = shares(block.len(), size);
                let rank = Transport::rank(self);
                let mut own = block[parts[rank].clone()].to_vec();
                reduce_parts(self, block, &parts, &mut own, &mut scratch)?;
                block[parts[rank].clone()].copy_from_slice(&own);
                gather_parts(self, &own, &parts, block)?;
            }
            Ok(())
        })
    }

    fn reduce_scatter(&self, data: &[f32], counts: &[usize], own: &mut [f32]) -> Result<()> {
        check("reduce_scatter", self, counts, data.len(), own.len())?;
        let (parts, rank) = (consecutive(counts), Transport::rank(self));
        timed(self, || {
            let mut scratch = Vec::new();
            own.copy_from_slice(&data[parts[rank].clone()]);
            for pieces in in_pieces(&parts) {
                let start = pieces[rank].start - parts[rank].start;
                let length = pieces[rank].len();
                let own = &mut own[start..start + length];
                reduce_parts(self, data, &pieces, own, &mut scratch)?;
            }
            Ok(())
        })
    }

    fn all_gather(&self, own: &[f32], counts: &[usize], all: &mut [f32]) -> Result<()> {
        check("all_gather", self, counts, all.len(), own.len())?;
        let (parts, rank) = (consecutive(counts), Transport::rank(self));
        timed(self, || {
            all[parts[rank].clone()].copy_from_slice(own);
            for pieces in in_pieces(&parts) {
                let start = pieces[rank].start - parts[rank].start;
                gather_parts(self, &own[start..start + pieces[rank].len()], &pieces, all)?;
            }
            Ok(())
        })
    }

    fn barrier(&self) -> Result<()> {
        let (rank, size) = (Transport::rank(self), Transport::size(self));
        timed(self, || {
            // In round k everybody has heard, at second hand, of 2^k others.
            let mut distance = 1;
            while distance < size {
                let (to, from) = ((rank + distance) % size, (rank + size - distance) % size);
                let mut heard = [0.0];
                pass(self, &[(to, &[1.0])], &mut [(from, &mut heard)])?;
                distance *= 2;
            }
            Ok(())
        })
    }

    fn traffic(&self) -> Traffic {
        self.counters().traffic()
    }

    fn keep_alive(&self) -> Result<()> {
        Transport::keep_alive(self)
    }

    fn abandon(&self, reason: &str) {
        Transport::abandon(self, reason);
    }
}

/// `all` in `size` ranges, as even as can be: range `i` ends where a fraction `(i + 1) / size` does.
pub(crate) fn shares(all: usize, size: usize) -> Vec<Range<usize>> {
    (0..size).map(|i| all * i / size..all * (i + 1) / size).collect()
}

/// Ranges of these lengths, one after another.
pub(crate) fn consecutive(counts: &[usize]) -> Vec<Range<usize>> {
    let mut start = 0;
    let range = |&count: &usize| {
        start += count;
        start - count..start
    };
    counts.iter().map(range).collect()
}

/// Adds arrays up in a tree: neighbours, then neighbouring pairs, and so on. The sum is in the first.
pub(crate) fn sum_tree(arrays: &mut [&mut [f32]]) {
    let mut distance = 1;
    while distance < arrays.len() {
        for left in (0..arrays.len() - distance).step_by(2 * distance) {
            let (before, after) = arrays.split_at_mut(left + distance);
            for (sum, value) in before[left].iter_mut().zip(&*after[0]) {
                *sum += *value;
            }
        }
        distance *= 2;
    }
}

fn refuse(op: &str, expected: String, got: usize) -> Result<()> {
    Err(Error::Option { expected: format!("{op}: {expected}"), got: got.to_string() })
}

fn check<T: Transport>(
    op: &str,
    group: &T,
    counts: &[usize],
    all: usize,
    own: usize,
) -> Result<()> {
    let size = Transport::size(group);
    if counts.len() != size {
        return refuse(op, format!("a count for each of {size} ranks"), counts.len());
    }
    let sum: usize = counts.iter().sum();
    if sum != all {
        return refuse(op, format!("the {sum} numbers of all ranks"), all);
    }
    let expected = counts[Transport::rank(group)];
    if own != expected {
        return refuse(op, format!("{expected} numbers of this rank"), own);
    }
    Ok(())
}

fn timed<T: Transport>(group: &T, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    let result = work();
    group.counters().call(started);
    result
}

/// An exchange, counted; empty messages are not sent.
fn pass<T: Transport>(
    group: &T,
    send: &[Outgoing<'_>],
    receive: &mut [Incoming<'_>],
) -> Result<()> {
    let counters = group.counters();
    for (_, message) in send {
        counters.bytes.fetch_add(size_of_val(*message) as u64, Ordering::Relaxed);
        counters.messages.fetch_add(1, Ordering::Relaxed);
    }
    group.exchange(send, receive)
}

/// From the root on, whoever has the data hands it to one who has not: as many rounds as ranks
/// have bits.
fn binomial<T: Transport>(group: &T, data: &mut [f32], root: usize) -> Result<()> {
    let size = Transport::size(group);
    let place = (Transport::rank(group) + size - root) % size;
    let rank_of = |place: usize| (place + root) % size;
    let mut has = 1;
    while has < size {
        if place < has && place + has < size {
            pass(group, &[(rank_of(place + has), data)], &mut [])?;
        } else if (has..2 * has).contains(&place) {
            pass(group, &[], &mut [(rank_of(place - has), data)])?;
        }
        has *= 2;
    }
    Ok(())
}

/// Sends every rank its part of `data`, and makes `own` (this rank's own part) the sum of all.
fn reduce_parts<T: Transport>(
    group: &T,
    data: &[f32],
    parts: &[Range<usize>],
    own: &mut [f32],
    scratch: &mut Vec<f32>,
) -> Result<()> {
    let (rank, length) = (Transport::rank(group), own.len());
    let others = || (0..parts.len()).filter(|&other| other != rank);
    let send: Vec<Outgoing<'_>> = others()
        .map(|other| (other, &data[parts[other].clone()]))
        .filter(|(_, message)| !message.is_empty())
        .collect();
    scratch.resize(length * (parts.len() - 1), 0.0);
    let mut receive: Vec<Incoming<'_>> = match length {
        0 => Vec::new(),
        _ => others().zip(scratch.chunks_mut(length)).collect(),
    };
    pass(group, &send, &mut receive)?;
    if length == 0 {
        return Ok(());
    }
    let mut arrays: Vec<&mut [f32]> = receive.into_iter().map(|(_, part)| part).collect();
    arrays.insert(rank, own);
    // The sum lands in rank 0's array, which is this rank's only there.
    sum_tree(&mut arrays);
    if rank > 0 {
        let (first, rest) = arrays.split_at_mut(1);
        rest[rank - 1].copy_from_slice(first[0]);
    }
    Ok(())
}

/// Sends `own` to all ranks, and puts what they send in its place in `all`.
fn gather_parts<T: Transport>(
    group: &T,
    own: &[f32],
    parts: &[Range<usize>],
    all: &mut [f32],
) -> Result<()> {
    let rank = Transport::rank(group);
    let others = |&other: &usize| other != rank && !own.is_empty();
    let send: Vec<Outgoing<'_>> = (0..parts.len()).filter(others).map(|r| (r, own)).collect();
    let mut receive = Vec::with_capacity(parts.len());
    let (mut rest, mut at) = (all, 0);
    for (other, part) in parts.iter().enumerate() {
        // Parts come in ascending order.
        let (_, from) = rest.split_at_mut(part.start - at);
        let (memory, after) = from.split_at_mut(part.len());
        (rest, at) = (after, part.end);
        if other != rank && !part.is_empty() {
            receive.push((other, memory));
        }
    }
    pass(group, &send, &mut receive)
}

/// Parts in rounds of at most a message each.
fn in_pieces(parts: &[Range<usize>]) -> impl Iterator<Item = Vec<Range<usize>>> {
    let rounds = parts.iter().map(|part| part.len().div_ceil(CHUNK)).max().unwrap_or(0);
    (0..rounds).map(move |round| {
        let piece = |part: &Range<usize>| {
            let start = (part.start + round * CHUNK).min(part.end);
            start..(start + CHUNK).min(part.end)
        };
        parts.iter().map(piece).collect()
    })
}
