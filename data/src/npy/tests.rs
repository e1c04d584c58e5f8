use super::*;
use proptest::prelude::*;

fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([version, 0]);
    if version == 1 {
        bytes.extend((header.len() as u16).to_le_bytes());
    } else {
        bytes.extend((header.len() as u32).to_le_bytes());
    }
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn message(bytes: &[u8]) -> String {
    let error = parse(bytes, "x.npy").unwrap_err();
    assert!(matches!(error, Error::Npy { .. }));
    error.to_string()
}

#[test]
fn every_element_type_and_version_is_read() {
    let cases: [(&str, Vec<u8>); 4] = [
        ("|u1", vec![1, 2]),
        ("<f2", [f16::ONE, f16::from_f32(2.0)].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ("<f4", [1f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ("<f8", [1f64, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
    ];
    for (descr, data) in &cases {
        for version in 1..=3 {
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2,), }}\n");
            let array = parse(&file(version, &header, data), "x.npy").unwrap();
            assert_eq!(array, Array { shape: vec![2], values: vec![1.0, 2.0] });
        }
    }
}

#[test]
fn the_keys_may_come_in_any_order_and_quotes() {
    let header = r#"{"shape":(1L, 2L),"fortran_order":False,"descr":"|u1"}"#;
    assert_eq!(parse(&file(1, header, &[3, 4]), "x").unwrap().shape, [1, 2]);
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': ()}";
    assert_eq!(parse(&file(1, header, &[3]), "x").unwrap().values, [3.0]);
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 3)}";
    assert!(parse(&file(1, header, &[]), "x").unwrap().values.is_empty());
}

#[test]
fn what_is_not_read_is_named() {
    let with = |descr: &str, order: &str, shape: &str| {
        message(&file(
            1,
            &format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"),
            &[0; 4],
        ))
    };
    assert!(with("'<f4'", "Perhaps", "(1,)").contains("neither True nor False"));
    // A type that is not read is told in words.
    for (descr, words) in [
        ("'<i8'", "holds whole numbers with a sign of 64 bits;"),
        ("'<u2'", "holds whole numbers without a sign of 16 bits;"),
        ("'|b1'", "holds truth values (bool);"),
        ("'>c16'", "holds complex numbers;"),
        ("'<f16'", "holds floating-point numbers of 128 bits;"),
        ("'|O'", "holds Python objects;"),
        ("'<U12'", "holds texts;"),
        ("'<M8[ns]'", "holds dates or times;"),
        ("'|V3'", "holds raw bytes or records;"),
        ("'\x1b[2J'", "holds elements of an unknown type;"),
        ("''", "holds elements of an unknown type;"),
        ("[('a', '<f4'), ('b', '<u2', (3,))]", "holds records of several fields;"),
    ] {
        let error = with(descr, "False", "(1,)");
        assert!(error.contains(words) && error.contains("astype('<f4')"), "{error}");
        assert!(!error.contains("fortran_order") && !error.contains('\x1b'), "{error}");
    }
    assert!(with("7", "False", "(1,)").contains("descr is no type"));
    assert!(with("'<f4'", "False", "(2,)").contains("takes 8 bytes, but only 4 follow"));
    assert!(with("'<f2'", "False", "(1,)").contains("takes 2 bytes, but more follow"));
    assert!(with("'<f4'", "False", "(1, -1)").contains("axis 1 of the shape is no length"));
    assert!(with("'<f4'", "False", "(1.5,)").contains("axis 0 of the shape is no length"));
    assert!(with("'<f4'", "False", "7").contains("not a tuple"));
    assert!(with("'<f4'", "False", "(1, 2").contains("a value is missing"));
    assert!(with("'<f4", "False", "(1,)").contains("header: "));
    assert!(with("'<f4'", "False", "(1,), 'shape': (1,)").contains("'shape' stands there twice"));
    assert!(with("'<f4'", "False", "(1,)} {").contains("something follows"));
    assert!(with(&"[".repeat(99), "False", "(1,)").contains("within each other"));
    assert!(with("'<f4'", "False", "(99999999999, 99999999999)").contains("too large"));
    assert!(message(b"PK\x03\x04").contains("not a .npy file"));
    assert!(message(&file(9, "", &[])).contains("version 9"));
    assert!(message(&file(1, "{'descr': '<f4'}", &[])).contains("no key 'fortran_order'"));
    assert!(message(&file(1, "[1, 2]", &[])).contains("no dictionary"));
    assert!(message(&file(1, "", &[])).starts_with("x.npy: header: "));
    assert!(message(b"\x93NUMPY\x02\0\xff\xff\xff\xff").contains("at most"));
    assert!(message(b"\x93NUMPY\x01\0\xff\0{").contains("ends within"));
}

