//! Collectives on paper: what [`Collective`](crate::parallel::Collective) sends for each, counted
//! as it does it, and the thread that does one after another.

use super::Link;
use crate::parallel::CHUNK;

const CHUNK_NUMBERS: u64 = CHUNK as u64;

/// Bytes of a number.
const NUMBER: u128 = 4;

/// What a collective costs: what the first rank sends, and how long it takes until all have it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    pub(super) bytes: u128,
    pub(super) messages: u128,
    pub(super) seconds: f64,
}

impl Cost {
    fn and(self, other: Cost) -> Cost {
        Cost {
            bytes: self.bytes + other.bytes,
            messages: self.messages + other.messages,
            seconds: self.seconds + other.seconds,
        }
    }

    fn times(self, times: u64) -> Cost {
        Cost {
            bytes: self.bytes * u128::from(times),
            messages: self.messages * u128::from(times),
            seconds: self.seconds * times as f64,
        }
    }
}

/// So many things shared by the ranks as evenly as can be, each of so many numbers. The first rank
/// has as few as any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    pub(super) things: u64,
    pub(super) numbers: u64,
}

/// Ranks, and what connects each with the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    pub(super) ranks: u64,
    pub(super) link: &'a Link,
}

impl Group<'_> {
    fn others(&self) -> u64 {
        self.ranks.saturating_sub(1)
    }

    /// A message of so many numbers to every other rank, and one from each.
    fn round(&self, numbers: u64) -> f64 {
        if numbers == 0 {
            return 0.0;
        }
        let bytes = numbers as f64 * self.others() as f64 * NUMBER as f64;
        self.link.seconds(self.others(), bytes)
    }

    /// The sum of so many numbers: in blocks, each scattered to those who add their part up and
    /// gathered again.
    pub(super) fn all_reduce(&self, numbers: u64) -> Cost {
        let others = u128::from(self.others());
        if others == 0 || numbers == 0 {
            return Cost::default();
        }
        let block = self.ranks.saturating_mul(CHUNK_NUMBERS);
        let whole = Cost {
            bytes: 2 * others * u128::from(CHUNK_NUMBERS) * NUMBER,
            messages: 2 * others,
            seconds: 2.0 * self.round(CHUNK_NUMBERS),
        };
        let rest = Shares { things: numbers % block, numbers: 1 };
        let rest = self.scatter(rest).and(self.gather(rest));
        whole.times(numbers / block).and(rest)
    }

    /// The share of every rank, to all.
    pub(super) fn gather(&self, shares: Shares) -> Cost {
        let others = u128::from(self.others());
        let (own, largest) = self.parts(shares);
        Cost {
            bytes: u128::from(own) * others * NUMBER,
            messages: u128::from(own.div_ceil(CHUNK_NUMBERS)) * others,
            seconds: self.rounds(largest),
        }
    }

    /// The sum of what all have for it, to the owner of each share.
    pub(super) fn scatter(&self, shares: Shares) -> Cost {
        let others = self.others();
        let (own, largest) = self.parts(shares);
        let large = (shares.things % self.ranks.max(1)).min(others);
        let small = others - large;
        let sum = |of: fn(u64) -> u64| {
            u128::from(large) * u128::from(of(largest)) + u128::from(small) * u128::from(of(own))
        };
        Cost {
            bytes: sum(|part| part) * NUMBER,
            messages: sum(|part| part.div_ceil(CHUNK_NUMBERS)),
            seconds: self.rounds(largest),
        }
    }

    /// A few bytes of every rank, to all: how many, and then themselves.
    pub(super) fn report(&self, bytes: u64) -> Cost {
        let each = |numbers| Shares { things: self.ranks, numbers };
        self.gather(each(2)).and(self.gather(each(bytes.div_ceil(4))))
    }

    /// Numbers of the smallest share, which is the first rank's, and of the largest.
    fn parts(&self, shares: Shares) -> (u64, u64) {
        let ranks = self.ranks.max(1);
        let part = |things: u64| things.saturating_mul(shares.numbers);
        (part(shares.things / ranks), part(shares.things.div_ceil(ranks)))
    }

    /// The seconds of a part that is as large as any.
    fn rounds(&self, part: u64) -> f64 {
        if self.others() == 0 {
            return 0.0;
        }
        let whole = (part / CHUNK_NUMBERS) as f64;
        whole * self.round(CHUNK_NUMBERS) + self.round(part % CHUNK_NUMBERS)
    }
}

/// The thread that communicates: what is asked of it is done in that order.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// When it has done everything asked so far.
    free: f64,
    /// All of it together.
    pub(super) all: Cost,
}

impl Wire {
    /// Asks for something at a time; when it is done.
    pub(super) fn ask(&mut self, now: f64, cost: Cost) -> f64 {
        self.free = self.free.max(now) + cost.seconds;
        self.all = self.all.and(cost);
        self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::{Collective, Local};

    /// What the first of so many ranks has sent when all have done something.
    fn sent(ranks: usize, work: impl Fn(&Local) + Sync) -> (u128, u128) {
        let work = &work;
        std::thread::scope(|scope| {
            let run = |rank: Local| {
                scope.spawn(move || {
                    work(&rank);
                    rank.traffic()
                })
            };
            let threads: Vec<_> = Local::group(ranks).into_iter().map(run).collect();
            let all: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            (u128::from(all[0].bytes), u128::from(all[0].messages))
        })
    }

    #[test]
    fn counts_what_collectives_send() {
        let link = &Link::known()[0];
        for ranks in [1, 2, 3, 5] {
            let group = Group { ranks: ranks as u64, link };
            for numbers in [0, 1, 2, 4, 7, CHUNK, 3 * CHUNK + 5, 11 * CHUNK - 1] {
                let cost = group.all_reduce(numbers as u64);
                let real = sent(ranks, |rank| rank.all_reduce(&mut vec![0.0; numbers]).unwrap());
                assert_eq!((cost.bytes, cost.messages), real, "{numbers} on {ranks}");
                assert_eq!(cost.seconds > 0.0, ranks > 1 && numbers > 0);

                let shares = Shares { things: numbers as u64, numbers: 3 };
                let parts = crate::parallel::shares(numbers, ranks);
                let counts: Vec<usize> = parts.iter().map(|part| 3 * part.len()).collect();
                let all = 3 * numbers;
                let cost = group.gather(shares);
                let real = sent(ranks, |rank| {
                    let own = vec![0.0; counts[rank.rank()]];
                    rank.all_gather(&own, &counts, &mut vec![0.0; all]).unwrap();
                });
                assert_eq!((cost.bytes, cost.messages), real, "{numbers} on {ranks}");
                let cost = group.scatter(shares);
                let real = sent(ranks, |rank| {
                    let mut own = vec![0.0; counts[rank.rank()]];
                    rank.reduce_scatter(&vec![0.0; all], &counts, &mut own).unwrap();
                });
                assert_eq!((cost.bytes, cost.messages), real, "{numbers} on {ranks}");
            }
        }
    }

    #[test]
    fn the_wire_does_one_after_another() {
        let cost = Cost { bytes: 4, messages: 1, seconds: 2.0 };
        let mut wire = Wire::default();
        assert_eq!(
            [wire.ask(1.0, cost), wire.ask(1.5, cost), wire.ask(9.0, cost)],
            [3.0, 5.0, 11.0]
        );
        assert_eq!((wire.all.bytes, wire.all.seconds), (12, 6.0));
    }
}
