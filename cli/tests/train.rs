//! `striate train`: from labelled pictures to a model, through interruptions of every kind.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::bars::{Bars, COUNT};
use common::{json, run};

#[test]
fn it_trains_and_what_it_writes_is_understood_by_the_other_commands() {
    let bars = Bars::new();
    let more = ["--max-epoch", "30", "--metrics", "metrics.jsonl", "--tensorboard", "board"];
    let text = bars.train("bars.sqlite3", &more).done();
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows.len(), 1 + 30 + 1, "{text}");
    let last = "bars.sqlite3: training finished; bars.best.safetensors has an error rate of ";
    assert!(rows[31].starts_with(last), "{text}");

    let steps = json(&String::from_utf8(bars.bytes("metrics.jsonl")).unwrap());
    let of = |kind: &str| steps.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    assert_eq!((of("step").len(), of("epoch").len()), (30 * 11, 30));
    let loss = |i: usize| of("epoch")[i]["loss"].as_f64().unwrap();
    assert!(loss(29) < 0.6 * loss(0), "{} {}", loss(0), loss(29));
    assert_eq!(std::fs::read_dir(bars.path().join("board")).unwrap().count(), 1);

    // Resumed, where there is nothing left to do.
    let before = bars.bytes("bars.sqlite3");
    let again = bars.train("bars.sqlite3", &["--max-epoch", "30", "--format", "json"]);
    assert_eq!(bars.bytes("bars.sqlite3"), before);
    let lines = json(&again.done());
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["resumed"], &lines[0]["epoch"]), (&true.into(), &30.into()));
    // The options as it prints them are options as it takes them.
    std::fs::write(bars.path().join("options.json"), lines[0]["options"].to_string()).unwrap();
    bars.train("bars.sqlite3", &["--options", "options.json"]).done();
    assert_eq!(bars.bytes("bars.sqlite3"), before);

    let longer = bars.train("bars.sqlite3", &["--max-epoch", "31", "--format", "json"]).done();
    let epoch = &json(&longer)[1];
    assert_eq!((&epoch["epoch"], &epoch["samples"]), (&30.into(), &COUNT.into()));
    assert!(epoch["test_miss_rate"].as_f64().unwrap() < 0.34, "{epoch}");

    let striate = |args: &[&str]| run(args, bars.path());
    let inspected = json(&striate(&["inspect", "bars.sqlite3", "--format", "json"]).done());
    assert_eq!(inspected[0]["training"]["epoch"], 31);
    if cfg!(feature = "plot") {
        striate(&["plot", "bars.sqlite3", "-o", "curve.svg"]).done();
    }
    striate(&["convert", "bars.sqlite3", "small.sqlite3", "--strip"]).done();
    assert!(bars.bytes("small.sqlite3").len() < bars.bytes("bars.sqlite3").len());
    // A model to begin with is one without a training.
    striate(&["train", "--spec", "bars.json", "--working", "small.sqlite3"]).wrong_usage();
    let text = bars.train("small.sqlite3", &["--max-epoch", "1"]);
    assert!(!text.stderr.contains("resuming"), "{}", text.stderr);
}