#[test]
fn big_endian_numbers_are_read() {
    let cases: [(&str, Vec<u8>); 4] = [
        ("|u1", vec![1, 2]),
        (">f2", [f16::ONE, f16::from_f32(2.0)].iter().flat_map(|v| v.to_be_bytes()).collect()),
        (">f4", [1f32, 2.0].iter().flat_map(|v| v.to_be_bytes()).collect()),
        (">f8", [1f64, 2.0].iter().flat_map(|v| v.to_be_bytes()).collect()),
    ];
    for (descr, data) in &cases {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2,)}}");
        assert_eq!(parse(&file(1, &header, data), "x").unwrap().values, [1.0, 2.0], "{descr}");
    }
}

#[test]
fn fortran_order_is_put_into_c_order() {
    let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3)}";
    // numpy.asfortranarray([[0, 1, 2], [3, 4, 5]]) is stored column by column.
    let array = parse(&file(1, header, &[0, 3, 1, 4, 2, 5]), "x").unwrap();
    assert_eq!((array.shape, array.values), (vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2, 2)}";
    let array = parse(&file(1, header, &[0, 4, 2, 6, 1, 5, 3, 7]), "x").unwrap();
    assert_eq!(array.values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    for shape in ["()", "(1,)", "(1, 1)"] {
        let header = format!("{{'descr': '|u1', 'fortran_order': True, 'shape': {shape}}}");
        assert_eq!(parse(&file(1, &header, &[9]), "x").unwrap().values, [9.0]);
    }
    let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (0, 3)}";
    assert!(parse(&file(1, header, &[]), "x").unwrap().values.is_empty());
}

#[test]
fn a_number_beyond_f32_is_named() {
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}";
    let of = |value: f64| {
        let data = [1.0, value].map(f64::to_le_bytes).concat();
        parse(&file(1, header, &data), "x").map(|array| array.values[1])
    };
    assert!(of(1e300).unwrap_err().to_string().contains("values: value 1 is 1e300"));
    assert_eq!(of(f64::INFINITY).unwrap(), f32::INFINITY);
    assert!(of(f64::NAN).unwrap().is_nan());
}

#[test]
fn no_more_is_read_than_the_header_asks_for() {
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (5,)}";
    let endless = |limit| {
        let start = file(1, header, &[]);
        read_from(start.chain(std::io::repeat(7)), Path::new("x"), limit).unwrap_err().to_string()
    };
    assert!(endless(5).contains("takes 5 bytes, but more follow"));
    assert!(endless(4).contains("takes 5 bytes, more than the limit of 4"));
    // What the header promises takes no memory before it is there.
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1 , 1152921504606846976)}";
    assert!(message(&file(1, header, &[1])).contains("but only 1 follow"));
    let error = read_from(std::io::repeat(0), Path::new("x"), 9).unwrap_err().to_string();
    assert!(error.contains("not a .npy file"), "{error}");
}

#[test]
fn files_come_back_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    for shape in [vec![], vec![6], vec![2, 3], vec![0, 4], vec![1, 1, 6], vec![1; 40]] {
        let values = (0..count(&shape).unwrap()).map(|i| i as f32 - 1.5).collect();
        let array = Array { shape, values };
        write(&path, &array).unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len() % 64, array.values.len() * 4 % 64);
        assert_eq!(read(&path).unwrap(), array);
    }
    let wrong = Array { shape: vec![2], values: vec![1.0] };
    assert!(matches!(write(&path, &wrong), Err(Error::Npy { place: "values", .. })));
    assert!(matches!(read(folder.path()), Err(Error::Directory { .. })));
    assert!(matches!(read(folder.path().join("none")), Err(Error::Read { .. })));
}

#[test]
fn pictures() {
    let image = FloatImage::new(1, 2, 3, (0..6).map(|v| v as f32).collect()).unwrap();
    assert_eq!(Array::from(&image).into_picture().unwrap(), image);
    let grey = Array { shape: vec![2, 1], values: vec![0.0; 2] };
    assert_eq!(grey.into_picture().unwrap().shape(), [2, 1, 1]);
    let vector = Array { shape: vec![2], values: vec![0.0; 2] };
    assert!(matches!(vector.into_picture(), Err(Error::Npy { place: "shape", .. })));
}

