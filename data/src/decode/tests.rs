use std::io::Cursor;
use std::path::PathBuf;

use image::{DynamicImage, ImageBuffer};

use super::*;

/// Rows, columns and the colours of the four quadrants (top left, top right, bottom left, bottom
/// right) of the fixtures, which `tests/fixtures/README.md` describes.
const ROWS: usize = 32;
const COLS: usize = 48;
const QUADRANTS: [[u8; 3]; 4] = [[220, 30, 40], [30, 200, 60], [40, 60, 210], [240, 220, 60]];

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join(name)).unwrap()
}

/// A picture of the quadrants, exact.
fn quadrants() -> image::RgbImage {
    ImageBuffer::from_fn(COLS as u32, ROWS as u32, |x, y| {
        let right = usize::from(x as usize >= COLS / 2);
        let bottom = usize::from(y as usize >= ROWS / 2);
        image::Rgb(QUADRANTS[bottom * 2 + right])
    })
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

#[track_caller]
fn assert_quadrants(image: &Image, colors: [[u8; 3]; 4], tolerance: i32) {
    assert_eq!(image.shape(), [ROWS, COLS, 3]);
    for (index, want) in colors.iter().enumerate() {
        let (row, col) = (ROWS / 4 + index / 2 * ROWS / 2, COLS / 4 + index % 2 * COLS / 2);
        let got = &image.values()[(row * COLS + col) * 3..][..3];
        for (got, want) in got.iter().zip(want) {
            let off = (i32::from(*got) - i32::from(*want)).abs();
            assert!(off <= tolerance, "quadrant {index}: {got} for {want}");
        }
    }
}

#[test]
fn lossless_formats_are_exact_whatever_they_are_called() {
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
        let image = decode(&encoded(quadrants(), format), "wrong.extension").unwrap();
        assert_eq!(image.values(), quadrants().as_raw().as_slice(), "{format:?}");
    }
    // Four colours fit a palette.
    let rgba = DynamicImage::from(quadrants()).to_rgba8();
    let image = decode(&encoded(rgba, ImageFormat::Gif), "x").unwrap();
    assert_quadrants(&image, QUADRANTS, 2);
}

#[test]
fn lossy_formats_are_close() {
    for name in ["plain.jpg", "progressive.jpg", "lossy.webp"] {
        assert_quadrants(&decode(&fixture(name), name).unwrap(), QUADRANTS, 12);
    }
    let grey = decode(&fixture("grey.jpg"), "grey.jpg").unwrap();
    assert_eq!(grey.shape(), [ROWS, COLS, 1]);
}

#[test]
fn every_orientation_is_undone() {
    for orientation in 1..=8 {
        let name = format!("orientation-{orientation}.jpg");
        assert_quadrants(&decode(&fixture(&name), &name).unwrap(), QUADRANTS, 12);
    }
}

#[test]
fn inks_become_light() {
    // (255 - ink) * (255 - black) / 255 of the inks in the fixtures' description.
    let colors = [[235, 51, 69], [46, 215, 55], [62, 91, 245], [255, 235, 75]];
    for name in ["cmyk-adobe.jpg", "cmyk-plain.jpg", "ycck-adobe.jpg"] {
        assert_quadrants(&decode(&fixture(name), name).unwrap(), colors, 14);
    }
}

#[test]
fn alpha_is_dropped_not_blended() {
    let pixels = vec![10, 20, 30, 0, 40, 50, 60, 128];
    let rgba = image::RgbaImage::from_raw(2, 1, pixels).unwrap();
    let image = decode(&encoded(rgba, ImageFormat::Png), "x").unwrap();
    assert_eq!((image.channels(), image.values()), (3, &[10, 20, 30, 40, 50, 60][..]));
    let grey: ImageBuffer<image::LumaA<u8>, _> =
        ImageBuffer::from_raw(2, 1, vec![7, 0, 9, 255]).unwrap();
    let image = decode(&encoded(grey, ImageFormat::Png), "x").unwrap();
    assert_eq!((image.channels(), image.values()), (1, &[7, 9][..]));
}

