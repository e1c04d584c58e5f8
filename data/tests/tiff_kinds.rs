//! TIFF with palettes, few bits, YCbCr and JPEG, written here sample by sample.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use striate_data::{Error, Image, decode};

const SHORT: u16 = 3;
const LONG: u16 = 4;
const UNDEFINED: u16 = 7;

/// A file of one directory and one or more strips or tiles, in either byte order.
struct Tiff {
    big_endian: bool,
    entries: Vec<(u16, u16, Vec<u64>)>,
    parts: Vec<Vec<u8>>,
    tiles: bool,
}

impl Tiff {
    fn new(rows: u64, cols: u64, photometric: u64, bits: &[u64], part: Vec<u8>) -> Self {
        let entries = vec![
            (256, SHORT, vec![cols]),
            (257, SHORT, vec![rows]),
            (258, SHORT, bits.to_vec()),
            (259, SHORT, vec![1]),
            (262, SHORT, vec![photometric]),
            (277, SHORT, vec![bits.len() as u64]),
        ];
        Self { big_endian: false, entries, parts: vec![part], tiles: false }
    }

    fn with(mut self, tag: u16, kind: u16, values: impl IntoIterator<Item = u64>) -> Self {
        self.entries.retain(|entry| entry.0 != tag);
        self.entries.push((tag, kind, values.into_iter().collect()));
        self
    }

    fn number(&self, value: u64, size: usize) -> Vec<u8> {
        let mut bytes = value.to_be_bytes()[8 - size..].to_vec();
        if !self.big_endian {
            bytes.reverse();
        }
        bytes
    }

    fn bytes(&self) -> Vec<u8> {
        let mut file = if self.big_endian { b"MM".to_vec() } else { b"II".to_vec() };
        file.extend(self.number(42, 2));
        let mut entries = self.entries.clone();
        let (starts, lengths) = if self.tiles { (324, 325) } else { (273, 279) };
        let mut data = Vec::new();
        let mut places = Vec::new();
        for part in &self.parts {
            places.push(8 + data.len() as u64);
            data.extend_from_slice(part);
        }
        entries.push((starts, LONG, places));
        entries.push((lengths, LONG, self.parts.iter().map(|part| part.len() as u64).collect()));
        if !self.tiles && !entries.iter().any(|entry| entry.0 == 278) {
            let rows = entries.iter().find(|entry| entry.0 == 257).unwrap().2.clone();
            entries.push((278, SHORT, rows));
        }
        entries.sort_by_key(|entry| entry.0);
        let mut heads = self.number(entries.len() as u64, 2);
        let mut tail: Vec<u8> = Vec::new();
        let directory_end = 8 + data.len() + 2 + entries.len() * 12 + 4;
        for (tag, kind, values) in &entries {
            let size = match *kind {
                SHORT => 2,
                LONG => 4,
                _ => 1,
            };
            let mut body: Vec<u8> = values.iter().flat_map(|&v| self.number(v, size)).collect();
            heads.extend(self.number(u64::from(*tag), 2));
            heads.extend(self.number(u64::from(*kind), 2));
            heads.extend(self.number(values.len() as u64, 4));
            if body.len() > 4 {
                heads.extend(self.number((directory_end + tail.len()) as u64, 4));
                tail.extend(body);
            } else {
                body.resize(4, 0);
                heads.extend(body);
            }
        }
        heads.extend([0; 4]);
        file.extend(self.number(8 + data.len() as u64, 4));
        [file, data, heads, tail].concat()
    }

    #[track_caller]
    fn decode(&self) -> Image {
        decode::decode(&self.bytes(), "x.tif").unwrap()
    }
}

/// 16-bit palette values whose high bytes are those of `colours`.
fn map(colours: &[[u8; 3]]) -> Vec<u64> {
    (0..3).flat_map(|c| colours.iter().map(move |colour| u64::from(colour[c]) * 257)).collect()
}

