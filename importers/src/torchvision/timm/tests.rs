//! What timm's own program says of its networks, recorded with timm 1.0.31; and files of our own making with
//! their names and shapes, whose weights are never read.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::layout::{Modules, known};
use super::*;
use crate::preset::{Filter, HALVES, IMAGENET, Pixels};
use crate::safetensors::TensorFile;
use crate::{Inspection, inspect};

/// Of timm's networks whose tensors differ: the number of tensors without the counts of batches, and FNV-1a
/// (64 bits) of the sorted lines `name [shape]`, each with a line feed, where shapes lack extents of 1 at
/// the end.
const PUBLISHED: &[(&str, usize, u64)] = &[
    ("resnet18", 102, 0xe6cebfe8131f7cec),
    ("resnet34", 182, 0x60f2e5169537a22e),
    ("resnet50", 267, 0x68d723d706380a9b),
    ("resnet101", 522, 0x2a42bc1bc6a52136),
    ("resnet152", 777, 0x4f797c9ea0629b3c),
    ("resnext50_32x4d", 267, 0x5eea4fe5cc6a22ee),
    ("resnext101_32x8d", 522, 0x1e7ab69a6b50b609),
    ("resnext101_64x4d", 522, 0xe6c73a05d85c604c),
    ("wide_resnet50_2", 267, 0xb17866e892b10f7f),
    ("wide_resnet101_2", 522, 0x4a868de9b271dafe),
    ("densenet121", 606, 0x290a6a569937b83f),
    ("densenet161", 806, 0x26890a17d26cf33a),
    ("densenet169", 846, 0x1c27290922518eef),
    ("densenet201", 1006, 0x82c3b2566f0d4da1),
    ("vgg11", 22, 0xdf6c3835b14a8d8e),
    ("vgg13", 26, 0x82b53d2e301da981),
    ("vgg16", 32, 0x4ac1def8d00a54c3),
    ("vgg19", 38, 0x537245dca5d81cfb),
    ("vgg11_bn", 54, 0x18976cbf7512106e),
    ("vgg13_bn", 66, 0x7b66bce0d220aff7),
    ("vgg16_bn", 84, 0x8664190e365f57ec),
    ("vgg19_bn", 102, 0x3160863f31ca6281),
    ("mobilenetv2_100", 262, 0x48e7dfe3e90654a5),
    ("mobilenetv3_large_100", 266, 0x687bac25fb2ffd98),
    ("mobilenetv3_small_100", 210, 0x13af7f0257497852),
    ("tf_efficientnet_lite0", 247, 0xe7dd857ec0b9bd2f),
    ("tf_efficientnet_lite1", 322, 0xfd46e165015b9331),
    ("tf_efficientnet_lite2", 322, 0x6aece675c9a52527),
    ("tf_efficientnet_lite3", 367, 0xa70c3412520a6943),
    ("tf_efficientnet_lite4", 457, 0x7918f875f7c658c3),
    ("efficientnet_b0", 311, 0xfa4bc29e72bf03a2),
    ("efficientnet_b1", 439, 0x9ee94da98198c6e6),
    ("efficientnet_b2", 439, 0xdb990bb5dea0de27),
    ("efficientnet_b3", 496, 0xc91d29bcd679c5ae),
    ("efficientnet_b4", 610, 0x85a13b2e247e1462),
    ("efficientnet_b5", 738, 0x9da152d73cfa7c4a),
    ("efficientnet_b6", 852, 0x79ce261f322d7f14),
    ("efficientnet_b7", 1037, 0x1f1f8347a0b03aad),
    ("convnext_tiny", 182, 0x001a2fc517c69477),
    ("convnext_small", 344, 0x0fbdf833891e4ce6),
    ("convnext_base", 344, 0x3d03590ef24c1ba9),
    ("convnext_large", 344, 0x5dda909ae774b77e),
    ("regnetx_004", 357, 0x8e539b8ad0e397fe),
    ("regnetx_004_tv", 357, 0xc7d80701069f5569),
    ("regnetx_008", 267, 0x9ebeb40952cbfd21),
    ("regnetx_016", 297, 0x800a9d83f5630d84),
    ("regnetx_032", 402, 0x77e6810f1187f8ca),
    ("regnetx_080", 372, 0x966ee22f799aec84),
    ("regnetx_160", 357, 0x4403835c51d91592),
    ("regnetx_320", 372, 0x47871d992893b202),
    ("regnety_004", 331, 0x8bce4962e53baff9),
    ("regnety_008", 293, 0x010b0acb094a1920),
    ("regnety_008_tv", 293, 0xc2a0cd200aa61f0a),
    ("regnety_016", 540, 0x0bc446b520cb2387),
    ("regnety_032", 426, 0xf85b6cfcefdd946c),
    ("regnety_080", 350, 0xa5a79346592637a8),
    ("regnety_080_tv", 350, 0xa7959a554b4eba26),
    ("regnety_160", 369, 0xf4907af380e9888b),
    ("regnety_320", 407, 0x00d11781ab31ca3f),
    ("regnety_1280", 540, 0x4dd90cd89c5158e2),
];

