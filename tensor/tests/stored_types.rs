//! Element types that are storage only: how they are made, moved, cast and printed.
#![allow(clippy::unwrap_used)] // a failure in a test says where it is

use striate_tensor::{
    DType, Device, Error, HostTensor, HostValues, Reference, Shape, SharedBytes, Tensor, TensorType,
};

fn device() -> Device {
    Device::new(Reference::new())
}

fn vector<T: striate_tensor::Element>(values: &[T]) -> Tensor {
    Tensor::from_vec(values.to_vec(), [values.len()], &device()).unwrap()
}

#[test]
fn each_has_a_name_a_size_and_a_kind() {
    let names: Vec<&str> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
    assert_eq!(names, ["f32", "f16", "f64", "u32", "i64", "i32", "i8", "u8", "bool"]);
    let sizes: Vec<usize> = DType::ALL.iter().map(|dtype| dtype.size_bytes()).collect();
    assert_eq!(sizes, [4, 2, 8, 4, 8, 4, 1, 1, 1]);
    for &dtype in DType::ALL {
        let values = HostValues::zeros(dtype, 3);
        assert_eq!((values.dtype(), values.len()), (dtype, 3));
        assert_eq!(values.bytes().len(), 3 * dtype.size_bytes());
    }
    assert!(!DType::F64.is_float() && !DType::Bool.is_integer() && DType::I8.is_integer());
}

#[test]
fn vectors_go_in_and_come_out() {
    assert_eq!(vector(&[i64::MIN, 7]).to_vec::<i64>().unwrap(), [i64::MIN, 7]);
    assert_eq!(vector(&[-7i32]).to_vec::<i32>().unwrap(), [-7]);
    assert_eq!(vector(&[-7i8]).to_vec::<i8>().unwrap(), [-7]);
    assert_eq!(vector(&[250u8]).to_vec::<u8>().unwrap(), [250]);
    assert_eq!(vector(&[1e300f64]).to_vec::<f64>().unwrap(), [1e300]);
    let error = vector(&[1i64]).to_vec::<i32>().unwrap_err();
    assert!(matches!(error, Error::DType { expected: "i32", got: DType::I64, .. }), "{error}");
}

#[test]
fn truth_values_are_0_or_1() {
    let x = Tensor::from_bools(vec![true, false, true], [3], &device()).unwrap();
    assert_eq!(x.dtype(), DType::Bool);
    assert_eq!(x.to_bools().unwrap(), [true, false, true]);
    assert_eq!(x.cast(DType::U8).unwrap().to_vec::<u8>().unwrap(), [1, 0, 1]);
    assert!(x.to_vec::<u8>().is_err(), "truth values are no bytes");
    assert!(vector(&[1u8]).to_bools().is_err(), "bytes are no truth values");
    assert_eq!(HostValues::bool_bytes(vec![0, 1]).unwrap(), HostValues::bools(&[false, true]));
    let text = HostValues::bool_bytes(vec![0, 7]).unwrap_err().to_string();
    assert!(text.contains("0 or 1, got 7 at element 1"), "{text}");
    let shape = Shape::new(&[1]).unwrap();
    assert!(HostTensor::new(shape, HostValues::Bool(vec![2])).is_err());
    let bytes = SharedBytes::new(std::sync::Arc::new(vec![2u8]));
    let ty = TensorType::new(shape, DType::Bool);
    assert!(Tensor::from_shared(bytes, ty, &device()).is_err());
}