#[test]
fn other_numbers_of_threads_and_workers_give_the_same_file() {
    let bars = Bars::new();
    let train = |name: &str, more: &[&str]| {
        bars.train(name, &[&["--max-epoch", "3", "--recipe", "plain"], more].concat()).done();
        bars.bytes(name)
    };
    let one = train("one.sqlite3", &["--threads", "1", "--workers", "1"]);
    let more = ["--threads", "3", "--workers", "5", "--checkpoint-every", "4", "--cache", "0"];
    assert!(one == train("three.sqlite3", &more));
    assert!(one != train("seed.sqlite3", &["--seed", "2"]));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let bars = Bars::new();
    let refused = |more: &[&str], part: &str| {
        let run = bars.train("bars.sqlite3", &[&["--max-epoch", "1"], more].concat());
        assert!(run.code != 0 && run.stderr.contains(part), "no `{part}` in {}", run.stderr);
        assert!(!bars.path().join("bars.sqlite3").exists());
    };
    refused(&["--schedule", "stairs"], "expected constant, cosine or steps:");
    refused(&["--schedule", "steps:3,x"], "numbers with commas");
    refused(&["--recipe", "soup"], "expected ccv, alex, caffe, plain or a JSON file");
    refused(&["--options", "none.json"], "none.json");
    refused(&["--options", "bars.json"], "no training options");
    refused(&["--recipe", "bars.json"], "no recipe");
    refused(&["--momentum", "1"], "momentum from 0");
    let text = r#"{"mini-batch": 0}"#;
    std::fs::write(bars.path().join("none-each.json"), text).unwrap();
    refused(&["--threads", "0"], "--threads");
    let with = |spec: &str, list: &str, working: &str| {
        let args = ["train", "--device", "cpu", "--spec", spec, "--train-list", list];
        // Should it be taken after all, it is soon over.
        let more = ["--max-iterations", "1", "--working", working];
        run(&[&args[..], &more].concat(), bars.path())
    };
    let images = "train-images-idx3-ubyte";
    let wild = ["train", "--device", "cpu", "--spec", "bars.json", "--train-list", images];
    let wild =
        |more: &[&str]| run(&[&wild[..], &["--working", "x.sqlite3"], more].concat(), bars.path());
    wild(&["--options", "none-each.json"]).failed(&["mini-batch: from 1"]);
    wild(&["--learn-rate", "1e30"]).failed(&["diverged", "smaller learning rate"]);
    with("none", images, "x.sqlite3").wrong_usage();
    with("bars.json", "none.txt", "x.sqlite3").failed(&["none.txt"]);
    with("bars.json", images, "none/x.sqlite3").failed(&["none"]);
    std::fs::create_dir(bars.path().join("folder")).unwrap();
    with("bars.json", images, "folder").failed(&["folder"]);
    std::fs::write(bars.path().join("empty.txt"), "").unwrap();
    with("bars.json", "empty.txt", "x.sqlite3").failed(&["empty.txt"]);
    std::fs::write(bars.path().join("far.txt"), "1 a.png\n4 b.png\n").unwrap();
    with("bars.json", "far.txt", "x.sqlite3").failed(&["3 classes", "far.txt"]);
    std::fs::write(bars.path().join("no.sqlite3"), "no database").unwrap();
    with("bars.json", images, "no.sqlite3").failed(&["no.sqlite3"]);
    assert_eq!(bars.bytes("no.sqlite3"), b"no database");
    assert!(!bars.path().join("x.sqlite3").exists());
}

#[test]
fn a_network_that_the_working_file_cannot_hold_is_refused_before_anything_is_read() {
    let bars = Bars::new();
    let args =
        ["train", "--spec", "alexnet-2014", "--train-list", "none", "--working", "x.sqlite3"];
    let refused = run(&args, bars.path());
    refused.failed(&["layer 0", "windows", "cannot hold this network", ".safetensors"]);
    assert!(!bars.path().join("x.sqlite3").exists());
}

/// The options that are printed at the beginning, and all bits of what is trained.
fn options_and_bytes(bars: &Bars, working: &str, more: &[&str]) -> (serde_json::Value, Vec<u8>) {
    let args = ["train", "--device", "cpu", "--spec", "bars.json", "--format", "json"];
    let data = ["--train-list", "train-images-idx3-ubyte", "--working", working];
    let lines = json(&run(&[&args[..], &data, more].concat(), bars.path()).done());
    (lines[0]["options"].clone(), bars.bytes(working))
}

