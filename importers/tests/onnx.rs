//! ONNX models beside what onnxruntime makes of them (`tests/fixtures/onnx/make.py`), and what is wrong in
//! a file said in words.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use striate_graph::Cancel;
use striate_importers::onnx::{Extent, Model, RunOptions};
use striate_importers::safetensors::TensorFile;
use striate_importers::{Error, ReadOptions, read};
use striate_nn::{
    Context, Network, NetworkSpec, ParameterId, conv2d, parameter_gradients, pool, require_grad,
};
use striate_ops_cpu::Cpu;
use striate_tensor::{DType, Device, RandomKey, Reference, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/onnx").join(name)
}

const MODELS: [&str; 13] = [
    "attention",
    "attention_one",
    "residual",
    "residual_opset9",
    "mobile",
    "shuffle",
    "pixelwise",
    "channels_last",
    "quantized",
    "branches",
    "places",
    "picture",
    "beside",
];

fn devices() -> [Device; 2] {
    [Device::new(Reference::new()), Device::new(Cpu::new(None).unwrap())]
}

/// The inputs and the outputs that are stored with a model.
fn stored(name: &str, device: &Device) -> [Vec<(String, Tensor)>; 2] {
    let file = TensorFile::open(fixture(&format!("{name}.safetensors"))).unwrap();
    ["input/", "output/"].map(|prefix| {
        let names = file.names().filter_map(|name| Some((name, name.strip_prefix(prefix)?)));
        names.map(|(full, name)| (name.to_owned(), file.stored(full, device).unwrap())).collect()
    })
}

fn borrowed(inputs: &[(String, Tensor)]) -> Vec<(&str, Tensor)> {
    inputs.iter().map(|(name, tensor)| (&**name, tensor.clone())).collect()
}

/// Numbers of any type.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    let wide = match tensor.dtype() {
        DType::I64 => return tensor.to_vec::<i64>().unwrap().iter().map(|&x| x as f64).collect(),
        DType::Bool => {
            return tensor.to_bools().unwrap().iter().map(|&x| f64::from(u8::from(x))).collect();
        }
        _ => tensor.cast(DType::F32).unwrap(),
    };
    wide.to_vec::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect()
}

