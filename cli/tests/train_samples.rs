//! `striate train` and its samples: which are found, which are refused, and that `striate classify`
//! then does what the training's test did.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::{Run, json, run};
use striate::image::{Image, output::write_png};
use striate::tensor::RandomKey;

/// Classes of the set, by name.
const CLASSES: [&str; 3] = ["ant", "bee", "cat"];

/// A folder with a set of training pictures, one of test pictures and a specification.
struct Set(tempfile::TempDir);

impl Set {
    fn new(channels: usize) -> Self {
        let set = Set(tempfile::tempdir().unwrap());
        set.pictures("train", 8, channels);
        set.pictures("test", 6, channels);
        let spec = format!(
            r#"{{"name": "bars", "input": [10, 10, {channels}], "image": [13, 13], "layers": [
            {{"kind": "conv", "count": 6, "kernel": [3, 3]}},
            {{"kind": "max-pool", "size": 2, "stride": 2}},
            {{"kind": "full-connect", "count": 12, "relu": true, "dropout": 0.5}},
            {{"kind": "full-connect", "count": 3}}]}}"#
        );
        set.write("net.json", &spec);
        set
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Pictures of all shapes, larger and smaller than the network's input, with a bright part that
    /// tells the class.
    fn pictures(&self, folder: &str, count: usize, channels: usize) {
        for (class, name) in CLASSES.iter().enumerate() {
            std::fs::create_dir_all(self.path(folder).join(name)).unwrap();
            for i in 0..count {
                let key = RandomKey::new(folder.len() as u64, (class * 100 + i) as u64);
                let (rows, cols) =
                    (5 + key.number(1) as usize % 30, 5 + key.number(2) as usize % 30);
                let value = |p: usize| {
                    let (row, col) = (p / channels / cols, p / channels % cols);
                    let bright = match class {
                        0 => row < rows / 2,
                        1 => col < cols / 2,
                        _ => row.abs_diff(rows / 2) + col.abs_diff(cols / 2) < rows.min(cols) / 3,
                    };
                    (key.number(10 + p as u64) % 80) as u8 + if bright { 150 } else { 0 }
                };
                let values = (0..rows * cols * channels).map(value).collect();
                let image = Image::new(rows, cols, channels, values).unwrap();
                write_png(self.path(folder).join(name).join(format!("{i}.png")), &image).unwrap();
            }
        }
    }

    fn striate(&self, line: &str) -> Run {
        run(&line.split_whitespace().collect::<Vec<_>>(), self.0.path())
    }

    fn train(&self, more: &str) -> Run {
        self.striate(&format!(
            "train --device cpu --spec net.json --mini-batch 8 --learn-rate 0.0005 --train-list train \
             {more}"
        ))
    }

    /// How many of the pictures in a list are missed, whose folder is their class.
    fn misses(&self, model: &str, more: &str) -> usize {
        let line =
            format!("classify --device cpu --model {model} --list list --format json {more}");
        let lines = json(&self.striate(&line).done());
        let class = |path: &str| {
            let folder = Path::new(path).parent().unwrap().file_name().unwrap().to_owned();
            CLASSES.iter().position(|name| *name == folder).unwrap()
        };
        let missed = |line: &&serde_json::Value| {
            line["classes"][0]["id"] != class(line["image"].as_str().unwrap())
        };
        lines.iter().filter(missed).count()
    }

    fn list(&self, folder: &str, count: usize) {
        let files = CLASSES
            .iter()
            .flat_map(|class| (0..count).map(move |i| format!("{folder}/{class}/{i}.png\n")));
        self.write("list", &files.collect::<String>());
    }
}