#[test]
fn printed_options_are_the_same_training_again() {
    let bars = Bars::new();
    let text = r#"{"seed": 18446744073709551557, "mini-batch": 7, "sgd-frequency": 5,
        "max-epoch": 2, "max-iterations": 17,
        "schedule": {"warm-up": 0.7, "decay": {"kind": "cosine", "last": 0.1}},
        "weights": {"rate": 0.0003, "momentum": 0.7, "decay": 0.001},
        "biases": {"rate": 0.0007, "momentum": 0.6, "decay": 0.00003},
        "layers": {"2": {"weights": {"rate": 0.0001, "momentum": 0.5, "decay": 0.0}}},
        "ccv-dropout": false, "recompute": true}"#;
    std::fs::write(bars.path().join("given.json"), text).unwrap();
    let (printed, first) = options_and_bytes(&bars, "a", &["--options", "given.json"]);
    let given: serde_json::Value = serde_json::from_str(text).unwrap();
    for (field, value) in given.as_object().unwrap() {
        if !field.starts_with("layers") {
            assert_eq!(&printed[field], value, "{field}");
        }
    }
    assert_eq!(printed["layers"]["2"]["weights"], given["layers"]["2"]["weights"]);
    // Nothing is printed that is not taken, and nothing has a default of its own.
    assert_eq!(printed.as_object().unwrap().len(), given.as_object().unwrap().len());
    std::fs::write(bars.path().join("printed.json"), printed.to_string()).unwrap();
    let (again, second) = options_and_bytes(&bars, "b", &["--options", "printed.json"]);
    assert_eq!(again, printed);
    assert!(first == second);

    // What is given on the command line counts, and nothing else changes: a seed of 1 too.
    for (option, value, field) in [
        ("--seed", "1", "/seed"),
        ("--mini-batch", "64", "/mini-batch"),
        ("--sgd-frequency", "1", "/sgd-frequency"),
        ("--max-epoch", "1", "/max-epoch"),
        ("--max-iterations", "3", "/max-iterations"),
        ("--warm-up", "0.0", "/schedule/warm-up"),
    ] {
        let more = ["--options", "printed.json", option, value];
        let (mut options, _) = options_and_bytes(&bars, &format!("c{option}"), &more);
        let changed = options.pointer_mut(field).unwrap();
        assert_eq!(changed.to_string(), value, "{option}");
        *changed = printed.pointer(field).unwrap().clone();
        assert_eq!(options, printed, "{option}");
    }
    // The same options on the command line.
    let more =
        ["--max-epoch", "2", "--seed", "7", "--learn-rate", "0.0005", "--schedule", "cosine"];
    let (printed, first) = options_and_bytes(&bars, "d", &more);
    std::fs::write(bars.path().join("printed.json"), printed.to_string()).unwrap();
    assert!(options_and_bytes(&bars, "e", &["--options", "printed.json"]).1 == first);
}

#[test]
fn a_named_network_has_a_rate_that_it_learns_with() {
    let bars = Bars::new();
    let rate = |more: &[&str]| {
        let args = ["train", "--device", "cpu", "--spec", "lenet", "--format", "json"];
        let data =
            ["--train-list", "train-images-idx3-ubyte", "--working", "x", "--max-epoch", "0"];
        let run = run(&[&args[..], &data, more].concat(), bars.path());
        json(&run.done())[0]["options"]["weights"]["rate"].to_string()
    };
    assert_eq!(rate(&[]), "0.001");
    assert_eq!(rate(&["--learn-rate", "0.02"]), "0.02");
    std::fs::write(bars.path().join("none.json"), "{}").unwrap();
    assert_eq!(rate(&["--options", "none.json"]), "0.01");
}

#[test]
fn messages_name_files_that_are_there_and_say_what_was_learned() {
    let bars = Bars::new();
    let train = |working: &str, more: &[&str]| bars.train(working, more).done();
    let text = train("none.sqlite3", &["--max-epoch", "0"]);
    assert!(text.contains("nothing was trained") && text.contains("was not written"), "{text}");
    assert!(!bars.path().join("none.sqlite3").exists());

    let text = train("m.lr001", &["--max-epoch", "30"]);
    assert!(text.contains("m.lr001.best.safetensors has an error rate of"), "{text}");
    let best = bars.bytes("m.lr001.best.safetensors");
    let args: Vec<&str> = bars.args("m.lr0");
    let args = args.iter().map(|&arg| if arg == "0.0005" { "0" } else { arg });
    let args: Vec<&str> = args.chain(["--max-epoch", "10"]).collect();
    let run = run(&args, bars.path());
    assert!(run.stderr.contains("warning: after 110 mini-batches the training loss is"));
    assert!(run.stderr.contains("a tenth of the learning rate"), "{}", run.stderr);
    let text = run.done();
    assert!(!text.contains("m.lr001"), "{text}");
    assert!(bars.path().join("m.lr0.best.safetensors").is_file());
    assert!(bars.bytes("m.lr001.best.safetensors") == best);

    std::fs::remove_file(bars.path().join("m.lr001.best.safetensors")).unwrap();
    let text = train("m.lr001", &["--max-epoch", "30"]);
    assert!(!text.contains("m.lr001.best.safetensors"), "{text}");

    train("m.sqlite3", &["--max-epoch", "1"]);
    let shared = bars.train("m", &["--max-epoch", "1"]);
    shared.failed(&["m.best.safetensors", "the training m.sqlite3", "another working file"]);
}

