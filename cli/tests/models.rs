//! Commands on model files: `encode`, `inspect` and `convert`.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CLASSES, Scene, json};
use safetensors::{SafeTensors, tensor::Dtype};
use striate::image::npy;
use striate::importers::ccv::{TrainingState, write_checkpoint};
use striate::importers::{self, ReadOptions};
use striate::nn::Metadata;
use striate::prelude::{DType, Tensor};

/// The tensor `output` of a file.
fn output(scene: &Scene, name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(scene.path(name)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.names(), ["output"]);
    let tensor = tensors.tensor("output").unwrap();
    assert_eq!(tensor.dtype(), Dtype::F32);
    let (values, _) = tensor.data().as_chunks();
    (tensor.shape().to_vec(), values.iter().map(|&b| f32::from_le_bytes(b)).collect())
}

fn inputs(n: usize) -> Vec<f32> {
    (0..n * 9 * 9 * 3).map(|i| ((i * 29) % 257) as f32 - 128.0).collect()
}

#[track_caller]
fn close(got: &[f32], expected: &Tensor) {
    let expected = expected.to_vec::<f32>().unwrap();
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() <= 1e-5 * scale, "{got} {expected}");
    }
}

/// The program has no custom ops: it shows what a file with one holds, and says why it cannot run it.
#[test]
fn a_file_with_a_custom_op_is_shown_and_not_run() {
    let scene = Scene::new();
    let spec = r#"{"input":[2,2,1],"layers":[{"name":"bend","kind":"custom","op":"squareplus","version":1},
        {"name":"fc","kind":"full-connect","count":3}]}"#;
    let header = serde_json::json!({
        "__metadata__": {"striate.format": "1", "striate.spec": spec},
        "fc.weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]},
        "fc.bias": {"dtype": "F32", "shape": [3], "data_offsets": [48, 60]},
    });
    let header = header.to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + 60, 0);
    std::fs::write(scene.path("own.safetensors"), file).unwrap();
    let reason =
        "layer 0 (bend, custom): expected the custom op `squareplus`, version 1, from a registry";

    let run = scene.striate(&["inspect", "own.safetensors"]);
    assert!(run.stderr.contains(reason), "{}", run.stderr);
    let text = run.done();
    let line = |start: &str| {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(words).find(|line| line.starts_with(start)).unwrap_or_default()
    };
    assert_eq!(line("0 "), "0 bend custom squareplus");
    assert_eq!(line("1 "), "1 fc full-connect linear 15 f32");
    let args = ["inspect", "own.safetensors", "--format", "json"];
    let report = &json(&scene.striate(&args).done())[0];
    assert_eq!(report["parameters"], 15);
    assert_eq!(report["layers"][0]["detail"], "squareplus");
    assert!(report["network"].as_str().unwrap().contains(reason), "{report}");
    scene.striate(&["inspect", "--graph", "own.safetensors"]).failed(&[reason]);
    scene.striate(&["convert", "own.safetensors", "x.safetensors"]).failed(&[reason]);
    scene.write("own.json", spec);
    scene.striate(&["inspect", "own.json"]).failed(&["own.json", reason]);
}

#[test]
fn encode_runs_the_raw_network() {
    let scene = Scene::new();
    let device = scene.network.device().clone();
    let array = npy::Array { shape: vec![3, 9, 9, 3], values: inputs(3) };
    npy::write(scene.path("in.npy"), &array).unwrap();
    let x = Tensor::from_vec(inputs(3), [3, 9, 9, 3], &device).unwrap();
    let encode =
        |args: &[&str]| scene.striate(&[&["encode", "--model", "tiny.sqlite3"], args].concat());

    encode(&["--output", "logits.safetensors", "in.npy"]).done();
    let (shape, logits) = output(&scene, "logits.safetensors");
    assert_eq!(shape, [3, CLASSES]);
    close(&logits, &scene.network.forward(&x).unwrap());

    encode(&["--layer", "0", "--output", "first.safetensors", "in.npy"]).done();
    let (shape, first) = output(&scene, "first.safetensors");
    assert_eq!(shape, [3, 4, 4, 4]);
    close(&first, &scene.network.forward_layers(0..1, &x).unwrap());

    // One image without the axis of images, and into the other format.
    let array = npy::Array { shape: vec![9, 9, 3], values: inputs(1) };
    npy::write(scene.path("one.npy"), &array).unwrap();
    encode(&["--output", "one-out.npy", "one.npy"]).done();
    let one = npy::read(scene.path("one-out.npy")).unwrap();
    assert_eq!(one.shape, [1, CLASSES]);

    // What came out can go in: a tensor that is the only one of its file.
    encode(&["--output", "x.safetensors", "first.safetensors"]).failed(&["first.safetensors"]);

    // An image, with the mean subtracted.
    encode(&["--output", "image.safetensors", "a.png"]).done();
    assert_eq!(output(&scene, "image.safetensors").0, [1, CLASSES]);
}