#[test]
fn the_low_byte_of_16_bits_is_dropped() {
    let deep: ImageBuffer<image::Rgb<u16>, _> =
        ImageBuffer::from_raw(1, 1, vec![0x12ff, 0x7f80, 0x00ff]).unwrap();
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let image = decode(&encoded(deep.clone(), format), "x").unwrap();
        assert_eq!(image.values(), [0x12, 0x7f, 0x00]);
    }
    let grey: ImageBuffer<image::Luma<u16>, _> = ImageBuffer::from_raw(1, 1, vec![0xabff]).unwrap();
    let image = decode(&encoded(grey, ImageFormat::Png), "x").unwrap();
    assert_eq!((image.channels(), image.values()), (1, &[0xab][..]));
    let float: ImageBuffer<image::Rgb<f32>, _> =
        ImageBuffer::from_raw(1, 1, vec![0.5, -1.0, 7.0]).unwrap();
    let image = decode(&encoded(float, ImageFormat::Tiff), "x").unwrap();
    assert_eq!(image.values(), [128, 0, 255]);
}

#[test]
fn a_truncated_picture_is_an_error_wherever_it_is_cut() {
    for name in ["plain.jpg", "progressive.jpg", "cmyk-adobe.jpg", "orientation-6.jpg", "grey.jpg"]
    {
        let whole = fixture(name);
        for length in 3..whole.len() {
            let error = decode(&whole[..length], name).map(|image| image.shape()).unwrap_err();
            assert!(matches!(error, Error::Truncated { .. }), "{name} {length}: {error}");
            assert!(
                error.to_string().starts_with(&format!("{name}: the JPEG picture is truncated"))
            );
        }
    }
    let lossless = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP];
    for format in lossless {
        let whole = encoded(quadrants(), format);
        for length in [40, whole.len() / 2, whole.len() * 3 / 4] {
            let error = decode(&whole[..length], "x").map(|image| image.shape()).unwrap_err();
            assert!(
                matches!(error, Error::Truncated { .. } | Error::Corrupt { .. }),
                "{format:?} {length}: {error}"
            );
        }
    }
    let gif = encoded(DynamicImage::from(quadrants()).to_rgba8(), ImageFormat::Gif);
    assert!(decode(&gif[..gif.len() / 2], "x").is_err());
}

#[test]
fn junk_in_a_jpeg_header_is_skipped() {
    let whole = fixture("plain.jpg");
    // After SOI and the first segment.
    let at = 4 + usize::from(u16::from_be_bytes([whole[4], whole[5]]));
    let junk = [&whole[..at], b"twelve bytes", &whole[at..]].concat();
    assert_quadrants(&decode(&junk, "x").unwrap(), QUADRANTS, 12);
}

/// A PNG with only a header.
fn png_header(cols: u32, rows: u32) -> Vec<u8> {
    let mut png = encoded(quadrants(), ImageFormat::Png);
    png[16..20].copy_from_slice(&cols.to_be_bytes());
    png[20..24].copy_from_slice(&rows.to_be_bytes());
    png
}

#[test]
fn a_header_of_100_000_squared_is_refused() {
    let error =
        decode(&png_header(100_000, 100_000), "huge.png").map(|image| image.shape()).unwrap_err();
    assert!(matches!(error, Error::TooManyPixels { pixels: 10_000_000_000, .. }), "{error}");
    let text = error.to_string();
    for part in ["huge.png", "100000 rows x 100000 columns", "100000000", "--max-pixels"] {
        assert!(text.contains(part), "{text}");
    }
    let error =
        decode(&png_header(2_000_000, 1), "long.png").map(|image| image.shape()).unwrap_err();
    assert!(matches!(error, Error::SideTooLong { limit: 1_000_000, .. }), "{error}");
}

#[test]
fn limits_can_be_set() {
    let png = encoded(quadrants(), ImageFormat::Png);
    let pixels = (ROWS * COLS) as u64;
    let exact = Limits { max_pixels: pixels, max_side: 48, max_bytes: png.len() as u64 };
    assert!(decode_with(&png, "x", &exact).is_ok());
    let fewer = Limits { max_pixels: pixels - 1, ..exact };
    assert!(matches!(decode_with(&png, "x", &fewer), Err(Error::TooManyPixels { .. })));
    let shorter = Limits { max_side: 47, ..exact };
    assert!(matches!(decode_with(&png, "x", &shorter), Err(Error::SideTooLong { .. })));
    let smaller = Limits { max_bytes: png.len() as u64 - 1, ..exact };
    assert!(matches!(decode_with(&png, "x", &smaller), Err(Error::TooManyBytes { .. })));
    let jpeg = fixture("plain.jpg");
    assert!(matches!(
        decode_with(&jpeg, "x", &Limits { max_pixels: 9, ..Limits::default() }),
        Err(Error::TooManyPixels { limit: 9, .. })
    ));
}

