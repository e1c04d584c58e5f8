//! What collectives give, and what happens where a rank is lost.

use std::time::Duration;

use proptest::prelude::*;

use super::{Collective, Exchange, Local, collective};
use crate::{Error, Result};

/// Runs this on every rank of a group, and gives what each got.
fn on_all<T: Send>(size: usize, work: impl Fn(&Local) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let run = |rank: Local| {
            scope.spawn(|| {
                let rank = rank;
                work(&rank)
            })
        };
        let threads: Vec<_> = Local::group(size).into_iter().map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn number(rank: usize, i: usize) -> f32 {
    striate_tensor::RandomKey::new(5, rank as u64).unit(i as u64) - 0.5
}

/// The sum over the ranks in the documented tree.
fn tree(values: &[f32]) -> f32 {
    match values {
        [] => 0.0,
        [one] => *one,
        _ => {
            let half = values.len().next_power_of_two() / 2;
            tree(&values[..half]) + tree(&values[half..])
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn collectives_give_what_they_say(
        size in 1usize..6,
        counts in proptest::collection::vec(0usize..9, 6),
        long in proptest::bool::weighted(0.1),
    ) {
        let mut counts = counts[..size].to_vec();
        if long {
            // More than a message each.
            counts[size - 1] = 2 * collective::CHUNK + 3;
        }
        let all: usize = counts.iter().sum();
        let want: Vec<f32> = (0..all)
            .map(|i| tree(&(0..size).map(|rank| number(rank, i)).collect::<Vec<_>>()))
            .collect();
        let results = on_all(size, |group| {
            let rank = group.rank();
            let own: Vec<f32> = (0..all).map(|i| number(rank, i)).collect();
            let mut reduced = own.clone();
            group.all_reduce(&mut reduced).unwrap();
            let mut scattered = vec![0.0; counts[rank]];
            group.reduce_scatter(&own, &counts, &mut scattered).unwrap();
            group.barrier().unwrap();
            let mut gathered = vec![0.0; all];
            group.all_gather(&scattered, &counts, &mut gathered).unwrap();
            let mut sent = own;
            group.broadcast(&mut sent, size - 1).unwrap();
            (reduced, gathered, sent)
        });
        let last: Vec<f32> = (0..all).map(|i| number(size - 1, i)).collect();
        for (reduced, gathered, sent) in results {
            prop_assert_eq!(&reduced, &want);
            prop_assert_eq!(&gathered, &want);
            prop_assert_eq!(&sent, &last);
        }
    }
}

#[test]
fn what_is_sent_is_counted() {
    for size in [2, 4] {
        let length = 1000;
        let traffic = on_all(size, |group| {
            group.all_reduce(&mut vec![1.0; length]).unwrap();
            group.traffic()
        });
        for traffic in traffic {
            // Of the best that is known: 2 (size - 1) / size of the array.
            assert_eq!(traffic.bytes, (2 * (size - 1) * length * 4 / size) as u64);
            assert_eq!((traffic.calls, traffic.messages), (1, 2 * (size as u64 - 1)));
        }
    }
}

#[test]
fn arrays_of_wrong_lengths_are_refused() {
    let results = on_all(2, |group| {
        let counts = group.all_gather(&[1.0], &[1], &mut [0.0]);
        let all = group.all_gather(&[1.0], &[1, 1], &mut [0.0]);
        let own = group.reduce_scatter(&[1.0, 2.0], &[1, 1], &mut [0.0, 0.0]);
        let root = group.broadcast(&mut [1.0], 2);
        [counts, all, own, root].map(|result| result.unwrap_err().to_string())
    });
    assert!(results[0][0].contains("a count for each of 2 ranks, got 1"), "{}", results[0][0]);
    assert!(results[0][1].contains("the 2 numbers of all ranks, got 1"), "{}", results[0][1]);
    assert!(results[0][2].contains("1 numbers of this rank, got 2"), "{}", results[0][2]);
    assert!(results[0][3].contains("a rank below 2, got 2"), "{}", results[0][3]);
}

#[test]
fn a_rank_that_fails_ends_all_with_its_reason() {
    let results = on_all(4, |group| {
        if group.rank() == 2 {
            group.abandon("the disk is full");
            return String::new();
        }
        group.all_reduce(&mut [1.0; 8]).unwrap_err().to_string()
    });
    for rank in [0, 1, 3] {
        assert!(results[rank].contains("rank 2 is lost: the disk is full"), "{}", results[rank]);
    }
}

#[test]
fn a_rank_that_panics_ends_all() {
    let mut ranks = Local::group(3);
    let last = ranks.pop().unwrap();
    let panicked = std::thread::spawn(move || {
        let exchange = Exchange::new(last).unwrap();
        assert_eq!(exchange.rank(), 99, "on purpose");
    });
    assert!(panicked.join().is_err());
    for rank in ranks {
        let error = Exchange::new(rank).unwrap().all_reduce(vec![1.0; 3]).wait().unwrap_err();
        assert!(error.to_string().contains("rank 2 is lost: its thread panicked"), "{error}");
    }
}

#[test]
fn a_rank_that_ends_early_is_missed_by_who_waits_for_it() {
    let mut ranks = Local::group(2);
    drop(ranks.pop());
    let error = ranks[0].barrier().unwrap_err();
    assert!(matches!(error, Error::Rank { rank: 1, .. }), "{error}");
}

#[test]
fn exchanges_keep_their_order_and_count_what_was_waited_for() {
    let ranks = Local::group(2).into_iter().map(Exchange::new).collect::<Result<Vec<_>>>();
    let ranks = ranks.unwrap();
    let work = |exchange: &Exchange| {
        let first = exchange.all_reduce(vec![1.0; 10]);
        let slow = exchange.submit(|_| {
            std::thread::sleep(Duration::from_millis(20));
            Ok(7)
        });
        let text = exchange.gather_bytes(format!("rank {}", exchange.rank() * 1000).as_bytes());
        let sent = exchange.broadcast_bytes(vec![exchange.rank() as u8; 5], 1);
        assert_eq!(sent.wait().unwrap(), [1; 5]);
        assert_eq!(text.wait().unwrap(), [b"rank 0".to_vec(), b"rank 1000".to_vec()]);
        assert_eq!((slow.wait().unwrap(), first.wait().unwrap()), (7, vec![2.0; 10]));
        exchange.report()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(&ranks[1]));
        let report = work(&ranks[0]);
        assert!(report.exposed >= Duration::from_millis(20), "{report:?}");
        assert!(report.traffic.calls == 5 && other.join().is_ok(), "{report:?}");
    });
}