#[test]
fn encode_refuses_what_does_not_fit() {
    let scene = Scene::new();
    let array = npy::Array { shape: vec![9, 9], values: inputs(1)[..81].to_vec() };
    npy::write(scene.path("grey.npy"), &array).unwrap();
    scene.write("text.npy", "no numbers");
    scene.write("text.safetensors", "no numbers");
    let encode = |output, input| {
        let args = ["encode", "--model", "tiny.sqlite3", "--output", output, input];
        scene.striate(&args)
    };
    for input in ["grey.npy", "text.npy", "text.safetensors", "none.npy", "text.png"] {
        encode("x.safetensors", input).failed(&[input]);
    }
    encode(".", "a.png").failed(&["directory"]);
    encode("no/x.safetensors", "a.png").failed(&["folder no"]);
    encode("x.txt", "a.png").wrong_usage();
    let args = ["encode", "--model", "tiny.sqlite3", "--layer", "4", "-o", "x.npy", "a.png"];
    scene.striate(&args).failed(&["no layer 4"]);
    assert!(!scene.path("x.safetensors").exists() && !scene.path("x.npy").exists());
}

#[test]
fn inspect_shows_the_graph_that_is_run() {
    let scene = Scene::new();
    let inspect = |args: &[&str]| scene.striate(&[&["inspect", "tiny.sqlite3"], args].concat());
    let table = inspect(&["--graph"]).done();
    assert!(table.contains("+bias +relu") && table.contains("at a time"), "{table}");
    let report = &json(&inspect(&["--graph", "--format", "json", "--batch", "2"]).done())[0];
    assert_eq!(report["batch"], 2);
    let nodes = report["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["op"].as_str().unwrap().starts_with("conv2d")));
    assert!(report["peak_bytes"].as_u64().unwrap() > 0);
    // As Graphviz reads it: a node or an arrow a line.
    let drawing = inspect(&["--graph", "--dot"]).done();
    assert!(drawing.starts_with("digraph {\n") && drawing.lines().count() > 5, "{drawing}");
    inspect(&["--dot"]).wrong_usage();
    inspect(&["--graph", "--batch", "0"]).wrong_usage();
}

#[test]
fn inspect_tells_what_is_there() {
    let scene = Scene::new();
    let line = json(&scene.striate(&["inspect", "tiny.sqlite3", "--format", "json"]).done());
    let line = &line[0];
    assert_eq!((&line["format"], &line["dtype"]), (&"ccv".into(), &"f32".into()));
    assert_eq!(line["input"], serde_json::json!([9, 9, 3]));
    assert_eq!(line["image"], serde_json::json!([11, 11]));
    assert_eq!((&line["classes"], &line["mean"]), (&CLASSES.into(), &true.into()));
    let layers = line["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 4);
    assert_eq!(layers[0]["weight"], serde_json::json!([4, 3, 3, 3]));
    let parameters: u64 = layers.iter().map(|layer| layer["parameters"].as_u64().unwrap()).sum();
    assert_eq!(line["parameters"], parameters);
    assert_eq!(parameters, 4 * 27 + 4 + 16 * 8 + 8 + 8 * 6 + 6);

    let stdout = scene.striate(&["inspect", "tiny.safetensors"]).done();
    for part in ["safetensors", "max-pool", "2x2x4", "thing 0", "302"] {
        assert!(stdout.contains(part), "no `{part}` in {stdout}");
    }
    scene.striate(&["inspect", "a.png"]).failed(&["a.png"]);
    scene.striate(&["inspect", "."]).failed(&["directory"]);
}

#[test]
fn convert_keeps_what_there_is() {
    let scene = Scene::new();
    let convert = |args: &[&str]| scene.striate(&[&["convert"], args].concat());
    let weights = |name: &str| -> Vec<Vec<f32>> {
        let device = scene.network.device();
        let options = ReadOptions::default().dtype(DType::F32);
        let network = importers::read(scene.path(name), device, &options).unwrap();
        let parameters = network.layer_parameters().into_iter().flatten();
        parameters.map(|p| p.weight.to_vec::<f32>().unwrap()).collect()
    };

    convert(&["tiny.sqlite3", "there.safetensors"]).done();
    convert(&["there.safetensors", "back.sqlite3"]).done();
    assert_eq!(weights("back.sqlite3"), weights("tiny.sqlite3"));

    let line = convert(&["tiny.sqlite3", "half.sqlite3", "--dtype", "f16", "--format", "json"]);
    let line = json(&line.done()).remove(0);
    assert_eq!((&line["file"], &line["dtype"]), (&"half.sqlite3".into(), &"f16".into()));
    assert_eq!(line["bytes"], std::fs::metadata(scene.path("half.sqlite3")).unwrap().len());
    for (half, full) in
        weights("half.sqlite3").concat().iter().zip(weights("tiny.sqlite3").concat())
    {
        assert!((half - full).abs() <= full.abs() / 1000.0, "{half} {full}");
    }

    // Onto itself.
    let stdout = convert(&["half.sqlite3", "half.sqlite3", "--dtype", "f32", "--strip"]).done();
    assert!(stdout.starts_with("wrote half.sqlite3: ccv sqlite, 302 parameters"), "{stdout}");
}

#[test]
fn a_checkpoint_is_shown_and_kept_until_it_is_stripped() {
    let scene = Scene::new();
    let network = &scene.network;
    let labels = Some((0..CLASSES).map(|id| format!("thing {id}")).collect());
    let named = network.clone().with_metadata(Metadata { labels, ..Metadata::default() });
    let state = TrainingState {
        velocities: network.layer_parameters().to_vec(),
        exact: vec![None; network.layer_parameters().len()],
        epoch: 7,
        iteration: 1234,
        order: (0..50).collect(),
        ..TrainingState::default()
    };
    write_checkpoint(scene.path("working.sqlite3"), &named, &state).unwrap();
    let inspect = |name: &str| json(&scene.striate(&["inspect", name, "--format", "json"]).done());
    let convert = |args: &[&str]| scene.striate(&[&["convert", "working.sqlite3"], args].concat());

    let stdout = scene.striate(&["inspect", "working.sqlite3"]).done();
    for part in ["epoch 7, iteration 1,234, 50 samples", "momentum_data", "thing 0"] {
        assert!(stdout.contains(part), "no `{part}` in {stdout}");
    }
    let position = serde_json::json!({"epoch": 7, "iteration": 1234, "samples": 50});
    convert(&["kept.sqlite3", "--dtype", "f16"]).done();
    assert_eq!(inspect("kept.sqlite3")[0]["training"], position);
    assert_eq!(inspect("kept.sqlite3")[0]["dtype"], "f16");

    convert(&["stripped.sqlite3", "--strip"]).done();
    assert_eq!(inspect("stripped.sqlite3")[0]["training"], serde_json::Value::Null);
    assert_eq!(inspect("stripped.sqlite3")[0]["training_state"], serde_json::json!([]));

    let run = convert(&["model.safetensors"]);
    assert!(
        run.stderr.contains("the training state of working.sqlite3 is left out"),
        "{}",
        run.stderr
    );
    run.done();
    let run = convert(&["model.safetensors", "--strip"]);
    assert!(!run.stderr.contains("left out"), "{}", run.stderr);
    run.done();
    assert!(scene.striate(&["inspect", "model.safetensors"]).done().contains("thing 0"));
}

#[test]
fn convert_leaves_nothing_where_it_fails() {
    let scene = Scene::new();
    let before = std::fs::read(scene.path("tiny.safetensors")).unwrap();
    let convert = |input, output| scene.striate(&["convert", input, output]);
    let run = convert("tiny.sqlite3", "x.onnx").wrong_usage();
    assert!(run.stderr.contains("x.onnx") && run.stderr.contains(".safetensors"), "{}", run.stderr);
    convert("tiny.sqlite3", ".").failed(&["directory"]);
    convert("tiny.sqlite3", "no/x.safetensors").failed(&["no"]);
    convert("a.png", "tiny.safetensors").failed(&["a.png"]);
    convert("none.sqlite3", "tiny.safetensors").failed(&["none.sqlite3"]);
    assert_eq!(std::fs::read(scene.path("tiny.safetensors")).unwrap(), before);
    assert!(!scene.path("x.onnx").exists());
}

/// torchvision's names, with dashes or underscores, where there is no file of that name.
#[test]
fn networks_are_known_by_their_names() {
    let scene = Scene::new();
    let inspect = |name: &str| {
        let run = scene.striate(&["inspect", name, "--format", "json"]);
        json(&run.done()).remove(0)
    };
    let known = inspect("mobilenet_v2");
    assert_eq!(known, inspect("MobileNet-V2"));
    assert_eq!(known["name"], "mobilenet-v2");
    assert!(known["parameters"] == 3_504_872 && known["format"].is_null());
    let table = scene.striate(&["inspect", "squeezenet1_1"]).done();
    assert!(table.contains("squeezenet1-1") && table.contains("1,235,496"), "{table}");
    scene.striate(&["inspect", "mobilenet_v4"]).failed(&["mobilenet_v4"]);

    let convert = |seed: &str, file: &str| {
        scene.striate(&["convert", "squeezenet1_1", file, "--seed", seed]).done();
        std::fs::read(scene.path(file)).unwrap()
    };
    let fresh = convert("7", "a.safetensors");
    assert!(fresh == convert("7", "b.safetensors") && fresh != convert("8", "c.safetensors"));
    let stored = inspect("a.safetensors");
    assert_eq!(stored["parameters"], 1_235_496);
    let plan = "plan --model resnext50_32x4d --devices 4 --link 100GbE --flops 4.5T --batch 32";
    let plan: Vec<&str> = plan.split(' ').collect();
    assert!(scene.striate(&plan).done().contains("25,028,904"));
    let bench = ["bench", "conv2d/squeezenet1_1/1_1", "--repeat", "1", "--format", "json"];
    assert!(scene.striate(&bench).done().contains("conv2d/squeezenet1-1/1_1"));
}

#[test]
fn a_specification_is_a_network_without_weights() {
    let scene = Scene::new();
    scene.write("net.json", &scene.network.spec().to_json().unwrap());
    let inspect = |name: &str| {
        let run = scene.striate(&["inspect", name, "--format", "json"]);
        json(&run.done()).remove(0)
    };
    let (specified, stored) = (inspect("net.json"), inspect("tiny.sqlite3"));
    for key in ["name", "input", "image", "classes", "parameters", "macs"] {
        assert_eq!(specified[key], stored[key], "{key}");
    }
    assert_eq!(specified["file"], "net.json");
    for key in ["format", "bytes", "dtype"] {
        assert!(specified[key].is_null() && !stored[key].is_null(), "{key}: {specified}");
    }
    let table = scene.striate(&["inspect", "net.json"]).done();
    for part in ["net.json", "specification in JSON, without weights", "max-pool", "302"] {
        assert!(table.contains(part), "no `{part}` in {table}");
    }
    let graph = |name: &str| scene.striate(&["inspect", "--graph", name]).done();
    assert_eq!(graph("net.json"), graph("tiny.sqlite3"));

    // As of a network by its name: fresh weights, the same for a seed.
    let convert = |seed: &str, file: &str| {
        let run = scene.striate(&["convert", "net.json", file, "--seed", seed]);
        assert!(run.stderr.starts_with("note: net.json is a network without weights"));
        run.done();
        std::fs::read(scene.path(file)).unwrap()
    };
    let fresh = convert("7", "a.safetensors");
    assert!(fresh == convert("7", "b.safetensors") && fresh != convert("8", "c.safetensors"));
    assert_eq!(inspect("a.safetensors")["parameters"], 302);
    scene.striate(&["export", "net.json", "net.onnx"]).done();
    assert_eq!(inspect("net.onnx")["parameters"], 302);
    // It is not written over.
    let over = ["convert", "--type", "safetensors", "net.json", "net.json"];
    let run = scene.striate(&over).wrong_usage();
    assert!(run.stderr.contains("net.json"), "{}", run.stderr);
    assert_eq!(inspect("net.json"), specified);
}

#[test]
fn a_wrong_specification_is_told_with_its_file() {
    let scene = Scene::new();
    scene.write("broken.json", "{");
    let wrong =
        r#"{"input": [9, 9, 3], "layers": [{"kind": "conv", "count": 4, "kernel": [20, 20]}]}"#;
    scene.write("wrong.json", wrong);
    for (file, part) in [("broken.json", "no network: line 1"), ("wrong.json", "layer 0")] {
        scene.striate(&["inspect", file]).failed(&[file, part]);
        scene.striate(&["bench", file]).failed(&[file, part]);
        scene.striate(&["convert", file, "x.safetensors"]).failed(&[file, part]);
        scene.striate(&["export", file, "x.onnx"]).failed(&[file, part]);
    }
    scene.striate(&["inspect", "none.json"]).failed(&["none.json", "cannot read the network"]);
    // What needs trained weights says that there are none.
    scene.write("net.json", &scene.network.spec().to_json().unwrap());
    scene
        .striate(&["classify", "-m", "net.json", "a.png"])
        .failed(&["net.json", "without weights"]);
}

#[test]
fn a_mistyped_name_is_told_with_those_like_it() {
    let scene = Scene::new();
    let hint = "no network or file 'lenett'; did you mean lenet? 'striate bench --list' lists all";
    scene.striate(&["inspect", "lenett"]).failed(&[hint]);
    scene.striate(&["convert", "lenett", "x.safetensors"]).failed(&[hint]);
    scene.striate(&["export", "lenett", "x.onnx"]).failed(&[hint]);
    let run = scene.striate(&["bench", "lenett"]).wrong_usage();
    let part = "'lenett' is no op, case, model or file; did you mean lenet? 'striate bench --list'";
    assert!(run.stderr.contains(part), "{}", run.stderr);
    let args = ["train", "--spec", "lenett", "--train-list", "x", "--working", "w.safetensors"];
    let run = scene.striate(&args).wrong_usage();
    assert!(run.stderr.contains(hint), "{}", run.stderr);
    // A few, not the whole catalogue.
    assert!(run.stderr.lines().all(|line| line.len() < 200), "{}", run.stderr);
    // What looks like a file is one that is missing.
    scene.striate(&["inspect", "lenett.sqlite3"]).failed(&["cannot open", "lenett.sqlite3"]);
    scene.striate(&["inspect", "no/lenett"]).failed(&["cannot open", "no/lenett"]);
}

/// A checkpoint of PyTorch's whose network is not known: its tensors, of the state dict that is asked for.
#[test]
fn inspect_lists_the_tensors_of_a_checkpoint() {
    let scene = Scene::new();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/torch/pth");
    let path = format!("{fixtures}/checkpoint.pth");
    let inspected = scene.striate(&["inspect", &path]);
    assert!(inspected.stderr.contains("\"model\" (2 tensors) is read; others are"));
    assert!(inspected.stderr.contains("its tensors are"), "{}", inspected.stderr);
    let out = inspected.done();
    assert!(out.contains("module.weight") && out.contains("2x3"), "{out}");
    let asked = ["inspect", "--format", "json", "--state-dict", "ema.module", &path];
    let report = &json(&scene.striate(&asked).done())[0];
    assert_eq!(report["tensors"][0]["name"], "weight");
    assert_eq!(report["tensors"][0]["dtype"], "float32");
    // Other commands say why it is no network, and other files have no keys.
    let asked = ["-q", "encode", "--model", &path, "--output", "o.npy", "in.npy"];
    scene.striate(&asked).failed(&["torchvision's networks"]);
    let asked = ["inspect", "--state-dict", "ema", "tiny.sqlite3"];
    scene.striate(&asked).failed(&["state dict \"ema\"", "checkpoint of PyTorch's"]);
}

/// A caffemodel: a name, and a layer `fc` with two numbers for each of four pixels.
fn caffemodel() -> Vec<u8> {
    let field = |key: &[u8], contents: &[u8]| [key, &[contents.len() as u8], contents].concat();
    let values: Vec<u8> = (0..8u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
    let blob = [field(&[0x3a], &field(&[0x0a], &[2, 4])), field(&[0x2a], &values)].concat();
    let layer = [field(&[0x0a], b"fc"), field(&[0x3a], &blob)].concat();
    [field(&[0x0a], b"net"), field(&[0xa2, 6], &layer)].concat()
}

#[test]
fn a_model_of_caffes_is_read_with_its_definition() {
    let scene = Scene::new();
    let definition = |rows: usize, cols: usize| {
        format!(
            "name: 'net{rows}' input: 'data' input_shape {{ dim: [1, 1, {rows}, {cols}] }}
             layer {{ name: 'fc' type: 'InnerProduct' bottom: 'data' top: 'fc'
                     inner_product_param {{ num_output: 2 bias_term: false }} }}"
        )
    };
    std::fs::write(scene.path("net.caffemodel"), caffemodel()).unwrap();
    let asked = ["inspect", "net.caffemodel"];
    scene.striate(&asked).failed(&["net.caffemodel", "deploy.prototxt", "--prototxt"]);
    std::fs::write(scene.path("net.prototxt"), definition(2, 2)).unwrap();
    std::fs::write(scene.path("other.prototxt"), definition(1, 4)).unwrap();
    for (options, name) in [(&[][..], "net2"), (&["--prototxt", "other.prototxt"][..], "net1")] {
        let asked = [&["inspect", "--format", "json"], options, &["net.caffemodel"]].concat();
        let report = &json(&scene.striate(&asked).done())[0];
        assert_eq!((&report["name"], &report["format"]), (&name.into(), &"caffe".into()));
    }
    let convert = ["convert", "--prototxt", "other.prototxt", "net.caffemodel", "own.safetensors"];
    scene.striate(&convert).done();
    let report =
        &json(&scene.striate(&["inspect", "--format", "json", "own.safetensors"]).done())[0];
    assert_eq!(report["name"], "net1");

    scene.striate(&["inspect", "net.prototxt"]).failed(&["name the .caffemodel"]);
    let asked = ["inspect", "--prototxt", "net.prototxt", "tiny.sqlite3"];
    scene.striate(&asked).failed(&["definition net.prototxt", "a caffemodel"]);
    let asked = ["convert", "--mean-file", "none.binaryproto", "net.caffemodel", "x.safetensors"];
    scene.striate(&asked).failed(&["none.binaryproto"]);
}

#[test]
fn export_writes_a_model_that_run_runs() {
    let scene = Scene::new();
    let text = scene.striate(&["export", "tiny.sqlite3", "tiny.onnx", "--format", "json"]).done();
    let report = &json(&text)[0];
    let size = std::fs::metadata(scene.path("tiny.onnx")).unwrap().len();
    assert_eq!((&report["opset"], &report["bytes"]), (&17.into(), &size.into()));

    let x = Tensor::from_vec(inputs(2), [2, 9, 9, 3], scene.network.device()).unwrap();
    let values = x.permute([0, 3, 1, 2]).unwrap().to_vec::<f32>().unwrap();
    npy::write(scene.path("in.npy"), &npy::Array { shape: vec![2, 3, 9, 9], values }).unwrap();
    scene.striate(&["run", "tiny.onnx", "-i", "in.npy", "-o", "out.safetensors"]).done();
    let (shape, logits) = output(&scene, "out.safetensors");
    assert_eq!(shape, [2, CLASSES]);
    close(&logits, &scene.network.forward(&x).unwrap());

    let text = scene.striate(&["export", "googlenet", "fresh.onnx", "--opset", "20"]).done();
    assert!(text.contains("opset 20"), "{text}");
    scene.striate(&["export", "tiny.sqlite3", "tiny.sqlite3"]).wrong_usage();
    scene.striate(&["export", "tiny.sqlite3", "x.onnx", "--opset", "5"]).wrong_usage();
    std::fs::copy(scene.path("tiny.sqlite3"), scene.path("same.onnx")).unwrap();
    scene.striate(&["export", "same.onnx", "same.onnx"]).wrong_usage();
    std::fs::copy(scene.path("tiny.sqlite3"), scene.path("y.onnx.data")).unwrap();
    scene.striate(&["export", "y.onnx.data", "y.onnx"]).wrong_usage();
}