#[test]
fn empty_pictures_are_refused() {
    for (cols, rows) in [(0, 0), (0, 5), (5, 0)] {
        let error =
            decode(&png_header(cols, rows), "x.png").map(|image| image.shape()).unwrap_err();
        assert!(matches!(error, Error::NoPixels { .. }), "{error}");
    }
    let mut jpeg = fixture("plain.jpg");
    let sof = jpeg.windows(2).position(|w| w == b"\xff\xc0").unwrap();
    jpeg[sof + 5..sof + 9].fill(0);
    let error = decode(&jpeg, "x.jpg").map(|image| image.shape()).unwrap_err();
    assert!(matches!(error, Error::NoPixels { .. }), "{error}");
}

#[test]
fn what_is_no_image_is_said() {
    assert!(matches!(decode(b"", "x"), Err(Error::EmptyFile { .. })));
    let error =
        decode(b"SQLite format 3\0", "model.sqlite3").map(|image| image.shape()).unwrap_err();
    assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
    assert!(error.to_string().contains("SQLite form"), "{error}");
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    assert!(decode(heic, "x").map(|image| image.shape()).unwrap_err().to_string().contains("HEIC"));
    let error = decode(b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0", "x.ico")
        .map(|image| image.shape())
        .unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

#[test]
fn damaged_bytes_never_panic() {
    let fixtures = ["plain.jpg", "progressive.jpg", "cmyk-adobe.jpg", "lossy.webp"].map(fixture);
    let formats = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP];
    let encodings = formats.map(|format| encoded(quadrants(), format));
    for whole in fixtures.iter().chain(&encodings) {
        for at in (0..whole.len()).step_by(whole.len() / 97 + 1) {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                // A picture or an error, either is fine.
                let limits = Limits { max_pixels: 1 << 22, ..Limits::default() };
                let _ = decode_with(&bytes, "x", &limits);
            }
        }
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(open(folder.path()), Err(Error::Directory { .. })));
    let missing = folder.path().join("missing.png");
    let error = open(&missing).map(|image| image.shape()).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
    assert!(error.to_string().contains("missing.png"), "{error}");
    let empty = folder.path().join("empty.png");
    std::fs::write(&empty, b"").unwrap();
    let error = open(&empty).map(|image| image.shape()).unwrap_err();
    assert!(matches!(error, Error::EmptyFile { .. }) && error.to_string().contains("empty.png"));
    let limits = Limits { max_bytes: 10, ..Limits::default() };
    std::fs::write(&empty, [0; 11]).unwrap();
    assert!(matches!(open_with(&empty, &limits), Err(Error::TooManyBytes { limit: 10, .. })));
}

#[test]
fn a_missing_file_is_told_once() {
    let error = open("no/such.png").map(|image| image.shape()).unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(!source.is_empty() && !error.to_string().contains(&source), "{error}: {source}");
}

#[test]
fn a_palette_is_shown() {
    let image = decode(&fixture("palette.tif"), "palette.tif").unwrap();
    assert_eq!(image.channels(), 3);
    let first = &image.values()[..3];
    assert!(image.values().chunks_exact(3).any(|pixel| pixel != first));
}

#[cfg(unix)]
#[test]
fn a_forbidden_file_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("secret.png");
    std::fs::write(&path, encoded(quadrants(), ImageFormat::Png)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read it all the same.
    if let Err(error) = open(&path) {
        // The reason is the source's to tell, once.
        assert!(error.to_string().ends_with("secret.png"), "{error}");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert!(source.is_some_and(|text| text.contains("Permission denied")));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_endless_device_is_cut_off() {
    let limits = Limits { max_bytes: 1000, ..Limits::default() };
    assert!(matches!(open_with("/dev/zero", &limits), Err(Error::TooManyBytes { .. })));
}
