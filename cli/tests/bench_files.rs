//! What `striate bench` keeps: traces and histories.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Run, Scene, json};
use serde_json::Value;

fn bench(scene: &Scene, args: &str) -> Run {
    let args = format!("bench {args} --device cpu --repeat 2 --threads 1");
    scene.striate(&args.split_whitespace().collect::<Vec<_>>())
}

/// The slices of a row: name, start and length in microseconds.
fn row<'a>(trace: &'a Value, process: u64, name: &str) -> Vec<(&'a str, f64, f64)> {
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |event: &&Value| event["pid"].as_u64() == Some(process);
    let thread = events
        .iter()
        .filter(of)
        .find(|event| event["name"] == "thread_name" && event["args"]["name"] == name)
        .unwrap()["tid"]
        .clone();
    let slices =
        events.iter().filter(of).filter(|event| event["ph"] == "X" && event["tid"] == thread);
    slices
        .map(|slice| {
            let number = |key: &str| slice[key].as_f64().unwrap();
            (slice["name"].as_str().unwrap(), number("ts"), number("dur"))
        })
        .collect()
}

fn trace_of(scene: &Scene, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(scene.path(name)).unwrap()).unwrap()
}

#[test]
fn the_layers_of_a_trace_add_up_to_the_pass_and_hold_their_ops() {
    let scene = Scene::new();
    bench(&scene, "lenet nin-cifar10 --batch 2 --trace trace.json").done();
    let trace = trace_of(&scene, "trace.json");
    for process in [1, 2] {
        let [(title, 0.0, wall)] = row(&trace, process, "pass")[..] else { panic!("{trace}") };
        assert!(title.ends_with(", forward, batch 2"), "{title}");
        let layers = row(&trace, process, "layers");
        assert!(layers.len() > 3, "{layers:?}");
        let mut end = 0.0;
        for (name, start, length) in &layers {
            assert!((start - end).abs() < 1e-6 * wall, "{name} begins at {start}, not at {end}");
            end = start + length;
        }
        assert!((end - wall).abs() < 1e-6 * wall, "layers end at {end} of {wall}");
        let ops = row(&trace, process, "ops");
        assert!(ops.iter().any(|(name, ..)| *name == "conv2d"), "{ops:?}");
        for (name, start, length) in ops {
            let holds = |(_, begin, time): &&(&str, f64, f64)| {
                *begin <= start && start + length <= begin + time
            };
            assert!(layers.iter().any(|layer| holds(&layer)), "{name} is in no layer");
        }
    }
    let conv =
        trace["traceEvents"].as_array().unwrap().iter().find(|event| event["name"] == "conv2d");
    let args = &conv.unwrap()["args"];
    assert_eq!(args["inputs"][0], "f32[2, 28, 28, 1]", "{args}");
    assert!(
        args["flops"].as_u64().unwrap() > 0 && args["gflops"].as_f64().unwrap() > 0.0,
        "{args}"
    );
}

#[test]
fn a_specification_is_timed_with_fresh_weights() {
    let scene = Scene::new();
    scene.write("net.json", &scene.network.spec().to_json().unwrap());
    let cases = |args: &str| json(&bench(&scene, &format!("{args} --format json")).done());
    let work = |case: &Value| {
        let number = |key: &str| case[key].as_f64().unwrap();
        number("gflops") * number("median_ms")
    };
    for pass in ["forward", "step"] {
        let cases = cases(&format!("net.json tiny.safetensors --pass {pass}"));
        let [specified, stored] = &cases[..] else { panic!("{cases:?}") };
        assert_eq!((&specified["name"], &specified["dtype"]), (&"net.json".into(), &"f32".into()));
        let (specified, stored) = (work(specified), work(stored));
        // Of numbers with three digits.
        assert!(specified > 0.0 && (specified / stored - 1.0).abs() < 0.1, "{cases:?}");
    }
    let layers = cases("net.json --layers");
    assert!(layers.iter().any(|case| case["name"] == "net.json/0:conv"), "{layers:?}");
    bench(&scene, "net.json --trace net.json").wrong_usage();
}

