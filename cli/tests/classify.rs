//! `striate classify`: what scripts depend on.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CLASSES, Scene, golden, json, keys, run};
use striate::Classifier;
use striate::image::{self, Protocol};

#[test]
fn json_has_the_keys_of_the_contract_and_the_library_s_numbers() {
    let scene = Scene::new();
    for protocol in Protocol::all() {
        let name = protocol.name();
        let args = ["classify", "--model", "tiny.safetensors", "--protocol", name];
        let args = [&args[..], &["--format", "json", "--top", "9", "a.png"]].concat();
        let stdout = scene.striate(&args).done();
        assert_eq!(stdout.lines().count(), 1);
        assert_eq!(keys(&stdout), ["image", "classes", "milliseconds"]);

        let line = &json(&stdout)[0];
        assert_eq!(line["image"], "a.png");
        assert!(line["milliseconds"].as_f64().unwrap() > 0.0);
        let picture = image::open(scene.path("a.png")).unwrap();
        let classifier = Classifier::new(scene.network.clone()).unwrap().protocol(protocol);
        let expected = classifier.classify(&picture).unwrap().top(CLASSES);
        let classes = line["classes"].as_array().unwrap();
        assert_eq!(classes.len(), CLASSES);
        for (class, expected) in classes.iter().zip(expected) {
            assert_eq!(class["id"], expected.id);
            assert_eq!(class["label"], format!("thing {}", expected.id));
            let confidence = class["confidence"].as_f64().unwrap() as f32;
            assert!((confidence - expected.confidence).abs() <= 1e-6, "{name}");
        }
    }
}

#[test]
fn the_form_of_ccv_has_pairs_from_1_and_a_time() {
    let scene = Scene::new();
    let model = ["classify", "--model", "tiny.sqlite3"];
    let args = |more: &[&'static str]| [&model[..], more].concat();
    let ids: Vec<u64> =
        json(&scene.striate(&args(&["--format", "json", "a.png"])).done())[0]["classes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|class| class["id"].as_u64().unwrap() + 1)
            .collect();

    let stdout = scene.striate(&args(&["--format", "ccv", "a.png", "b.png"])).done();
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 4);
    let words: Vec<&str> = lines[0].split(' ').collect();
    assert_eq!(words.len(), 2 * 5);
    let printed: Vec<u64> = words.iter().step_by(2).map(|id| id.parse().unwrap()).collect();
    assert_eq!(printed, ids);
    assert!(words.iter().skip(1).step_by(2).all(|c| c.len() == "0.123456".len()), "{words:?}");
    for line in [lines[1], lines[3]] {
        let time = line.strip_prefix("elapsed time ").unwrap().strip_suffix("ms").unwrap();
        assert!(time.parse::<u64>().is_ok());
    }

    // From a list: all classes, and no times.
    scene.write("list.txt", "a.png\nb.png\n");
    let stdout = scene.striate(&args(&["--format", "ccv", "--list", "list.txt"])).done();
    let counts: Vec<usize> = stdout.lines().map(|line| line.split(' ').count()).collect();
    assert_eq!(counts, [2 * CLASSES; 2]);
    let stdout =
        scene.striate(&args(&["--format", "ccv", "--list", "list.txt", "--top", "2"])).done();
    assert!(stdout.lines().all(|line| line.split(' ').count() == 4));
}

#[test]
fn a_bad_image_does_not_stop_the_others() {
    let scene = Scene::new();
    // More than a batch, so that there are several.
    let names: Vec<String> = (0..20)
        .map(|i| if i == 3 { "text.png" } else { ["a.png", "b.png"][i % 2] }.to_owned())
        .collect();
    scene.write("list.txt", &names.join("\n"));
    let args = ["classify", "--model", "tiny.sqlite3", "--list", "list.txt", "--format"];

    let run = scene.striate(&[&args[..], &["json"]].concat()).failed(&["text.png", "1 of 20"]);
    let lines = json(&run.stdout);
    assert_eq!(lines.len(), 20);
    for (i, (line, name)) in lines.iter().zip(&names).enumerate() {
        assert_eq!(line["image"], *name);
        assert_eq!(line["classes"].is_array(), i != 3);
        // The same picture gets the same ranks, whatever stands beside it.
        if i != 3 {
            assert_eq!(
                line["classes"][0]["id"],
                lines[usize::from(name == "b.png")]["classes"][0]["id"]
            );
        }
    }
    assert_eq!(keys(run.stdout.lines().nth(3).unwrap()), ["image", "error"]);
    assert!(lines[3]["error"].as_str().unwrap().contains("not an image"));

    let run = scene.striate(&[&args[..], &["ccv"]].concat()).failed(&["text.png"]);
    assert_eq!(run.stdout.lines().count(), 20);
    assert!(run.stdout.lines().nth(3).unwrap().starts_with("error: text.png"));

    let run = scene.striate(&[&args[..], &["table"]].concat()).failed(&["text.png"]);
    assert!(!run.stdout.contains("text.png"));
    assert_eq!(run.stdout.matches("a.png").count() + run.stdout.matches("b.png").count(), 19);
}

#[test]
fn bad_images_and_lists_are_named() {
    let scene = Scene::new();
    let png = std::fs::read(scene.path("a.png")).unwrap();
    std::fs::write(scene.path("cut.png"), &png[..png.len() / 2]).unwrap();
    // The beginning of a JPEG file: its first marker, and no more.
    std::fs::write(
        scene.path("cut.jpg"),
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0",
    )
    .unwrap();
    std::fs::write(scene.path("huge.bmp"), bmp_header(100_000, 100_000)).unwrap();
    std::fs::write(scene.path("flat.bmp"), bmp_header(0, 10)).unwrap();
    std::fs::write(scene.path("empty.png"), b"").unwrap();
    let classify = |image| scene.striate(&["classify", "--model", "tiny.sqlite3", image]);
    for image in ["cut.png", "cut.jpg", "flat.bmp", "empty.png", "text.png", "none.png"] {
        assert_eq!(classify(image).failed(&[image]).stdout, "");
    }
    classify("huge.bmp").failed(&["huge.bmp", "--max-pixels 10000000000"]);
    classify(".").failed(&[". is a folder"]);
    let args = ["classify", "--model", "tiny.sqlite3", "--max-pixels", "100", "a.png"];
    scene.striate(&args).failed(&["a.png", "--max-pixels 600"]);

    scene.write("empty.txt", "\n");
    scene.striate(&["classify", "--list", "empty.txt"]).failed(&["empty.txt"]);
    scene.striate(&["classify", "--list", "none.txt"]).failed(&["none.txt"]);
}

/// The header of a picture of 24 bits a pixel, and nothing after it.
fn bmp_header(cols: u32, rows: u32) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for word in [54, 0, 54, 40, cols, rows, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
        bytes.extend(u32::to_le_bytes(word));
    }
    bytes
}

