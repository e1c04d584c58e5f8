//! A published network of Caffe's beside its ONNX form. `STRIATE_CAFFE_GOLDEN` names a folder with
//! `resnet50thin.caffemodel`, `resnet50thin.prototxt`, and `onnx.safetensors`: images of red, green and
//! blue from 0 to 255 as `rgb`, `[n, 224, 224, 3]`, and what onnxruntime made of the same weights for them as
//! `…/logits`. Without it nothing is compared.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a failure in a test says where it is

use std::path::Path;

use striate_importers::safetensors::TensorFile;
use striate_importers::{Format, ModelFile, ReadOptions};
use striate_ops_cpu::Cpu;
use striate_tensor::{Device, Tensor};

#[test]
fn resnet_50_thin_gives_what_its_onnx_form_gives() {
    let Some(folder) = std::env::var_os("STRIATE_CAFFE_GOLDEN") else {
        println!("skipped: STRIATE_CAFFE_GOLDEN names no folder");
        return;
    };
    let folder = Path::new(&folder);
    let device = Device::new(Cpu::new(Some(2)).unwrap());
    let file = ModelFile::open(folder.join("resnet50thin.caffemodel")).unwrap();
    assert_eq!(file.format(), Format::Caffe);
    let network = file.read(&device, &ReadOptions::default()).unwrap();
    let inspection = file.inspect().unwrap();
    assert_eq!(&inspection.spec, network.spec());
    assert_eq!(network.spec().image, [256, 256]);

    let golden = TensorFile::open(folder.join("onnx.safetensors")).unwrap();
    let rgb = golden.stored("rgb", &device).unwrap();
    // The mean is the same for every pixel.
    let mean = network.mean().unwrap().to_vec::<f32>().unwrap();
    assert_eq!(mean[..3], [123.0, 117.0, 104.0]);
    let mean = Tensor::from_vec(mean[..3].to_vec(), [1, 1, 1, 3], &device).unwrap();
    let ours = network.forward(&rgb.sub(&mean).unwrap()).unwrap();
    let ours = ours.to_vec::<f32>().unwrap();
    let names = golden.names().filter(|name| name.ends_with("/logits"));
    let mut compared = 0;
    for name in names {
        let theirs = golden.stored(name, &device).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(ours.len(), theirs.len());
        let differences = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs());
        let largest = differences.fold(0.0f32, f32::max);
        println!("{name}: {ours:?} for {theirs:?}, apart by at most {largest}");
        assert!(largest < 1e-4, "{name}: apart by {largest}");
        compared += 1;
    }
    assert!(compared > 0);
}