/// The layout that a file of timm's has.
fn layout(architecture: &str) -> Layout {
    let row = ROWS.iter().find(|row| row.architecture == architecture).unwrap();
    let mut known = known().into_iter();
    known.find(|layout| layout.model == row.model && layout.names == row.names).unwrap()
}

fn tensors(layout: &Layout) -> Vec<(String, Vec<usize>)> {
    let tensors = layout.tensors(&layout.spec.shapes().unwrap());
    tensors.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect()
}

#[test]
fn names_and_shapes_are_the_published_ones() {
    for &(architecture, count, hash) in PUBLISHED {
        let mut lines: Vec<String> = Vec::new();
        for (name, mut shape) in tensors(&layout(architecture)) {
            while shape.len() > 1 && shape.last() == Some(&1) {
                shape.pop();
            }
            lines.push(format!("{name} {shape:?}\n"));
        }
        assert_eq!(lines.len(), count, "{architecture}");
        lines.sort_unstable();
        let got = lines.concat().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!(got, hash, "{architecture}: {}", lines.concat());
    }
    // Every network is among them, or has the tensors of one that is.
    let is_there = |row: &Row| {
        let mut of_row = ROWS.iter().filter(|other| other.is_named_as(row));
        of_row.any(|other| PUBLISHED.iter().any(|(n, ..)| *n == other.architecture))
    };
    for row in ROWS {
        assert!(is_there(row), "{row:?}");
    }
}

#[test]
fn some_names_as_they_stand_in_files() {
    let names = |architecture, wanted: &[(&str, &[usize])]| {
        let tensors = tensors(&layout(architecture));
        for (name, shape) in wanted {
            let found = tensors.iter().find(|(n, _)| n == name);
            assert_eq!(found.map(|(_, shape)| shape.as_slice()), Some(*shape), "{name}");
        }
    };
    names("vgg11", &[("features.0.weight", &[64, 3, 3, 3]), ("head.fc.weight", &[1000, 4096])]);
    names("vgg16_bn", &[("pre_logits.fc1.weight", &[4096, 512, 7, 7])]);
    names(
        "mobilenetv2_100",
        &[("blocks.0.0.conv_pw.weight", &[16, 32, 1, 1]), ("blocks.6.0.bn3.running_var", &[320])],
    );
    names(
        "mobilenetv3_small_100",
        &[("blocks.5.0.conv.weight", &[576, 96, 1, 1]), ("conv_head.bias", &[1024])],
    );
    names("efficientnet_b1", &[("blocks.2.2.se.conv_reduce.weight", &[10, 240, 1, 1])]);
    names("convnext_tiny", &[("stages.1.downsample.1.weight", &[192, 96, 2, 2])]);
    names("regnety_004", &[("s4.b6.se.fc1.bias", &[110]), ("head.fc.bias", &[1000])]);
}

/// A file with a network's tensors; nothing but its header takes space.
fn write(path: &Path, tensors: &[(String, Vec<usize>)]) {
    let mut end = 0;
    let entry = |(name, shape): &(String, Vec<usize>)| {
        let start = end;
        end += shape.iter().product::<usize>() * 4;
        format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#)
    };
    let json = format!("{{{}}}", tensors.iter().map(entry).collect::<Vec<_>>().join(","));
    let mut file = fs::File::create(path).unwrap();
    file.write_all(&(json.len() as u64).to_le_bytes()).unwrap();
    file.write_all(json.as_bytes()).unwrap();
    file.set_len((8 + json.len() + end) as u64).unwrap();
}

/// The search for the nearest network relies on it.
#[test]
fn no_network_is_nearer_than_the_names_of_its_modules_allow() {
    for architecture in ["resnet50", "mobilenetv2_100", "convnext_tiny"] {
        let mut dict = tensors(&layout(architecture));
        dict.swap_remove(3);
        dict.push(("head.extra".into(), vec![1]));
        let scene = Scene::new(architecture, "model");
        write(&scene.model, &dict);
        let file = TensorFile::open(&scene.model).unwrap();
        let modules = Modules::of(&file);
        for layout in known() {
            let (least, distance) =
                (modules.least_distance(&layout), layout.differences(&file).distance());
            assert!(
                least <= distance,
                "{} of {architecture}: {least:?}, {distance:?}",
                layout.name
            );
        }
    }
}

