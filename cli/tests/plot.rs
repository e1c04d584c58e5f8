//! The curves of a training: `striate plot`.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "plot")]

mod common;

use common::{Scene, json};
use rusqlite::Connection;
use serde_json::{Value, json as value};
use striate::image;

/// A working file's curves: a loss of 2 / (1 + i / 50), noisy, tested after each epoch of 100
/// mini-batches.
fn history(epochs: u64, slower: f64) -> Value {
    let loss = |i: u64| 2.0 / (1.0 + i as f64 / 50.0 / slower);
    let point = |i: u64| {
        let noise = (i * 7919 % 100) as f64 / 250.0;
        value!({ "iteration": i, "loss": loss(i) + noise, "miss_rate": loss(i) / 3.0 })
    };
    let epoch = |epoch: u64| {
        let end = (epoch + 1) * 100;
        let misses = (loss(end) * 200.0) as u64;
        value!({
            "epoch": epoch, "iterations": end, "samples": 6400, "skipped": 0,
            "loss": loss(end) + 0.2, "miss_rate": loss(end) / 3.0,
            "test": { "samples": 1000, "skipped": 0, "loss": loss(end), "misses": misses,
                      "misses_top5": misses / 5 },
        })
    };
    value!({
        "points": (1..=epochs.max(1) * 50).map(|i| point(i * 2)).collect::<Vec<_>>(),
        "stride": 2,
        "epochs": (0..epochs).map(epoch).collect::<Vec<_>>(),
        "point": { "batches": 0, "samples": 0, "skipped": 0, "loss": 0.0, "misses": 0 },
        "epoch": { "batches": 0, "samples": 0, "skipped": 0, "loss": 0.0, "misses": 0 },
    })
}

/// A copy of the scene's model with a note beside ccv's tables.
fn training(scene: &Scene, name: &str, note: &str) {
    std::fs::copy(scene.path("tiny.sqlite3"), scene.path(name)).unwrap();
    let database = Connection::open(scene.path(name)).unwrap();
    database
        .execute_batch("CREATE TABLE striate_notes (key TEXT PRIMARY KEY, value TEXT)")
        .unwrap();
    let insert = "INSERT INTO striate_notes VALUES ('format', '1'), ('training', ?1)";
    database.execute(insert, [note]).unwrap();
}

fn scene() -> Scene {
    let scene = Scene::new();
    for (name, epochs, slower) in [("run.sqlite3", 6, 1.0), ("slow.sqlite3", 6, 3.0)] {
        let note = value!({ "version": 1, "options": {}, "history": history(epochs, slower) });
        training(&scene, name, &note.to_string());
    }
    scene
}

/// The share of pixels near a colour, in the upper and the lower half of a picture.
fn share(scene: &Scene, name: &str, color: [u8; 3]) -> [f64; 2] {
    let picture = image::open(scene.path(name)).unwrap();
    let (pixels, _) = picture.values().as_chunks::<3>();
    let halves = pixels.split_at(pixels.len() / 2);
    [halves.0, halves.1].map(|half| {
        let near = |p: &&[u8; 3]| p.iter().zip(color).all(|(a, b)| a.abs_diff(b) < 24);
        half.iter().filter(near).count() as f64 / half.len() as f64
    })
}

const BLUE: [u8; 3] = [0, 114, 178];
const RED: [u8; 3] = [213, 94, 0];
const GREEN: [u8; 3] = [0, 158, 115];

#[test]
fn a_picture_has_both_panels() {
    let scene = scene();
    let stdout = scene.striate(&["plot", "run.sqlite3", "-o", "curve.png"]).done();
    assert!(stdout.contains("wrote curve.png") && stdout.contains("6 epochs"), "{stdout}");
    let picture = image::open(scene.path("curve.png")).unwrap();
    assert_eq!(picture.shape(), [720, 960, 3]);
    // Training and test loss above; training, top-1 and top-5 below.
    let [blue, red, green] = [BLUE, RED, GREEN].map(|color| share(&scene, "curve.png", color));
    for (half, shares) in [("above", [blue[0], red[0]]), ("below", [blue[1], red[1]])] {
        assert!(shares.iter().all(|&s| s > 0.0005), "{half}: {shares:?}");
    }
    assert!(green[0] == 0.0 && green[1] > 0.0002, "{green:?}");
}

