//! The rest of the contract: usage, exit codes, `validate`, `bench`, `devices`, `completions`.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Command, Stdio};

use common::{Scene, golden, json, keys};

#[test]
fn wrong_usage_ends_with_2() {
    let scene = Scene::new();
    for args in [
        &[][..],
        &["clasify", "a.png"],
        &["classify"],
        &["classify", "--top", "0", "a.png"],
        &["classify", "--protocol", "mine", "a.png"],
        &["classify", "--list", "list.txt", "a.png"],
        &["classify", "--device", "tpu", "a.png"],
        &["classify", "--threads", "0", "a.png"],
        &["-q", "-v", "devices"],
        &["inspect", "--format", "ccv", "tiny.sqlite3"],
        &["convert", "tiny.sqlite3", "x.sqlite3", "--dtype", "u32"],
        &["validate", "results.txt"],
        &["bench", "nonsense"],
        &["tune", "nonsense"],
        &["bench", "softmax", "--layers"],
    ] {
        let run = scene.striate(args);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{args:?}: {}", run.stderr);
    }
    scene.striate(&["classify", "--protocol", "mine", "a.png"]).wrong_usage();
}

#[test]
fn help_teaches() {
    let scene = Scene::new();
    for command in [
        "classify",
        "encode",
        "inspect",
        "convert",
        "quantize",
        "export",
        "validate",
        "draw",
        "bench",
        "tune",
        "completions",
        "man",
    ] {
        let help = scene.striate(&[command, "--help"]).done();
        assert!(help.contains("Examples:") && help.contains("--threads"), "{command}: {help}");
    }
    assert!(scene.striate(&["--version"]).done().starts_with("striate "));
}

#[test]
fn a_missing_gpu_is_said() {
    let scene = Scene::new();
    let args = ["classify", "--model", "tiny.sqlite3", "--device", "gpu:7", "a.png"];
    scene.striate(&args).failed(&["gpu:7"]);
    for device in ["cpu", "auto"] {
        scene.striate(&["classify", "--device", device, "a.png"]).done();
    }
}

#[test]
fn devices_are_listed() {
    let scene = Scene::new();
    let args = ["devices", "--format", "json", "--threads", "3"];
    let devices = json(&scene.striate(&args).done());
    let cpu = devices.iter().find(|device| device["name"] == "cpu").unwrap();
    assert_eq!(cpu["kind"], "cpu");
    assert_eq!(cpu["properties"]["threads"], "3");
    assert!(scene.striate(&["devices"]).done().contains("cpu"));
}

#[test]
fn validate_counts_misses() {
    let scene = Scene::new();
    scene.write("truth.txt", "3\n1 folder/b.png\n2\n4\n");
    scene.write(
        "results.txt",
        "3 0.5 1 0.2 2 0.1 4 0.1 5 0.1\nelapsed time 3ms\n3 0.5 2 0.2 1 0.1 4 0.1 5 0.1\n\
         error: c.png is not an image\n5 0.5 6 0.1 7 0.1 8 0.1 9 0.1 4 0.1\n",
    );
    let args = ["validate", "--truth", "truth.txt", "results.txt"];
    let line = json(&scene.striate(&[&args[..], &["--format", "json"]].concat()).done()).remove(0);
    assert_eq!(
        line,
        serde_json::json!({
            "images": 4, "top1_misses": 3, "top5_misses": 2,
            "top1_miss_rate": 0.75, "top5_miss_rate": 0.5, "unreadable": 1,
        })
    );
    let stdout = scene.striate(&args).done();
    assert!(stdout.contains("75.00 %") && stdout.contains("50.00 %"), "{stdout}");

    let validate = |truth, results| scene.striate(&["validate", "--truth", truth, results]);
    scene.write("short.txt", "3\n1\n");
    scene.write("long.txt", "3\n1\n2\n4\n5\n");
    scene.write("zero.txt", "0\n");
    scene.write("broken.txt", "1 0.5\n1\n");
    validate("short.txt", "results.txt").failed(&["results.txt: line 4"]);
    validate("long.txt", "results.txt").failed(&["long.txt: line 5"]);
    validate("zero.txt", "results.txt").failed(&["zero.txt: line 1"]);
    validate("truth.txt", "broken.txt").failed(&["broken.txt: line 2"]);
    validate("none.txt", "results.txt").failed(&["none.txt"]);
    validate("truth.txt", "none.txt").failed(&["none.txt"]);
}

#[test]
fn validate_reads_what_classify_prints() {
    let scene = Scene::new();
    scene.write("list.txt", "a.png\ntext.png\nb.png\n");
    let args = ["classify", "--model", "tiny.sqlite3", "--list", "list.txt", "--format"];
    for format in ["ccv", "json"] {
        let results = scene.striate(&[&args[..], &[format]].concat()).failed(&[]).stdout;
        scene.write("results", &results);
        // Whatever is right, all six classes stand there; one of them is beyond the fifth.
        let rates: Vec<(f64, f64)> = (1..=6)
            .map(|class| {
                scene.write("truth.txt", &format!("{class}\n").repeat(3));
                let args = ["validate", "--truth", "truth.txt", "results", "--format", "json"];
                let line = json(&scene.striate(&args).done()).remove(0);
                let rate = |name| line[name].as_f64().unwrap();
                (rate("top1_miss_rate"), rate("top5_miss_rate"))
            })
            .collect();
        let sum = |of: fn(&(f64, f64)) -> f64| rates.iter().map(of).sum::<f64>();
        assert!((sum(|r| r.0) - (6.0 - 2.0 / 3.0)).abs() < 1e-9, "{format} {rates:?}");
        assert!((sum(|r| r.1) - (6.0 - 10.0 / 3.0)).abs() < 1e-9, "{format} {rates:?}");
    }
}

