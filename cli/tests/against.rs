//! `striate bench --against`, and the algorithms that `bench` tells.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Run, Scene, json};
use serde_json::Value;

/// Figures of two engines for LeNet on one thread, as the scripts write them, and what is beside.
const PEERS: &str = r#"{"kind": "speed", "model": "lenet", "engine": "slow", "threads": 1, "one_first": 9.0, "one": {"min": 2.0, "median": 4.0, "repeats": 5}, "error": 1e-07}
{"kind": "speed", "model": "lenet", "engine": "quick", "threads": 1, "one": {"min": 1e-06, "median": 2e-06, "repeats": 5}, "many": {"min": 3.0, "median": 5.0, "repeats": 5}, "batch": 4}
{"kind": "speed", "model": "lenet", "engine": "quick", "threads": 2, "one": {"min": 1e-07, "median": 1e-07, "repeats": 5}}
{"kind": "speed", "model": "lenet", "engine": "none", "threads": 1, "failed": "not supported"}
{"kind": "cold", "model": "lenet", "engine": "quick", "threads": 1, "runs": []}
{"min": 0.5, "median": 0.75, "repeats": 5, "rss": 9.5, "loss": 2.3, "kind": "train", "model": "lenet", "format": "contiguous", "lrn": "op", "threads": 1, "batch": 4}
{"engine": "by hand", "name": "softmax/logits", "min_ms": 1000, "median_ms": 2000}
"#;

fn bench(scene: &Scene, args: &str) -> Run {
    let args = format!("bench {args} --device cpu --repeat 2 --threads 1");
    scene.striate(&args.split_whitespace().collect::<Vec<_>>())
}

fn engines(line: &Value) -> Vec<&str> {
    line["against"].as_array().unwrap().iter().map(|o| o["engine"].as_str().unwrap()).collect()
}

#[test]
fn figures_of_the_same_model_pass_batch_and_threads_are_set_beside_ours() {
    let scene = Scene::new();
    scene.write("peers.json", PEERS);
    let run = bench(&scene, "lenet softmax/logits --against peers.json --format json");
    assert!(run.stderr.contains("known here: 1"), "{}", run.stderr);
    assert!(!run.stderr.contains("has nothing"), "{}", run.stderr);
    let [lenet, softmax] = &json(&run.done())[..] else { panic!("two cases") };
    assert_eq!(engines(lenet), ["slow", "quick"], "the best one comes last");
    assert_eq!(engines(softmax), ["by hand"]);
    for (line, other, [min, median]) in
        [(lenet, 0, [2000.0, 4000.0]), (lenet, 1, [0.001, 0.002]), (softmax, 0, [1000.0, 2000.0])]
    {
        let other = &line["against"][other];
        let number = |of: &Value, name: &str| of[name].as_f64().unwrap();
        for (ms, ratio, theirs) in
            [("min_ms", "ratio_min", min), ("median_ms", "ratio_median", median)]
        {
            assert!((number(other, ms) - theirs).abs() < 1e-9 * theirs, "{other}");
            // Our times are told in steps of 0.1 µs.
            let expected = number(line, ms) / theirs;
            let off = (number(other, ratio) - expected).abs();
            assert!(off <= 1e-4 + 1e-4 / theirs, "{other} {line}");
        }
    }

    let table = bench(&scene, "lenet softmax/logits --against peers.json").done();
    let rows: Vec<&str> = table.lines().collect();
    let at = rows.iter().position(|row| row.starts_with("lenet")).unwrap();
    assert!(rows[at + 1].starts_with("  slow") && !rows[at + 1].ends_with("best"), "{table}");
    assert!(rows[at + 2].starts_with("  quick") && rows[at + 2].ends_with("best"), "{table}");
    assert!(rows[at + 2].contains("ours / its: "), "{table}");
    assert!(rows[at + 3].starts_with("softmax/logits"), "{table}");

    let line = bench(&scene, "lenet --batch 4 --against peers.json --format json").done();
    assert_eq!(engines(&json(&line)[0]), ["quick"]);
    let step = "lenet --batch 4 --pass step --against peers.json --format json";
    let line = &json(&bench(&scene, step).done())[0];
    assert_eq!(engines(line), ["torch contiguous"]);
    assert_eq!(line["against"][0]["min_ms"], 500.0);
}

#[test]
fn a_file_without_a_figure_for_a_case_says_so_once() {
    let scene = Scene::new();
    scene.write("peers.json", PEERS);
    scene.write("empty.json", "");
    let run = bench(&scene, "lenet tiny.sqlite3 --batch 3 --against peers.json --format json");
    assert_eq!(run.stderr.matches("has nothing for").count(), 1, "{}", run.stderr);
    let expected = "note: peers.json has nothing for 2 of 2 cases by pass, batch and threads: \
                    lenet, tiny.sqlite3";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    for line in json(&run.done()) {
        assert_eq!(line["against"], serde_json::json!([]));
    }
    let run = bench(&scene, "lenet --layers --against empty.json");
    assert!(run.stderr.contains("empty.json has nothing for 1 of 1 cases"), "{}", run.stderr);
    run.done();
    let run = bench(&scene, "lenet --against peers.json --batch 3 -q");
    assert_eq!(run.stderr, "");
    let line = &json(&bench(&scene, "lenet --format json").done())[0];
    assert_eq!(line.get("against"), None, "nothing was asked for");
}