#[test]
fn an_svg_says_what_it_shows() {
    let scene = scene();
    let plot = |more: &[&str]| {
        scene.striate(&[&["plot", "run.sqlite3", "-o", "curve.svg"], more].concat()).done();
        std::fs::read_to_string(scene.path("curve.svg")).unwrap()
    };
    let svg = plot(&[]);
    assert!(svg.starts_with("<svg width=\"960\" height=\"720\"") && svg.ends_with("</svg>\n"));
    for text in
        ["epochs", "loss", "error rate", "run.sqlite3: 6 epochs", "smoothed", "top-1", "top-5"]
    {
        assert!(svg.contains(text), "{text}");
    }
    assert_eq!(plot(&[]), svg);
    assert!(plot(&["--title", "my <first> run"]).contains("my &lt;first&gt; run"));
    assert_ne!(plot(&["--smooth", "50"]), svg);
}

#[test]
fn several_trainings_in_one_plot() {
    let scene = scene();
    scene.striate(&["plot", "run.sqlite3", "slow.sqlite3", "-o", "both.png"]).done();
    let [blue, red] = [BLUE, RED].map(|color| share(&scene, "both.png", color));
    assert!(blue.iter().chain(&red).all(|&s| s > 0.0005), "{blue:?} {red:?}");
    scene.striate(&["plot", "run.sqlite3", "slow.sqlite3", "-o", "both.svg"]).done();
    let svg = std::fs::read_to_string(scene.path("both.svg")).unwrap();
    assert!(svg.contains("2 trainings") && svg.contains("run.sqlite3\n"), "{svg}");
}

#[test]
fn the_points_as_json_and_the_epochs_as_a_table() {
    let scene = scene();
    let args = ["plot", "run.sqlite3", "slow.sqlite3", "--format", "json"];
    let lines = json(&scene.striate(&args).done());
    assert_eq!(lines.len(), 2);
    let run = &lines[0];
    assert_eq!((&run["file"], &run["stride"]), (&"run.sqlite3".into(), &2.into()));
    let points = run["points"].as_array().unwrap();
    assert_eq!(points.len(), 300);
    assert_eq!((&points[49]["iteration"], &points[49]["epoch"]), (&100.into(), &1.0.into()));
    assert!(points[299]["smoothed"].as_f64() < points[0]["smoothed"].as_f64());
    assert_eq!(run["epochs"][5]["test"]["misses_top5"], 6);

    let table = scene.striate(&["plot", "run.sqlite3"]).done();
    assert_eq!(table.lines().count(), 7, "{table}");
    // 2 / 13 · 200 misses of 1000.
    assert!(table.lines().last().unwrap().contains("3.00 %"), "{table}");
}

#[test]
fn a_training_in_its_first_epoch_or_gone_wrong() {
    let scene = Scene::new();
    let young = value!({ "version": 1, "history": history(0, 1.0) });
    training(&scene, "young.sqlite3", &young.to_string());
    let args = ["plot", "young.sqlite3", "-o", "young.svg"];
    scene.striate(&args).done();
    let svg = std::fs::read_to_string(scene.path("young.svg")).unwrap();
    assert!(svg.contains("mini-batches") && svg.contains("in its first epoch"));

    let mut wild = history(2, 1.0);
    wild["points"][60]["loss"] = 1e300.into();
    training(&scene, "wild.sqlite3", &value!({ "version": 1, "history": wild }).to_string());
    scene.striate(&["plot", "wild.sqlite3", "-o", "wild.png"]).done();
    assert!(share(&scene, "wild.png", BLUE)[0] > 0.0005);
}

#[test]
fn what_is_no_training_is_told() {
    let scene = scene();
    training(&scene, "empty.sqlite3", "{\"version\": 1, \"history\": {}}");
    training(&scene, "broken.sqlite3", "{\"version\": 1, \"history\": {\"points\": 3}}");
    let plot = |args: &[&str]| scene.striate(&[&["plot"], args].concat());
    plot(&["tiny.sqlite3"]).failed(&["tiny.sqlite3 holds no training"]);
    plot(&["empty.sqlite3"]).failed(&["empty.sqlite3", "not got to a point yet"]);
    plot(&["broken.sqlite3"]).failed(&["broken.sqlite3", "the notes of the training", "expected"]);
    plot(&["text.png"]).failed(&["text.png: not a model file"]);
    plot(&["gone.sqlite3"]).failed(&["gone.sqlite3"]);
    assert!(!scene.path("gone.sqlite3").exists());
    plot(&["run.sqlite3", "-o", "no/such.svg"]).failed(&["folder no"]);
    plot(&["run.sqlite3", "-o", "curve.pdf"]).wrong_usage();
    plot(&[]).wrong_usage();
    std::fs::create_dir(scene.path("curve.svg")).unwrap();
    plot(&["run.sqlite3", "-o", "curve.svg"]).failed(&["curve.svg is a directory"]);
}
