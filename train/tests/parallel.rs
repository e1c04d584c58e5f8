//! The same training on one device and on several: equal mathematics, one working file.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{device, never, options, pictures, spec, train_on_ranks};
use striate_nn::NetworkSpec;
use striate_nn::{conv2d, full_connect, pool};
use striate_train::parallel::{Exchange, Local, Parallel, Ranks};
use striate_train::{
    Error, Observer, Outcome, Result, Session, SessionData, SessionOptions, StepEvent,
};

/// Trains on so many devices; what each rank's session said.
fn train_on(
    size: usize,
    working: &Path,
    spec: &NetworkSpec,
    options: &SessionOptions,
    choose: &(dyn Fn(Exchange) -> Ranks + Sync),
) -> Vec<Result<Outcome>> {
    train_on_ranks(size, working, spec, options, choose, &|_| Box::new(()), &never())
}

fn data(exchange: Exchange) -> Ranks {
    Ranks::new(exchange, Parallel::Data)
}

fn hybrid(exchange: Exchange) -> Ranks {
    Ranks::new(exchange, Parallel::Hybrid)
}

fn finished(results: Vec<Result<Outcome>>) {
    for result in results {
        assert_eq!(result.unwrap(), Outcome::Finished);
    }
}

/// The weights of a working file.
fn weights(working: &Path) -> Vec<f32> {
    let network = striate_importers::read(working, &device(1), &Default::default()).unwrap();
    let named = striate_nn::named_parameters(&network);
    named.iter().flat_map(|(_, tensor)| tensor.to_vec::<f32>().unwrap()).collect()
}

/// Two full-connect layers with dropout after the join, and one whose outputs no number of ranks
/// divides.
fn deep() -> NetworkSpec {
    NetworkSpec::new([8, 8, 1])
        .with_image([9, 9])
        .conv(conv2d(6, 3).relu())
        .max_pool(pool(2).stride(2))
        .full_connect(full_connect(13).relu().dropout(0.5))
        .full_connect(full_connect(11).relu().dropout(0.25))
        .full_connect(5)
}

#[test]
fn data_parallel_training_is_the_same_bits_on_1_2_and_4_devices() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    // 50 steps of 8 samples; 61 samples do not fill the last one of an epoch, nor its shards.
    options.train.max_iterations = Some(50);
    options.train.max_epoch = 100;
    let file = |size: usize| {
        let working = folder.path().join(format!("{size}.sqlite3"));
        finished(train_on(size, &working, &spec(), &options, &data));
        std::fs::read(working).unwrap()
    };
    let one = file(1);
    assert!(one == file(2), "2 devices part from 1");
    assert!(one == file(4), "4 devices part from 1");
}

#[test]
fn gradients_of_several_mini_batches_are_summed_over_ranks_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    (options.train.sgd_frequency, options.train.max_epoch) = (3, 2);
    for (name, choose) in [("data", data as fn(Exchange) -> Ranks), ("hybrid", hybrid)] {
        let file = |size: usize| {
            let working = folder.path().join(format!("{name}{size}.sqlite3"));
            finished(train_on(size, &working, &spec(), &options, &choose));
            working
        };
        let (one, two) = (weights(&file(1)), weights(&file(2)));
        assert_close(&two, &one);
    }
}

#[test]
fn hybrid_training_is_that_of_one_device() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.train.max_iterations = Some(50);
    options.train.max_epoch = 100;
    let alone = folder.path().join("alone.sqlite3");
    let test = Some(pictures(30, 2));
    let mut session = Session::open(
        &alone,
        &deep(),
        SessionData::new(pictures(61, 1)).test(test),
        options.clone(),
        &device(1),
    )
    .unwrap();
    session.run(&mut (), &never()).unwrap();
    drop(session);
    let alone = weights(&alone);
    for (size, pieces) in [(1, 1), (2, 1), (2, 2), (4, 4), (3, 2), (2, 9)] {
        let working = folder.path().join(format!("{size}-{pieces}.sqlite3"));
        let choose = |exchange| Ranks { pieces: Some(pieces), ..hybrid(exchange) };
        finished(train_on(size, &working, &deep(), &options, &choose));
        assert_close(&weights(&working), &alone);
    }
}

/// Within 1e-5 of the scale of the weights.
fn assert_close(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let worst = got.iter().zip(want).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(worst <= 1e-5 * scale, "{worst} of {scale}");
}

/// Asks to stop when so many mini-batches have been learnt.
struct StopAfter<'a>(u64, &'a AtomicBool);