#[test]
fn an_earlier_run_of_our_own_can_be_compared_with() {
    let scene = Scene::new();
    let args = "tiny.sqlite3 tiny.safetensors --layers";
    let before = bench(&scene, &format!("{args} --format json")).done();
    scene.write("before.json", &before);
    let array: Vec<Value> = json(&before);
    scene.write("array.json", &serde_json::to_string_pretty(&array).unwrap());
    for file in ["before.json", "array.json"] {
        let run = bench(&scene, &format!("{args} --format json --against {file}"));
        assert_eq!(run.stderr, "");
        let after = json(&run.done());
        assert_eq!(after.len(), array.len());
        for (after, before) in after.iter().zip(&array) {
            let [other] = &after["against"].as_array().unwrap()[..] else { panic!("{after}") };
            assert_eq!(other["engine"], "striate");
            assert_eq!(other["median_ms"], before["median_ms"]);
        }
    }
    // What was not asked for alike is told, and the last line for a case counts.
    let again = before.replace("\"median_ms\":", "\"median_ms\":1");
    scene.write("twice.json", &format!("{before}{again}"));
    let run = bench(&scene, "tiny.sqlite3 --dtype f16 --against twice.json --format json");
    let line = &json(&run.done())[0];
    assert_eq!(engines(line), ["striate f32"]);
    let whole = array.iter().find(|line| line["name"] == "tiny.sqlite3").unwrap();
    assert_ne!(line["against"][0]["median_ms"], whole["median_ms"]);
}

#[test]
fn a_malformed_file_is_an_error_before_anything_is_timed() {
    let scene = Scene::new();
    let whole = PEERS.lines().next().unwrap();
    for (text, place, what) in [
        (format!("{whole}\n{}", &whole[..40]), "bad.json: line 2, column", "EOF"),
        (format!("{whole}\n\nlenet: 3 ms\n"), "bad.json: line 3, column", "a JSON object a line"),
        (format!("[{whole}"), "bad.json: line 1, column", "EOF"),
        (format!("{whole}\n3\n"), "bad.json: line 2:", "not a number"),
        (whole.replace("\"engine\"", "\"motor\""), "bad.json: line 1:", "missing field `engine`"),
        (whole.replace("2.0", "-2.0"), "bad.json: line 1:", "times above 0"),
        (PEERS.replace(", \"batch\": 4", ""), "bad.json: line 2:", "expected `batch`"),
        (PEERS.replace("1000", "\"fast\""), "bad.json: line 7:", "expected f64"),
    ] {
        scene.write("bad.json", &text);
        let run = bench(&scene, "lenet --against bad.json").failed(&[place, what]);
        assert_eq!(run.stdout, "");
    }
    std::fs::write(scene.path("bytes.json"), [0xff, 0xfe, 0x00]).unwrap();
    bench(&scene, "lenet --against bytes.json").failed(&["bytes.json"]);
    bench(&scene, "lenet --against none.json").failed(&["none.json"]);
    scene.striate(&["bench", "--list", "--against", "none.json"]).wrong_usage();
}

#[test]
fn help_tells_the_fields_of_such_a_file() {
    let help = Scene::new().striate(&["bench", "--help"]).done();
    for field in ["--against", "min_ms", "median_ms", "engine", "one.min", "\"speed\"", "ratio_min"]
    {
        assert!(help.contains(field), "no `{field}` in {help}");
    }
}

#[test]
fn bench_tells_the_algorithm_that_is_chosen() {
    let scene = Scene::new();
    let line = |args: &str| json(&bench(&scene, &format!("{args} --format json")).done()).remove(0);
    assert_eq!(line("conv2d/vgg-d/5_1")["algorithm"], "Winograd F(4×4, 3×3), far");
    assert_eq!(line("conv2d/alexnet/1_1")["algorithm"], "direct");
    assert_eq!(line("matmul/square/512")["algorithm"], "tiled");
    assert_eq!(line("softmax/logits")["algorithm"], Value::Null);
    let table = bench(&scene, "tiny.sqlite3 --layers").done();
    let row = |name| table.lines().find(|row| row.starts_with(name)).unwrap();
    assert!(row("name").ends_with("  algorithm"), "{table}");
    assert!(row("tiny.sqlite3/0:conv").contains("  direct  "), "{table}");
    assert!(row("tiny.sqlite3/3:full-connect").contains("  rows (matvec)  "), "{table}");
    assert!(!bench(&scene, "tiny.sqlite3").done().contains("algorithm"));
}
