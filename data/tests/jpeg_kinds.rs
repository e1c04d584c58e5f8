//! Every kind of JPEG that libjpeg decodes, as small files with libjpeg's own pixels beside them
//! (`fixtures/README.md` tells how they were made), and the kinds that are refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use striate_data::{Error, Image, decode};

fn read(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jpeg");
    std::fs::read(folder.join(name)).unwrap()
}

fn decoded(name: &str) -> Image {
    decode::decode(&read(&format!("{name}.jpg")), name).unwrap()
}

/// Shape and values of a binary PNM whose header is of three lines.
fn expected(name: &str) -> ([usize; 3], Vec<u8>) {
    let bytes = read(&format!("{name}.pnm"));
    let lines: Vec<&[u8]> = bytes.splitn(4, |&byte| byte == b'\n').collect();
    let [kind, size, _, values] = lines[..] else { panic!("{name}.pnm") };
    let size = std::str::from_utf8(size).unwrap();
    let sides: Vec<usize> = size.split(' ').map(|side| side.parse().unwrap()).collect();
    ([sides[1], sides[0], if kind == b"P6" { 3 } else { 1 }], values.to_vec())
}

#[track_caller]
fn assert_as_libjpeg(name: &str) {
    let image = decoded(name);
    let (shape, values) = expected(name);
    assert_eq!(image.shape(), shape, "{name}");
    assert!(image.values() == values, "{name}: other pixels");
}

#[test]
fn scans_that_are_not_interleaved() {
    for name in ["interleaved", "three-scans", "chroma-first", "bit-by-bit"] {
        assert_as_libjpeg(name);
        // The same coefficients.
        assert_eq!(decoded(name), decoded("interleaved"));
    }
}

#[test]
fn samplings() {
    for name in ["luma-below-chroma", "mixed", "three-by-one", "grey", "wide-tables"] {
        assert_as_libjpeg(name);
    }
}

#[test]
fn colours_by_markers_and_names() {
    for name in ["adobe-rgb", "named-rgb", "jfif-named-rgb"] {
        assert_as_libjpeg(name);
    }
    assert_eq!(decoded("adobe-rgb"), decoded("named-rgb"));
    assert_eq!(decoded("jfif-named-rgb"), decoded("interleaved"));
}

#[test]
fn frames_of_motion_jpeg_bring_no_huffman_tables() {
    assert_as_libjpeg("without-tables");
}

/// The file with the marker of its frame header, and bits a sample, exchanged.
fn with_frame(marker: u8, bits: u8) -> Vec<u8> {
    let mut bytes = read("interleaved.jpg");
    let at = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bytes[at + 1] = marker;
    bytes[at + 4] = bits;
    bytes
}

#[test]
fn what_is_not_supported_is_called_so() {
    let refused = [
        (read("arithmetic.jpg"), "JPEG with arithmetic coding"),
        (read("incomplete.jpg"), "progressive JPEG whose scans leave out part of the detail"),
        (with_frame(0xc1, 12), "JPEG with 12 bits a sample"),
        (with_frame(0xc3, 8), "lossless JPEG"),
        (with_frame(0xc5, 8), "hierarchical JPEG"),
        (with_frame(0xca, 8), "JPEG with arithmetic coding"),
    ];
    for (bytes, what) in refused {
        let error = decode::decode(&bytes, "x.jpg").map(|image| image.shape()).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(
            error.to_string().starts_with(&format!("x.jpg: {what} is not supported")),
            "{error}"
        );
    }
    // Extended, but of 8 bits and Huffman coded: as baseline.
    assert_eq!(decode::decode(&with_frame(0xc1, 8), "x").unwrap(), decoded("interleaved"));
    // Factors that do not divide each other: libjpeg refuses them as well.
    let mut bytes = read("three-by-one.jpg");
    let at = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bytes[at + 14] = 0x21;
    let error = decode::decode(&bytes, "x.jpg").map(|image| image.shape()).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

const SOUND: [&str; 11] = [
    "interleaved",
    "three-scans",
    "chroma-first",
    "bit-by-bit",
    "luma-below-chroma",
    "mixed",
    "three-by-one",
    "grey",
    "wide-tables",
    "adobe-rgb",
    "without-tables",
];

#[test]
fn cut_off_files_are_truncated_wherever_that_is() {
    for name in SOUND {
        let whole = read(&format!("{name}.jpg"));
        for length in (3..whole.len()).step_by(7).chain([whole.len() - 1]) {
            let error = decode::decode(&whole[..length], name).map(|image| image.shape());
            assert!(matches!(error, Err(Error::Truncated { .. })), "{name} {length}: {error:?}");
        }
    }
}

/// Coded data is lost, but the end-of-image marker is there: this used to give half a picture.
#[test]
fn lost_coded_data_is_damage_even_with_an_end_marker() {
    for name in SOUND {
        let whole = read(&format!("{name}.jpg"));
        for lost in [3, 10, 40] {
            // Of the last ones, some take a table's segment along.
            let mut bytes = whole[..whole.len() - 2 - lost].to_vec();
            bytes.extend([0xff, 0xd9]);
            let result = decode::decode(&bytes, name).map(|image| image.shape());
            let said = matches!(result, Err(Error::Corrupt { .. } | Error::Truncated { .. }));
            assert!(said, "{name} {lost}: {result:?}");
        }
    }
    // A whole scan.
    let bytes = read("three-scans.jpg");
    let last = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let cut = [&bytes[..last], &[0xff, 0xd9]].concat();
    let error = decode::decode(&cut, "x").map(|image| image.shape()).unwrap_err();
    assert!(error.to_string().contains("component 3 has no scan"), "{error}");
}

#[test]
fn data_after_the_end_and_padding_before_markers_harm_nothing() {
    let whole = read("chroma-first.jpg");
    let after = [&whole[..], b"\xff\xd8\xff\xe0 whatever"].concat();
    assert_eq!(decode::decode(&after, "x").unwrap(), decoded("chroma-first"));
    let mut padded = Vec::new();
    for (index, &byte) in whole.iter().enumerate() {
        let marker = byte == 0xff && whole.get(index + 1).is_some_and(|&next| next >= 0xc0);
        padded.extend(std::iter::repeat_n(0xff, if marker && index > 0 { 3 } else { 0 }));
        padded.push(byte);
    }
    // Only markers: none of the segments' bodies holds such a pair.
    assert_eq!(decode::decode(&padded, "x").unwrap(), decoded("chroma-first"));
}

#[test]
fn restart_markers_have_to_come_in_turn() {
    let mut bytes = read("mixed.jpg");
    let at = bytes.windows(2).position(|pair| pair == [0xff, 0xd0]).unwrap();
    bytes[at + 1] = 0xd3;
    let error = decode::decode(&bytes, "x").map(|image| image.shape()).unwrap_err();
    assert!(error.to_string().contains("restart marker"), "{error}");
}