#[test]
fn bad_models_are_named() {
    let scene = Scene::new();
    scene.write("text.sqlite3", "this is no model, but long enough for a header of one\n");
    scene.write("short.safetensors", "x");
    let classify = |model| scene.striate(&["classify", "--model", model, "a.png"]);
    for model in ["none.sqlite3", "text.sqlite3", "short.safetensors", "a.png"] {
        assert_eq!(classify(model).failed(&[model]).stdout, "");
    }
    let whole = std::fs::read(scene.path("tiny.safetensors")).unwrap();
    std::fs::write(scene.path("cut.safetensors"), &whole[..whole.len() - 10]).unwrap();
    classify("cut.safetensors").failed(&["cut.safetensors"]);
    let whole = std::fs::read(scene.path("tiny.sqlite3")).unwrap();
    std::fs::write(scene.path("cut.sqlite3"), &whole[..whole.len() / 2]).unwrap();
    classify("cut.sqlite3").failed(&["cut.sqlite3"]);
}

#[test]
fn labels_come_from_the_option_the_model_or_nowhere() {
    let scene = Scene::new();
    scene.write("labels.txt", "a\nb\nc\nd\ne\nf\n");
    scene.write("few.txt", "a\nb\n");
    let label = |more: &[&str]| {
        let args = [&["classify", "--format", "json", "a.png"], more].concat();
        let line = json(&scene.striate(&args).done()).remove(0);
        line["classes"][0].clone()
    };
    let class = label(&["--model", "tiny.sqlite3"]);
    assert!(class["label"].is_null());
    let id = class["id"].as_u64().unwrap() as usize;
    let class = label(&["--model", "tiny.safetensors", "--labels", "labels.txt"]);
    assert_eq!(class["label"], ["a", "b", "c", "d", "e", "f"][id]);

    let args = ["classify", "--model", "tiny.sqlite3", "a.png", "--labels"];
    scene.striate(&[&args[..], &["few.txt"]].concat()).failed(&["6 labels", "2"]);
    scene.striate(&[&args[..], &["imagenet"]].concat()).failed(&["6 labels", "1000"]);
    scene.striate(&[&args[..], &["none.txt"]].concat()).failed(&["none.txt"]);
}

