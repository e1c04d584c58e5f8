//! `striate plan`: predictions as tables and lines, and what is refused.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Run, Scene, json, keys};

fn plan(scene: &Scene, args: &str) -> Run {
    let args: Vec<&str> = args.split_whitespace().collect();
    scene.striate(&[&["plan"], &args[..]].concat())
}

const VGG: &str = "--model vgg-d --link 100GbE --flops 4.5T --batch 32";

#[test]
fn a_row_for_each_number_of_devices_and_way() {
    let scene = Scene::new();
    let run = plan(&scene, &format!("{VGG} --devices 1,4..1024"));
    assert!(run.stderr.contains("note: 1024 devices: plan: expected for hybrid"), "{}", run.stderr);
    let stdout = run.done();
    let rows: Vec<Vec<&str>> =
        stdout.lines().skip(5).map(|line| line.split_whitespace().collect()).collect();
    let first: Vec<(&str, &str)> = rows.iter().map(|row| (row[0], row[1])).collect();
    assert_eq!(first[..3], [("1", "data"), ("4", "data"), ("4", "hybrid")]);
    assert_eq!((first.len(), first[17]), (18, ("1024", "data")));
    // The bytes of examples/many_devices.rs: 2 · 3/4 · 4 · 111,094,568.
    for fact in ["666.57", "network  vgg-d: 111,094,568 parameters, 88.05", "4.500 TFLOP/s\n"] {
        assert!(stdout.contains(fact), "no `{fact}` in {stdout}");
    }
    for devices in ["1", "4", "512", "1024"] {
        let best = rows.iter().filter(|row| row[0] == devices && row.contains(&"best"));
        assert_eq!(best.count(), 1, "{stdout}");
    }
}

#[test]
fn json_is_a_line_a_row() {
    let scene = Scene::new();
    let args = "--model mattnet --devices 1,4 --link pcie3X16 --one-device 0.845s --batch 128";
    let stdout = plan(&scene, &format!("{args} --format json")).done();
    let lines = json(&stdout);
    assert_eq!(lines.len(), 3);
    let expected = [
        "model",
        "parallel",
        "devices",
        "batch",
        "mini_batch",
        "link",
        "flops",
        "step_ms",
        "computation_ms",
        "exposed_ms",
        "collectives_ms",
        "sent_bytes",
        "messages",
        "images_per_second",
        "speedup",
        "efficiency",
        "memory_bytes",
        "fits",
        "best",
    ];
    assert_eq!(keys(stdout.lines().next().unwrap()), expected);
    assert!((lines[0]["step_ms"].as_f64().unwrap() - 845.0).abs() < 1e-6);
    assert_eq!((&lines[2]["parallel"], &lines[2]["mini_batch"]), (&"hybrid".into(), &512.into()));
    // ccv measured 909.
    assert!((845.0..909.0).contains(&lines[2]["step_ms"].as_f64().unwrap()));
    assert_eq!(lines[1]["sent_bytes"], 110_115_072);
    assert_eq!(lines[1]["link"], "PCIe3x16");

    let only = plan(&scene, &format!("{args} --parallel hybrid --pieces 1 --format json")).done();
    assert!(json(&only).iter().all(|line| line["parallel"] == "hybrid" && line["best"] == true));
}

#[test]
fn batches_are_of_each_or_of_all_or_the_best() {
    let scene = Scene::new();
    let usual = "--model alexnet --link 10GbE --flops 500G --devices 2,4 --parallel data";
    let batches = |args: &str| -> Vec<(u64, u64)> {
        let args = format!("{usual} --format json {args}");
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        let lines = json(&plan(&scene, &args).done());
        lines.iter().map(|line| (number(&line["batch"]), number(&line["mini_batch"]))).collect()
    };
    assert_eq!(batches("--batch 32"), [(32, 64), (32, 128)]);
    assert_eq!(batches("--mini-batch 66"), [(33, 66), (17, 66)]);
    for (batch, mini_batch) in batches("") {
        assert!(batch > 8 && batch.is_power_of_two() && mini_batch % batch == 0);
    }
    assert!(batches("--memory 1.2GB").iter().all(|&(batch, _)| batch <= 64));
}

