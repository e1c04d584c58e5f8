//! Whole trainings of a small network on pictures that can be learnt, in memory.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{CLASSES, device, never, options, pictures, spec};
use striate_data::Dataset;
use striate_data::augment::Recipe;
use striate_nn::{NetworkSpec, conv2d};
use striate_train::{
    Error, Observer, Outcome, Result, Session, SessionData, SessionOptions, StepEvent, read_history,
};

fn open(working: &Path, options: &SessionOptions, threads: usize) -> Result<Session> {
    let test = Some(pictures(30, 2));
    Session::open(
        working,
        &spec(),
        SessionData::new(pictures(61, 1)).test(test),
        options.clone(),
        &device(threads),
    )
}

/// A whole training, uninterrupted; the bytes of its file.
fn whole(folder: &Path, name: &str, options: &SessionOptions, threads: usize) -> Vec<u8> {
    let working = folder.join(name);
    let outcome = open(&working, options, threads).unwrap().run(&mut (), &never()).unwrap();
    assert_eq!(outcome, Outcome::Finished);
    std::fs::read(working).unwrap()
}

/// Asks to stop, as ctrl-C does, when so many mini-batches more have been learnt.
struct StopAfter<'a> {
    left: u64,
    stop: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn step(&mut self, _: &StepEvent) -> Result<()> {
        self.left = self.left.saturating_sub(1);
        self.stop.store(self.left == 0, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn it_learns_and_remembers_its_curves() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.train.max_epoch = 40;
    let working = folder.path().join("bars.sqlite3");
    let mut session = open(&working, &options, 2).unwrap();
    assert!(!session.is_resumed());
    session.run(&mut (), &never()).unwrap();
    let history = read_history(&working).unwrap().unwrap();
    assert_eq!(&history, session.history());
    assert_eq!(history.epochs.len(), 40);
    let (first, last) = (history.epochs[0], history.epochs[39]);
    assert!(last.loss < 0.5 * first.loss, "{first:?} {last:?}");
    assert!(history.best().unwrap() < 0.2, "{:?}", history.best());
    let samples: u64 = history.epochs.iter().map(|e| e.samples).sum();
    assert_eq!(samples, 40 * 61, "every sample is seen once an epoch");

    // The best network is a model file of its own.
    let best = session.best_file();
    assert!(best.ends_with("bars.best.safetensors"), "{best:?}");
    drop(session);
    let network = striate_importers::read(&best, &device(1), &Default::default()).unwrap();
    assert_eq!(network.spec().nodes, spec().nodes);
}

#[test]
fn interruptions_threads_and_workers_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for sgd_frequency in [1, 3] {
        let mut options = options();
        options.train.sgd_frequency = sgd_frequency;
        let reference = whole(folder, &format!("reference{sgd_frequency}.sqlite3"), &options, 1);
        options.workers = 3;
        options.cache_bytes = 1000;
        options.checkpoint_every = Some(2);
        let others = whole(folder, &format!("others{sgd_frequency}.sqlite3"), &options, 2);
        assert_eq!(reference, others);

        options.workers = 1;
        options.train.recompute = true;
        let working = folder.join(format!("interrupted{sgd_frequency}.sqlite3"));
        let mut runs = 0;
        loop {
            let stop = never();
            let mut session = open(&working, &options, 1).unwrap();
            assert_eq!(session.is_resumed(), runs > 0);
            let mut observer = StopAfter { left: 1 + runs % 4, stop: &stop };
            runs += 1;
            if session.run(&mut observer, &stop).unwrap() == Outcome::Finished {
                break;
            }
        }
        assert!(runs >= 8, "{runs}");
        // How activations are kept is noted, and changes nothing else.
        options.train.recompute = false;
        open(&working, &options, 1).unwrap().run(&mut (), &never()).unwrap();
        let network = |name: &str| weights(&folder.join(name));
        let name = format!("interrupted{sgd_frequency}.sqlite3");
        assert_eq!(network(&name), network(&format!("reference{sgd_frequency}.sqlite3")));
    }
}

/// The bits of all weights of a file.
fn weights(file: &Path) -> Vec<Vec<u8>> {
    let network = striate_importers::read(file, &device(1), &Default::default()).unwrap();
    network.parameters().iter().map(|t| t.to_host().unwrap().values().bytes().to_vec()).collect()
}

#[test]
fn a_longer_training_goes_on_with_a_finished_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    let longer = whole(folder.path(), "longer.sqlite3", &options, 1);
    options.train.max_epoch = 2;
    whole(folder.path(), "shorter.sqlite3", &options, 1);
    options.train.max_epoch = 4;
    assert_eq!(whole(folder.path(), "shorter.sqlite3", &options, 1), longer);
    // Nothing is left to do.
    assert_eq!(whole(folder.path(), "shorter.sqlite3", &options, 1), longer);
}

