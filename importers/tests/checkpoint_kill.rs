//! Killed in the middle of a checkpoint: the file always opens and is one of the two states.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failure in a test says where it is
#![cfg(unix)] // killing a process is a signal there

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{checkpoint_values, names, reference, training};
use striate_importers::ccv::{TrainingState, read_checkpoint, write_checkpoint};
use striate_importers::remove_stale_temporaries;
use striate_nn::{Network, NetworkSpec, Seed, conv2d};

/// Where the process that is to be killed writes.
const TARGET: &str = "STRIATE_CHECKPOINT_TO_WRITE";
const KILLS: u64 = 20;

/// Two checkpoints of which every value differs, of about 5 MB: most of the time is spent in
/// writing them.
fn two() -> [(Network, TrainingState); 2] {
    [1u64, 2].map(|seed| {
        let spec =
            NetworkSpec::new([24, 24, 3]).conv(conv2d(8, 3).padding(1).relu()).full_connect(100);
        let network = spec.build(&reference(), Seed(seed)).unwrap();
        let state = training(&network, seed as u32 * 1000);
        (network, state)
    })
}

/// Writes one after the other until it is killed; the parent runs it as a process of its own.
#[test]
#[ignore = "run by killed_writers_leave_one_of_two_states"]
fn writes_until_it_is_killed() {
    let target = PathBuf::from(std::env::var_os(TARGET).expect("the path to write to"));
    let two = two();
    loop {
        for (network, state) in &two {
            write_checkpoint(&target, network, state).unwrap();
        }
    }
}

/// A child that is killed, whatever becomes of the test.
struct Writer(Child);

impl Writer {
    fn start(target: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "writes_until_it_is_killed", "--ignored", "--nocapture"]);
        let child = command.env(TARGET, target).stdout(Stdio::null()).spawn();
        Writer(child.unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn killed_writers_leave_one_of_two_states() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("c.sqlite3");
    let expected = two().map(|(network, state)| checkpoint_values(&network, &state));
    let mut seen = [0; 2];
    let mut stale = 0;
    for kill in 0..KILLS {
        let _ = std::fs::remove_file(&target);
        let writer = Writer::start(&target);
        let start = Instant::now();
        while !target.exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing was written");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Moments spread over some checkpoints, in steps that share no factor with their duration.
        std::thread::sleep(Duration::from_micros(kill * 7919 % 60_000));
        drop(writer);

        let checkpoint = read_checkpoint(&target, &reference()).unwrap();
        let state = checkpoint.state.unwrap();
        let found = checkpoint_values(&checkpoint.network, &state);
        let which = expected.iter().position(|values| *values == found);
        let which = which.expect("neither of the two states");
        assert_eq!(state.iteration, (which as u64 + 1) * 1000);
        assert_eq!(state.order.len() as u64, state.iteration);
        seen[which] += 1;
        stale += remove_stale_temporaries(&target).unwrap();
        assert_eq!(names(folder.path()), ["c.sqlite3"]);
    }
    println!("states {seen:?}; {stale} of {KILLS} kills were in the middle of a checkpoint");
    assert!(stale > 0, "no kill was in the middle of a checkpoint");
}
