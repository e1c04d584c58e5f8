//! Several processes over MPI: the same results as one, and what happens when one is lost.
//!
//! Needs a build with `--features mpi` and `mpirun`; where that is not there the tests say so and
//! pass, unless `STRIATE_REQUIRE_MPI` is set.

#![cfg(all(feature = "mpi", unix))]
// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{INHERITED, Scene, json, picture};
use striate::image::output::write_png;

/// What Open MPI must be told to run as root, and more processes than processors; MPICH ignores it.
const SETTINGS: [(&str, &str); 3] = [
    ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
    ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
];

/// `mpirun -n RANKS striate …`; none where there is no MPI.
fn mpirun(ranks: usize, args: &str, folder: &Path) -> Option<Command> {
    let found = Command::new("mpirun").arg("--version").output().is_ok();
    if !found {
        assert!(std::env::var_os("STRIATE_REQUIRE_MPI").is_none(), "mpirun is not there");
        println!("skipped: mpirun is not there");
        return None;
    }
    let mut command = Command::new("mpirun");
    command.args(["-n", &ranks.to_string(), env!("CARGO_BIN_EXE_striate")]);
    for name in INHERITED {
        command.env_remove(name);
    }
    command.args(args.split_whitespace()).current_dir(folder).envs(SETTINGS);
    Some(command)
}

/// Pictures of a dark and a bright class, in a list.
fn samples(scene: &Scene) {
    let mut list = String::new();
    for i in 0..40 {
        let name = format!("{i}.png");
        write_png(scene.path(&name), &picture(12, 12, i)).unwrap();
        list += &format!("{} {name}\n", i % 3 + 1);
    }
    scene.write("train.txt", &list);
    let spec = r#"{"name": "tiny", "input": [8, 8, 3], "layers": [
        {"kind": "conv", "count": 4, "kernel": [3, 3]},
        {"kind": "max-pool", "size": 2, "stride": 2},
        {"kind": "full-connect", "count": 10, "relu": true, "dropout": 0.5},
        {"kind": "full-connect", "count": 6}]}"#;
    scene.write("tiny.json", spec);
}

const TRAIN: &str = "train --spec tiny.json --train-list train.txt --test-list train.txt \
                     --mini-batch 8 --learn-rate 0.0001 --device cpu --threads 4";

#[test]
fn processes_train_to_the_same_bits_as_threads() {
    let scene = Scene::new();
    samples(&scene);
    let epochs = "--max-epoch 2 --parallel data --working";
    let args = format!("{TRAIN} {epochs} one.sqlite3");
    scene.striate(&args.split_whitespace().collect::<Vec<_>>()).done();
    let one = std::fs::read(scene.path("one.sqlite3")).unwrap();
    for ranks in [2, 4] {
        let args = format!("{TRAIN} {epochs} {ranks}.sqlite3");
        let Some(mut command) = mpirun(ranks, &args, scene.folder.path()) else { return };
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        // The first process alone tells how it goes.
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(stdout.matches("epoch  iterations").count(), 1, "{stdout}");
        assert!(std::fs::read(scene.path(&format!("{ranks}.sqlite3"))).unwrap() == one, "{ranks}");
    }
    let args = format!("{TRAIN} --max-epoch 2 --parallel hybrid --working hybrid.sqlite3");
    let Some(mut command) = mpirun(2, &args, scene.folder.path()) else { return };
    assert!(command.output().unwrap().status.success());
}

#[test]
fn processes_share_a_list_and_go_on() {
    let scene = Scene::new();
    let names: Vec<String> = (0..19).map(|i| format!("{i}.png")).collect();
    for (i, name) in names.iter().enumerate() {
        write_png(scene.path(name), &picture(15, 17 + i, i)).unwrap();
    }
    scene.write("list.txt", &names.join("\n"));
    let args = "classify --model tiny.safetensors --list list.txt --format json --device cpu";
    let untimed = |text: &str| {
        let mut lines = json(text);
        lines
            .iter_mut()
            .for_each(|line| drop(line.as_object_mut().unwrap().remove("milliseconds")));
        lines
    };
    let want = untimed(&scene.striate(&args.split_whitespace().collect::<Vec<_>>()).done());
    let args = format!("{args} --output r.jsonl");
    for kept in [0, 11] {
        let done = std::fs::read_to_string(scene.path("r.jsonl")).unwrap_or_default();
        scene.write("r.jsonl", &done.split_inclusive('\n').take(kept).collect::<String>());
        let Some(mut command) = mpirun(3, &args, scene.folder.path()) else { return };
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(untimed(&std::fs::read_to_string(scene.path("r.jsonl")).unwrap()), want);
    }
}

/// The process of a rank, by what `mpirun` put into its environment.
fn process_of(rank: usize, working: &str) -> Option<u32> {
    let program = std::fs::canonicalize(env!("CARGO_BIN_EXE_striate")).ok()?;
    let marks = [format!("OMPI_COMM_WORLD_RANK={rank}"), format!("PMI_RANK={rank}")];
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let folder: PathBuf = entry.path();
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_default();
        let has = |text: &[u8], word: &str| text.split(|&b| b == 0).any(|w| w == word.as_bytes());
        let own = std::fs::read_link(folder.join("exe")).ok()? == program
            && has(&read("cmdline"), working)
            && marks.iter().any(|mark| has(&read("environ"), mark));
        own.then_some(pid)
    })
}

/// Waits for something, but not for ever.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(90), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn signal(signal: &str, pid: u32) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_process_that_is_killed_or_hangs_ends_all_and_leaves_the_checkpoint() {
    let scene = Scene::new();
    samples(&scene);
    for (word, rank) in [("-KILL", 1), ("-KILL", 0), ("-STOP", 2)] {
        let working = format!("lost{word}{rank}.sqlite3");
        let args = format!(
            "{TRAIN} --max-epoch 1000000 --checkpoint-every 2 --timeout 2 --working {working}"
        );
        let Some(mut command) = mpirun(4, &args, scene.folder.path()) else { return };
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut run: Child = command.spawn().unwrap();
        wait_for("a checkpoint", || scene.path(&working).exists().then_some(()));
        let pid = wait_for("the process", || process_of(rank, &working));
        signal(word, pid);
        wait_for("the end of all", || run.try_wait().unwrap());
        let output = run.wait_with_output().unwrap();
        assert!(!output.status.success());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(&format!("rank {rank}")), "{stderr}");
        // What was saved last goes on, on one device.
        let args = format!("{TRAIN} --max-epoch 1 --parallel data --quiet --working {working}");
        let goes_on = scene.striate(&args.split_whitespace().collect::<Vec<_>>());
        assert_eq!(goes_on.code, 0, "{}", goes_on.stderr);
    }
}