#[test]
fn what_does_not_fit_the_working_file_is_refused_and_the_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let working = folder.path().join("bars.sqlite3");
    let mut short = options();
    short.train.max_epoch = 1;
    let before = whole(folder.path(), "bars.sqlite3", &short, 1);
    let refused = |options: SessionOptions, spec: NetworkSpec, count: usize, part: &str| {
        let opened = Session::open(&working, &spec, pictures(count, 1), options, &device(1));
        let message = opened.err().unwrap().to_string();
        assert!(message.contains(part), "{message} has no {part}");
        assert!(message.contains("bars.sqlite3"), "{message}");
    };
    let changed = |change: fn(&mut SessionOptions)| {
        let mut options = options();
        change(&mut options);
        options
    };
    refused(changed(|o| o.train.seed = 2), spec(), 61, "expected seed 2, got 1");
    refused(changed(|o| o.train.mini_batch = 9), spec(), 61, "expected mini-batch 9, got 8");
    refused(changed(|o| o.recipe = Recipe::default()), spec(), 61, "expected the recipe");
    refused(options(), spec(), 62, "others: 1 picture is new (picture 61)");
    let mut wider = spec();
    wider.nodes.remove(0);
    refused(options(), wider, 61, "3 layers, got");
    let stretched = NetworkSpec { image: [10, 10], ..spec() };
    refused(options(), stretched, 61, "image [10, 10]");
    assert_eq!(std::fs::read(&working).unwrap(), before);

    std::fs::write(&working, b"no database").unwrap();
    let message = open(&working, &options(), 1).err().unwrap().to_string();
    assert!(message.contains("bars.sqlite3"), "{message}");
    assert_eq!(std::fs::read(&working).unwrap(), b"no database");
}

#[test]
fn two_trainings_do_not_share_a_working_file() {
    let folder = tempfile::tempdir().unwrap();
    let working = folder.path().join("bars.sqlite3");
    let first = open(&working, &options(), 1).unwrap();
    let second = open(&working, &options(), 1).err().unwrap();
    assert!(matches!(second, Error::Locked { .. }), "{second}");
    drop(first);
    open(&working, &options(), 1).unwrap();
}

#[test]
fn divergence_ends_with_an_explanation_and_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let working = folder.path().join("bars.sqlite3");
    let mut options = options();
    options.train.max_epoch = 1;
    whole(folder.path(), "bars.sqlite3", &options, 1);
    let before = weights(&working);
    options.train.max_epoch = 4;
    options.train.weights.rate = 1e20;
    let error = open(&working, &options, 1).unwrap().run(&mut (), &never()).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    assert!(error.to_string().contains("smaller learning rate"), "{error}");
    assert_eq!(weights(&working), before);
}

#[test]
fn labels_beyond_the_classes_and_bad_options_are_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let working = folder.path().join("bars.sqlite3");
    let refused = |spec: NetworkSpec, options: SessionOptions, part: &str| {
        let opened = Session::open(&working, &spec, pictures(61, 1), options, &device(1));
        let message = common::chain(&opened.err().unwrap());
        assert!(message.contains(part), "{message} has no {part}");
    };
    refused(spec().with_classes(2), options(), "labels of the network's 2 classes, got 3 classes");
    let changed = |change: fn(&mut SessionOptions)| {
        let mut options = options();
        change(&mut options);
        options
    };
    refused(spec(), changed(|o| o.train.mini_batch = 0), "mini-batch: from 1");
    refused(spec(), changed(|o| o.train.weights.rate = f32::NAN), "learning rate");
    refused(spec(), changed(|o| o.train.biases.momentum = 1.0), "momentum");
    refused(
        spec(),
        changed(|o| {
            o.train.layers.insert(9, Default::default());
        }),
        "of layer 9",
    );
    // What ccv's file has no place for is told before days of training, not after.
    let linear = NetworkSpec::new([8, 8, 1]).conv(conv2d(4, 3)).full_connect(CLASSES);
    refused(linear, options(), "convolution without ReLU");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn weights_to_begin_with_come_from_a_model_in_the_working_file() {
    let folder = tempfile::tempdir().unwrap();
    let working = folder.path().join("bars.sqlite3");
    let mut options = options();
    whole(folder.path(), "bars.sqlite3", &options, 1);
    let before = weights(&working);
    let network = striate_importers::read(&working, &device(1), &Default::default()).unwrap();
    striate_importers::ccv::write(&working, &network, &Default::default()).unwrap();
    options.train.max_epoch = 1;
    options.train.weights.rate = 0.0;
    options.train.weights.decay = 0.0;
    options.train.biases.rate = 0.0;
    let mut session = open(&working, &options, 1).unwrap();
    assert!(!session.is_resumed());
    session.run(&mut (), &never()).unwrap();
    assert_eq!(weights(&working), before);
}

#[test]
fn broken_pictures_are_left_out_and_counted() {
    #[derive(Default)]
    struct Skips(Vec<String>);
    impl Observer for Skips {
        fn skipped(&mut self, reason: &str) -> Result<()> {
            self.0.push(reason.to_owned());
            Ok(())
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let mut list = String::new();
    let good = pictures(20, 1);
    for (i, &label) in good.labels().iter().enumerate() {
        let path: PathBuf = folder.path().join(format!("{i}.png"));
        let picture = good.load(i, &Default::default()).unwrap();
        striate_data::output::write_png(&path, &picture.to_channels(3).unwrap()).unwrap();
        list.push_str(&format!("{} {}\n", label + 1, path.display()));
    }
    std::fs::write(folder.path().join("7.png"), b"no picture").unwrap();
    std::fs::remove_file(folder.path().join("9.png")).unwrap();
    let file = folder.path().join("train.txt");
    std::fs::write(&file, list).unwrap();

    let mut options = options();
    options.train.max_epoch = 2;
    let train = Dataset::open(&file).unwrap();
    let working = folder.path().join("bars.sqlite3");
    let mut session = Session::open(&working, &spec(), train, options, &device(1)).unwrap();
    let mut skips = Skips::default();
    session.run(&mut skips, &never()).unwrap();
    let epochs = &session.history().epochs;
    assert!(epochs.iter().all(|e| e.samples == 18 && e.skipped == 2), "{epochs:?}");
    for name in ["7.png", "9.png"] {
        let told = skips.0.iter().filter(|reason| reason.contains(name)).count();
        assert_eq!(told, 1, "{:?}", skips.0);
    }
}