#[test]
fn a_photo_is_named_out_of_the_box() {
    let scene = Scene::new();
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples");
    let stdout = run(&["classify", "--format", "json", "-k", "3", "cat.png"], &samples).done();
    let classes = json(&stdout)[0]["classes"].clone();
    let names: Vec<&str> =
        classes.as_array().unwrap().iter().map(|class| class["label"].as_str().unwrap()).collect();
    assert_eq!(names, ["tiger cat", "Egyptian cat", "tabby"]);
    let confidence = classes[0]["confidence"].as_f64().unwrap();
    assert!((confidence - 0.39).abs() < 0.04, "{confidence}");
    // By name, it is the same model.
    for name in ["photos", "efficientnet-lite0"] {
        let named = ["classify", "--model", name, "--format", "json", "-k", "3", "cat.png"];
        assert_eq!(json(&run(&named, &samples).done())[0]["classes"], classes);
    }
    // A digit gets a hint, and nothing else does.
    let digit = run(&["classify", "digit-7.png"], &samples);
    assert!(digit.stderr.contains("handwritten 7: '--model digits'"), "{}", digit.stderr);
    let plain = scene.striate(&["classify", "a.png"]);
    assert_eq!(plain.code, 0, "{}", plain.stderr);
    assert!(!plain.stderr.contains("handwritten"), "{}", plain.stderr);
    assert!(plain.stdout.starts_with("a.png  ("), "{}", plain.stdout);
    // What is done to the picture is told, and can be said otherwise.
    let told = run(&["-v", "classify", "cat.png"], &samples);
    assert!(told.stderr.contains("256 x 256 (bicubic, antialiased)"), "{}", told.stderr);
    let other = ["-v", "classify", "--resize", "300", "--filter", "bilinear", "cat.png"];
    let told = run(&other, &samples);
    assert!(told.stderr.contains("300 x 300 (bilinear, antialiased)"), "{}", told.stderr);
    let larger = run(&["classify", "--size", "256", "-k", "1", "cat.png"], &samples).done();
    assert!(larger.contains("cat"), "{larger}");
    run(&["classify", "--resize", "100", "cat.png"], &samples).failed(&["100", "224"]);
    run(&["classify", "--size", "16000", "cat.png"], &samples).failed(&["at most 16777216 pixels"]);
    run(&["classify", "--mean", "1,2,3", "cat.png"], &samples).failed(&["done to pixels"]);
    // Where nothing was classified, the reason comes first.
    scene.striate(&["classify", "text.png"]).failed(&["text.png"]);
}

#[test]
fn samples_are_what_they_show() {
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples");
    for (name, digit) in [
        ("digit-7.png", 7),
        ("digit-2.png", 2),
        ("digit-3-on-paper.png", 3),
        ("digit-5-wide.png", 5),
    ] {
        let stdout =
            run(&["classify", "--model", "digits", "--format", "json", name], &samples).done();
        assert_eq!(json(&stdout)[0]["classes"][0]["id"], digit, "{name}");
    }
}

#[test]
fn results_are_the_same_bits_for_any_number_of_threads() {
    let scene = Scene::new();
    let ranks = |threads| {
        let args =
            ["classify", "--model", "tiny.sqlite3", "--format", "json", "--threads", threads];
        let stdout = scene.striate(&[&args[..], &["a.png"]].concat()).done();
        json(&stdout)[0]["classes"].to_string()
    };
    assert_eq!(ranks("1"), ranks("2"));
    let half = ["classify", "--model", "tiny.sqlite3", "--dtype", "f16", "a.png"];
    scene.striate(&half).done();
}

#[test]
fn ranks_are_those_of_ccv() {
    let (nets, mut compared) = (["tiny", "tiny2", "tiny-nolrn"], 0);
    for (golden, net) in golden().iter().flat_map(|golden| nets.map(|net| (golden, net))) {
        for image in ["dex.png", "box.png", "dex.webp"] {
            let (stem, _) = image.split_once('.').unwrap();
            let top = golden.join(format!("nets/{net}.{stem}.classify1.top.txt"));
            let picture = golden.join(format!("samples/{image}"));
            let Ok(top) = std::fs::read_to_string(top) else { continue };
            if !picture.exists() {
                continue;
            }
            compared += 1;
            let model = golden.join(format!("nets/{net}.f32.sqlite3"));
            let args = ["classify", "--format", "ccv", "--top", "10", "--model"];
            let paths = [model.to_str().unwrap(), picture.to_str().unwrap()];
            let stdout = run(&[&args[..], &paths].concat(), golden).done();
            let words: Vec<&str> = stdout.lines().next().unwrap().split(' ').collect();
            let expected: Vec<&str> = top.lines().filter(|l| !l.starts_with('#')).collect();
            assert_eq!(words.len(), 2 * expected.len());
            for (pair, expected) in words.chunks(2).zip(expected) {
                let expected: Vec<&str> = expected.split_whitespace().collect();
                assert_eq!(pair[0], expected[2], "{net} {image}");
                let difference =
                    pair[1].parse::<f64>().unwrap() - expected[3].parse::<f64>().unwrap();
                assert!(difference.abs() < 2e-6, "{net} {image} {pair:?} {expected:?}");
            }
        }
    }
    assert!(compared > 0, "nothing was compared");
}