#[test]
fn classify_misses_what_the_test_of_the_training_missed() {
    let recipe = r#"{"resize": "stretch", "side": {"drawn": {"min": 12, "max": 15}},
        "area": "anywhere", "place": "random", "mirror": true, "mean": "elsewhere",
        "manipulation": 0.1, "color_gain": 0.0}"#;
    for channels in [1, 3] {
        let set = Set::new(channels);
        set.write("recipe.json", recipe);
        set.list("test", 6);
        for recipe in ["plain", "ccv", "alex", "caffe", "recipe.json"] {
            let text = set
                .train(&format!(
                    "--test-list test --recipe {recipe} --max-epoch 1 --working m.sqlite3 --format json"
                ))
                .done();
            let rate = json(&text).last().unwrap()["test_miss_rate"].as_f64().unwrap();
            let trained = (rate * 18.0).round() as usize;
            set.striate("convert m.sqlite3 a.safetensors").done();
            set.striate("convert m.sqlite3 b.sqlite3 --strip").done();
            set.striate("convert a.safetensors c.sqlite3 --strip").done();
            for model in
                ["m.sqlite3", "m.best.safetensors", "a.safetensors", "b.sqlite3", "c.sqlite3"]
            {
                assert_eq!(set.misses(model, ""), trained, "{recipe}, {model}");
            }
            assert_eq!(set.misses("m.sqlite3", "--protocol tested"), trained, "{recipe}");
            std::fs::remove_file(set.path("m.sqlite3")).unwrap();
        }
    }
}

#[test]
fn the_protocol_is_told_and_can_be_chosen() {
    let set = Set::new(3);
    set.list("test", 6);
    set.train("--recipe caffe --max-epoch 1 --working m.sqlite3").done();
    let classify = |more: &str| {
        set.striate(&format!("classify --device cpu -v --model m.sqlite3 --list list {more}"))
            .stderr
    };
    let told = classify("");
    let view = "the centre of the picture stretched to 13 x 13, minus the mean image (1 view)";
    assert!(told.contains(&format!("protocol tested: {view}")), "{told}");
    assert!(classify("--protocol alex").contains("protocol alex: the central square"));

    let text = set.striate("inspect m.sqlite3").done();
    for part in [view, "protocol", "tested", "recipe", "caffe", "ant, bee, cat"] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    let inspected = json(&set.striate("inspect m.sqlite3 --format json").done());
    let metadata = &inspected[0]["metadata"];
    assert_eq!(metadata["protocol"], "tested");
    assert_eq!(metadata["recipe"]["resize"], "stretch");
    let view = serde_json::json!(
        {"resize": "stretch", "size": [13, 13], "crop": "centre", "mean": "plain"}
    );
    assert_eq!(metadata["view"], view);
}

/// Digits in an IDX file, classified as PNG files.
#[test]
fn exported_digits_are_missed_as_in_the_idx_file() {
    let set = Set::new(1);
    let (mut images, mut labels) = (vec![0u8, 0, 8, 3], vec![0u8, 0, 8, 1]);
    for extent in [18u32, 13, 13] {
        images.extend(extent.to_be_bytes());
    }
    labels.extend(18u32.to_be_bytes());
    for (class, name) in CLASSES.iter().enumerate() {
        std::fs::create_dir_all(set.path("png").join(name)).unwrap();
        for i in 0..6 {
            let key = RandomKey::new(4, (class * 6 + i) as u64);
            let bright = |row: usize, col: usize| [row < 6, col < 6, row + col < 9][class];
            let value = |p: usize| {
                (key.number(p as u64) % 90) as u8 + if bright(p / 13, p % 13) { 150 } else { 0 }
            };
            let values: Vec<u8> = (0..169).map(value).collect();
            images.extend(&values);
            labels.push(class as u8);
            let image = Image::new(13, 13, 1, values).unwrap();
            write_png(set.path("png").join(name).join(format!("{i}.png")), &image).unwrap();
        }
    }
    std::fs::write(set.path("d-images-idx3-ubyte"), images).unwrap();
    std::fs::write(set.path("d-labels-idx1-ubyte"), labels).unwrap();
    set.list("png", 6);
    for recipe in ["ccv", "plain"] {
        let line = format!(
            "train --device cpu --spec net.json --mini-batch 4 --learn-rate 0.0002 --max-epoch 2 \
             --train-list d-images-idx3-ubyte --test-list d-images-idx3-ubyte --recipe {recipe} \
             --working {recipe}.sqlite3 --format json"
        );
        let text = set.striate(&line).done();
        let rate = json(&text).last().unwrap()["test_miss_rate"].as_f64().unwrap();
        assert_eq!(set.misses(&format!("{recipe}.sqlite3"), ""), (rate * 18.0).round() as usize);
    }
}