#[track_caller]
fn close(name: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64) {
    assert_eq!((ours.dims(), ours.dtype()), (theirs.dims(), theirs.dtype()), "{name}");
    let (ours, theirs) = (numbers(ours), numbers(theirs));
    let scale = theirs.iter().fold(1e-6f64, |most, x| most.max(x.abs()));
    let worst = ours.iter().zip(&theirs).fold(0.0f64, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(worst <= tolerance * scale, "{name}: {worst} of {scale}");
}

#[test]
fn models_give_what_onnxruntime_gives() {
    for device in devices() {
        for name in MODELS {
            let model = Model::open(fixture(&format!("{name}.onnx"))).unwrap();
            let [inputs, outputs] = stored(name, &device);
            // The second run takes the compiled form of the first.
            for _ in 0..2 {
                let made = model.run(&borrowed(&inputs), &device).unwrap();
                let names: Vec<&str> = made.iter().map(|(name, _)| &**name).collect();
                let known: Vec<&str> = model.outputs().iter().map(|port| &*port.name).collect();
                assert_eq!(names, known, "{name}: the outputs in the file's order");
                for (output, theirs) in &outputs {
                    let (_, ours) = made.iter().find(|(name, _)| name == output).unwrap();
                    close(&format!("{name}, {output}"), ours, theirs, 1e-5);
                }
            }
        }
    }
}

#[test]
fn open_extents_take_any_number_and_fixed_ones_their_own() {
    let device = &devices()[1];
    let model = Model::open(fixture("residual.onnx")).unwrap();
    let [n, c] = [0, 1].map(|axis| model.inputs()[0].extents.as_ref().unwrap()[axis].clone());
    assert_eq!((n, c), (Extent::Open("n".into()), Extent::Fixed(3)));
    let [inputs, _] = stored("residual", device);
    let x = &inputs[0].1;
    let whole = model.run(&[("input", x.clone())], device).unwrap();
    for image in 0..2 {
        let one = x.slice(&[image..image + 1, 0..3, 0..17, 0..17]).unwrap();
        let made = model.run(&[("input", one)], device).unwrap();
        let expected = whole[0].1.slice(&[image..image + 1, 0..6]).unwrap();
        close("one image", &made[0].1, &expected, 1e-6);
    }
    let other = Tensor::zeros([2, 4, 17, 17], device).unwrap();
    let text = model.run(&[("input", other)], device).unwrap_err().to_string();
    assert!(text.contains("f32 [n, 3, 17, 17]") && text.contains("[2, 4, 17, 17]"), "{text}");

    // Rows and cols are open too, and the output's hang on them.
    let model = Model::open(fixture("shuffle.onnx")).unwrap();
    for [n, rows, cols] in [[1, 6, 5], [2, 9, 4], [3, 1, 7]] {
        let x = Tensor::ones([n, 8, rows, cols], device).unwrap();
        let made = model.run(&[("input", x)], device).unwrap();
        assert_eq!(made[0].1.dims(), [n, 3, 3 * rows, 3 * cols]);
    }
}

#[test]
fn inputs_are_checked_by_name_number_and_type() {
    let device = &devices()[0];
    let model = Model::open(fixture("places.onnx")).unwrap();
    let [inputs, _] = stored("places", device);
    let fails = |inputs: &[(&str, Tensor)]| model.run(inputs, device).unwrap_err().to_string();
    let all = borrowed(&inputs);
    let (x, step) = (all.iter().find(|i| i.0 == "x").unwrap().1.clone(), all[0].1.clone());
    assert!(fails(&[("x", x.clone())]).contains("input `step`: expected i64 [1], got none"));
    assert!(fails(&[("y", x.clone())]).contains("expected inputs among `x`, `step`, got `y`"));
    let text = fails(&[("x", x.clone()), ("step", x.clone())]);
    assert!(text.contains("input `step`: expected i64 [1]"), "{text}");
    let floats = Tensor::zeros([1], device).unwrap();
    let text = fails(&[("x", x), ("step", floats)]);
    assert!(text.contains("expected elements of i64, got f32"), "{text}");
    drop(step);
}

#[test]
fn a_model_runs_from_many_threads_and_can_be_cancelled_or_refused_for_memory() {
    let device = &devices()[1];
    let model = Model::open(fixture("mobile.onnx")).unwrap();
    let [inputs, outputs] = stored("mobile", device);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let made = model.run(&borrowed(&inputs), device).unwrap();
                close("a thread's", &made[0].1, &outputs[0].1, 1e-5);
            });
        }
    });
    let cancel = Cancel::new();
    cancel.cancel();
    let run = |options: &RunOptions| model.run_with(&borrowed(&inputs), device, options);
    let error = run(&RunOptions::new().cancel(cancel)).unwrap_err();
    assert!(matches!(error, Error::Graph { .. }), "{error}");
    let needed = model.peak_bytes(&borrowed(&inputs), device).unwrap();
    assert!(run(&RunOptions::new().memory_limit(needed)).is_ok());
    let error = run(&RunOptions::new().memory_limit(needed - 1)).unwrap_err();
    assert!(matches!(error, Error::Graph { .. }), "{error}");
}

#[test]
fn images_lie_channels_last_without_a_permute_at_every_node() {
    let device = &devices()[1];
    for (name, most) in [("residual", 2), ("mobile", 1), ("channels_last", 0)] {
        let model = Model::open(fixture(&format!("{name}.onnx"))).unwrap();
        let [inputs, _] = stored(name, device);
        let (graph, whole) = model.graph(&borrowed(&inputs), device).unwrap();
        let names: Vec<&str> = graph.nodes().iter().map(|node| node.op.name()).collect();
        let permutes = names.iter().filter(|name| **name == "permute").count();
        assert!(whole && permutes <= most, "{name}: {names:?}");
        assert!(!names.contains(&"batch_norm"), "{name}: folded: {names:?}");
    }
}

