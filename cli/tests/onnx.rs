//! ONNX models: `run`, and what other commands do with them.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{Scene, json};
use striate::importers::safetensors::TensorFile;
use striate::tensor::{Device, HostTensor, Reference, Shape, Tensor};

/// A scene with the fixtures of ONNX.
fn scene() -> Scene {
    let scene = Scene::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/onnx");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, scene.path(path.file_name().unwrap().to_str().unwrap())).unwrap();
    }
    scene
}

/// Writes a stored tensor of a fixture as a .npy file.
fn npy(scene: &Scene, fixture: &str, tensor: &str, to: &str) {
    let device = Device::new(Reference::new());
    let file = TensorFile::open(scene.path(fixture)).unwrap();
    let host = file.stored(tensor, &device).unwrap().to_host().unwrap();
    striate::image::npy::write_tensor(scene.path(to), &host).unwrap();
}

fn close(scene: &Scene, made: &str, output: &str, fixture: &str) {
    let device = Device::new(Reference::new());
    let read = |file: &str, name: &str| -> Tensor {
        TensorFile::open(scene.path(file)).unwrap().stored(name, &device).unwrap()
    };
    let ours = read(made, output).to_vec::<f32>().unwrap();
    let theirs = read(fixture, &format!("output/{output}")).to_vec::<f32>().unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!((ours - theirs).abs() < 1e-4, "{ours}, {theirs}");
    }
}

#[test]
fn run_feeds_inputs_and_writes_outputs_by_name() {
    let scene = scene();
    npy(&scene, "residual.safetensors", "input/input", "x.npy");
    let run = |args: &[&str]| scene.striate(&[&["run"], args, &["--device", "cpu"]].concat());
    let text = run(&["residual.onnx", "--input", "x.npy", "-o", "y.safetensors"]).done();
    assert!(text.contains("output") && text.contains("2x6") && text.contains("wrote"), "{text}");
    close(&scene, "y.safetensors", "output", "residual.safetensors");
    let args = ["residual.onnx", "-i", "input=x.npy", "--direct", "-o", "z.safetensors"];
    let text = run(&[&args[..], &["--format", "json", "--repeat", "3"]].concat()).done();
    let report = &json(&text)[0];
    assert_eq!(report["outputs"][0]["name"], "output");
    assert_eq!(report["outputs"][0]["shape"], serde_json::json!([2, 6]));
    assert!(report["milliseconds"].as_f64().unwrap() > 0.0);
    close(&scene, "z.safetensors", "output", "residual.safetensors");

    // Two inputs in one file, by their names; an output of integers.
    let device = Device::new(Reference::new());
    let file = TensorFile::open(scene.path("places.safetensors")).unwrap();
    let host = |name: &str| file.stored(name, &device).unwrap().to_host().unwrap();
    let (x, step) = (host("input/x"), host("input/step"));
    let mut bytes = Vec::new();
    let items: [(&str, &HostTensor); 2] = [("x", &x), ("step", &step)];
    striate::importers::safetensors::write_numbers_to(
        &mut bytes,
        "in",
        &items,
        &Default::default(),
    )
    .unwrap();
    std::fs::write(scene.path("in.safetensors"), bytes).unwrap();
    run(&["places.onnx", "-i", "in.safetensors", "-o", "out.safetensors", "-q"]).done();
    let made = TensorFile::open(scene.path("out.safetensors")).unwrap();
    assert_eq!(made.dtype("next").unwrap().name(), "i64");
    close(&scene, "out.safetensors", "found", "places.safetensors");
}

