use std::fs;
use std::io::Write;

use flate2::write::ZlibEncoder;
use proptest::prelude::*;

use super::*;

/// Writes `.mat` files, from the format's description alone.
struct Writer {
    big: bool,
}

impl Writer {
    fn u32(&self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn element(&self, kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = [self.u32(kind), self.u32(data.len() as u32)].concat();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// The form for at most four bytes.
    fn small(&self, kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = self.u32((data.len() as u32) << 16 | kind).to_vec();
        bytes.extend(data);
        bytes.resize(8, 0);
        bytes
    }

    fn matrix(&self, class: u32, sides: [u32; 2], name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
        let sides = sides.map(|side| self.u32(side)).concat();
        let mut data = self.element(6, &[self.u32(class), [0; 4]].concat());
        data.extend(self.element(5, &sides));
        data.extend(self.element(1, name.as_bytes()));
        data.extend(parts.concat());
        self.element(14, &data)
    }

    fn text(&self, text: &str) -> Vec<u8> {
        let wide = |c: u16| if self.big { c.to_be_bytes() } else { c.to_le_bytes() };
        let data: Vec<u8> = text.encode_utf16().flat_map(wide).collect();
        let data = self.element(4, &data);
        self.matrix(4, [1, text.len() as u32], "", &[data])
    }

    fn number(&self, value: u16) -> Vec<u8> {
        let bytes = if self.big { value.to_be_bytes() } else { value.to_le_bytes() };
        self.matrix(6, [1, 1], "", &[self.small(4, &bytes)])
    }

    fn synsets(&self, synsets: &[(u16, &str, &str, u16)]) -> Vec<u8> {
        let names = ["ILSVRC2012_ID", "WNID", "words", "num_children"];
        let padded: Vec<u8> = names
            .iter()
            .flat_map(|name| {
                let mut bytes = name.as_bytes().to_vec();
                bytes.resize(32, 0);
                bytes
            })
            .collect();
        let mut parts = vec![self.small(5, &self.u32(32)), self.element(1, &padded)];
        for (id, wnid, words, children) in synsets {
            parts.extend([
                self.number(*id),
                self.text(wnid),
                self.text(words),
                self.number(*children),
            ]);
        }
        self.matrix(2, [synsets.len() as u32, 1], "synsets", &parts)
    }

    fn file(&self, variables: &[Vec<u8>], compress: bool) -> Vec<u8> {
        let mut file = vec![b' '; 124];
        file.extend(if self.big { *b"\x01\0MI" } else { *b"\0\x01IM" });
        for variable in variables {
            if compress {
                let mut encoder = ZlibEncoder::new(Vec::new(), Default::default());
                encoder.write_all(variable).unwrap();
                let packed = encoder.finish().unwrap();
                file.extend([self.u32(15), self.u32(packed.len() as u32)].concat());
                file.extend(packed);
            } else {
                file.extend(variable);
            }
        }
        file
    }
}

/// Out of order, and with an inner node.
const SYNSETS: [(u16, &str, &str, u16); 4] = [
    (2, "n02", "goldfish, Carassius auratus", 0),
    (1, "n01", "tench, Tinca tinca", 0),
    (3, "n03", "café", 0),
    (4, "n00", "fish", 2),
];

fn devkit(meta: &[u8], truth: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join(META[0]), meta).unwrap();
    fs::write(folder.path().join(TRUTH[0]), truth).unwrap();
    folder
}

#[test]
fn classes_in_the_order_of_their_ids() {
    for (big, compress) in [(false, true), (false, false), (true, true), (true, false)] {
        let writer = Writer { big };
        let other = writer.matrix(6, [1, 2], "other", &[writer.small(2, &[1, 2])]);
        let file = writer.file(&[other, writer.synsets(&SYNSETS)], compress);
        let folder = devkit(&file, "\u{feff}3\r\n\r\n1\r\n");
        let devkit = Devkit::open(folder.path()).unwrap();
        let names = ["n01 tench, Tinca tinca", "n02 goldfish, Carassius auratus", "n03 café"];
        assert_eq!(devkit.class_names(), names);
        assert_eq!(devkit.validation, [2, 0]);
    }
}

#[test]
fn lists_of_the_pictures() {
    let writer = Writer { big: false };
    let folder = devkit(&writer.file(&[writer.synsets(&SYNSETS)], true), "3\n1\n2\n");
    let devkit = Devkit::open(folder.path()).unwrap();
    let touch = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    };
    for name in ["train/n02/n02_7.JPEG", "train/n01/n01_1.JPEG", "train/n99/x.JPEG"] {
        touch(name);
    }
    let train = devkit.training_set(folder.path().join("train")).unwrap();
    assert_eq!((train.labels(), train.classes()), (&[0, 1][..], 3));
    // The second picture is missing: the others keep their truth.
    touch("val/ILSVRC2012_val_00000003.JPEG");
    touch("val/ILSVRC2012_val_00000001.JPEG");
    let validation = devkit.validation_set(folder.path().join("val")).unwrap();
    assert_eq!(validation.labels(), [2, 1]);
    for name in ["val/ILSVRC2012_val_00000004.JPEG", "val/other.JPEG", "val/0.JPEG"] {
        touch(name);
        let text = devkit.validation_set(folder.path().join("val")).unwrap_err().to_string();
        assert!(
            text.contains(name.trim_start_matches("val/")) && text.contains("1 to 3"),
            "{text}"
        );
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert!(matches!(devkit.training_set(folder.path()), Err(Error::Dataset { .. })));
}

#[test]
fn damaged_devkits_are_refused() {
    let writer = Writer { big: false };
    let open = |variables: &[Vec<u8>], truth: &str| {
        let folder = devkit(&writer.file(variables, false), truth);
        Devkit::open(folder.path()).unwrap_err().to_string()
    };
    let good = writer.synsets(&SYNSETS);
    assert!(open(&[], "1\n").contains("called `synsets`"));
    assert!(open(&[writer.synsets(&SYNSETS[..1])], "1\n").contains("from 1 without a gap"));
    assert!(open(std::slice::from_ref(&good), "1\n4\n").contains("line 2: class label 4"));
    assert!(open(std::slice::from_ref(&good), "1\n0\n").contains("line 2: class label 0"));
    assert!(open(&[good], "x").contains("line 1"));
    let folder = devkit(b"MATLAB 7.3 MAT-file", "1\n");
    assert!(Devkit::open(folder.path()).unwrap_err().to_string().contains("-v7"));
    let empty = tempfile::tempdir().unwrap();
    assert!(Devkit::open(empty.path()).unwrap_err().to_string().contains("no data/meta.mat"));
}

#[test]
fn deep_nests_are_refused() {
    let writer = Writer { big: false };
    let mut value = writer.number(1);
    for _ in 0..40 {
        value = writer.matrix(1, [1, 1], "", &[value]);
    }
    let error = mat::read(&writer.file(&[value], false), Path::new("x")).unwrap_err().to_string();
    assert!(error.contains("within each other"), "{error}");
}

proptest! {
    #[test]
    fn damage_never_panics(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(), truncate in any::<bool>(), compress in any::<bool>(),
        big in any::<bool>(),
    ) {
        let writer = Writer { big };
        let mut file = writer.file(&[writer.synsets(&SYNSETS)], compress);
        for (place, value) in places {
            let length = file.len() - 124;
            file[124 + place.index(length)] = value;
        }
        if truncate {
            let length = cut.index(file.len());
            file.truncate(length);
        }
        let _ = mat::read(&file, Path::new("x"));
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut file = vec![0; 124];
        file.extend(b"\0\x01IM");
        file.extend(bytes);
        let _ = mat::read(&file, Path::new("x"));
    }
}
