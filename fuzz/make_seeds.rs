//! Makes the fuzzer's seeds anew: `cargo run --example fuzz_seeds`. Findings, which are called
//! `found-…`, stay as they are.

// A tool for those who work on this repository: it may stop where it is.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "src/lib.rs"]
mod parsers;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use image::{DynamicImage, ImageFormat};
use striate::image::npy::Array;
use striate::image::{Recipe, npy};
use striate::importers::safetensors::write_tensors;
use striate::importers::{self, WriteOptions, ccv};
use striate::prelude::{DType, NetworkSpec, Tensor, models};
use striate::train::{Decay, LayerRates, TrainOptions};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let seeds = Seeds(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds"));
    for (name, _) in parsers::TARGETS {
        let folder = seeds.0.join(name);
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with("found-") {
                fs::remove_file(entry.path())?;
            }
        }
    }
    let scratch = tempfile::tempdir()?;
    seeds.models(scratch.path())?;
    seeds.pickles()?;
    seeds.onnx()?;
    seeds.caffe()?;
    seeds.text()?;
    seeds.sets(scratch.path())?;
    seeds.pictures()
}

struct Seeds(PathBuf);

impl Seeds {
    fn put(&self, target: &str, name: &str, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let (path, bytes) = (self.0.join(target).join(name), bytes.as_ref());
        println!("{:8} {}", bytes.len(), path.display());
        fs::write(path, bytes)
    }

    fn models(&self, scratch: &Path) -> Outcome {
        let (network, state) = parsers::small_training();
        let path = scratch.join("x.sqlite3");
        for dtype in [DType::F32, DType::F16] {
            importers::write(&path, &network, &WriteOptions::default().dtype(dtype))?;
            self.put("ccv", &format!("model-{dtype}"), small_pages(&path)?)?;
        }
        ccv::write_checkpoint(&path, &network, &state)?;
        self.put("ccv", "checkpoint", small_pages(&path)?)?;
        self.put("ccv", "begins-as-one", b"SQLite format 3\0")?;

        // A table, a column, a row, a kind of change and its value.
        self.put("ccv_rows", "nothing", [])?;
        self.put("ccv_rows", "null", [1, 2, 0, 0])?;
        self.put("ccv_rows", "number", [0, 3, 1, 1, 255, 255, 255, 127, 0, 0, 0, 0])?;
        self.put("ccv_rows", "real", [2, 1, 0, 2, 0, 0, 0, 0, 0, 0, 240, 127])?;
        self.put("ccv_rows", "text", [0, 1, 0, 3, 3, b'c', b'n', b'v', 3, 0, 0, 4, 2, 1, 2])?;
        self.put("ccv_rows", "cut", [1, 2, 1, 5, 4, 0, 0, 2, 6])?;

        let path = scratch.join("x.safetensors");
        importers::write(&path, &network, &WriteOptions::default().dtype(DType::F16))?;
        self.put("safetensors", "model", fs::read(&path)?)?;
        let small = NetworkSpec::new([2, 2, 1]).full_connect(2);
        let small = small.build(network.device(), striate::nn::Seed(1))?;
        importers::write(&path, &small, &WriteOptions::default())?;
        self.put("safetensors", "small", fs::read(&path)?)?;
        importers::write(&path, &small, &WriteOptions::default().dtype(DType::I8))?;
        self.put("safetensors", "int8", fs::read(&path)?)?;
        let tensor = Tensor::from_vec(vec![1.0f32, f32::NAN, 3.0], [3, 1], network.device())?;
        // torchvision's names, of which the shapes are wrong.
        let names = ["features.0.weight", "features.0.bias", "classifier.6.bias"];
        let tensors: Vec<_> = names.iter().map(|name| (*name, &tensor)).collect();
        write_tensors(&path, &tensors, &BTreeMap::new())?;
        self.put("safetensors", "torchvision", fs::read(&path)?)?;
        let header = concat!(
            r#"{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"#,
            r#""b":{"dtype":"F64","shape":[],"data_offsets":[4,12]},"#,
            r#""c":{"dtype":"I64","shape":[0],"data_offsets":[12,12]}}"#
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([0; 12]);
        Ok(self.put("safetensors", "types", bytes)?)
    }

    /// The fixtures of `tests/fixtures/onnx/make.py`, but for the one whose weights are beside it.
    fn onnx(&self) -> Outcome {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx");
        for entry in fs::read_dir(fixtures)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_some_and(|kind| kind == "onnx") && name != "beside.onnx" {
                self.put("onnx", &name, fs::read(&path)?)?;
            }
        }
        Ok(())
    }