#[test]
fn models_whose_operators_are_layers_become_networks() {
    let device = &devices()[1];
    for (name, layers) in
        [("residual", 10), ("residual_opset9", 8), ("mobile", 15), ("pixelwise", 13)]
    {
        let model = Model::open(fixture(&format!("{name}.onnx"))).unwrap();
        let network = model.to_network(device, &ReadOptions::default()).unwrap();
        let kinds: Vec<_> = network.spec().nodes.iter().map(|node| node.kind().name()).collect();
        assert_eq!(kinds.len(), layers, "{name}: {kinds:?}");
        let [inputs, _] = stored(name, device);
        let x = &inputs[0].1;
        let made = model.run(&borrowed(&inputs), device).unwrap();
        let mut ours = network.forward(&x.permute([0, 2, 3, 1]).unwrap()).unwrap();
        if name == "mobile" {
            // The file ends in probabilities.
            ours = ours.softmax(1).unwrap();
        }
        close(name, &ours, &made[0].1, 1e-5);
    }
    let model = Model::open(fixture("residual.onnx")).unwrap();
    let network = model.to_network(device, &ReadOptions::default()).unwrap();
    let names: Vec<&str> = network.parameter_infos().iter().map(|info| &*info.name).collect();
    assert_eq!(names[..3], ["conv1.weight", "bn1.weight", "bn1.bias"], "PyTorch's names stay");
    // What is no layer is named, with what to do instead.
    let model = Model::open(fixture("places.onnx")).unwrap();
    let text = model.to_network(device, &ReadOptions::default()).unwrap_err().to_string();
    assert!(text.contains("one image") && text.contains("`run` runs it"), "{text}");
}

/// The gradients of a step on a network's own parameters, by their names.
fn gradients(network: &Network, x: &Tensor) -> BTreeMap<String, Vec<f32>> {
    let mut network = network.clone();
    require_grad(&mut network);
    let labels: Vec<u32> = (0..x.dims()[0] as u32).map(|image| image + 1).collect();
    let labels = Tensor::from_vec(labels, [x.dims()[0]], network.device()).unwrap();
    let logits = network.forward_with(x, &Context::training(RandomKey::new(1, 1))).unwrap();
    let loss = logits.cross_entropy(&labels).unwrap().mean_all().unwrap();
    let mut gradients = parameter_gradients(&network, loss.backward().unwrap());
    let named = network.parameter_infos().iter().enumerate().map(|(place, info)| {
        let gradient = gradients.remove(&ParameterId(place as u32)).unwrap();
        (info.name.clone(), gradient.to_vec::<f32>().unwrap())
    });
    named.collect()
}

#[test]
fn pictures_are_taken_as_torchvision_takes_them() {
    // Pixels of 0 to 255 less the mean give what the model gives of normalised ones.
    let device = &devices()[1];
    let model = Model::open(fixture("residual.onnx")).unwrap();
    let network = read(fixture("residual.onnx"), device, &ReadOptions::default()).unwrap();
    // Pictures are a little larger than what is cut out of them.
    assert_eq!(network.spec().image, [20, 20]);
    let mean = network.mean().unwrap().slice(&[0..17, 0..17, 0..3]).unwrap();
    let pixels: Vec<f32> = (0..17 * 17 * 3).map(|i| (i * 37 % 256) as f32).collect();
    let pixels = Tensor::from_vec(pixels, [1, 17, 17, 3], device).unwrap();
    let ours = network.forward(&pixels.sub(&mean).unwrap()).unwrap();
    let row = |numbers: [f32; 3]| Tensor::from_vec(numbers.to_vec(), [3], device).unwrap();
    let normalised = pixels.affine(1.0 / 255.0, 0.0).unwrap();
    let normalised = normalised.sub(&row([0.485, 0.456, 0.406])).unwrap();
    let normalised = normalised.div(&row([0.229, 0.224, 0.225])).unwrap();
    let x = normalised.permute([0, 3, 1, 2]).unwrap();
    let made = model.run(&[("input", x)], device).unwrap();
    close("a picture", &ours, &made[0].1, 1e-5);
}

