//! The onnx package's own cases of single nodes, where `../shared` has them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use prost::Message;
use striate_ops_cpu::Cpu;
use striate_tensor::{Device, Tensor};

use super::array::Array;
use super::compile::of_tensor;
use super::elem::Elem;
use super::model::{Model, to_tensor};
use super::proto::TensorProto;
use super::read;

/// A case's files by their names.
type Files = BTreeMap<String, Vec<u8>>;

/// The files of a tar archive, by folder.
fn folders(archive: &[u8]) -> BTreeMap<String, Files> {
    let mut folders: BTreeMap<String, Files> = BTreeMap::new();
    let mut at = 0;
    while let Some(header) = archive.get(at..at + 512).filter(|header| header[0] != 0) {
        let text = |range: std::ops::Range<usize>| {
            let bytes = &header[range];
            let end = bytes.iter().position(|&b| b == 0 || b == b' ').unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).unwrap();
        let name = text(0..100);
        let bytes = archive[at + 512..at + 512 + size].to_vec();
        if let (b'0', Some((folder, file))) = (header[156], name.rsplit_once('/')) {
            folders.entry(folder.to_owned()).or_default().insert(file.to_owned(), bytes);
        }
        at += 512 + size.next_multiple_of(512);
    }
    folders
}

fn tensor(bytes: &[u8]) -> Option<Array> {
    read::inline(&TensorProto::decode(bytes).ok()?)
}

/// Whether a case gives what is stored: none where it is not for us.
fn holds(files: &Files, device: &Device) -> Option<Result<(), String>> {
    let ours = |elem| matches!(elem, Elem::F32 | Elem::I32 | Elem::I64 | Elem::Bool);
    let model = match Model::from_reader(&files["model.onnx"][..], "model.onnx") {
        Ok(model) => model,
        Err(error) => return Some(Err(error.to_string())),
    };
    let mut inputs = Vec::new();
    for (place, port) in model.inputs().iter().enumerate() {
        let Some(bytes) = files.get(&format!("input_{place}.pb")) else { continue };
        let array = tensor(bytes).filter(|array| ours(array.elem))?;
        inputs.push((port.name.clone(), to_tensor(&array, device).unwrap()));
    }
    let inputs: Vec<(&str, Tensor)> =
        inputs.iter().map(|(name, tensor)| (&**name, tensor.clone())).collect();
    let expected: Option<Vec<Array>> = (0..model.outputs().len())
        .map(|place| tensor(files.get(&format!("output_{place}.pb"))?).filter(|a| ours(a.elem)))
        .collect();
    let expected = expected?;
    let made = match model.run(&inputs, device) {
        Ok(made) => made,
        Err(error) => return Some(Err(error.to_string())),
    };
    for ((name, made), expected) in made.iter().zip(&expected) {
        let array = of_tensor(made, expected.elem, made.dims().to_vec()).unwrap();
        if array.dims != expected.dims {
            return Some(Err(format!("{name}: {:?}, not {:?}", array.dims, expected.dims)));
        }
        for (a, b) in array.floats().iter().zip(expected.floats().iter()) {
            let same = a == b || (a.is_nan() && b.is_nan());
            if !same && (a - b).abs() > 1e-5 + 1e-3 * b.abs() {
                return Some(Err(format!("{name}: {a}, not {b}")));
            }
        }
    }
    Some(Ok(()))
}

/// What is not there, and is said to be so: 9 operators for integers, text and lists of boxes, and dropout
/// in training.
const REFUSED: [&str; 7] = [
    "Einsum",
    "NonMaxSuppression",
    "QLinear",
    "Integer",
    "DynamicQuantize",
    "training mode",
    "got no tensor",
];

#[test]
fn nodes_give_what_the_onnx_package_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/onnx/node.tar.gz");
    let Ok(file) = std::fs::File::open(path) else {
        let required = std::env::var("STRIATE_REQUIRE_GOLDEN").is_ok_and(|v| v == "1");
        assert!(!required, "STRIATE_REQUIRE_GOLDEN=1, but the cases are not there");
        println!("skipped: no shared/onnx");
        return;
    };
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut archive).unwrap();
    let device = Device::new(Cpu::new(None).unwrap());
    let (mut good, mut wrong) = (0, Vec::new());
    for (name, files) in folders(&archive) {
        match holds(&files, &device) {
            None => {}
            Some(Ok(())) => good += 1,
            Some(Err(text)) if REFUSED.iter().any(|known| text.contains(known)) => {}
            Some(Err(text)) => wrong.push(format!("{name}: {text}")),
        }
    }
    assert!(wrong.is_empty() && good >= 566, "{good} good; wrong: {wrong:#?}");
}