    /// What PyTorch wrote: `tests/fixtures/torch/checkpoints.py`.
    fn pickles(&self) -> Outcome {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torch/pth");
        for entry in fs::read_dir(fixtures)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.put("pickle", &name, fs::read(&path)?)?;
        }
        Ok(())
    }

    fn caffe(&self) -> Outcome {
        use parsers::{caffe_blob, proto_bytes};
        self.put("caffemodel", "all", parsers::caffe_model())?;
        // Old files: layers of another field, four extents, a key before each number.
        let old: Vec<u8> = [[8, 1], [16, 1], [24, 1], [32, 2]].concat();
        let old = [old, [[45, 0, 0, 128, 63], [45, 0, 0, 0, 64]].concat()].concat();
        let layer = [
            proto_bytes(2, b"data"),
            proto_bytes(3, b"fc"),
            proto_bytes(4, b"fc"),
            vec![5 << 3, 14],
            proto_bytes(6, &old),
            // One number of an inner product without addends.
            vec![17 << 3 & 0x7f | 0x82, 1, 4, 8, 1, 16, 0],
        ];
        let fc = proto_bytes(2, &layer.concat());
        // An image of 1x2 pixels with one channel.
        let input = [proto_bytes(3, b"data"), vec![32, 1, 32, 1, 32, 1, 32, 2]].concat();
        self.put("caffemodel", "old", [proto_bytes(1, b"old"), fc, input].concat())?;
        // What says itself how large the image is that it was trained on.
        let data = [
            proto_bytes(1, b"data"),
            proto_bytes(2, b"Data"),
            proto_bytes(4, b"data"),
            proto_bytes(100, &[24, 1]),
        ];
        let norm = [
            proto_bytes(1, b"norm"),
            proto_bytes(2, b"BatchNorm"),
            proto_bytes(3, b"data"),
            proto_bytes(4, b"norm"),
            proto_bytes(7, &caffe_blob(&[3])),
            proto_bytes(7, &caffe_blob(&[3])),
            proto_bytes(7, &caffe_blob(&[1])),
        ];
        let fc = [
            proto_bytes(1, b"fc"),
            proto_bytes(2, b"InnerProduct"),
            proto_bytes(3, b"norm"),
            proto_bytes(4, b"fc"),
            proto_bytes(7, &caffe_blob(&[2, 3])),
            proto_bytes(7, &caffe_blob(&[2])),
            proto_bytes(117, &[8, 2]),
        ];
        let layers = [data.concat(), norm.concat(), fc.concat()];
        let layers: Vec<u8> = layers.iter().flat_map(|layer| proto_bytes(100, layer)).collect();
        self.put("caffemodel", "trained", layers)?;
        self.put("caffemodel", "mean", caffe_blob(&[3, 1, 1]))?;
        self.put("caffemodel", "mean-image", caffe_blob(&[3, 6, 7]))?;

        self.put("prototxt", "all", parsers::DEFINITION)?;
        let old = "layers { name: \"fc\" type: INNER_PRODUCT, bottom: 'data'; top: 'fc' # old\n\
                   inner_product_param < num_output: 2 > }\n\
                   input: \"da\" 'ta' input_dim: [1, 2, 2] input_dim: 0x2\n\
                   layers { name: 'loss' type: SOFTMAX_LOSS bottom: 'fc' bottom: 'fc' }";
        self.put("prototxt", "old", old)?;
        let trained = "layer { name: 'data' type: 'Data' top: 'data' transform_param {\n\
                       crop_size: 6 scale: .5 mean_value: [1, 2, 3] } include { phase: TRAIN } }\n\
                       layer { name: 'conv' type: 'Convolution' bottom: 'data' top: '\\x63\\157nv'\n\
                       convolution_param { num_output: 2 kernel_h: 3 kernel_w: 3 } exclude { stage: 'x' } }";
        Ok(self.put("prototxt", "trained", trained)?)
    }

    fn text(&self) -> Outcome {
        self.put("lists", "labelled", "1 a.png\n2 b c.jpg\r\n\n3 /d/é.gif\n")?;
        self.put("lists", "mark", "\u{feff}a.png\n  b.png  \n")?;
        self.put("dataset", "list", "1 a.png\n2 b.png\n")?;

        self.put("spec", "lenet", models::by_name("lenet")?.to_json()?)?;
        self.put("spec", "all-layers", parsers::small_training().0.spec().to_json()?)?;
        for name in Recipe::NAMES {
            self.put("recipe", name, serde_json::to_string(&Recipe::by_name(name)?)?)?;
        }
        let mut recipe = Recipe::by_name("ccv")?;
        (recipe.turn, recipe.invert) = (10.0, true);
        self.put("recipe", "turned", serde_json::to_string(&recipe)?)?;

        let mut options = TrainOptions::default();
        self.put("options", "default", serde_json::to_string(&options)?)?;
        options.schedule.warm_up = 0.5;
        options.schedule.decay = Decay::steps([2, 4]);
        let rates = LayerRates { weights: Some(options.weights), biases: None };
        options.layers.insert(1, rates);
        self.put("options", "all", serde_json::to_string(&options)?)?;
        options.schedule.decay = Decay::Cosine { last: 0.1 };
        self.put("options", "cosine", serde_json::to_string(&options.schedule)?)?;
        Ok(self.put("options", "layers", r#"{"layers":{"0":{"weights":{"rate":1}}}}"#)?)
    }

    fn sets(&self, scratch: &Path) -> Outcome {
        let path = scratch.join("x.npy");
        npy::write(&path, &Array { shape: vec![2, 3], values: vec![1.5; 6] })?;
        self.put("npy", "f4", fs::read(&path)?)?;
        for (name, bytes) in [("<f2", 2), ("<f8", 8), ("|u1", 1), (">f4", 4)] {
            let header = format!("{{'descr': '{name}', 'fortran_order': False, 'shape': (2,)}}\n");
            let mut file = b"\x93NUMPY\x01\0".to_vec();
            file.extend((header.len() as u16).to_le_bytes());
            file.extend(header.as_bytes());
            file.extend(vec![0x3c; 2 * bytes]);
            self.put("npy", &name.replace(['<', '>', '|'], "from-"), file)?;
        }

        let mut record = vec![7u8];
        record.extend((0..3072).map(|i| (i / 12) as u8));
        self.put("cifar", "ten", &record)?;
        self.put("cifar", "hundred", [&[3], &record[..]].concat())?;

        let labels = [0, 0, 8, 1, 0, 0, 0, 2, 1, 0];
        let pictures = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3][..], &[9; 12]].concat();
        self.put("idx", "plain", two_files(&labels, &pictures))?;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&pictures)?;
        let packed = packed.finish()?;
        self.put("idx", "packed", two_files(&labels, &packed))?;
        self.put("dataset", "idx", &pictures)?;
        self.put("dataset", "packed", &packed)?;

        let truth = b"2\n1\n";
        for (name, packed) in [("plain", false), ("packed", true)] {
            self.put("meta_mat", name, two_files(truth, &meta_mat(packed)?))?;
        }
        Ok(())
    }

    fn pictures(&self) -> Outcome {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tests/fixtures");
        for entry in fs::read_dir(fixtures)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let target = match path.extension().and_then(|e| e.to_str()) {
                // Of the eight orientations one will do.
                Some("jpg") if !name.starts_with("orientation") || name.contains('6') => "jpeg",
                Some("webp") => "other_pictures",
                _ => continue,
            };
            let bytes = fs::read(&path)?;
            if bytes.len() <= 4 << 10 {
                self.put(target, &name, bytes)?;
            }
        }
        let pixels = (0..8 * 6 * 3).map(|i| (i * 5) as u8).collect();
        let rgb = image::RgbImage::from_raw(8, 6, pixels).ok_or("the size is wrong")?;
        let rgb = DynamicImage::ImageRgb8(rgb);
        let forms = [
            ("png", ImageFormat::Png),
            ("gif", ImageFormat::Gif),
            ("bmp", ImageFormat::Bmp),
            ("tif", ImageFormat::Tiff),
            ("webp", ImageFormat::WebP),
        ];
        for (name, format) in forms {
            for (kind, picture) in [("rgb", rgb.clone()), ("grey", rgb.to_luma8().into())] {
                let mut bytes = Cursor::new(Vec::new());
                if picture.write_to(&mut bytes, format).is_ok() {
                    self.put("other_pictures", &format!("{kind}.{name}"), bytes.into_inner())?;
                }
            }
        }
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgba16(rgb.to_rgba16()).write_to(&mut bytes, ImageFormat::Png)?;
        Ok(self.put("other_pictures", "deep.png", bytes.into_inner())?)
    }
}