#[test]
fn tensors_of_every_type_are_read_in_either_byte_order() {
    use striate_tensor::{HostTensor, HostValues, Shape};
    let cases: Vec<(&str, Vec<u8>, HostValues)> = vec![
        ("i8", (-2i64).to_le_bytes().into(), vec![-2i64].into()),
        ("i4", (-2i32).to_le_bytes().into(), vec![-2i32].into()),
        ("i1", vec![0xfe], vec![-2i8].into()),
        ("u4", 3_000_000_000u32.to_le_bytes().into(), vec![3_000_000_000u32].into()),
        ("u1", vec![0xfe], vec![0xfeu8].into()),
        ("b1", vec![1], HostValues::bools(&[true])),
        ("f8", 1e300f64.to_le_bytes().into(), vec![1e300f64].into()),
        ("f4", 1.5f32.to_le_bytes().into(), vec![1.5f32].into()),
        ("f2", f16::ONE.to_le_bytes().into(), vec![f16::ONE].into()),
    ];
    for (kind, little, values) in cases {
        let big: Vec<u8> = little.iter().rev().copied().collect();
        for (order, data) in [('<', &little), ('>', &big)] {
            let header =
                format!("{{'descr': '{order}{kind}', 'fortran_order': False, 'shape': ()}}");
            let got = parse_tensor(&file(1, &header, data), "x").unwrap();
            assert_eq!(got, HostTensor::new(Shape::scalar(), values.clone()).unwrap(), "{kind}");
        }
    }
    let text = |header: &str, data: &[u8]| {
        parse_tensor(&file(1, header, data), "x").unwrap_err().to_string()
    };
    let header = "{'descr': '|b1', 'fortran_order': False, 'shape': (2,)}";
    assert!(text(header, &[1, 2]).contains("0 or 1, got 2 at element 1"));
    let header = "{'descr': '<u2', 'fortran_order': False, 'shape': (1,)}";
    assert!(text(header, &[1, 2]).contains("without a sign of 16 bits; only float16"));
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}";
    assert!(text(header, &[1]).starts_with("x: shape: "));
    let header = "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3)}";
    let data: Vec<u8> = [0i32, 3, 1, 4, 2, 5].iter().flat_map(|v| v.to_le_bytes()).collect();
    let got = parse_tensor(&file(1, header, &data), "x").unwrap();
    assert_eq!(got.values().as_slice::<i32>().unwrap(), [0, 1, 2, 3, 4, 5]);
}

proptest! {
    #[test]
    fn tensors_come_back_as_written(
        dims in prop::collection::vec(0usize..5, 0..5),
        words in prop::collection::vec(any::<u64>(), 1..40),
    ) {
        use striate_tensor::{HostTensor, Shape, TensorType};
        for &dtype in DType::ALL {
            let ty = TensorType::new(Shape::new(&dims).unwrap(), dtype);
            let mut tensor = HostTensor::zeros(&ty);
            let bits = words.iter().cycle().flat_map(|word| word.to_le_bytes());
            for (byte, bits) in tensor.values_mut().bytes_mut().iter_mut().zip(bits) {
                *byte = if dtype == DType::Bool { bits & 1 } else { bits };
            }
            let got = parse_tensor(&tensor_bytes(&tensor), "x").unwrap();
            prop_assert_eq!(got.ty(), ty);
            prop_assert_eq!(got.values().bytes(), tensor.values().bytes());
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(&bytes, "x").is_err());
    }

    #[test]
    fn a_random_header_does_no_harm(
        version in 0u8..5, header in "[{}'():, 0-9A-Za-z<|é]{0,120}",
        descr in "['<f4]{0,6}", shape in "[(),0-9 ]{0,12}",
    ) {
        let _ = parse(&file(version, &header, &[0; 16]), "x");
        let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}");
        let _ = parse(&file(version, &text, &[0; 16]), "x");
    }

    #[test]
    fn a_changed_or_cut_file_does_no_harm(
        length in 0usize..160, at in 0usize..160, byte in any::<u8>(),
    ) {
        let whole = serialise(&Array { shape: vec![2, 4], values: vec![1.0; 8] });
        prop_assert_eq!(whole.len(), 160);
        prop_assert!(parse(&whole[..length], "x").is_err());
        let mut changed = whole;
        changed[at] = byte;
        let _ = parse(&changed, "x");
        let _ = parse_tensor(&changed, "x");
    }
}
