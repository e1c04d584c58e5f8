//! Files beside a training: metrics, events and the best network after a run was cut off anywhere.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{device, never, options, pictures, spec};
use striate_data::Dataset;
use striate_train::{
    EpochReport, Error, MetricsFile, Observer, Result, RunStart, Session, SessionData,
    SessionOptions, StepEvent, TensorBoard,
};

fn open(working: &Path, options: &SessionOptions) -> Result<Session> {
    let test: Option<Dataset> = Some(pictures(30, 2));
    Session::open(
        working,
        &spec(),
        SessionData::new(pictures(40, 1)).test(test),
        options.clone(),
        &device(1),
    )
}

/// Fails at one of the moments at which an observer is told something, as if the process had been
/// killed there: nothing is written any more.
struct CutOff {
    files: Vec<Box<dyn Observer>>,
    left: u64,
    after: bool,
}

impl CutOff {
    fn tell(&mut self, tell: impl FnOnce(&mut dyn Observer) -> Result<()>) -> Result<()> {
        let is_last = self.left == 0;
        self.left = self.left.saturating_sub(1);
        if !is_last || self.after {
            tell(&mut self.files)?;
        }
        match is_last {
            true => Err(Error::Observer { message: "cut off".into() }),
            false => Ok(()),
        }
    }
}

impl Observer for CutOff {
    fn begin(&mut self, start: &RunStart<'_>) -> Result<()> {
        self.tell(|files| files.begin(start))
    }

    fn step(&mut self, step: &StepEvent) -> Result<()> {
        self.tell(|files| files.step(step))
    }

    fn epoch(&mut self, epoch: &EpochReport, time: Duration) -> Result<()> {
        self.tell(|files| files.epoch(epoch, time))
    }

    fn saving(&mut self, file: &Path) -> Result<()> {
        self.tell(|files| files.saving(file))
    }

    fn saved(&mut self, file: &Path) -> Result<()> {
        self.tell(|files| files.saved(file))
    }
}

/// One run with metrics and events, cut off after so many calls; whether it came to its end.
fn run(folder: &Path, options: &SessionOptions, left: u64, after: bool) -> bool {
    let mut session = open(&folder.join("m.sqlite3"), options).unwrap();
    let files: Vec<Box<dyn Observer>> = vec![
        Box::new(MetricsFile::append(folder.join("m.jsonl")).unwrap()),
        Box::new(TensorBoard::create(folder.join("board")).unwrap()),
    ];
    session.run(&mut CutOff { files, left, after }, &never()).is_ok()
}

/// The metrics without times.
fn metrics(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("m.jsonl")).unwrap();
    let line = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        for time in ["milliseconds", "waited_milliseconds", "seconds"] {
            value.as_object_mut().unwrap().remove(time);
        }
        value.to_string()
    };
    text.lines().map(line).collect()
}

/// What all event files say of the loss, as bytes, in TensorBoard's order.
fn losses(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder.join("board")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let bytes: Vec<u8> = files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect();
    // Step (a byte), the headers of the summary and its value, the tag, the number.
    let tag = b"\x0a\x04loss\x15";
    let at = (0..bytes.len() - tag.len()).filter(|&i| bytes[i..].starts_with(tag));
    at.map(|i| [&bytes[i - 5..i - 4], &bytes[i..i + tag.len() + 4]].concat()).collect()
}

#[test]
fn side_files_are_whole_wherever_a_run_is_cut_off() {
    let mut options = options();
    options.train.max_epoch = 3;
    options.checkpoint_every = Some(2);
    let whole = tempfile::tempdir().unwrap();
    assert!(run(whole.path(), &options, u64::MAX, true));
    let best = std::fs::read(whole.path().join("m.best.safetensors")).unwrap();
    let expected = (metrics(whole.path()), losses(whole.path()));
    assert_eq!((expected.0.len(), expected.1.len()), (1 + 15 + 3, 15));
    for every in [1, 4, 7] {
        for after in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path();
            // Cut off again and again, at least a mini-batch later each time.
            let mut left = every;
            while !run(folder, &options, left, after) {
                left += 1;
            }
            assert_eq!((metrics(folder), losses(folder)), expected, "{every}, {after}");
            let got = std::fs::read(folder.join("m.best.safetensors")).unwrap();
            assert!(got == best, "{every}, {after}: another best network");
            let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
            let names: Vec<_> = names.map(|n| n.to_string_lossy().into_owned()).collect();
            assert!(names.iter().all(|name| !name.contains("epoch-")), "{names:?}");
        }
    }
}

#[test]
fn trainings_do_not_share_a_best_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options();
    options.train.max_epoch = 1;
    let train = |name: &str| {
        let mut session = open(&folder.path().join(name), &options)?;
        session.run(&mut (), &never())?;
        Ok::<_, Error>(session.best_file())
    };
    let (one, two) = (train("m.lr001").unwrap(), train("m.lr0").unwrap());
    assert!(one.ends_with("m.lr001.best.safetensors") && one.is_file(), "{one:?}");
    assert!(two.ends_with("m.lr0.best.safetensors") && two.is_file(), "{two:?}");
    let best = train("m.sqlite3").unwrap();
    assert!(best.ends_with("m.best.safetensors") && best.is_file(), "{best:?}");
    let before = std::fs::read(&best).unwrap();
    let error = train("m").unwrap_err();
    assert!(matches!(error, Error::SharedBest { .. }), "{error}");
    assert!(error.to_string().contains("m.sqlite3"), "{error}");
    assert_eq!(std::fs::read(&best).unwrap(), before);
    // A folder of that name, or a file that is no training, is in nobody's way.
    std::fs::create_dir(folder.path().join("photos")).unwrap();
    train("photos.sqlite3").unwrap();
    std::fs::write(folder.path().join("list"), "1 a.png").unwrap();
    train("list.sqlite3").unwrap();
}

#[test]
fn the_best_network_of_an_earlier_training_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let working = folder.path().join("m.sqlite3");
    let mut options = options();
    options.train.max_epoch = 1;
    let train = |options: &SessionOptions| {
        open(&working, options).unwrap().run(&mut (), &never()).unwrap();
        std::fs::read(folder.path().join("m.best.safetensors")).unwrap()
    };
    let first = train(&options);
    std::fs::remove_file(&working).unwrap();
    options.train.seed = 2;
    assert!(train(&options) != first);
    assert!(std::fs::read(folder.path().join("m.best.1.safetensors")).unwrap() == first);
}

#[test]
fn a_message_has_the_text_of_its_source_once() {
    let folder = tempfile::tempdir().unwrap();
    let error = MetricsFile::append(folder.path().join("none/m.jsonl")).err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(!error.to_string().contains(&source), "{error}");
    assert!(error.to_string().ends_with("m.jsonl: cannot write"), "{error}");
}