#[test]
fn palettes_of_any_depth() {
    let colours: Vec<[u8; 3]> = (0..16).map(|i| [i * 16, 255 - i * 3, i * i]).collect();
    let shown =
        |indices: &[usize]| -> Vec<u8> { indices.iter().flat_map(|&i| colours[i]).collect() };
    for big_endian in [false, true] {
        let mut four = Tiff::new(2, 3, 3, &[4], vec![0x1f, 0x70, 0x0a, 0x30]);
        four = four.with(320, SHORT, map(&colours));
        four.big_endian = big_endian;
        let image = four.decode();
        assert_eq!(image.shape(), [2, 3, 3]);
        assert_eq!(image.values(), shown(&[1, 15, 7, 0, 10, 3]));
    }
    let two = Tiff::new(1, 5, 3, &[2], vec![0b00_01_10_11, 0b10_00_00_00]);
    let image = two.with(320, SHORT, map(&colours[..4])).decode();
    assert_eq!(image.values(), shown(&[0, 1, 2, 3, 2]));
    let mut all = vec![[9; 3]; 256];
    all[..16].copy_from_slice(&colours);
    let eight = Tiff::new(1, 3, 3, &[8], vec![4, 200, 2]).with(320, SHORT, map(&all));
    assert_eq!(eight.decode().values(), [shown(&[4]), vec![9; 3], shown(&[2])].concat());
    // Some writers stored bytes.
    let bytes: Vec<u64> = map(&all).into_iter().map(|value| value >> 8).collect();
    let eight = eight.with(320, SHORT, bytes);
    assert_eq!(eight.decode().values(), [shown(&[4]), vec![9; 3], shown(&[2])].concat());
    let short = eight.with(320, SHORT, [1, 2, 3]);
    let error = decode::decode(&short.bytes(), "x.tif").map(|i| i.shape()).unwrap_err();
    assert!(error.to_string().contains("a palette of 3 values"), "{error}");
}

#[test]
fn grey_of_few_bits_and_either_direction() {
    let packed = vec![0b00_01_10_11, 0b11_00_00_00];
    assert_eq!(Tiff::new(1, 5, 1, &[2], packed.clone()).decode().values(), [0, 85, 170, 255, 255]);
    assert_eq!(Tiff::new(1, 5, 0, &[2], packed).decode().values(), [255, 170, 85, 0, 0]);
    assert_eq!(Tiff::new(1, 3, 1, &[4], vec![0x0f, 0x80]).decode().values(), [0, 255, 136]);
    assert_eq!(Tiff::new(1, 9, 0, &[1], vec![0xf0, 0x80]).decode().values()[3..6], [0, 255, 255]);
    assert_eq!(Tiff::new(1, 2, 0, &[8], vec![3, 250]).decode().values(), [252, 5]);
    assert_eq!(Tiff::new(1, 2, 0, &[16], vec![0xff, 1, 0, 0x80]).decode().values(), [254, 127]);
    // Alpha is dropped.
    let alpha = Tiff::new(1, 2, 1, &[8, 8], vec![3, 0, 250, 9]).with(338, SHORT, [2]);
    assert_eq!(alpha.decode().values(), [3, 250]);
}

#[test]
fn luma_and_chroma() {
    // Red, white, and a grey of 100.
    let values = vec![76, 85, 255, 255, 128, 128, 100, 128, 128];
    let image = Tiff::new(1, 3, 6, &[8; 3], values).with(530, SHORT, [1, 1]).decode();
    assert_eq!(image.shape(), [1, 3, 3]);
    let off = image.values().iter().zip([255, 0, 0, 255, 255, 255, 100, 100, 100u8]);
    assert!(off.into_iter().all(|(got, want)| got.abs_diff(want) <= 2), "{:?}", image.values());
}

#[test]
fn subsampled_chroma_in_strips_and_tiles() {
    // 3 x 3 pixels in units of 2 x 2: four lumas, two chromas; what lies outside is ignored.
    let grey = |lumas: [u8; 4]| [&lumas[..], &[128, 128]].concat();
    let units =
        [grey([10, 20, 50, 60]), grey([30, 0, 70, 0]), grey([90, 100, 0, 0]), grey([110, 0, 0, 0])];
    let want: Vec<u8> =
        [10, 20, 30, 50, 60, 70, 90, 100, 110].into_iter().flat_map(|v| [v; 3]).collect();
    let whole = Tiff::new(3, 3, 6, &[8; 3], units.concat());
    assert_eq!(whole.decode().values(), want);
    let mut strips = whole.with(278, SHORT, [2]);
    strips.parts = vec![units[..2].concat(), units[2..].concat()];
    assert_eq!(strips.decode().values(), want);
    // 16 x 16 tiles of 20 columns: two tiles.
    let mut tiles = Tiff::new(16, 20, 6, &[8; 3], Vec::new());
    tiles = tiles.with(322, SHORT, [16]).with(323, SHORT, [16]).with(530, SHORT, [2, 1]);
    let unit = |tile: u8, row: u8, col: u8| [tile * 100 + row, tile * 100 + col * 2, 128, 128];
    tiles.tiles = true;
    tiles.parts = (0..2)
        .map(|tile| {
            (0..16).flat_map(|row| (0..8).flat_map(move |col| unit(tile, row, col))).collect()
        })
        .collect();
    let image = tiles.decode();
    assert_eq!(image.shape(), [16, 20, 3]);
    let pixel = |row: usize, col: usize| image.values()[(row * 20 + col) * 3];
    assert_eq!([pixel(3, 0), pixel(3, 5), pixel(5, 16), pixel(5, 19)], [3, 4, 105, 102]);
}

