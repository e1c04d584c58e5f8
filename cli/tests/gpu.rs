//! What the command line does with a GPU, and without one: `tune`, `bench`, `devices`, `--device`.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "gpu")]

mod common;

use std::path::PathBuf;

use common::{NO_DRIVER, Scene, has_gpu, json, picture, run_with};
use striate::image::output::write_png;
use striate::prelude::{Device, DeviceByName};

/// The first convolution of LeNet: the smallest case.
const TINY: &str = "conv2d/lenet/1_1";

/// The file of what was measured.
fn tuned_file(scene: &Scene) -> Option<PathBuf> {
    let mut folders = vec![scene.path("")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap().to_string_lossy().starts_with("tuned_") {
                return Some(path);
            }
        }
    }
    None
}

#[test]
fn tune_keeps_what_it_measures_and_bears_a_damaged_file() {
    let scene = Scene::new();
    if !has_gpu(&scene) {
        return;
    }
    let args = ["tune", TINY, "--device", "gpu:0", "--format", "json"];
    let first = json(&scene.striate(&args).done()).remove(0);
    assert_eq!((&first["name"], &first["measured"]), (&TINY.into(), &true.into()));
    assert!(["gpu", "wall"].contains(&first["clock"].as_str().unwrap()), "{first}");
    let tried = first["tried"].as_array().unwrap();
    assert!(tried.len() > 1, "{first}");
    assert!(tried.iter().all(|kernel| kernel["ms"].as_f64().unwrap() > 0.0), "{first}");
    assert_eq!((&tried[0]["kernel"], &tried[0]["ms"]), (&first["default"], &first["default_ms"]));
    assert!(first["winner_ms"].as_f64() <= first["default_ms"].as_f64());
    assert!(first["gain"].as_f64().unwrap() >= 1.0);
    let tuned_shapes = || {
        let devices = json(&scene.striate(&["devices", "--format", "json"]).done());
        devices[0]["properties"]["tuned shapes"].clone()
    };
    let won = first["winner"] != first["default"];
    assert_eq!(tuned_shapes(), if won { "1" } else { "0" });

    // What is known is told, and not measured.
    let second = json(&scene.striate(&args).done()).remove(0);
    assert_eq!(second["measured"], false);
    assert_eq!((&second["winner"], &second["winner_ms"]), (&first["winner"], &first["winner_ms"]));
    let forced = json(&scene.striate(&[&args[..], &["--force"]].concat()).done()).remove(0);
    assert_eq!(forced["measured"], true);

    // A damaged file is passed over with a word, and written anew.
    let file = tuned_file(&scene).unwrap();
    let whole = std::fs::read_to_string(&file).unwrap();
    for bad in [whole[..whole.len() - 2].to_owned(), whole.replace("adapter", "adopter")] {
        std::fs::write(&file, bad).unwrap();
        assert_eq!(tuned_shapes(), "0");
        let run = scene.striate(&args);
        assert!(run.stderr.contains("damaged"), "{}", run.stderr);
        assert_eq!(json(&run.done())[0]["measured"], true);
    }
    let table = scene.striate(&["tune", TINY, "--device", "gpu:0"]).done();
    for part in [TINY, "winner", "known before", "kept in"] {
        assert!(table.contains(part), "no `{part}` in {table}");
    }
}

#[test]
fn tune_refuses_what_has_no_choice() {
    let scene = Scene::new();
    scene.striate(&["tune", "softmax"]).wrong_usage();
    scene.striate(&["tune", TINY, "--device", "cpu"]).wrong_usage();
    scene.striate(&["tune", "none.sqlite3"]).failed(&["none.sqlite3"]);
    scene.striate(&["tune", TINY, "--device", "gpu:99"]).failed(&["gpu:99"]);
}