#[test]
fn without_inputs_run_says_what_the_model_takes() {
    let scene = scene();
    let text = scene.striate(&["run", "places.onnx"]).done();
    for part in ["x", "f32 [3, 5]", "step", "i64 [1]", "found", "next"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = scene.striate(&["run", "shuffle.onnx", "--format", "json"]).done();
    assert_eq!(json(&text)[0]["inputs"]["input"], "f32 [n, 8, h, w]");
}

#[test]
fn what_is_wrong_with_a_run_is_said() {
    let scene = scene();
    npy(&scene, "residual.safetensors", "input/input", "x.npy");
    let run = |args: &[&str]| scene.striate(&[&["run"], args, &["--device", "cpu"]].concat());
    let missing = run(&["places.onnx", "-i", "x.npy"]).wrong_usage();
    assert!(missing.stderr.contains("which input"), "{}", missing.stderr);
    run(&["residual.onnx", "-i", "y=x.npy"]).failed(&["inputs among `input`", "`y`"]);
    run(&["mobile.onnx", "-i", "x.npy"]).failed(&["input `input`", "f32 [1, 3, 14, 10]"]);
    run(&["residual.onnx", "-i", "gone.npy"]).failed(&["gone.npy"]);
    let same = run(&["residual.onnx", "-i", "x.npy", "-o", "residual.onnx"]).wrong_usage();
    assert!(same.stderr.contains("residual.onnx"), "{}", same.stderr);
    run(&["tiny.sqlite3", "-i", "x.npy"]).failed(&["tiny.sqlite3", "ONNX was asked for"]);
    std::fs::write(scene.path("cut.onnx"), {
        let bytes = std::fs::read(scene.path("mobile.onnx")).unwrap();
        bytes[..bytes.len() / 2].to_vec()
    })
    .unwrap();
    run(&["cut.onnx", "-i", "x.npy"]).failed(&["cut.onnx", "cut off"]);
    // Nothing was written.
    assert!(!scene.path("y.safetensors").exists());
}

#[test]
fn other_commands_take_models_whose_operators_are_layers() {
    let scene = scene();
    let text = scene.striate(&["inspect", "residual.onnx"]).done();
    assert!(text.contains("conv1") && text.contains("batch-norm"), "{text}");
    let text = scene.striate(&["inspect", "--graph", "shuffle.onnx"]).done();
    assert!(text.contains("conv2d") && text.contains("resize"), "{text}");
    let text = scene.striate(&["inspect", "places.onnx", "--format", "json"]).done();
    assert_eq!(json(&text)[0]["operators"]["NonZero"], 1);
    let args = ["classify", "-m", "residual.onnx", "a.png", "--format", "json", "--device", "cpu"];
    let classes = json(&scene.striate(&args).done());
    assert_eq!(classes[0]["classes"].as_array().unwrap().len(), 5);
    scene.striate(&["convert", "residual.onnx", "residual2.safetensors"]).done();
    let args = ["classify", "-m", "residual2.safetensors", "a.png", "--format", "json"];
    let again = json(&scene.striate(&[&args[..], &["--device", "cpu"]].concat()).done());
    assert_eq!(classes[0]["classes"], again[0]["classes"]);
    let args = ["bench", "places.onnx", "residual.onnx", "--repeat", "1", "--format", "json"];
    let cases = json(&scene.striate(&[&args[..], &["--device", "cpu"]].concat()).done());
    assert!(cases.iter().any(|case| case["name"] == "places.onnx"), "{cases:?}");
    let shape = Shape::new(&[1, 17, 17, 3]).unwrap();
    let zeros = HostTensor::new(shape, vec![0.0f32; 17 * 17 * 3]).unwrap();
    striate::image::npy::write_tensor(scene.path("zeros.npy"), &zeros).unwrap();
    let args = ["encode", "--model", "residual.onnx", "--direct", "-o", "e.npy", "zeros.npy"];
    scene.striate(&[&args[..], &["--device", "cpu"]].concat()).done();
    scene
        .striate(&["classify", "-m", "places.onnx", "a.png"])
        .failed(&["places.onnx", "`run` runs it"]);
}

#[test]
fn models_with_other_operators_classify_and_do_nothing_else() {
    let scene = scene();
    let run = |args: &[&str]| scene.striate(&[args, &["--device", "cpu"]].concat());
    let classes = |args: &[&str]| {
        let model = ["classify", "--format", "json", "a.png", "b.png", "-m"];
        json(&run(&[&model[..], args].concat()).done())
    };
    // Any number of pictures at once, and one after the other; the names that are in the file.
    let open = classes(&["attention.onnx"]);
    assert_eq!(open.len(), 2);
    assert_ne!(open[0]["classes"], open[1]["classes"]);
    let one = classes(&["attention_one.onnx", "--top", "6"]);
    let all = one[1]["classes"].as_array().unwrap();
    assert!(all[0]["label"].as_str().unwrap().starts_with("kind "), "{all:?}");
    let sum: f64 = all.iter().map(|class| class["confidence"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    scene.write("photos.txt", "a.png\nb.png\na.png\n");
    let list = ["classify", "-m", "attention.onnx", "--list", "photos.txt", "--format", "json"];
    let listed = json(&run(&list).done());
    assert_eq!(listed[0]["classes"], listed[2]["classes"]);
    let near = |a: &serde_json::Value, b: &serde_json::Value| {
        let of = |x: &serde_json::Value| x["classes"][0]["confidence"].as_f64().unwrap();
        (of(a) - of(b)).abs() < 1e-5
    };
    assert!(near(&listed[0], &open[0]) && near(&listed[1], &open[1]));
    let output = [&list[..], &["-o", "ranks.jsonl"]].concat();
    run(&output).done();
    let again = run(&output);
    assert!(again.stderr.contains("complete"), "{}", again.stderr);

    // What pictures are is heard, and the reason is told once.
    let other = classes(&["attention.onnx", "--mean", "0.5", "--std", "0.5", "--bgr"]);
    assert_ne!(open[0]["classes"], other[0]["classes"]);
    let resized = classes(&["attention.onnx", "--resize", "16x16"]);
    assert_ne!(open[0]["classes"], resized[0]["classes"]);
    let told = run(&["classify", "-v", "-m", "attention.onnx", "a.png", "b.png"]);
    assert_eq!(told.stderr.matches("the model is run as it is").count(), 1, "{}", told.stderr);
    run(&["classify", "-m", "attention.onnx", "--size", "16", "a.png"]).done();
    run(&["classify", "-m", "attention.onnx", "--precision", "f16", "a.png"]).done();
    let heat = ["visualize", "attention.onnx", "--image", "a.png", "--occlusion", "-o", "heat.png"];
    run(&heat).done();

    for (more, parts) in [
        (&["--size", "20"][..], ["attention.onnx", "16 x 16", "20 x 20"]),
        (&["--dtype", "f16"], ["attention.onnx", "weights", "f16"]),
        (&["--protocol", "ccv-cpu"], ["attention.onnx", "ccv-cpu", "a network of layers"]),
    ] {
        run(&[&["classify", "-m", "attention.onnx", "a.png"], more].concat()).failed(&parts);
    }
    let parts = ["attention.onnx", "node `", "no layer", "`classify`"];
    for args in [
        &["convert", "attention.onnx", "out.safetensors"][..],
        &["quantize", "attention.onnx", "a.png", "-o", "out.safetensors"],
        &["visualize", "attention.onnx", "-o", "out.png"],
    ] {
        run(args).failed(&parts);
    }
    assert!(!scene.path("out.safetensors").exists());
}