/// A JPEG stream of the fixtures, and its pixels as they are.
fn stream(name: &str) -> (Vec<u8>, Image) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jpeg");
    let bytes = std::fs::read(folder.join(name)).unwrap();
    let image = decode::decode(&bytes, name).unwrap();
    (bytes, image)
}

#[test]
fn strips_of_jpeg() {
    let (bytes, image) = stream("three-scans.jpg");
    let [rows, cols, _] = image.shape().map(|side| side as u64);
    let tiff = Tiff::new(rows, cols, 6, &[8; 3], bytes.clone()).with(259, SHORT, [7]);
    assert_eq!(tiff.decode(), image);
    // The tables apart, and two strips.
    let mut tables = b"\xff\xd8".to_vec();
    let mut rest = b"\xff\xd8".to_vec();
    let mut at = 2;
    while bytes[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        let table = matches!(bytes[at + 1], 0xdb | 0xc4);
        if table { &mut tables } else { &mut rest }.extend_from_slice(&bytes[at..end]);
        at = end;
    }
    rest.extend_from_slice(&bytes[at..]);
    tables.extend(b"\xff\xd9");
    let mut tiff = Tiff::new(rows * 2, cols, 6, &[8; 3], rest.clone()).with(259, SHORT, [7]);
    tiff = tiff.with(278, SHORT, [rows]).with(347, UNDEFINED, tables.into_iter().map(u64::from));
    tiff.parts.push(rest);
    let twice = tiff.decode();
    assert_eq!(twice.shape(), [image.rows() * 2, image.cols(), 3]);
    assert_eq!(twice.values(), [image.values(), image.values()].concat());
    // Grey, and RGB.
    let (bytes, image) = stream("grey.jpg");
    let tiff = Tiff::new(rows, cols, 1, &[8], bytes).with(259, SHORT, [7]);
    assert_eq!(tiff.decode(), image);
    let (bytes, image) = stream("adobe-rgb.jpg");
    let tiff = Tiff::new(rows, cols, 2, &[8; 3], bytes.clone()).with(259, SHORT, [7]);
    assert_eq!(tiff.decode(), image);
    // More pixels than the directory says.
    let tiff = Tiff::new(rows - 8, cols, 2, &[8; 3], bytes).with(259, SHORT, [7]);
    let error = decode::decode(&tiff.bytes(), "x.tif").map(|i| i.shape()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn refusals_read_well() {
    let refused = [
        Tiff::new(1, 1, 8, &[8; 3], vec![1, 2, 3]),
        Tiff::new(1, 1, 6, &[16; 3], vec![1; 6]),
        Tiff::new(1, 1, 2, &[8; 3], vec![1, 2, 3]).with(259, SHORT, [6]),
        Tiff::new(1, 1, 2, &[8; 3], vec![1, 2, 3]).with(259, SHORT, [34712]),
        Tiff::new(1, 1, 2, &[5, 6, 5], vec![1, 2]),
        Tiff::new(1, 1, 1, &[32], vec![1; 4]),
        Tiff::new(1, 1, 1, &[64], vec![1; 8]),
        Tiff::new(1, 1, 3, &[8, 8], vec![1; 2]),
    ];
    for (index, tiff) in refused.iter().enumerate() {
        let error = decode::decode(&tiff.bytes(), "x.tif").map(|i| i.shape()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Unsupported { .. }), "{index}: {text}");
        assert_eq!(text.matches("supported").count(), 1, "{index}: {text}");
        assert!(text.starts_with("x.tif: "), "{index}: {text}");
    }
}

#[test]
fn cut_off_files_are_errors() {
    let colours = vec![[7; 3]; 16];
    let tiff = Tiff::new(8, 8, 3, &[4], vec![0x12; 32]).with(320, SHORT, map(&colours));
    let whole = tiff.bytes();
    for length in 2..whole.len() {
        let result = decode::decode(&whole[..length], "x").map(|image| image.shape());
        assert!(result.is_err(), "{length}");
    }
}