#[test]
fn the_trace_of_a_step_holds_its_gradients_and_updates() {
    let scene = Scene::new();
    bench(&scene, "lenet --pass step --trace step.json").done();
    let trace = trace_of(&scene, "step.json");
    let ops: Vec<&str> = row(&trace, 1, "ops").into_iter().map(|(name, ..)| name).collect();
    for op in ["conv2d", "conv2d_weight_grad", "max_pool2d_grad"] {
        assert!(ops.contains(&op), "{ops:?}");
    }
    assert_eq!(ops.iter().filter(|op| op.starts_with("sgd")).count(), 8, "{ops:?}");
}

#[test]
fn traces_that_cannot_be_are_refused() {
    let scene = Scene::new();
    for (args, part) in [
        ("softmax/logits --trace t.json", "is an op"),
        ("lenet --trace -", "must be a file"),
        ("tiny.sqlite3 --trace tiny.sqlite3", "tiny.sqlite3"),
        ("lenet --trace t.json --history t.json", "t.json"),
    ] {
        let run = bench(&scene, args);
        assert_eq!(run.code, 2, "{args}: {}", run.stderr);
        assert!(run.stderr.contains(part), "{args}: {}", run.stderr);
        assert!(!scene.path("t.json").exists(), "{args}");
    }
}

fn engines(line: &Value) -> Vec<&str> {
    let others = line["against"].as_array().unwrap();
    others.iter().map(|other| other["engine"].as_str().unwrap()).collect()
}

#[test]
fn a_history_sets_times_beside_the_last_ones_of_this_machine() {
    let scene = Scene::new();
    let run = |label: &str, more: &str| {
        let args = format!("lenet {more} --history times.jsonl --label {label} --format json");
        let [line] = &json(&bench(&scene, &args).done())[..] else { panic!("one case") };
        line.clone()
    };
    assert_eq!(engines(&run("first", "")), [""; 0]);
    assert_eq!(engines(&run("second", "")), ["striate first"]);
    assert_eq!(engines(&run("third", "--batch 2")), [""; 0], "another batch");
    let last = run("fourth", "");
    assert_eq!(engines(&last), ["striate second"], "the last one alone");

    let kept = std::fs::read_to_string(scene.path("times.jsonl")).unwrap();
    let lines = json(&kept);
    let labels: Vec<&str> = lines.iter().map(|line| line["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["first", "second", "third", "fourth"]);
    assert_eq!(lines[3]["min_ms"], last["min_ms"]);

    // Other machines' times stay, and are not compared.
    let elsewhere = kept.replace("threads: 1", "threads: 64");
    scene.write("times.jsonl", &elsewhere);
    assert_eq!(engines(&run("fifth", "")), [""; 0]);
    let kept = std::fs::read_to_string(scene.path("times.jsonl")).unwrap();
    assert!(kept.starts_with(&elsewhere) && kept.lines().count() == 5, "{kept}");

    // Beside other engines as well.
    scene.write(
        "peers.json",
        r#"{"engine": "peer", "name": "lenet", "min_ms": 1e6, "median_ms": 1e6}"#,
    );
    assert_eq!(engines(&run("sixth", "--against peers.json")), ["peer", "striate fifth"]);
}

#[test]
fn a_damaged_history_is_refused_and_stays() {
    let scene = Scene::new();
    for text in ["nonsense\n", "{\"label\": \"a\"}\n"] {
        scene.write("times.jsonl", text);
        let run = bench(&scene, "lenet --history times.jsonl");
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert!(run.stderr.contains("times.jsonl: line 1"), "{}", run.stderr);
        assert_eq!(std::fs::read_to_string(scene.path("times.jsonl")).unwrap(), text);
    }
    let run = bench(&scene, "lenet --history -");
    assert!(run.code == 2 && run.stderr.contains("must be a file"), "{}", run.stderr);
}