#[test]
fn bench_says_by_which_clock_and_what_the_gpu_was_asked() {
    let scene = Scene::new();
    let args = ["bench", "lenet", TINY, "--repeat", "2", "--format", "json", "--device"];
    if !has_gpu(&scene) {
        return;
    }
    for line in json(&scene.striate(&[&args[..], &["gpu:0"]].concat()).done()) {
        assert!(["gpu", "wall"].contains(&line["clock"].as_str().unwrap()), "{line}");
        assert!(line["median_ms"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["median_ms"].as_f64() <= line["wall_median_ms"].as_f64(), "{line}");
        assert!(line["dispatches"].as_u64().unwrap() >= 1, "{line}");
        assert!(line["submissions"].as_u64().unwrap() >= 1, "{line}");
        assert!(line["waits"].as_u64().unwrap() >= 1, "{line}");
        assert!(line["allocations"].is_u64() && line["bytes_uploaded"].is_u64(), "{line}");
        assert!(line["bytes_bound"].as_u64() <= line["bytes_moved"].as_u64(), "{line}");
        assert!(line["bytes_moved"].as_u64().unwrap() > 1000, "{line}");
        assert_eq!(line["algorithm"].is_string(), line["name"] == TINY, "{line}");
    }
    let args = ["bench", "lenet", "--layers", "--repeat", "1", "--device", "gpu:0"];
    let table = scene.striate(&args).done();
    for part in ["clock: ", "lenet/0:conv", "dispatches: "] {
        assert!(table.contains(part), "no `{part}` in {table}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_driver_auto_is_the_cpu_and_says_so_once() {
    let scene = Scene::new();
    let run = |args: &[&str]| run_with(args, scene.folder.path(), NO_DRIVER);
    let classify = ["classify", "--model", "tiny.sqlite3", "a.png", "--format", "ccv"];
    let auto = run(&classify);
    assert_eq!(auto.stderr.matches("no GPU found").count(), 1, "{}", auto.stderr);
    assert_eq!(auto.stderr.lines().count(), 1, "{}", auto.stderr);
    assert_eq!(auto.stdout.lines().count(), 2, "{}", auto.stdout);
    auto.done();
    let quiet = run(&[&classify[..], &["-q"]].concat());
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    let cpu = run(&[&classify[..], &["--device", "cpu"]].concat());
    assert_eq!((cpu.code, cpu.stderr.as_str()), (0, ""));
    let install = ["no Vulkan driver", "install", "`cpu`"];
    run(&[&classify[..], &["--device", "gpu"]].concat()).failed(&install);
    run(&["tune", TINY]).failed(&install);
    run(&["bench", TINY, "--device", "gpu"]).failed(&install);
}

/// The weights of a working file.
fn weights(scene: &Scene, name: &str) -> Vec<f32> {
    let device = Device::cpu(Some(1)).unwrap();
    let network = striate::importers::read(scene.path(name), &device, &Default::default()).unwrap();
    let named = striate::nn::named_parameters(&network);
    named.iter().flat_map(|(_, tensor)| tensor.to_vec::<f32>().unwrap()).collect()
}

#[test]
fn a_gpu_and_the_cpu_train_together_as_the_cpu_does_alone() {
    let scene = Scene::new();
    if !has_gpu(&scene) {
        return;
    }
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
    let train = |devices: &str, parallel: &str, working: &str| {
        let args = format!(
            "train --spec tiny.json --train-list train.txt --mini-batch 8 --learn-rate 0.0001 \
             --max-iterations 50 --parallel {parallel} --devices {devices} --working {working}"
        );
        scene.striate(&args.split_whitespace().collect::<Vec<_>>()).done();
        weights(&scene, working)
    };
    for parallel in ["data", "hybrid"] {
        let alone = train("cpu", parallel, &format!("{parallel}-alone.sqlite3"));
        let both = train("gpu:0,cpu", parallel, &format!("{parallel}-both.sqlite3"));
        let scale = alone.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        let worst = alone.iter().zip(&both).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
        // They round differently; the same mathematics gives no more than that.
        assert!(worst <= 1e-5 * scale, "{parallel}: {worst} of {scale}");
    }
}

#[test]
fn a_gpu_is_chosen_by_a_part_of_its_name() {
    let scene = Scene::new();
    // Nothing is named so, and the message says what there is.
    let args = ["classify", "--model", "tiny.sqlite3", "a.png", "--device"];
    let with = |device: &str| scene.striate(&[&args[..], &[device]].concat());
    with("gpu:no such card").failed(&["gpu:no such card"]);
    with("gpu:").wrong_usage();
    with("card").wrong_usage();
    if !has_gpu(&scene) {
        return;
    }
    let devices = json(&scene.striate(&["devices", "--format", "json"]).done());
    let description =
        |device: &serde_json::Value| device["description"].as_str().unwrap().to_owned();
    let gpus: Vec<String> =
        devices.iter().filter(|d| d["name"] != "cpu").map(description).collect();
    // The first word of the name, where no other has it.
    let word = gpus[0].split_whitespace().next().unwrap().to_uppercase();
    if gpus.iter().filter(|name| name.to_uppercase().contains(&word)).count() == 1 {
        let named = with(&format!("gpu:{word}")).done();
        let ranks = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(ranks(&named), ranks(&with("gpu:0").done()));
    }
}