#[test]
fn side_files_are_no_file_that_is_read_or_of_another_training() {
    let bars = Bars::new();
    let end = ["--max-epoch", "1"];
    let train = |working: &str, more: &[&str]| bars.train(working, &[&end, more].concat());
    let before = bars.bytes("train-images-idx3-ubyte");
    std::fs::write(bars.path().join("o.json"), "{}").unwrap();
    std::fs::create_dir(bars.path().join("sub")).unwrap();
    for metrics in [
        "train-images-idx3-ubyte",
        "./sub/../t10k-images-idx3-ubyte",
        "o.json",
        "m",
        "bars.json",
        "m.best.safetensors",
        "sub/../m.lock",
    ] {
        let run = train("m", &["--options", "o.json", "--metrics", metrics]);
        assert_eq!(run.code, 2, "{metrics}: {}", run.stderr);
        assert!(run.stderr.contains("'--metrics' would"), "{}", run.stderr);
    }
    let run = train("sub/../t10k-images-idx3-ubyte", &[]);
    assert!(run.code == 2 && run.stderr.contains("'--working' would write"), "{}", run.stderr);
    assert!(bars.bytes("train-images-idx3-ubyte") == before);
    train("m", &["--metrics", "train-labels-idx1-ubyte"]).failed(&["is no metrics file"]);
    std::fs::write(bars.path().join("notes.txt"), "my notes\n").unwrap();
    train("m", &["--metrics", "notes.txt"]).failed(&["notes.txt", "is no metrics file"]);
    assert_eq!(bars.bytes("notes.txt"), b"my notes\n");

    train("one", &["--metrics", "m.jsonl", "--tensorboard", "board"]).done();
    let metrics = bars.bytes("m.jsonl");
    train("two", &["--metrics", "m.jsonl"]).failed(&["m.jsonl", "another training, one"]);
    train("two", &["--tensorboard", "board"]).failed(&["board", "another training, one"]);
    assert!(bars.bytes("m.jsonl") == metrics);
}

#[test]
fn metrics_go_to_standard_output_alone() {
    let bars = Bars::new();
    for format in ["table", "json"] {
        let more = ["--max-epoch", "2", "--metrics", "-", "--format", format];
        let lines = json(&bars.train(&format!("{format}.sqlite3"), &more).done());
        assert_eq!(lines.len(), 1 + 2 * 11 + 2);
        assert!(lines.iter().all(|line| line["kind"].is_string()), "{lines:?}");
    }
    assert!(!bars.path().join("-").exists());
}

#[cfg(unix)]
mod interruptions {
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::common::program;

    /// Checkpoints after every mini-batch, so that many a kill is in the middle of one.
    const MORE: [&str; 4] = ["--max-epoch", "6", "--checkpoint-every", "1"];

