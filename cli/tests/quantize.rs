//! `striate quantize`.
#![allow(clippy::unwrap_used)] // a failure in a test says where it is

mod common;

use std::fs;

use common::{Scene, json};

#[test]
fn a_model_is_quantized_and_used_as_any_other() {
    let scene = Scene::new();
    let quantize = ["quantize", "tiny.safetensors", "a.png", "b.png", "-o", "int8.safetensors"];
    let text = scene.striate(&quantize).done();
    assert!(text.starts_with("wrote int8.safetensors: 3 layers with integers of 8 bits"), "{text}");
    assert!(text.contains("of 2 photos") && text.contains("probabilities are off by"), "{text}");
    assert!(!text.contains("wrong"), "{text}");

    let line = scene.striate(&[&quantize[..], &["--format", "json"]].concat()).done();
    let line = json(&line).remove(0);
    assert_eq!((&line["layers"], &line["images"]), (&3.into(), &2.into()));
    assert_eq!(line["bytes"], fs::metadata(scene.path("int8.safetensors")).unwrap().len());
    assert!(line["max_difference"].as_f64().unwrap() < 0.05, "{line}");

    // The same bits at every number of threads.
    let classify = |model: &str, threads: &str| {
        let args =
            ["classify", "--model", model, "a.png", "--format", "json", "--threads", threads];
        json(&scene.striate(&args).done()).remove(0)["classes"].clone()
    };
    assert_eq!(classify("int8.safetensors", "1"), classify("int8.safetensors", "3"));
    let info = scene.striate(&["inspect", "int8.safetensors"]).done();
    assert!(info.contains("i8"), "{info}");
    scene.striate(&["bench", "int8.safetensors", "--repeat", "1"]).done();
    // A copy is one of integers, too.
    scene.striate(&["convert", "int8.safetensors", "copy.safetensors"]).done();
    assert_eq!(classify("copy.safetensors", "1"), classify("int8.safetensors", "1"));

    scene
        .striate(&["quantize", "int8.safetensors", "a.png", "-o", "x.safetensors"])
        .failed(&["a network of floats"]);
    scene.striate(&["quantize", "tiny.safetensors", "a.png", "-o", "x.onnx"]).wrong_usage();
    scene
        .striate(&["quantize", "tiny.safetensors", "text.png", "-o", "x.safetensors"])
        .failed(&["text.png"]);
    assert!(!scene.path("x.safetensors").exists());
}

#[test]
fn labels_tell_how_many_are_wrong() {
    let scene = Scene::new();
    for (class, picture) in [("one", "a.png"), ("two", "b.png")] {
        fs::create_dir_all(scene.path("set").join(class)).unwrap();
        fs::copy(scene.path(picture), scene.path("set").join(class).join(picture)).unwrap();
    }
    let args = ["quantize", "tiny.safetensors", "set", "-o", "x.safetensors", "--format", "json"];
    let line = json(&scene.striate(&args).done()).remove(0);
    assert!(line["top1_misses"].as_u64().unwrap() <= 2 && line["top1_misses_before"].is_u64());
    // A folder without classes is one of photos.
    fs::create_dir(scene.path("photos")).unwrap();
    fs::copy(scene.path("a.png"), scene.path("photos/a.png")).unwrap();
    let judged =
        ["quantize", "tiny.safetensors", "photos", "--judge", "set", "-o", "y.safetensors"];
    let text = scene.striate(&judged).done();
    assert!(text.contains("calibrated with 1 photos") && text.contains("wrong: "), "{text}");
    // What goes wrong at the end leaves no file.
    let judged =
        ["quantize", "tiny.safetensors", "photos", "--judge", "bad", "-o", "z.safetensors"];
    fs::create_dir(scene.path("bad")).unwrap();
    fs::copy(scene.path("text.png"), scene.path("bad/text.png")).unwrap();
    scene.striate(&judged).failed(&["text.png"]);
    assert!(!scene.path("z.safetensors").exists());
}