#[test]
fn other_samples_in_the_same_folder_are_refused_and_a_moved_folder_is_not() {
    let set = Set::new(1);
    set.train("--max-epoch 1 --working m.sqlite3").done();
    let before = std::fs::read(set.path("m.sqlite3")).unwrap();
    std::fs::rename(set.path("train/ant"), set.path("train/dog")).unwrap();
    let parts = ["m.sqlite3", "1 class is new (dog)", "1 class is gone (ant)", "dog/0.png"];
    set.train("--max-epoch 2 --working m.sqlite3").failed(&parts);
    assert_eq!(std::fs::read(set.path("m.sqlite3")).unwrap(), before);
    std::fs::rename(set.path("train/dog"), set.path("train/ant")).unwrap();
    std::fs::rename(set.path("train"), set.path("elsewhere")).unwrap();
    let line = "train --device cpu --spec net.json --mini-batch 8 --learn-rate 0.0005 --max-epoch 2 \
                --train-list elsewhere --working m.sqlite3";
    set.striate(line).done();
}

#[test]
fn pictures_in_nested_folders_are_found_and_empty_classes_are_refused_by_name() {
    let set = Set::new(1);
    std::fs::create_dir_all(set.path("train/ant/2024/may")).unwrap();
    for i in 0..8 {
        let (from, to) = (format!("train/ant/{i}.png"), format!("train/ant/2024/may/{i}.png"));
        std::fs::rename(set.path(&from), set.path(&to)).unwrap();
    }
    set.write("train/bee/notes.txt", "none");
    let run = set.train("--max-epoch 1 --working m.sqlite3 --format json");
    assert!(run.stderr.contains("no pictures by their extension: 1"), "{}", run.stderr);
    assert_eq!(json(&run.done())[1]["samples"], 24);

    std::fs::remove_file(set.path("train/bee/notes.txt")).unwrap();
    for empty in ["dog", "eel"] {
        std::fs::create_dir(set.path("train").join(empty)).unwrap();
    }
    let spec = std::fs::read_to_string(set.path("net.json")).unwrap();
    set.write("net.json", &spec.replace(r#""count": 3}"#, r#""count": 5}"#));
    let parts = ["none of 2 of its 5 classes: dog, eel", "--allow-empty-classes"];
    set.train("--max-epoch 1 --working n.sqlite3").failed(&parts);
    assert!(!set.path("n.sqlite3").exists());
    set.train("--max-epoch 1 --working n.sqlite3 --allow-empty-classes").done();

    // All pictures in the folder itself.
    let line = "train --device cpu --spec net.json --train-list test/ant --working x.sqlite3";
    set.striate(line).failed(&[
        "test/ant",
        "6 pictures in the folder itself",
        "folder of the class",
    ]);
}

#[test]
fn samples_of_ignored_labels_are_left_out_and_resuming_without_the_option_is_refused() {
    let set = Set::new(1);
    let spec = std::fs::read_to_string(set.path("net.json")).unwrap();
    set.write("net.json", &spec.replace(r#""count": 3}"#, r#""count": 2}"#));
    set.train("--max-epoch 1 --working m.sqlite3 --ignore dog").failed(&["--ignore dog", "train"]);
    let run = set.train("--max-epoch 1 --working m.sqlite3 --ignore bee --format json");
    assert_eq!(json(&run.done())[1]["samples"], 16);
    set.train("--max-epoch 2 --working m.sqlite3 --ignore bee").done();
    set.train("--max-epoch 3 --working m.sqlite3").failed(&["2 classes", "3 classes in train"]);
}

#[test]
fn groups_alone_can_be_trained() {
    let set = Set::new(3);
    let spec = |more: &str| {
        format!(
            r#"{{"input": [10, 10, 3], "layers": [
            {{"kind": "conv", "count": 9, "kernel": [3, 3], "groups": 3{more}}},
            {{"kind": "full-connect", "count": 3}}]}}"#
        )
    };
    set.write("net.json", &spec(""));
    set.train("--max-epoch 1 --working m.sqlite3").done();
    set.striate("inspect m.sqlite3").done();
    set.write("net.json", &spec(r#", "out-groups": 1"#));
    set.train("--max-epoch 1 --working n.sqlite3").failed(&["layer 0", "leave `out-groups` out"]);
}

#[test]
fn labels_of_lists_count_from_1_in_every_message() {
    let set = Set::new(1);
    let rule = "a number from 1: lists count classes from 1, as ccv's do";
    for (line, part) in [("x a.png", "got `x`"), ("0 a.png", "label 0"), ("-1 a.png", "got `-1`")] {
        set.write("l.txt", &format!("1 b.png\n{line}\n"));
        let args = "train --device cpu --spec net.json --train-list l.txt --working x.sqlite3";
        set.striate(args).failed(&["l.txt, line 2", part, rule]);
    }
}

#[test]
fn stripping_keeps_the_class_names() {
    let set = Set::new(1);
    set.train("--max-epoch 1 --working m.sqlite3").done();
    for to in ["s.sqlite3", "s.safetensors"] {
        set.striate(&format!("convert m.sqlite3 {to} --strip")).done();
        let inspected = json(&set.striate(&format!("inspect {to} --format json")).done());
        assert_eq!(inspected[0]["metadata"]["labels"], serde_json::json!(CLASSES), "{to}");
        assert_eq!(inspected[0]["training_state"], serde_json::json!([]), "{to}");
        assert!(inspected[0]["layers"][2]["detail"].as_str().unwrap().contains("0.5"));
    }
}

#[test]
fn metrics_on_standard_output_are_safe_to_print() {
    let set = Set::new(3);
    let name = "m\u{202e}\u{9b}.sqlite3";
    let line = format!(
        "train --spec net.json --train-list train --working {name} --max-epoch 1 --device cpu \
         --metrics -"
    );
    let printed = set.striate(&line).done();
    assert!(!printed.contains(['\u{202e}', '\u{9b}']), "{printed}");
    assert_eq!(json(&printed)[0]["working"], name);
}

#[cfg(unix)]
#[test]
fn what_a_training_writes_is_told_from_what_it_reads_by_the_file() {
    let set = Set::new(3);
    set.write("list.txt", "1 train/ant/0.png\n2 train/bee/0.png\n");
    std::fs::hard_link(set.path("list.txt"), set.path("hard")).unwrap();
    std::os::unix::fs::symlink("list.txt", set.path("soft")).unwrap();
    let train = "train --spec net.json --train-list list.txt --max-epoch 1 --device cpu";
    for written in ["hard", "soft", "./list.txt"] {
        for option in ["--working", "--working w --metrics"] {
            let run = set.striate(&format!("{train} {option} {written}"));
            assert_eq!(run.code, 2, "{}", run.stderr);
            assert!(run.stderr.contains("over the training list list.txt"), "{}", run.stderr);
        }
    }
    for working in ["-", "/dev/null", "/dev/stdout"] {
        let run = set.striate(&format!("{train} --working {working}"));
        assert!(run.code == 2 && run.stderr.contains("'--working' takes a file"), "{}", run.stderr);
    }
    set.striate(&format!("{train} --working nowhere/w")).failed(&["there is no folder nowhere"]);
    assert!(!set.path("-").exists() && !set.path("w").exists());
}

#[cfg(unix)]
#[test]
fn lists_and_networks_come_through_standard_input_and_pipes() {
    let set = Set::new(3);
    set.write("list.txt", "1 train/ant/0.png\n2 train/bee/0.png\n3 train/cat/0.png\n");
    let shell = |line: &str| {
        let striate = assert_cmd::cargo::cargo_bin("striate");
        let line = line.replace("STRIATE", &striate.display().to_string());
        let mut bash = std::process::Command::new("bash");
        let output =
            common::isolated(&mut bash, &set.path("")).args(["-c", &line]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
    };
    let train = "STRIATE train --device cpu --max-epoch 1 --mini-batch 3";
    let list = "--train-list list.txt --spec net.json";
    shell(&format!("{train} {list} --working file.sqlite3"));
    shell(&format!("{train} --spec net.json --train-list - --working stdin.sqlite3 < list.txt"));
    shell(&format!("{train} --spec net.json --train-list <(cat list.txt) --working pipe.sqlite3"));
    shell(&format!("{train} --train-list list.txt --spec - --working net.sqlite3 < file.sqlite3"));
    let read = |name: &str| std::fs::read(set.path(name)).unwrap();
    assert!(read("file.sqlite3") == read("stdin.sqlite3"));
    assert!(read("file.sqlite3") == read("pipe.sqlite3"));
    shell("STRIATE prepare - --output prepared --size 16 < list.txt");
    shell("STRIATE prepare <(cat list.txt) --output prepared --size 16");
    assert_eq!(std::fs::read_to_string(set.path("prepared/list.txt")).unwrap().lines().count(), 3);
    // A reader that has gone has not seen the end of a training.
    let more = "--max-epoch 99999999 --format json --train-list list.txt --spec net.json";
    let gone = "STRIATE train --device cpu --mini-batch 3 --working gone.sqlite3";
    shell(&format!("{gone} {more} | head -n 1 > head; (( PIPESTATUS[0] == 1 ))"));
    let run = set.striate("train --spec - --train-list - --working w");
    assert!(run.code == 2 && run.stderr.contains("which can be read once"), "{}", run.stderr);
}

#[test]
fn a_picture_that_is_left_out_is_named_once_with_the_reason() {
    let set = Set::new(1);
    let strip = Image::filled(1, 500, 1, 9).unwrap();
    write_png(set.path("train/ant/strip.png"), &strip).unwrap();
    set.write("train/bee/broken.png", "broken");
    let lines = ["1 train/ant/0.png", "1 train/ant/strip.png", "2 train/bee/broken.png"];
    set.write("list.txt", &format!("{}\n2 train/bee/1.png\n3 train/gone.png\n", lines.join("\n")));
    let train = "train --device cpu --spec net.json --train-list list.txt --working m.sqlite3 \
                 --max-epoch 1 --learn-rate 0.0001";
    for line in [train, "prepare list.txt --size 20 --output out"] {
        let run = set.striate(line);
        let told: Vec<&str> = run.stderr.lines().filter(|l| l.contains("left out: ")).collect();
        let missing = std::fs::read(set.path("train/gone.png")).unwrap_err().to_string();
        for (name, reason) in
            [("strip.png", "would become"), ("broken.png", "image"), ("gone.png", &missing[..])]
        {
            let of: Vec<_> = told.iter().filter(|line| line.contains(name)).collect();
            assert_eq!(of.len(), 1, "{line}: {}", run.stderr);
            assert_eq!(of[0].matches(name).count(), 1, "{}", of[0]);
            assert!(of[0].contains(reason), "{}", of[0]);
        }
        run.done();
    }
    for line in [
        "encode --device cpu --model m.sqlite3 -o o.npy train/ant/strip.png",
        "visualize --device cpu -i train/ant/strip.png -o o.png m.sqlite3",
        "visualize --device cpu -i train/ant/strip.png --occlusion -o o.png m.sqlite3",
    ] {
        set.striate(line).failed(&["train/ant/strip.png: a picture of"]);
    }
}

#[test]
fn an_error_about_the_network_names_its_file() {
    let set = Set::new(1);
    let last = r#"{"kind": "full-connect", "count": 3}"#;
    for (channels, layers, expected) in
        [(4, last, "4 input channels"), (1, "", "expected layers, got none")]
    {
        set.write("net.json", &format!(r#"{{"input": [9, 9, {channels}], "layers": [{layers}]}}"#));
        set.train("--working m.sqlite3").failed(&["net.json: ", expected]);
    }
}

#[test]
fn a_network_by_name_is_trained_on_small_pictures() {
    let set = Set::new(3);
    let train = |size: &str| {
        set.striate(&format!(
            "train --device cpu -q --spec squeezenet1-1 --train-list train --working m.safetensors \
             --mini-batch 8 --max-iterations 1 {size}"
        ))
    };
    train("--input-size 32").done();
    let inspected = json(&set.striate("inspect m.safetensors --format json").done());
    assert_eq!(inspected[0]["input"], serde_json::json!([32, 32, 3]));
    // 256 of 224, as the network has it.
    assert_eq!(inspected[0]["image"], serde_json::json!([37, 37]));
    // What the working file holds is said.
    train("").failed(&["got input [32, 32, 3], image [37, 37]"]);
    // And where a layer does not fit.
    train("--input-size 4").failed(&["squeezenet1-1: layer", "window"]);
}
