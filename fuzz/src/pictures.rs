//! Picture files.

use striate_data::{Geometry, Protocol, decode, output};

use super::{Scratch, printed};

/// Small, so that every input is quick.
const LIMITS: decode::Limits =
    decode::Limits { max_pixels: 1 << 16, max_side: 2048, max_bytes: 1 << 16 };

/// What starts as a JPEG.
pub fn jpeg(bytes: &[u8]) {
    decodes(&[b"\xff\xd8", bytes.strip_prefix(b"\xff\xd8").unwrap_or(bytes)].concat());
}

/// PNG, GIF, BMP, TIFF, WebP, whatever the first bytes say; those of a JPEG have a target of their
/// own.
pub fn other_pictures(bytes: &[u8]) {
    if !bytes.starts_with(b"\xff\xd8") {
        decodes(bytes);
    }
}

/// Decoding gives the same picture twice, within the limits, which comes back from a PNG.
fn decodes(bytes: &[u8]) {
    let first = decode::decode_with(bytes, "input", &LIMITS);
    let second = decode::decode_with(bytes, "input", &LIMITS);
    let image = match (first, second) {
        (Ok(image), Ok(again)) => {
            assert!(image == again, "the same bytes, two pictures");
            image
        }
        (Err(error), Err(again)) => {
            printed(&error);
            assert_eq!(error.to_string(), again.to_string());
            return;
        }
        (first, second) => panic!("once {:?}, once {:?}", first.err(), second.err()),
    };
    let [rows, cols, channels] = image.shape();
    assert!(rows > 0 && cols > 0 && (rows * cols) as u64 <= LIMITS.max_pixels);
    assert!(rows.max(cols) <= LIMITS.max_side as usize);
    assert_eq!(image.values().len(), rows * cols * channels);

    let rgb = image.to_rgb().expect("every picture has colours");
    assert_eq!(rgb.shape(), [rows, cols, 3]);
    if rows * cols <= 1 << 10 {
        let scratch = Scratch::new();
        let path = scratch.path("again.png");
        output::write_png(&path, &rgb).expect("a picture is written");
        assert!(decode::open(&path).expect("a PNG of ours is read") == rgb, "PNG changes pixels");
        let geometry = Geometry { image: [9, 9], net: [7, 7], channels: 3, scan_scale: 2 };
        match Protocol::CcvCpu.prepare(&image, &geometry, None) {
            Ok(prepared) => assert_eq!(prepared.views(), Protocol::CcvCpu.views()),
            Err(error) => printed(&error),
        }
    }
}
