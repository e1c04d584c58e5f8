//! Text that people write: list files and JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;
use striate_data::augment::SampleKey;
use striate_data::{Augmenter, Geometry, Image, Recipe, list};
use striate_nn::{LayerShape, NetworkSpec, Seed};
use striate_tensor::{Device, Reference, Tensor};
use striate_train::TrainOptions;

use super::{Scratch, printed};

/// A list of pictures, with labels and without. The paths come back from a list of ours.
pub fn lists(bytes: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.file("list.txt", bytes);
    match list::read(&path) {
        Ok(paths) => {
            assert!(!paths.is_empty());
            let lines: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
            // One mark is the reader's, whatever the first name begins with.
            let again =
                scratch.file("again.txt", format!("\u{feff}{}", lines.join("\n")).as_bytes());
            assert_eq!(list::read(again).expect("what was read is read again"), paths);
        }
        Err(error) => printed(&error),
    }
    match list::read_labelled(&path) {
        Ok(entries) => {
            let line = |entry: &list::Labelled| {
                format!("{} {}\n", entry.label, entry.path.to_str().unwrap())
            };
            let lines: String = entries.iter().map(line).collect();
            let again = list::read_labelled(scratch.file("again.txt", lines.as_bytes()));
            let again = again.expect("what was read is read again");
            let content = |entries: &[list::Labelled]| -> Vec<_> {
                entries.iter().map(|entry| (entry.label, entry.path.clone())).collect()
            };
            assert_eq!(content(&again), content(&entries));
        }
        Err(error) => printed(&error),
    }
}

/// A network's specification. What is verified is written and read back as the same, and a small one
/// is built and computes.
pub fn spec(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let spec = match NetworkSpec::from_json(text) {
        Ok(spec) => spec,
        Err(error) => return printed(&error),
    };
    if let Err(error) = spec.shapes() {
        printed(&error);
    }
    let verified = match spec.verify(spec.classes()) {
        Ok(verified) => verified,
        Err(error) => return printed(&error),
    };
    assert!(!verified.summary().to_string().is_empty());
    for limit in verified.ccv_limits() {
        assert!(!limit.to_string().is_empty());
    }
    let json = spec.to_json().expect("a sound specification is written");
    let again = NetworkSpec::from_json(&json).expect("what was written is read");
    assert_eq!(again, spec);
    assert_eq!(again.difference(&spec), None);

    let sum = |of: fn(&LayerShape) -> u64| -> u64 { verified.shapes().iter().map(of).sum() };
    let small = |count: u64| count <= 1 << 12;
    let input: u64 = spec.input.iter().map(|&side| side as u64).product();
    let images: u64 = spec.image.iter().map(|&side| side as u64).product();
    let mean = images * spec.input[2] as u64;
    if [sum(LayerShape::outputs), sum(LayerShape::parameter_count), input, mean]
        .into_iter()
        .all(small)
        && sum(|shape| shape.macs) <= 1 << 18
    {
        let device = Device::new(Reference::new());
        let network = spec.build(&device, Seed(1)).expect("a sound specification is built");
        let [rows, cols, channels] = spec.input;
        let input = Tensor::zeros([1, rows, cols, channels], &device).unwrap();
        let output = network.forward(&input).expect("a sound network computes");
        assert_eq!(output.dims(), [1, spec.classes()]);
    }
}

/// A recipe: refused, or it forms a sample.
pub fn recipe(bytes: &[u8]) {
    let Some(recipe) = json_comes_back::<Recipe>(bytes) else { return };
    let geometry = Geometry { image: [11, 11], net: [9, 9], channels: 3, scan_scale: 2 };
    let augmenter = match Augmenter::new(&recipe, &geometry, None, None) {
        Ok(augmenter) => augmenter,
        Err(error) => return printed(&error),
    };
    let picture = Image::new(12, 17, 3, (0..12 * 17 * 3).map(|v| v as u8).collect()).unwrap();
    let key = SampleKey { seed: 1, epoch: 2, position: 3 };
    let mut input = vec![0.0; augmenter.input_len()];
    match augmenter.train(&picture, key, &mut input) {
        Ok(()) => {
            let mut again = vec![0.0; input.len()];
            augmenter.train(&picture, key, &mut again).expect("what worked works again");
            assert!(super::same_bits(&input, &again), "a sample differs from itself");
        }
        Err(error) => printed(&error),
    }
    if let Err(error) = augmenter.test(&picture, &mut input) {
        printed(&error);
    }
}

/// Options of a training: refused, or the learning rates follow.
pub fn options(bytes: &[u8]) {
    let Some(options) = json_comes_back::<TrainOptions>(bytes) else { return };
    if let Err(error) = options.check(8) {
        return printed(&error);
    }
    for moment in [0.0, 0.5, 1.0, 1e3] {
        let factor = options.schedule.factor(moment, options.max_epoch);
        assert!(factor.is_finite() && factor >= 0.0, "a factor of {factor}");
    }
    for layer in 0..8 {
        assert!(options.weights_of(layer).rate >= 0.0 && options.biases_of(layer).rate >= 0.0);
    }
}

/// What JSON holds, if it holds that; it is written and read back as the same.
fn json_comes_back<T: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).map_err(|error| printed(&error)).ok()?;
    let text = serde_json::to_string(&value).expect("what was read is written");
    // A number beyond its type is read as an infinity, which JSON has no form for.
    match serde_json::from_str::<T>(&text) {
        Ok(again) => assert!(again == value, "{text}"),
        Err(_) => assert!(text.contains("null"), "{text}"),
    }
    Some(value)
}