/// A folder with a file of a network's tensors, and other files.
struct Scene {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Scene {
    fn new(architecture: &str, stem: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join(format!("{stem}.safetensors"));
        write(&model, &tensors(&layout(architecture)));
        Scene { folder, model }
    }

    fn with(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    fn inspect(&self) -> Inspection {
        inspect(&self.model).unwrap()
    }

    fn error(&self) -> String {
        let error: &dyn std::error::Error = &inspect(&self.model).unwrap_err();
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            (text, source) = (format!("{text}: {error}"), error.source());
        }
        text
    }
}

fn note(inspection: &Inspection) -> &str {
    inspection.metadata.note.as_deref().unwrap().rsplit_once("of ").unwrap().1
}

/// The epsilons, and the pads of the first convolution of stride 2.
fn constants(spec: &NetworkSpec) -> (f32, [[usize; 2]; 2]) {
    let mut epsilons = spec.nodes.iter().filter_map(|node| match node.layer {
        LayerSpec::BatchNorm(norm) => Some(norm.epsilon),
        _ => None,
    });
    let epsilon = epsilons.next().unwrap();
    assert!(epsilons.all(|other| other == epsilon));
    let first = spec.nodes.iter().find_map(|node| match node.layer {
        LayerSpec::Conv(conv) if conv.stride == [2, 2] => Some(conv.padding),
        _ => None,
    });
    (epsilon, first.unwrap())
}

const EVEN: [[usize; 2]; 2] = [[1, 1]; 2];
const UNEVEN: [[usize; 2]; 2] = [[0, 1]; 2];

#[test]
fn without_a_config_a_network_is_timms_first() {
    for (architecture, name, constants_of, image) in [
        ("mobilenetv2_100", "mobilenet-v2", (1e-5, EVEN), 256),
        ("mobilenetv3_large_100", "timm-mobilenetv3-large-100", (1e-5, EVEN), 256),
        ("tf_efficientnet_lite0", "efficientnet-lite0", (1e-3, UNEVEN), 256),
        ("tf_efficientnet_lite3", "efficientnet-lite3", (1e-3, UNEVEN), 331),
        ("efficientnet_b0", "efficientnet-b0", (1e-5, EVEN), 256),
        ("efficientnet_b5", "timm-efficientnet-b5", (1e-5, EVEN), 448),
        ("regnety_004", "regnet-y-400mf", (1e-5, EVEN), 232),
    ] {
        let inspection = Scene::new(architecture, "model").inspect();
        assert_eq!(note(&inspection), format!("timm's {architecture}"));
        assert_eq!(inspection.spec.name, name);
        assert_eq!(constants(&inspection.spec), constants_of, "{architecture}");
        assert_eq!(inspection.spec.image, [image; 2], "{architecture}");
        assert_eq!(
            inspection.metadata.view.unwrap()["filter"],
            match architecture {
                "tf_efficientnet_lite3" => "bilinear",
                _ => "bicubic",
            }
        );
        assert_eq!(inspection.metadata.labels.unwrap()[0], "tench");
    }
    let convnext = Scene::new("convnext_tiny", "model").inspect();
    assert_eq!((convnext.spec.name.as_str(), convnext.spec.image), ("convnext-tiny", [235; 2]));
    assert_eq!(Scene::new("vgg11", "model").inspect().parameters(), 132_863_336);
    // torchvision's where the names are the same.
    let resnet = Scene::new("resnet50", "resnet50_a1_0-14fe96d1").inspect();
    assert_eq!(note(&resnet), "torchvision's resnet50");
    assert_eq!(resnet.metadata.view.unwrap()["filter"], "bilinear");
}

#[test]
fn the_name_of_a_file_decides_between_timms_own() {
    for (stem, architecture) in [
        ("efficientnet_lite0_ra-37913777", "efficientnet_lite0"),
        ("tf_efficientnet_lite0-0aa007d2", "tf_efficientnet_lite0"),
        ("model", "tf_efficientnet_lite0"),
    ] {
        let inspection = Scene::new("efficientnet_lite0", stem).inspect();
        assert_eq!(note(&inspection), format!("timm's {architecture}"));
    }
}

fn config(architecture: &str, fields: &str) -> String {
    format!(
        r#"{{"architecture":"{architecture}","num_classes":1000,"pretrained_cfg":{{{fields}}}}}"#
    )
}

#[test]
fn a_config_decides_and_says_how_pictures_were_prepared() {
    let fields = r#""tag":"ra","mean":[0.5,0.25,0.125],"std":[0.1,0.2,0.3],"interpolation":"bilinear",
        "crop_pct":0.9,"crop_mode":"squash","input_size":[3,208,192],"url":null"#;
    let text = config("efficientnet_lite0", fields);
    let inspection = Scene::new("efficientnet_lite0", "tf_efficientnet_lite0-x")
        .with("config.json", &text)
        .inspect();
    assert_eq!(note(&inspection), "timm's efficientnet_lite0");
    assert_eq!(inspection.spec.name, "timm-efficientnet-lite0");
    assert_eq!(constants(&inspection.spec), (1e-5, EVEN));
    assert_eq!(inspection.spec.input, [208, 192, 3]);
    assert_eq!(inspection.spec.image, [231, 213]);
    let view = inspection.metadata.view.unwrap();
    assert_eq!((&view["resize"], &view["filter"]), (&"stretch".into(), &"bilinear".into()));
    let parsed = Config::parse("x", text.as_bytes()).unwrap().unwrap();
    let pixels = Pixels { mean: [0.5, 0.25, 0.125], std: [0.1, 0.2, 0.3], ..IMAGENET };
    assert_eq!(parsed.pixels(HALVES), pixels);
    assert_eq!(parsed.filter, Some(Filter::Bilinear));

    // The same tensors, torchvision's names.
    let text = config("resnet18", r#""interpolation":"bicubic","crop_pct":0.95"#);
    let inspection = Scene::new("resnet18", "a").with("a.json", text).inspect();
    assert_eq!(note(&inspection), "timm's resnet18");
    assert_eq!(inspection.spec.image, [235; 2]);
    assert_eq!(inspection.metadata.view.unwrap()["filter"], "bicubic");

    // An even extent of another size has other pads: 225 of stride 2 are even ones.
    let text = config("tf_efficientnet_lite0", r#""input_size":[3,225,224]"#);
    let spec = Scene::new("efficientnet_lite0", "a").with("config.json", text).inspect().spec;
    assert_eq!(constants(&spec), (1e-3, [[1, 1], [0, 1]]));
}

#[test]
fn an_older_config_is_on_one_level_and_classes_have_names() {
    let mut dict = tensors(&layout("mobilenetv2_100"));
    for (_, shape) in dict.iter_mut().filter(|(name, _)| name.starts_with("classifier.")) {
        shape[0] = 2;
    }
    let text = |labels| {
        format!(
            r#"{{"architecture":"mobilenetv2_100","interpolation":"bilinear","label_names":{labels}}}"#
        )
    };
    let scene = Scene::new("mobilenetv2_100", "m");
    write(&scene.model, &dict);
    let scene = scene.with("config.json", text(r#"["cat","dog"]"#));
    let metadata = scene.inspect().metadata;
    assert_eq!(metadata.labels, Some(vec!["cat".to_owned(), "dog".to_owned()]));
    assert_eq!(metadata.view.unwrap()["filter"], "bilinear");
    // Of other classes than these.
    let scene = scene.with("config.json", text(r#"["cat","dog","cow"]"#));
    assert_eq!(scene.inspect().metadata.labels, None);
}

#[test]
fn a_config_of_something_else_is_left_out() {
    let others = [
        "".into(),
        "{".into(),
        "[".repeat(1 << 16),
        "\u{0}\u{ff}".into(),
        "[1, 2]".into(),
        r#"{"architecture":5}"#.into(),
        r#"{"architectures":["BertModel"],"model_type":"bert"}"#.into(),
        config("resnet50", r#""crop_pct":0.5"#),
        config("vit_base_patch16_224", r#""crop_pct":0.5"#),
        " ".repeat(MAX_CONFIG_BYTES as usize + 1),
    ];
    for text in others {
        let scene = Scene::new("mobilenetv2_100", "model").with("config.json", &text);
        let inspection = scene.inspect();
        assert_eq!(inspection.spec.image, [256; 2], "{:.40}", text);
        assert_eq!(note(&inspection), "timm's mobilenetv2_100");
    }
    // A folder of that name.
    let scene = Scene::new("mobilenetv2_100", "model");
    fs::create_dir(scene.folder.path().join("config.json")).unwrap();
    assert_eq!(note(&scene.inspect()), "timm's mobilenetv2_100");
    // The one of the file's own name goes first.
    let scene = Scene::new("mobilenetv2_100", "model")
        .with("config.json", config("mobilenetv2_100", r#""crop_pct":0.5"#))
        .with("model.json", config("mobilenetv2_100", r#""crop_pct":0.7"#));
    assert_eq!(scene.inspect().spec.image, [320; 2]);
}

#[test]
fn a_config_with_impossible_values_is_an_error_that_names_it() {
    for (fields, place, expected) in [
        (r#""crop_pct":0"#, "crop_pct", "from 0.1 to 1, got 0"),
        (r#""crop_pct":1e-300"#, "crop_pct", "from 0.1 to 1"),
        (r#""crop_pct":"0.9""#, "crop_pct", "got \"0.9\""),
        (r#""crop_mode":"border""#, "crop_mode", "center or squash, got \"border\""),
        (r#""crop_border_pixels":4"#, "crop_border_pixels", "got 4"),
        (r#""interpolation":"lanczos""#, "interpolation", "bilinear or bicubic"),
        (r#""mean":[0.5,0.5]"#, "mean", "three numbers"),
        (r#""mean":[0.5,0.5,1e300]"#, "mean", "three numbers"),
        (r#""std":[0.5,0.5,0]"#, "std", "three numbers"),
        (r#""std":[0.5,-1,0.5]"#, "std", "three numbers"),
        (r#""std":[0.5,null,0.5]"#, "std", "three numbers"),
        (r#""input_size":[1,224,224]"#, "input_size", "3 channels"),
        (r#""input_size":[3,224]"#, "input_size", "3 channels"),
        (r#""input_size":[3,0,224]"#, "input_size", "3 channels"),
        (r#""input_size":[3,-5,224]"#, "input_size", "3 channels"),
        (r#""input_size":[3,1e9,224]"#, "input_size", "3 channels"),
        (r#""input_size":[3,18446744073709551615,4]"#, "input_size", "3 channels"),
        (r#""input_size":[3,4096,4096],"crop_pct":0.5"#, "input_size", "at most 16777216 pixels"),
        (r#""label_names":[1,2]"#, "label_names", "a list of names"),
        (r#""label_names":{"0":"a"}"#, "label_names", "got an object of 1 fields"),
    ] {
        let scene = Scene::new("mobilenetv2_100", "model")
            .with("config.json", config("mobilenetv2_100", fields));
        let text = scene.error();
        assert!(text.contains("config.json: "), "{text}");
        assert!(text.contains(place) && text.contains(expected), "{fields}: {text}");
    }
    let scene = Scene::new("mobilenetv2_100", "model")
        .with("config.json", r#"{"architecture":"mobilenetv2_100","pretrained_cfg":[]}"#);
    assert!(scene.error().contains("pretrained_cfg: expected an object"), "{}", scene.error());
    // VGG's full connects see pictures of one size.
    let scene = Scene::new("vgg11", "model")
        .with("config.json", config("vgg11", r#""input_size":[3,256,256]"#));
    let text = scene.error();
    assert!(text.contains("224x224") && text.contains("got 256x256"), "{text}");
    // Another network with the same tensors, which is not known here.
    let scene = Scene::new("resnet50", "model").with("config.json", config("resnetblur50", ""));
    let text = scene.error();
    assert!(text.contains("architecture: expected resnet50, whose tensors"), "{text}");
}

/// Every byte of a configuration changed, and every beginning of it: a network, or an error.
#[test]
fn damaged_configs_do_no_harm() {
    let fields = r#""mean":[0.5,0.25,0.125],"std":[0.1,0.2,0.3],"interpolation":"bilinear",
        "crop_pct":0.9,"crop_mode":"squash","input_size":[3,208,192],"label_names":["a","b"]"#;
    let text = config("efficientnet_lite0", fields).into_bytes();
    for at in 0..text.len() {
        let _ = Config::parse("x", &text[..at]);
        for byte in [0, b'"', b'9', b'-', b'e', b'[', b'}', b',', 0x80, 0xff] {
            let mut damaged = text.clone();
            damaged[at] = byte;
            if let Ok(Some(config)) = Config::parse("x", &damaged) {
                let row = ROWS.iter().find(|row| row.architecture == "efficientnet_lite0").unwrap();
                let pixels = config.pixels(row.pixels);
                assert!(pixels.std.into_iter().all(|std| std > 0.0));
                let side = config.input.unwrap_or([row.side; 2]);
                let image = config::whole("x", side, config.crop.unwrap_or(row.crop)).unwrap();
                assert!(image[0] >= side[0] && image[1] >= side[1]);
            }
        }
    }
}