    fn start(bars: &Bars, working: &str) -> Child {
        program(bars.path())
            .args([&bars.args(working)[..], &MORE].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until the child has saved something, or is done; the kill then comes `after`.
    fn wait_for_a_checkpoint(child: &mut Child, file: &Path, after: Duration) {
        let changed = || std::fs::metadata(file).and_then(|m| m.modified()).ok();
        let (before, started) = (changed(), Instant::now());
        while changed() == before && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(after);
    }

    #[test]
    fn kills_at_any_moment_lose_nothing() {
        let bars = Bars::new();
        bars.train("whole.sqlite3", &MORE).done();
        let file = bars.path().join("killed.sqlite3");
        let mut kills = 0;
        for moment in 0..8 {
            let mut child = start(&bars, "killed.sqlite3");
            // Spread over what lies between two checkpoints, which is some milliseconds.
            wait_for_a_checkpoint(&mut child, &file, Duration::from_micros(moment * 1_700));
            kills += usize::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
            run(&["inspect", "killed.sqlite3"], bars.path()).done();
        }
        assert!(kills > 3, "{kills}");
        bars.train("killed.sqlite3", &MORE).done();
        assert!(bars.bytes("killed.sqlite3") == bars.bytes("whole.sqlite3"));
        // What was being written is not left behind.
        let names = std::fs::read_dir(bars.path()).unwrap().map(|e| e.unwrap().file_name());
        let left: Vec<_> = names.filter(|n| n.to_string_lossy().ends_with(".tmp")).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn kills_leave_no_torn_line_no_step_twice_and_none_missing() {
        let bars = Bars::new();
        let more = ["--max-epoch", "6", "--checkpoint-every", "4", "--metrics", "m.jsonl"];
        let more = [&more[..], &["--tensorboard", "board"]].concat();
        let start = || {
            program(bars.path())
                .args([&bars.args("killed.sqlite3")[..], &more].concat())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let file = bars.path().join("killed.sqlite3");
        for moment in 0..6 {
            let mut child = start();
            wait_for_a_checkpoint(&mut child, &file, Duration::from_micros(moment * 1_900));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        bars.train("killed.sqlite3", &more).done();
        let lines = json(&String::from_utf8(bars.bytes("m.jsonl")).unwrap());
        let numbers = |kind: &str, field: &str| -> Vec<u64> {
            let lines = lines.iter().filter(|line| line["kind"] == kind);
            lines.map(|line| line[field].as_u64().unwrap()).collect()
        };
        assert_eq!(numbers("step", "iteration"), (1..=66).collect::<Vec<_>>());
        assert_eq!(numbers("epoch", "epoch"), (0..6).collect::<Vec<_>>());
        // As many scalars as steps and epochs make.
        let files = std::fs::read_dir(bars.path().join("board")).unwrap();
        let bytes = files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let bytes: Vec<u8> = bytes.collect();
        let count = |tag: &[u8]| bytes.windows(tag.len()).filter(|part| *part == tag).count();
        assert_eq!((count(b"\x04loss\x15"), count(b"\x0emiss-rate/test\x15")), (66, 6));
    }

    #[test]
    fn metrics_go_straight_into_a_pipe() {
        let bars = Bars::new();
        assert!(Command::new("mkfifo").arg(bars.path().join("pipe")).status().unwrap().success());
        let pipe = bars.path().join("pipe");
        let reader = std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap());
        bars.train("m.sqlite3", &["--max-epoch", "1", "--metrics", "pipe"]).done();
        assert_eq!(json(&reader.join().unwrap()).len(), 1 + 11 + 1);
    }

    #[test]
    fn ctrl_c_saves_and_the_same_command_goes_on() {
        let bars = Bars::new();
        bars.train("whole.sqlite3", &MORE).done();
        let mut child = start(&bars, "stopped.sqlite3");
        let file = bars.path().join("stopped.sqlite3");
        wait_for_a_checkpoint(&mut child, &file, Duration::ZERO);
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("error: stopped at mini-batch"), "{stderr}");
        let text = bars.train("stopped.sqlite3", &MORE);
        assert!(
            text.stderr.contains("note: resuming stopped.sqlite3 at mini-batch"),
            "{}",
            text.stderr
        );
        assert_eq!(text.code, 0);
        assert!(bars.bytes("stopped.sqlite3") == bars.bytes("whole.sqlite3"));
    }

    #[test]
    fn two_trainings_do_not_share_a_file() {
        let bars = Bars::new();
        let mut child = start(&bars, "bars.sqlite3");
        let file = bars.path().join("bars.sqlite3");
        wait_for_a_checkpoint(&mut child, &file, Duration::ZERO);
        assert!(Command::new("kill").args(["-STOP", &child.id().to_string()]).status().is_ok());
        bars.train("bars.sqlite3", &MORE).failed(&["another training is using it"]);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn devices_train_together_to_the_same_bits() {
    let bars = Bars::new();
    let devices = |working: &str, devices: &str, more: &[&str]| {
        let args: Vec<&str> = bars.args(working);
        let at = args.iter().position(|arg| *arg == "--device").unwrap();
        let args = [&args[..at], &["--devices", devices], &args[at + 2..], more].concat();
        run(&args, bars.path())
    };
    let epochs = ["--max-epoch", "3", "--format", "json"];
    let two = devices("two.sqlite3", "cpu,cpu", &epochs).done();
    let four = devices("four.sqlite3", "cpu,cpu,cpu,cpu", &["--max-epoch", "1"]);
    assert_eq!(four.code, 0, "{}", four.stderr);
    // Goes on with one device.
    let more = [&epochs[..], &["--parallel", "data"]].concat();
    bars.train("four.sqlite3", &more).done();
    assert!(bars.bytes("two.sqlite3") == bars.bytes("four.sqlite3"));
    let last = json(&two).pop().unwrap();
    assert!(last["exchanged_bytes"].as_u64().unwrap() > 0, "{last}");
    assert!(last["exposed_seconds"].as_f64().unwrap() >= 0.0, "{last}");

    let hybrid =
        devices("hybrid.sqlite3", "cpu,cpu", &["--max-epoch", "2", "--parallel", "hybrid"]);
    assert_eq!(hybrid.code, 0, "{}", hybrid.stderr);
    let three = devices("three.sqlite3", "cpu,cpu,cpu", &["--max-epoch", "1"]);
    assert_eq!(three.code, 2);
    assert!(three.stderr.contains("3 devices and 4 shards"), "{}", three.stderr);
}
