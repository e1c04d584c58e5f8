//! Training sets and arrays: IDX, CIFAR, ImageNet's devkit, npy.

use striate_data::decode::Limits;
use striate_data::ilsvrc::Devkit;
use striate_data::npy as arrays;
use striate_data::source::{Dataset, Picture};

use super::{Scratch, printed, same_bits, two_files};

/// A `.npy` file, which comes back as the same numbers.
pub fn npy(bytes: &[u8]) {
    match arrays::parse_tensor(bytes, "input") {
        Ok(tensor) => {
            let again = arrays::parse_tensor(&arrays::tensor_bytes(&tensor), "again").unwrap();
            assert_eq!(again.ty(), tensor.ty());
            assert_eq!(again.values().bytes(), tensor.values().bytes());
        }
        Err(error) => printed(&error),
    }
    let array = match arrays::parse(bytes, "input") {
        Ok(array) => array,
        Err(error) => return printed(&error),
    };
    assert_eq!(array.values.len(), array.shape.iter().product::<usize>());
    let scratch = Scratch::new();
    let path = scratch.path("again.npy");
    arrays::write(&path, &array).expect("what was read is written");
    let again = arrays::read(&path).expect("what was written is read");
    assert_eq!(again.shape, array.shape);
    assert!(same_bits(&again.values, &array.values));
    if let Ok(picture) = array.into_picture() {
        assert_eq!(picture.shape().iter().product::<usize>(), picture.values().len());
    }
}

/// MNIST's form: the file of labels and the file of pictures, as two files in one input.
pub fn idx(bytes: &[u8]) {
    let (labels, pictures) = two_files(bytes);
    let scratch = Scratch::new();
    scratch.file("t-labels-idx1-ubyte", labels);
    let path = scratch.file("t-images-idx3-ubyte", pictures);
    check(Dataset::from_idx(&path));
}

/// CIFAR's records.
pub fn cifar(bytes: &[u8]) {
    let scratch = Scratch::new();
    let opened = Dataset::from_cifar(scratch.file("data_batch_1.bin", bytes));
    if let Ok(dataset) = &opened {
        assert!(bytes.len().is_multiple_of(dataset.len()));
        let Some(Picture::Image(image)) = dataset.picture(0) else { panic!("no picture") };
        assert_eq!(image.shape(), [32, 32, 3]);
    }
    check(opened);
}

/// A file of which only the content says what form of data set it is.
pub fn dataset(bytes: &[u8]) {
    let scratch = Scratch::new();
    check(Dataset::open(scratch.file("samples", bytes)));
}

/// ImageNet's devkit: the ground truth and `meta.mat`, as two files in one input.
pub fn meta_mat(bytes: &[u8]) {
    let (truth, meta) = two_files(bytes);
    let scratch = Scratch::new();
    scratch.file("ILSVRC2012_validation_ground_truth.txt", truth);
    scratch.file("meta.mat", meta);
    match Devkit::open(scratch.path("")) {
        Ok(devkit) => {
            assert!(!devkit.synsets.is_empty());
            assert_eq!(devkit.class_names().len(), devkit.synsets.len());
            assert!(devkit.validation.iter().all(|&l| (l as usize) < devkit.synsets.len()));
        }
        Err(error) => printed(&error),
    }
}

/// Of a data set that was opened: a label for each picture, in range, and every picture of those in
/// memory can be had.
fn check(opened: striate_data::Result<Dataset>) {
    let dataset = match opened {
        Ok(dataset) => dataset,
        Err(error) => return printed(&error),
    };
    assert_eq!(dataset.labels().len(), dataset.len());
    assert!(dataset.labels().iter().all(|&label| (label as usize) < dataset.classes()));
    if !dataset.in_memory() {
        return;
    }
    for index in [0, dataset.len() / 2, dataset.len() - 1] {
        let image = dataset.load(index, &Limits::default()).expect("a picture in memory");
        assert_eq!(image.values().len(), image.shape().iter().product::<usize>());
    }
    assert!(dataset.load(dataset.len(), &Limits::default()).is_err());
}