#[test]
fn elements_in_another_file_are_never_read_from_outside_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |to: &str, from: &str, with: &str| {
        let bytes = std::fs::read(fixture("beside.onnx")).unwrap();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut changed = bytes.clone();
        assert_eq!(from.len(), with.len());
        changed[at..at + from.len()].copy_from_slice(with.as_bytes());
        let path = folder.path().join(to);
        std::fs::write(&path, changed).unwrap();
        path
    };
    std::fs::copy(fixture("beside.bin"), folder.path().join("beside.bin")).unwrap();
    assert!(Model::open(copy("same.onnx", "beside.bin", "beside.bin")).is_ok());
    for location in ["../ide.bin", "/tmp/e.bin", "./../e.bin", "a/../e.bin"] {
        let error = Model::open(copy("bad.onnx", "beside.bin", location)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the model's folder") && text.contains(location), "{text}");
    }
    let error = Model::open(copy("gone.onnx", "beside.bin", "nobody.bin")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    #[cfg(unix)]
    {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret.bin");
        std::fs::copy(fixture("beside.bin"), &secret).unwrap();
        std::os::unix::fs::symlink(&secret, folder.path().join("linked.bin")).unwrap();
        let error = Model::open(copy("link.onnx", "beside.bin", "linked.bin")).unwrap_err();
        assert!(error.to_string().contains("a link out of it"), "{error}");
    }
    // A file that is shorter than it should be.
    std::fs::write(folder.path().join("beside.bin"), [0; 16]).unwrap();
    let text = Model::open(folder.path().join("same.onnx")).unwrap_err().to_string();
    assert!(text.contains("a file of 16 bytes"), "{text}");
}

#[test]
fn operators_that_are_not_there_are_named_all_at_once() {
    let bytes = std::fs::read(fixture("branches.onnx")).unwrap();
    let replace = |bytes: &[u8], from: &str, to: &str| {
        let mut changed = bytes.to_vec();
        while let Some(at) = changed.windows(from.len()).position(|w| w == from.as_bytes()) {
            changed[at..at + from.len()].copy_from_slice(to.as_bytes());
        }
        changed
    };
    let changed = replace(&replace(&bytes, "MatMul", "MatMut"), "Equal", "Equak");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unknown.onnx");
    std::fs::write(&path, changed).unwrap();
    let error = Model::open(&path).unwrap_err();
    assert!(matches!(error, Error::Operators { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("opset 17") && text.contains("MatMut (node `r`)"), "{text}");
    assert!(text.contains("Equak (node `is`)"), "{text}");
}

#[test]
fn a_model_of_the_trainers_layers_has_their_gradients() {
    let device = &devices()[1];
    let model = Model::open(fixture("residual.onnx")).unwrap();
    let network = model.to_network(device, &ReadOptions::default()).unwrap();
    let [inputs, _] = stored("residual", device);
    let x = inputs[0].1.permute([0, 2, 3, 1]).unwrap();
    // The same network by hand, with the same numbers.
    let conv = |count: usize, kernel: usize| conv2d(count, kernel).padding(1).without_bias();
    let spec = NetworkSpec::new([17, 17, 3])
        .named("conv1", |x| x.conv(conv(8, 3).stride(2)))
        .named("bn1", |x| x.batch_norm())
        .relu()
        .residual(|x| x.named("conv2", |x| x.conv(conv(8, 3))).named("bn2", |x| x.batch_norm()))
        .relu()
        .max_pool(pool(3).stride(2).padding(1).ceil().first_maximum())
        .named("fc", |x| x.full_connect(6));
    let parameters = network.parameters().to_vec();
    let buffers = network.buffers().iter().map(|buffer| buffer.value().clone()).collect();
    let by_hand = Network::of(spec, parameters, buffers, device).unwrap();
    let (ours, theirs) = (gradients(&network, &x), gradients(&by_hand, &x));
    assert_eq!(ours.len(), 8, "{:?}", ours.keys());
    assert!(ours.values().all(|values| values.iter().any(|x| *x != 0.0)));
    assert_eq!(ours, theirs);
}

/// Once, with files that PyTorch wrote: `torchvision.models.resnet18()` with batch normalization kept apart.
#[test]
#[ignore = "needs STRIATE_RESNET18, a folder with resnet18.onnx and resnet18.safetensors of the same weights"]
fn resnet18_has_the_gradients_of_its_state_dict() {
    let folder = PathBuf::from(std::env::var_os("STRIATE_RESNET18").unwrap());
    let device = &devices()[1];
    let read = |name| read(folder.join(name), device, &ReadOptions::default()).unwrap();
    let (onnx, torch) = (read("resnet18.onnx"), read("resnet18.safetensors"));
    let pixels: Vec<f32> = (0..2 * 224 * 224 * 3).map(|i| (i * 37 % 256) as f32 - 128.0).collect();
    let x = Tensor::from_vec(pixels, [2, 224, 224, 3], device).unwrap();
    let (ours, theirs) = (gradients(&onnx, &x), gradients(&torch, &x));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, ours) in &ours {
        assert_eq!(ours, &theirs[name], "{name}");
    }
}