#[test]
fn files_are_networks_too() {
    let scene = Scene::new();
    let rest = "--devices 2 --link 3.5GB/s,12us --flops 1G --batch 4";
    let stdout = plan(&scene, &format!("--model tiny.sqlite3 {rest}")).done();
    assert!(stdout.contains("link     3.5GB/s,12us: 3.500 GB/s, 12.0 us"), "{stdout}");
    scene.write("net.json", &scene.network.spec().to_json().unwrap());
    let same = plan(&scene, &format!("--model net.json {rest}")).done();
    assert_eq!(same.replace("net.json", "tiny.sqlite3"), stdout);
    scene.write("broken.json", "{");
    plan(&scene, &format!("--model broken.json {rest}")).failed(&["broken.json: no network"]);
}

#[test]
fn what_does_not_fit_is_never_the_best() {
    let scene = Scene::new();
    let run = plan(&scene, &format!("{VGG} --devices 4 --memory 4G"));
    let stdout = run.done();
    let rows: Vec<&str> = stdout.lines().skip(5).collect();
    assert!(rows[0].ends_with("does not fit") && rows[1].ends_with("best"), "{stdout}");
    let run = plan(&scene, &format!("{VGG} --devices 4 --memory 1M"));
    assert!(run.stderr.contains("nothing fits the memory"), "{}", run.stderr);
    assert!(!run.done().contains("best"));
}

#[test]
fn wrong_usage_says_what_was_expected() {
    let scene = Scene::new();
    let rest = "--link 10GbE --flops 1T";
    for (args, part) in [
        (
            format!("--model resnet --devices 4 {rest}"),
            "no network or file 'resnet'; did you mean one of resnet18, resnet34, resnet50, \
             resnet20? 'striate bench --list' lists all names",
        ),
        (
            format!("--model transformer --devices 4 {rest}"),
            "no network or file 'transformer'; 'striate bench --list' lists all names",
        ),
        (format!("--model alexnet --devices 0 {rest}"), "numbers of devices from 1 to"),
        (format!("--model alexnet --devices 8..4 {rest}"), "A no more than B"),
        ("--model alexnet --devices 4 --flops 1T --link rope".into(), "expected 1GbE, 10GbE"),
        ("--model alexnet --devices 4 --flops fast --link 1GbE".into(), "like 4.5T"),
        ("--model alexnet --devices 4 --link 1GbE".into(), "--flops"),
        ("--model alexnet --devices 4 --link 1GbE --one-device 1s".into(), "--batch"),
        (format!("--model alexnet --devices 4 {rest} --batch 1 --mini-batch 4"), "--mini-batch"),
        (format!("--model alexnet --devices 3 {rest} --parallel data"), "1, 2, 4, 8"),
        (format!("--model alexnet --devices 3000 {rest}"), "the 1000 outputs"),
        (format!("--model alexnet --devices 8 {rest} --mini-batch 4"), "a mini-batch of 8 to"),
        (format!("--model alexnet --devices 8 {rest} --batch 0"), "a mini-batch of 8 to"),
        (format!("--model alexnet --devices 8 {rest} --batch 18446744073709551615"), "1048576"),
        (format!("--model alexnet --devices 8 {rest} --pieces 0"), "a piece"),
        (format!("--model alexnet --devices 8 {rest} --bandwidth 1e300"), "bytes a second"),
    ] {
        let run = plan(&scene, &args).wrong_usage();
        assert!(run.stderr.contains(part), "no `{part}` in {}", run.stderr);
    }
}

#[test]
fn help_knows_all_links() {
    let scene = Scene::new();
    let help = plan(&scene, "--help").done();
    for link in striate::train::plan::Link::known() {
        assert!(help.contains(&*link.name), "{}", link.name);
        let rate = format!("{} GB/s, {} us", link.bandwidth / 1e9, (link.latency * 1e6).round());
        assert!(help.contains(&rate), "{rate}");
    }
}
