//! What a network has learnt, as pictures: `striate visualize`.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Scene, json, run};
use striate::image::{self, Image};
use striate::importers::{self, WriteOptions};
use striate::nn::{NetworkSpec, Seed};
use striate::prelude::{Device, DeviceByName};
use striate::visualize::{Contrast, first_filters};

const DIGIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/digit-7.png");

fn open(scene: &Scene, name: &str) -> Image {
    image::open(scene.path(name)).unwrap()
}

#[test]
fn filters_are_the_weights_of_the_first_convolution() {
    let scene = Scene::new();
    let visualize = |more: &[&str]| {
        let args = ["visualize", "tiny.sqlite3", "-o", "out.png", "--zoom", "3"];
        scene.striate(&[&args[..], more].concat())
    };
    for (scale, contrast) in [("each", Contrast::Each), ("common", Contrast::Common)] {
        let report = json(&visualize(&["--scale", scale, "--format", "json"]).done());
        assert_eq!((&report[0]["shows"], &report[0]["filters"]), (&"filters".into(), &4.into()));
        // Two by two of 3 x 3 pixels, three times as large, with gaps of 2.
        let sheet = open(&scene, "out.png");
        assert_eq!(sheet.shape(), [2 * (9 + 2) + 2, 2 * (9 + 2) + 2, 3]);
        let tiles = first_filters(&scene.network, contrast).unwrap();
        for (index, tile) in tiles.iter().enumerate() {
            let (top, left) = (2 + index / 2 * 11, 2 + index % 2 * 11);
            let shown = sheet.crop(top, left, 9, 9).unwrap();
            for (at, pixel) in shown.values().chunks(3).enumerate() {
                let (row, col) = (at / 9 / 3, at % 9 / 3);
                assert_eq!(pixel, &tile.values()[(row * 3 + col) * 3..][..3], "{index} {at}");
            }
        }
    }
    let stdout = visualize(&[]).done();
    assert!(stdout.contains("wrote out.png") && stdout.contains("4 filters"), "{stdout}");
    // The embedded models': 32 filters for photos; for digits four rows of five of 5 x 5, 24 times as large.
    let own = ["visualize", "-o", "own.png", "--format", "json"];
    assert_eq!(json(&scene.striate(&own).done())[0]["filters"], 32);
    let report = json(&scene.striate(&[&own[..], &["digits"]].concat()).done());
    assert_eq!(report[0]["filters"], 20);
    assert_eq!(open(&scene, "own.png").shape(), [4 * (120 + 2) + 2, 5 * (120 + 2) + 2, 3]);
}