#[test]
fn casts_saturate_and_tell_0_from_the_rest() {
    let integers = vector(&[i64::MIN, -1, 0, 300, i64::MAX]);
    let cast = |dtype| integers.cast(dtype).unwrap();
    assert_eq!(cast(DType::U32).to_vec::<u32>().unwrap(), [0, 0, 0, 300, u32::MAX]);
    assert_eq!(cast(DType::U8).to_vec::<u8>().unwrap(), [0, 0, 0, 255, 255]);
    assert_eq!(cast(DType::I8).to_vec::<i8>().unwrap(), [-128, -1, 0, 127, 127]);
    assert_eq!(cast(DType::I32).to_vec::<i32>().unwrap(), [i32::MIN, -1, 0, 300, i32::MAX]);
    assert_eq!(cast(DType::Bool).to_bools().unwrap(), [true, true, false, true, true]);
    let floats = vector(&[-2.9f64, 2.9, f64::NAN, -0.0, 1e300]);
    let cast = |dtype| floats.cast(dtype).unwrap();
    assert_eq!(cast(DType::I64).to_vec::<i64>().unwrap(), [-2, 2, 0, 0, i64::MAX]);
    assert_eq!(cast(DType::Bool).to_bools().unwrap(), [true, true, true, false, true]);
    assert_eq!(cast(DType::F32).to_vec::<f32>().unwrap()[4], f32::INFINITY);
}

#[test]
fn elements_are_moved_repeated_and_chosen() {
    let x = vector(&[1i64, -2, 3, i64::MAX]).reshape([2, 2]).unwrap();
    assert_eq!(x.transpose().unwrap().to_vec::<i64>().unwrap(), [1, 3, -2, i64::MAX]);
    assert_eq!(x.pad(&[[0, 0], [1, 0]], -1.0).unwrap().to_vec::<i64>().unwrap()[3], -1);
    let device = device();
    let row = Tensor::from_vec(vec![5i8, -5], [2], &device).unwrap();
    assert_eq!(row.expand([2, 2]).unwrap().to_vec::<i8>().unwrap(), [5, -5, 5, -5]);
    assert_eq!(row.repeat(&[2]).unwrap().to_vec::<i8>().unwrap(), [5, -5, 5, -5]);
    let places = Tensor::from_vec(vec![1u32, 9], [2], &device).unwrap();
    assert_eq!(row.gather(&places, 0).unwrap().to_vec::<i8>().unwrap(), [-5, i8::MAX]);
    let truth = Tensor::from_bools(vec![false], [1], &device).unwrap();
    assert_eq!(truth.gather(&places, 0).unwrap().to_bools().unwrap(), [true, true]);
}

#[test]
fn arithmetic_says_which_types_it_takes() {
    let x = vector(&[1i64, 2]);
    let text = |result: striate_tensor::Result<Tensor>| result.unwrap_err().to_string();
    assert_eq!(text(x.add(&x)), "add: expected a of type f32, f16 or u32, got i64");
    assert_eq!(text(x.div(&x)), "div: expected a of type f32 or f16, got i64");
    assert_eq!(text(x.relu()), "relu: expected x of type f32 or f16, got i64");
    assert_eq!(text(x.eq(&x)), "eq: expected a of type f32, f16 or u32, got i64");
    assert_eq!(text(x.sum_all()), "sum: expected x of type f32, f16 or u32, got i64");
    let x = vector(&[1.0f64, 2.0]);
    assert_eq!(text(x.matmul(&x)), "matmul: expected a of type f32 or f16, got f64");
}

#[test]
fn they_print_as_in_numpy() {
    assert_eq!(vector(&[1i64, -20, 300]).to_string(), "[  1 -20 300]");
    assert_eq!(vector(&[1u8, 20]).to_string(), "[ 1 20]");
    let truth = Tensor::from_bools(vec![true, false], [2], &device()).unwrap();
    assert_eq!(truth.to_string(), "[ True False]");
    assert_eq!(format!("{truth:?}"), "Tensor(bool[2] on reference, [true, false])");
    assert_eq!(
        vector(&[0.1f64, 2.0, -1.0 / 3.0]).to_string(),
        "[ 0.1         2.         -0.33333333]"
    );
    assert_eq!(vector(&[1e300f64, 1.5]).to_string(), "[1.0e+300 1.5e+000]");
}