/// A database with the smallest pages that there are, so that few bytes of a seed are empty.
fn small_pages(path: &Path) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let connection = rusqlite::Connection::open(path)?;
    connection.execute_batch("PRAGMA page_size = 512; VACUUM")?;
    drop(connection);
    Ok(fs::read(path)?)
}

fn two_files(first: &[u8], second: &[u8]) -> Vec<u8> {
    [&(first.len() as u16).to_le_bytes(), first, second].concat()
}

/// An element of a `.mat` file, filled up to eight bytes.
fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn matrix(class: u32, sides: [u32; 2], name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut data = element(6, &[class.to_le_bytes(), [0; 4]].concat());
    data.extend(element(5, &sides.map(u32::to_le_bytes).concat()));
    data.extend(element(1, name.as_bytes()));
    data.extend(parts.concat());
    element(14, &data)
}

/// ImageNet's `meta.mat` of two classes and a node above them.
fn meta_mat(packed: bool) -> std::io::Result<Vec<u8>> {
    let text = |text: &str| {
        let data: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        matrix(4, [1, text.len() as u32], "", &[element(4, &data)])
    };
    let number = |value: u16| matrix(6, [1, 1], "", &[element(4, &value.to_le_bytes())]);
    let names = ["ILSVRC2012_ID", "WNID", "words", "num_children"];
    let names: Vec<u8> = names
        .iter()
        .flat_map(|name| [name.as_bytes(), &vec![0; 32 - name.len()]].concat())
        .collect();
    let mut parts = vec![element(5, &32u32.to_le_bytes()), element(1, &names)];
    for (id, wnid, words, children) in
        [(2, "n02", "goldfish", 0), (1, "n01", "tench", 0), (3, "n00", "fish", 2)]
    {
        parts.extend([number(id), text(wnid), text(words), number(children)]);
    }
    let synsets = matrix(2, [3, 1], "synsets", &parts);
    let mut file = vec![b' '; 124];
    file.extend(b"\0\x01IM");
    if packed {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&synsets)?;
        let packed = encoder.finish()?;
        file.extend([15u32.to_le_bytes(), (packed.len() as u32).to_le_bytes()].concat());
        file.extend(packed);
    } else {
        file.extend(synsets);
    }
    Ok(file)
}