#[test]
fn activations_of_the_layers_asked_for() {
    let scene = Scene::new();
    let visualize = |more: &[&str]| {
        let args = ["visualize", "tiny.sqlite3", "-o", "out.png", "--image", "a.png"];
        scene.striate(&[&args[..], more, &["--format", "json"]].concat())
    };
    let report = json(&visualize(&[]).done());
    assert_eq!(report[0]["layers"].as_array().unwrap().len(), 1);
    assert_eq!(report[0]["layers"][0]["shape"], serde_json::json!([4, 4, 4]));
    let one = open(&scene, "out.png");
    let report = json(&visualize(&["--layer", "3", "--layer", "0"]).done());
    let layers = report[0]["layers"].as_array().unwrap();
    let kinds: Vec<_> = layers.iter().map(|layer| layer["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["conv", "full-connect"]);
    let both = open(&scene, "out.png");
    assert!(both.rows() > one.rows());
    assert_eq!(both.crop(0, 0, one.rows(), one.cols()).unwrap(), one);

    visualize(&["--layer", "99"]).failed(&["layers, counted from 0, got 99"]);
    visualize(&["--layer", "0", "--occlusion"]).wrong_usage();
}

/// How red a pixel is beyond grey.
fn warmth(picture: &Image, row: usize, col: usize) -> i32 {
    let pixel = &picture.values()[(row * picture.cols() + col) * 3..][..3];
    i32::from(pixel[0]) - i32::from(pixel[2])
}

#[test]
fn an_occluded_digit_is_hottest_about_its_stroke() {
    let scene = Scene::new();
    // A smaller square does not make the network doubt.
    let args = ["visualize", "--image", DIGIT, "--occlusion", "--size", "10", "--stride", "1"];
    let more = ["digits", "-o", "heat.png", "--format", "json"];
    let report = json(&scene.striate(&[&args[..], &more].concat()).done());
    let report = &report[0];
    assert_eq!(report["class"], 7);
    let (whole, lowest) =
        (report["confidence"].as_f64().unwrap(), report["lowest"].as_f64().unwrap());
    assert!(whole > 0.9 && lowest < whole - 0.2, "{whole} {lowest}");

    let heat = open(&scene, "heat.png");
    assert_eq!(heat.cols() % 28, 0);
    let zoom = heat.cols() / 28;
    let digit = image::open(DIGIT).unwrap().to_grey().unwrap();
    assert_eq!((digit.rows(), digit.cols()), (28, 28));
    // Which end of the scale is ink: the corner is none.
    let paper = digit.values()[0];
    let hottest = (0..28 * 28)
        .max_by_key(|at| warmth(&heat, at / 28 * zoom + zoom / 2, at % 28 * zoom + zoom / 2))
        .unwrap();
    // On the stroke, or next to it: a square that covers a pixel reaches so far.
    let is_ink = |row: usize, col: usize| digit.values()[row * 28 + col].abs_diff(paper) > 100;
    let (row, col) = (hottest / 28, hottest % 28);
    let near = |at: usize| at.saturating_sub(2)..(at + 3).min(28);
    assert!(near(row).any(|row| near(col).any(|col| is_ink(row, col))), "{row} {col}");
    assert!(warmth(&heat, row * zoom + zoom / 2, col * zoom + zoom / 2) > 60);
    let corners = [(0, 0), (0, 27), (27, 0), (27, 27)];
    for (row, col) in corners {
        let warmth = warmth(&heat, row * zoom + zoom / 2, col * zoom + zoom / 2);
        assert!(warmth.abs() < 60, "{row} {col}: {warmth}");
    }
}

#[test]
fn occlusion_of_a_class_size_and_stride() {
    let scene = Scene::new();
    let visualize = |more: &[&str]| {
        let args = ["visualize", "tiny.safetensors", "-i", "a.png", "--occlusion", "-o", "out.png"];
        scene.striate(&[&args[..], more].concat())
    };
    let report = json(
        &visualize(&["--class", "2", "--size", "3", "--stride", "3", "--format", "json"]).done(),
    );
    assert_eq!((&report[0]["class"], &report[0]["label"]), (&2.into(), &"thing 2".into()));
    assert_eq!((&report[0]["views"], &report[0]["size"]), (&9.into(), &3.into()));
    let stdout = visualize(&["--threads", "1"]).done();
    assert!(stdout.contains("wrote out.png") && stdout.contains("covered"), "{stdout}");
    let once = std::fs::read(scene.path("out.png")).unwrap();
    visualize(&["--threads", "2"]).done();
    assert_eq!(std::fs::read(scene.path("out.png")).unwrap(), once);

    visualize(&["--class", "6"]).failed(&["a class of 0 to 5, got 6"]);
    visualize(&["--size", "10"]).failed(&["a square of 1 to 9 pixels"]);
    visualize(&["--size", "2", "--stride", "3"]).failed(&["a stride of 1 to 2"]);
}

#[test]
fn what_cannot_be_drawn_is_told_and_leaves_nothing() {
    let scene = Scene::new();
    let device = Device::cpu(Some(1)).unwrap();
    let plain = NetworkSpec::new([6, 6, 3]).full_connect(4).build(&device, Seed(1)).unwrap();
    importers::write(scene.path("flat.safetensors"), &plain, &WriteOptions::default()).unwrap();
    let visualize = |args: &[&str]| scene.striate(&[&["visualize"], args].concat());
    visualize(&["flat.safetensors", "-o", "x.png"]).failed(&["expected a convolution"]);
    let photo = ["flat.safetensors", "--image", "a.png", "-o", "x.png"];
    visualize(&photo).failed(&["no convolution", "--layer"]);
    visualize(&["tiny.sqlite3", "-o", "no/such.png"]).failed(&["folder no"]);
    visualize(&["tiny.sqlite3", "-o", "."]).failed(&["directory"]);
    visualize(&["tiny.sqlite3", "-i", "text.png", "-o", "x.png"]).failed(&["text.png"]);
    visualize(&["tiny.sqlite3", "-o", "x.png", "--zoom", "20000"]).failed(&["smaller zoom"]);
    visualize(&["tiny.sqlite3", "-o", "x.jpg"]).wrong_usage();
    visualize(&["tiny.sqlite3", "-o", "x.png", "--occlusion"]).wrong_usage();
    assert!(!scene.path("x.png").exists() && !scene.path("x.jpg").exists());
    if cfg!(target_os = "linux") {
        let full = run(&["visualize", "-o", "/dev/full"], scene.folder.path());
        full.failed(&["cannot write /dev/full"]);
    }
}