impl Observer for StopAfter<'_> {
    fn step(&mut self, step: &StepEvent) -> Result<()> {
        let exchange = step.exchange.unwrap();
        assert!(exchange.traffic.bytes > 0 || exchange.traffic.calls > 0, "{exchange:?}");
        if step.iterations >= self.0 {
            self.1.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[test]
fn a_training_goes_on_with_another_number_of_devices() {
    let folder = tempfile::tempdir().unwrap();
    let options = options();
    let whole = folder.path().join("whole.sqlite3");
    finished(train_on(2, &whole, &spec(), &options, &data));

    let parts = folder.path().join("parts.sqlite3");
    static STOP: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];
    for (stop, (size, after)) in STOP.iter().zip([(4, 5), (1, 13)]) {
        // The last rank alone is asked: all hear of it.
        let observe = |rank: usize| -> Box<dyn Observer> {
            match rank + 1 == size {
                true => Box::new(StopAfter(after, stop)),
                false => Box::new(()),
            }
        };
        let ended = train_on_ranks(size, &parts, &spec(), &options, &data, &observe, stop);
        assert!(ended.iter().all(|r| matches!(r, Ok(Outcome::Stopped))), "{ended:?}");
    }
    finished(train_on(2, &parts, &spec(), &options, &data));
    assert!(std::fs::read(&whole).unwrap() == std::fs::read(&parts).unwrap());

    // From one scheme to the other and back to a device alone: velocities are scattered and
    // brought together.
    let mixed = folder.path().join("mixed.sqlite3");
    let alone = folder.path().join("alone.sqlite3");
    let with = |iterations, working: &Path, size: Option<usize>| {
        let mut options = options.clone();
        options.train.max_iterations = Some(iterations);
        match size {
            Some(size) => finished(train_on(size, working, &deep(), &options, &hybrid)),
            None => {
                let test = Some(pictures(30, 2));
                let data = pictures(61, 1);
                let mut session = Session::open(
                    working,
                    &deep(),
                    SessionData::new(data).test(test),
                    options,
                    &device(1),
                )
                .unwrap();
                session.run(&mut (), &never()).unwrap();
            }
        }
    };
    with(5, &mixed, Some(4));
    with(12, &mixed, None);
    with(20, &mixed, Some(2));
    with(20, &alone, None);
    assert_close(&weights(&mixed), &weights(&alone));
}

/// Fails at a mini-batch.
struct FailAt(u64);

impl Observer for FailAt {
    fn step(&mut self, step: &StepEvent) -> Result<()> {
        match step.iterations == self.0 {
            true => Err(Error::Observer { message: "the printer is on fire".into() }),
            false => Ok(()),
        }
    }
}

#[test]
fn a_rank_that_fails_ends_all_and_leaves_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.checkpoint_every = Some(3);
    for (name, choose) in [("data", data as fn(Exchange) -> Ranks), ("hybrid", hybrid)] {
        let working = folder.path().join(format!("{name}.sqlite3"));
        let observe = |rank: usize| -> Box<dyn Observer> {
            match rank {
                2 => Box::new(FailAt(5)),
                _ => Box::new(()),
            }
        };
        let stop = never();
        let ended = train_on_ranks(4, &working, &spec_of_4(), &options, &choose, &observe, &stop);
        for (rank, result) in ended.iter().enumerate() {
            let message = result.as_ref().unwrap_err().to_string();
            assert!(message.contains("the printer is on fire"), "{rank}: {message}");
            assert!(rank == 2 || message.contains("rank 2 is lost"), "{rank}: {message}");
            let is_told = message.matches("the last checkpoint is intact").count() == 1;
            assert!(rank == 2 || is_told, "{rank}: {message}");
        }
        // What was saved at mini-batch 3 is whole, and another number of ranks goes on with it.
        finished(train_on(1, &working, &spec_of_4(), &options, &choose));
    }
}

/// Each of 4 ranks has an output of every layer.
fn spec_of_4() -> NetworkSpec {
    deep()
}

#[test]
fn ranks_that_do_not_fit_are_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let working = folder.path().join("bars.sqlite3");
    let refused = |size, spec: &NetworkSpec, choose: &(dyn Fn(Exchange) -> Ranks + Sync)| {
        let results = train_on(size, &working, spec, &options(), choose);
        results[0].as_ref().unwrap_err().to_string()
    };
    let message = refused(3, &spec(), &data);
    assert!(message.contains("3 devices and 4 shards"), "{message}");
    let shards = |exchange| Ranks { shards: Some(6), ..data(exchange) };
    assert!(refused(2, &spec(), &shards).contains("2 devices and 6 shards"));
    // Three classes cannot be split over four ranks.
    let message = refused(4, &spec(), &hybrid);
    assert!(message.contains("at least 4 outputs of layer 3, got 3"), "{message}");
    let flat = NetworkSpec::new([8, 8, 1]).with_image([9, 9]).full_connect(4);
    assert!(refused(2, &flat, &hybrid).contains("layers before the first full-connect one"));
    let pieces = |exchange| Ranks { pieces: Some(0), ..hybrid(exchange) };
    assert!(refused(2, &spec(), &pieces).contains("a piece of a mini-batch or more"));
}

#[test]
fn ranks_with_other_options_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let working = folder.path().join("bars.sqlite3");
    let results: Vec<_> = std::thread::scope(|scope| {
        let run = |(rank, local): (usize, Local)| {
            let working = &working;
            scope.spawn(move || {
                let mut options = options();
                options.train.seed += rank as u64;
                options.ranks = Some(data(Exchange::new(local)?));
                let session = Session::open(working, &spec(), pictures(61, 1), options, &device(1));
                session.map(|_| ())
            })
        };
        let threads: Vec<_> = Local::group(2).into_iter().enumerate().map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for result in results {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("others on rank 1 than on rank 0"), "{message}");
    }
    assert!(!working.exists());
}