#[test]
fn validate_on_ranks_of_ccv() {
    let golden = golden().remove(0);
    let scene = Scene::new();
    let (mut results, mut truth) = (String::new(), String::new());
    for (i, net) in ["alex", "matt_c", "vgg_d"].iter().enumerate() {
        let top = std::fs::read_to_string(golden.join(format!("big/{net}.dex.classify1.top.txt")));
        let top = top.unwrap();
        let rows = top.lines().filter(|line| !line.starts_with('#'));
        let rows: Vec<Vec<&str>> = rows.map(|row| row.split(' ').collect()).collect();
        let pairs: Vec<String> = rows.iter().map(|row| format!("{} {}", row[2], row[3])).collect();
        results.push_str(&format!("{}\n", pairs.join(" ")));
        // The first, the fifth and the tenth are right.
        truth.push_str(&format!("{}\n", rows[[0, 4, 9][i]][2]));
    }
    scene.write("results.txt", &results);
    scene.write("truth.txt", &truth);
    let args = ["validate", "--truth", "truth.txt", "results.txt", "--format", "json"];
    let line = json(&scene.striate(&args).done()).remove(0);
    assert_eq!((&line["top1_misses"], &line["top5_misses"]), (&2.into(), &1.into()));
}

#[test]
fn bench_has_the_keys_of_the_contract() {
    let scene = Scene::new();
    let contract = ["name", "pass", "device", "batch", "threads", "repeats", "median_ms", "min_ms"];
    let contract = [&contract[..], &["gflops", "peak_bytes"]].concat();
    let args = ["bench", "lenet", "softmax/logits", "tiny.sqlite3", "--layers"];
    scene.striate(&args).wrong_usage();
    let args = ["bench", "lenet", "softmax/logits", "tiny.sqlite3", "--batch", "2"];
    let more = ["--repeat", "3", "--threads", "1", "--format", "json"];
    let stdout = scene.striate(&[&args[..], &more].concat()).done();
    let names: Vec<String> =
        json(&stdout).iter().map(|line| line["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["lenet", "softmax/logits", "tiny.sqlite3"]);
    for line in stdout.lines() {
        assert_eq!(keys(line)[..contract.len()], contract);
        let line = &json(line)[0];
        assert_eq!((&line["pass"], &line["device"]), (&"forward".into(), &"cpu".into()));
        assert_eq!((&line["batch"], &line["threads"]), (&2.into(), &1.into()));
        assert_eq!(line["repeats"], 3);
        assert_eq!((&line["clock"], &line["dispatches"]), (&"wall".into(), &().into()));
        assert!(line["median_ms"].as_f64() >= line["min_ms"].as_f64());
        assert!(line["gflops"].as_f64().unwrap() > 0.0);
        assert!(!cfg!(target_os = "linux") || line["peak_bytes"].as_u64().unwrap() > 100_000);
    }

    let args = ["bench", "tiny.sqlite3", "--layers", "--repeat", "1"];
    let stdout = scene.striate(&args).done();
    for part in ["roofline:", "tiny.sqlite3/1:max-pool", "tiny.sqlite3/3:full-connect"] {
        assert!(stdout.contains(part), "no `{part}` in {stdout}");
    }
    let args = ["bench", "tiny.sqlite3", "--pass", "step", "--batch", "4", "--repeat", "1"];
    let stdout = scene.striate(&[&args[..], &["--format", "json"]].concat()).done();
    let line: serde_json::Value = serde_json::from_str(stdout.trim()).unwrap();
    assert_eq!((&line["pass"], &line["batch"]), (&"step".into(), &4.into()));
    assert!(line["gflops"].as_f64().unwrap() > 0.0);
    scene.striate(&["bench", "conv2d", "--pass", "step"]).wrong_usage();
    assert!(scene.striate(&["bench", "--list"]).done().contains("conv2d/vgg-d/4_2"));
    scene.striate(&["bench", "none.sqlite3"]).failed(&["none.sqlite3"]);
}

#[test]
fn completions_know_every_command() {
    let scene = Scene::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = scene.striate(&["completions", shell]).done();
        for command in ["classify", "validate", "bench", "ccv-cpu"] {
            assert!(script.contains(command), "{shell}: no {command}");
        }
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let scene = Scene::new();
    scene.striate(&["man", "--output", "share/man1"]).done();
    let page = |name: &str| std::fs::read_to_string(scene.path("share/man1").join(name)).unwrap();
    let overview = page("striate.1");
    let help = scene.striate(&["--help"]).done();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        // Lines that go on with a description are indented further.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 15, "{commands:?}");
    for command in &commands {
        assert!(overview.contains(&format!("striate\\-{command}(1)")), "{overview}");
        let own = page(&format!("striate-{command}.1"));
        assert!(own.contains(".SH SYNOPSIS") && own.contains("\\-\\-quiet"), "{own}");
    }
    assert!(page("striate-train.1").contains("\\-\\-working"));
    let pages = std::fs::read_dir(scene.path("share/man1")).unwrap().count();
    assert_eq!(pages, commands.len() + 1);
    scene.write("taken", "");
    scene.striate(&["man", "--output", "taken"]).failed(&["taken: cannot make the folder"]);
}

#[test]
fn a_closed_stdout_ends_it_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_striate"))
        .args(["bench", "--list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_striate"))
        .args(["bench", "--list"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("error: cannot write to stdout"), "{stderr}");
}
