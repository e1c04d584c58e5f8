//! Text in and out: files that other programs wrote, names that a terminal would act on, messages and
//! exit codes.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CLASSES, Scene, json, picture, run_with};
use striate::image::output::write_png;
use striate::importers::{self, WriteOptions};
use striate::nn::Metadata;
use striate::prelude::Tensor;

/// A label that forges a line, colours a terminal and turns the direction of writing around.
const LABEL: &str = "cat\n  99.99 %  forged\u{1b}[2J\u{9b}31m\u{202e}\u{200b}";

/// A model of the scene whose labels are these.
fn labelled(scene: &Scene, labels: Vec<String>) {
    let metadata =
        Metadata { labels: Some(labels), note: Some(LABEL.to_owned()), ..Metadata::default() };
    let network = scene.network.clone().with_metadata(metadata);
    importers::write(scene.path("named.safetensors"), &network, &WriteOptions::default()).unwrap();
}

/// Whether nothing in it is for a terminal to act on.
#[track_caller]
fn is_safe(text: &str) {
    let invisible = |c: char| matches!(c, '\u{200b}' | '\u{2028}'..='\u{202e}');
    let bad = |c: char| (c.is_control() && c != '\n') || invisible(c);
    assert!(!text.chars().any(bad), "{text:?}");
}

#[test]
fn names_never_reach_the_terminal_as_they_are() {
    let scene = Scene::new();
    labelled(&scene, vec![LABEL.to_owned(); CLASSES]);
    let image = "a\n\u{1b}[31m.png";
    std::fs::copy(scene.path("a.png"), scene.path(image)).unwrap();
    let classify = ["classify", "--model", "named.safetensors", image, "none\u{1b}.png"];
    for format in ["table", "ccv", "json"] {
        let run = scene.striate(&[&classify[..], &["--format", format]].concat());
        assert_eq!(run.code, 1);
        is_safe(&run.stdout);
        is_safe(&run.stderr);
        assert!(run.stderr.contains("none\\u{1b}.png"), "{}", run.stderr);
        assert!(run.stderr.lines().all(|line| line.split(": ").count() > 1), "{}", run.stderr);
        match format {
            "table" => {
                assert_eq!(run.stdout.matches("cat\\n  99.99 %  forged\\u{1b}").count(), 5);
                assert_eq!(run.stdout.lines().count(), 6, "{}", run.stdout);
            }
            "ccv" => assert_eq!(run.stdout.lines().count(), 3, "{}", run.stdout),
            // JSON loses nothing.
            _ => {
                let lines = json(&run.stdout);
                assert_eq!((&lines[0]["image"], lines.len()), (&image.into(), 2));
                assert_eq!(lines[0]["classes"][0]["label"], LABEL);
                assert_eq!(lines[1]["image"], "none\u{1b}.png");
            }
        }
    }

    let text = scene.striate(&["inspect", "named.safetensors"]).done();
    is_safe(&text);
    assert!(text.contains("note") && text.contains("forged\\u{1b}"), "{text}");
    let text = scene.striate(&["inspect", "named.safetensors", "--format", "json"]).done();
    is_safe(&text);
    assert_eq!(json(&text)[0]["metadata"]["note"], LABEL);

    // Also where the command line quotes an argument, a file of text a line, a warning a name.
    scene.write("list.txt", "gone\u{1b}[2J.png\n");
    scene.write("labels.txt", &format!("{}\n", "\u{1b}c".repeat(3)));
    scene.write("odd\u{7}.npy", "nothing");
    for args in [
        &["classify", "--top", "\u{1b}[2J", "a.png"][..],
        &["classify", "--device", "\u{1b}[2J", "a.png"],
        &["clas\u{1b}[2Jsify"],
        &["classify", "--list", "list.txt"],
        &["classify", "--model", "tiny.sqlite3", "--labels", "labels.txt", "a.png"],
        &["encode", "--model", "tiny.sqlite3", "-o", "o.npy", "odd\u{7}.npy"],
        &["inspect", "no\u{9b}ne"],
        &["bench", "\u{202e}"],
        &["train", "--spec", "\u{202e}", "--train-list", "x\u{7}", "--working", "w.sqlite3"],
        &["plan", "--model", "\u{1b}", "--devices", "1", "--link", "1GbE", "--flops", "1T"],
        &["plot", "none\u{1b}"],
        &["prepare", "none\u{1b}", "--output", "out"],
        &["validate", "--truth", "none\u{1b}", "x"],
        &["draw", "a.png", "none\u{1b}", "-o", "o.png"],
        &["convert", "none\u{1b}", "o.safetensors"],
    ] {
        let run = scene.striate(args);
        assert!(run.code > 0, "{args:?}");
        is_safe(&run.stderr);
        is_safe(&run.stdout);
    }
}

#[test]
fn white_space_of_a_name_stays_in_every_message() {
    let scene = Scene::new();
    let name = "no  such \t.png";
    let run = scene.striate(&["classify", name, "--format", "json"]).failed(&["no  such \\t.png"]);
    let line = &json(&run.stdout)[0];
    assert_eq!(line["image"], name);
    assert!(line["error"].as_str().unwrap().contains(name), "{line}");
    let run = scene.striate(&["classify", name, "--format", "ccv"]).failed(&[]);
    assert!(run.stdout.starts_with("error: ") && run.stdout.contains("no  such \\t.png"));
    assert_eq!(run.stdout.lines().count(), 1);
}

/// The forms that editors and shells write a text in.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let spaced = format!("\n{}\n\n", text.replace('\n', "\n\n"));
    let dos = text.replace('\n', "\r\n");
    let wide =
        |unit: fn(u16) -> [u8; 2]| format!("\u{feff}{dos}").encode_utf16().flat_map(unit).collect();
    vec![
        text.as_bytes().to_vec(),
        format!("\u{feff}{text}").into_bytes(),
        format!("\u{feff}{dos}").into_bytes(),
        spaced.into_bytes(),
        text.replace('\n', "\r").into_bytes(),
        wide(u16::to_le_bytes),
        wide(u16::to_be_bytes),
    ]
}

#[test]
fn every_text_file_may_have_a_mark_and_empty_lines() {
    let scene = Scene::new();
    let results = "1 0.5 2 0.2 3 0.1 4 0.1 5 0.1\n2 0.5 1 0.2 3 0.1 4 0.1 5 0.1\n";
    let spec = scene.network.spec().to_json().unwrap();
    let figures =
        "{\"name\": \"softmax/logits\", \"engine\": \"x\", \"min_ms\": 1, \"median_ms\": 2}\n";
    let labels: String = (0..CLASSES).map(|id| format!("word {id}\n")).collect();
    scene.write("samples.txt", "");
    for form in 0..forms("").len() {
        let write = |name: &str, text: &str| {
            std::fs::write(scene.path(name), &forms(text)[form]).unwrap();
        };
        let check = |what: &str, args: &str| {
            let args: Vec<&str> = args.split(' ').collect();
            let run = scene.striate(&args);
            assert_eq!(run.code, 0, "{what} in form {form}: {}", run.stderr);
            run.stdout
        };
        write("truth.txt", "1 a.png\n1 b.png\n");
        write("results.txt", results);
        let rates = check("results", "validate --truth truth.txt results.txt --format json");
        assert_eq!(json(&rates)[0]["top1_misses"], 1);
        write("list.txt", "a.png\nb.png\n");
        let ranks = check("lists", "classify --model tiny.sqlite3 --list list.txt --format json");
        assert_eq!(json(&ranks).len(), 2);
        write("spec.json", &spec);
        check("specifications", "plan --model spec.json --devices 1 --link 1GbE --flops 1T");
        write("figures.json", figures);
        let args = "bench softmax/logits --repeat 1 --format json --against figures.json";
        assert_eq!(json(&check("figures", args))[0]["against"][0]["engine"], "x");
        // An empty line among labels is a class without a name: their numbers count.
        if form != 3 {
            write("labels.txt", &labels);
            let args = "classify --model tiny.sqlite3 --labels labels.txt --top 1 a.png";
            assert!(check("labels", args).contains("word "));
        }
    }
}

#[test]
fn standard_input_is_one_file_and_a_pipe_is_read() {
    let scene = Scene::new();
    let validate = |truth: &str, results: &str, input: &str| {
        assert_cmd::Command::from_std(common::program(scene.folder.path()))
            .args(["validate", "--format", "json", "--truth", truth, results])
            .write_stdin(input)
            .output()
            .unwrap()
    };
    scene.write("truth.txt", "\u{feff}1\r\n");
    scene.write("results.txt", "1 1.0\n");
    for (truth, results, input) in
        [("-", "results.txt", "1\n"), ("truth.txt", "-", "\u{feff}1 1\n")]
    {
        let output = validate(truth, results, input);
        let score = &json(&String::from_utf8(output.stdout).unwrap())[0];
        assert_eq!((&score["images"], &score["top1_misses"]), (&1.into(), &0.into()));
    }
    let output = validate("truth.txt", "-", "x\n");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: standard input: line 1: "), "{stderr}");
    let output = validate("-", "-", "1\n");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn options_and_recipes_may_have_a_mark_and_empty_lines() {
    let scene = Scene::new();
    write_png(scene.path("c.png"), &picture(11, 11, 3)).unwrap();
    scene.write("spec.json", &scene.network.spec().to_json().unwrap());
    let recipe = striate::image::Recipe::by_name("plain").unwrap();
    let recipe = serde_json::to_string_pretty(&recipe).unwrap();
    let list = (0..CLASSES).map(|id| format!("{} c.png\n", id + 1)).collect::<String>();
    for (form, list) in forms(&list).into_iter().enumerate() {
        std::fs::write(scene.path("samples.txt"), list).unwrap();
        std::fs::write(scene.path("options.json"), &forms("{\"mini-batch\": 3}\n")[form]).unwrap();
        std::fs::write(scene.path("recipe.json"), &forms(&recipe)[form]).unwrap();
        let working = format!("{form}.sqlite3");
        let args = "train --spec spec.json --train-list samples.txt --options options.json \
                    --recipe recipe.json --max-epoch 1 --device cpu --working";
        let args: Vec<&str> = args.split(' ').filter(|word| !word.is_empty()).collect();
        let run = scene.striate(&[&args[..], &[&working]].concat());
        assert_eq!(run.code, 0, "form {form}: {}", run.stderr);
    }
}

#[test]
fn messages_name_the_file_at_fault() {
    let scene = Scene::new();
    scene.write("nine.txt", &"word\n".repeat(9));
    scene.write("two.txt", "word\nword\n");
    let model = ["--model", "tiny.sqlite3"];
    let labels = ["classify", "--labels", "nine.txt", "a.png"];
    scene
        .striate(&[&labels[..], &model].concat())
        .failed(&["nine.txt: expected 6 labels", "got 9"]);
    scene.write("r.txt", "5 0.5 1 0.2\n");
    let draw = ["draw", "a.png", "r.txt", "--labels", "two.txt", "-o", "o.png"];
    scene.striate(&draw).failed(&["two.txt", "class 4", "got 2"]);

    // A tensor of another size than the network's, after the layers that take any.
    let array = striate::image::npy::Array { shape: vec![1, 20, 20, 3], values: vec![1.0; 1200] };
    striate::image::npy::write(scene.path("wide.npy"), &array).unwrap();
    let encode = ["encode", "-o", "o.npy", "wide.npy"];
    scene.striate(&[&encode[..], &model].concat()).failed(&["wide.npy: "]);
    let array = striate::image::npy::Array { shape: vec![9, 9], values: vec![1.0; 81] };
    striate::image::npy::write(scene.path("flat.npy"), &array).unwrap();
    let encode = ["encode", "-o", "o.npy", "flat.npy"];
    scene.striate(&[&encode[..], &model].concat()).failed(&["flat.npy: "]);

    scene.write("spec.json", "{\"input\": [8, 8, 3],\n \"layers\": 7}");
    scene.write("empty.json", "\n");
    let plan = |spec| {
        let rest = ["--devices", "1", "--link", "1GbE", "--flops", "1T"];
        scene.striate(&[&["plan", "--model", spec][..], &rest].concat())
    };
    plan("spec.json").failed(&["spec.json: no network: line 2, column"]);
    plan("empty.json").failed(&["empty.json: no network: line 1: expected JSON"]);
    // Its form is right, and it makes no sense.
    let spec = scene.network.spec().to_json().unwrap().replace("9", "1");
    scene.write("small.json", &spec);
    plan("small.json").failed(&["small.json: "]);
}

/// Weights so large that the outputs are not finite.
fn loud(scene: &Scene) {
    let network = &scene.network;
    let parameters = network.layer_parameters().into_iter().map(|layer| {
        layer.map(|layer| {
            let weight = layer.weight.to_vec::<f32>().unwrap();
            let weight = weight.iter().map(|w| w.signum() * 1e30).collect();
            let weight = Tensor::from_vec(weight, *layer.weight.shape(), network.device()).unwrap();
            striate::nn::LayerParameters { weight, bias: layer.bias }
        })
    });
    let spec = network.spec().clone();
    let loud = striate::nn::Network::new(spec, parameters.collect(), network.device()).unwrap();
    importers::write(scene.path("loud.safetensors"), &loud, &WriteOptions::default()).unwrap();
}

#[test]
fn messages_about_streams_and_overflow_name_what_was_asked_for() {
    let scene = Scene::new();
    loud(&scene);
    let run = scene.striate(&["convert", "loud.safetensors", "-", "--dtype", "f16"]);
    let run = run.failed(&["error: -: ", "too large for f16"]);
    assert!(!run.stderr.contains("striate-"), "{}", run.stderr);
    let args = ["visualize", "loud.safetensors", "--image", "a.png", "--occlusion", "-o", "o.png"];
    scene.striate(&args).failed(&["loud.safetensors: the network", "no confidences"]);
    assert!(!scene.path("o.png").exists());
}

#[test]
fn an_argument_with_a_line_end_forges_no_line() {
    let scene = Scene::new();
    let forged = "a\nerror: forged";
    for args in [&[forged][..], &["completions", forged], &["classify", "--top", forged, "a.png"]] {
        let run = scene.striate(args).wrong_usage();
        assert!(run.stderr.contains("a\\nerror: forged"), "{}", run.stderr);
        assert!(run.stderr.lines().all(|line| line != "error: forged'"), "{}", run.stderr);
    }
}

#[test]
fn confidences_that_are_not_finite_are_no_ranks() {
    let scene = Scene::new();
    loud(&scene);
    let model = ["--model", "loud.safetensors"];
    let classify = |format: &str, images: &[&str]| {
        let args = [&["classify", "--format", format][..], &model, images].concat();
        scene.striate(&args)
    };
    let run = classify("table", &["a.png"]).failed(&["a.png: loud.safetensors: ", "overflow"]);
    assert_eq!(run.stdout, "");
    let run = classify("json", &["a.png", "b.png"]).failed(&["2 of 2"]);
    for line in json(&run.stdout) {
        assert!(line["error"].as_str().unwrap().contains("overflow") && line["classes"].is_null());
    }
    let run = classify("ccv", &["a.png"]).failed(&["a.png"]);
    assert!(run.stdout.starts_with("error: a.png: loud.safetensors"), "{}", run.stdout);
    scene.write("list.txt", "a.png\nb.png\n");
    let list = ["classify", "--list", "list.txt", "--format", "ccv", "-o", "r.txt"];
    scene.striate(&[&list[..], &model].concat()).failed(&["2 of 2"]);
    scene.write("truth.txt", "1\n1\n");
    let validate = ["validate", "--truth", "truth.txt", "--format", "json"];
    let score = |results: &str| {
        json(&scene.striate(&[&validate[..], &[results]].concat()).done()).remove(0)
    };
    assert_eq!(
        (&score("r.txt")["top1_misses"], &score("r.txt")["unreadable"]),
        (&2.into(), &2.into())
    );

    // What earlier versions, or others, wrote of such networks.
    for line in [
        "1 nan 2 nan 3 nan 4 nan 5 nan",
        "1 inf 2 0 3 0 4 0 5 0",
        "1 7.5 2 0 3 0 4 0 5 0",
        "{\"classes\": [{\"id\": 0, \"label\": null, \"confidence\": null}]}",
    ] {
        scene.write("old.txt", &format!("1 0.6 2 0.1 3 0.1 4 0.1 5 0.1\n{line}\n"));
        let score = score("old.txt");
        let counts = ["top1_misses", "top5_misses", "unreadable"].map(|name| score[name].as_u64());
        assert_eq!(counts, [Some(1); 3], "{line}");
        let run = scene.striate(&["validate", "--truth", "truth.txt", "old.txt"]);
        assert!(
            run.stderr.starts_with("warning: old.txt: 1 of 2 results are no ranks"),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains("line 2"), "{}", run.stderr);
        let draw = ["draw", "a.png", "old.txt", "--line", "2", "-o", "o.png"];
        scene.striate(&draw).failed(&["old.txt: line 2: a confidence of"]);
        assert!(!scene.path("o.png").exists());
    }

    let encode = ["encode", "-o", "o.npy", "a.png"];
    let run = scene.striate(&[&encode[..], &model].concat());
    assert!(run.code == 0 && run.stderr.contains("warning: o.npy: "), "{}", run.stderr);
    let visualize = ["visualize", "loud.safetensors", "--image", "a.png", "-o", "v.png"];
    let run = scene.striate(&visualize);
    assert!(run.code == 0, "{}", run.stderr);
    scene.striate(&[&visualize[..], &["--occlusion"]].concat()).failed(&["overflow"]);
    let fully = ["--layer", "2", "--layer", "3"];
    let run = scene.striate(&[&visualize[..], &fully].concat());
    assert!(
        run.stderr.contains("warning: ") && run.stderr.contains("not finite"),
        "{}",
        run.stderr
    );
}

#[test]
fn messages_have_one_style() {
    let scene = Scene::new();
    // Another number of labels than classes: the library says so.
    labelled(&scene, vec!["one".to_owned()]);
    let args = ["classify", "--device", "cpu", "--model", "named.safetensors", "a.png"];
    let run = scene.striate(&args);
    assert!(run.stderr.starts_with("warning: ") && !run.stderr.contains("WARN"), "{}", run.stderr);
    assert_eq!(scene.striate(&[&args[..], &["-q"]].concat()).stderr, "");
    let run = scene.striate(&[&args[..], &["-v"]].concat());
    assert!(run.stderr.contains("info: computing on cpu: "), "{}", run.stderr);
    assert!(!run.stderr.contains("DeviceInfo"), "{}", run.stderr);
    let with = |filter: &str, more: &[&str]| {
        run_with(&[&args[..], more].concat(), scene.folder.path(), &[("RUST_LOG", filter)]).stderr
    };
    assert_eq!(with("error", &[]), "");
    assert!(with("info", &[]).contains("info: "));
    assert_eq!(with("trace", &["-q"]), "");
}

#[test]
fn characters_without_a_glyph_are_told_once() {
    let scene = Scene::new();
    labelled(&scene, vec!["猫 cat 犬猫".to_owned(); CLASSES]);
    let args = ["classify", "--device", "cpu", "--model", "named.safetensors"];
    let run = scene.striate(&[&args[..], &["--draw", "d/", "a.png", "b.png"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stderr.matches("no glyph for 猫 犬: ").count(), 1, "{}", run.stderr);
    let run = scene.striate(&[&args[..], &["a.png"]].concat());
    assert_eq!(run.stderr, "");
    scene.write("r.txt", "1 0.5\n");
    scene.write("l.txt", "鳥\n");
    let draw = ["draw", "a.png", "r.txt", "--labels", "l.txt", "-o", "o.png"];
    assert!(scene.striate(&draw).stderr.contains("no glyph for 鳥"));
}

#[test]
fn numbers_that_can_never_be_right_are_wrong_usage() {
    let scene = Scene::new();
    let cases: [(&str, &[&str]); 7] = [
        (
            "classify a.png",
            &[
                "--top 0",
                "--max-pixels 0",
                "--max-pixels -1",
                "--threads 0",
                "--threads 5000",
                "--threads 99999999999999999999",
                "--seed -1",
                "--top nan",
                "--timeout 0",
                "--timeout 99999999999999",
            ],
        ),
        ("encode -o o.npy a.png", &["--max-pixels 0", "--layer -1", "--layer nan"]),
        ("draw a.png r.txt -o o.png", &["--line 0", "--top 0", "--top 99999", "--max-pixels 0"]),
        (
            "visualize --image a.png -o v.png --occlusion",
            &["--size 0", "--stride 0", "--class -1", "--max-pixels 0"],
        ),
        (
            "prepare . --output out",
            &[
                "--size 0",
                "--size 4097",
                "--size -3",
                "--quality 0",
                "--quality 101",
                "--max-pixels 0",
                "--name a/b",
                "--name a.b",
            ],
        ),
        (
            "train --spec lenet --train-list l --working w.sqlite3",
            &[
                "--learn-rate nan",
                "--learn-rate -1",
                "--learn-rate inf",
                "--learn-rate 1e99",
                "--momentum 1",
                "--momentum nan",
                "--momentum -0.1",
                "--decay nan",
                "--decay -1",
                "--warm-up nan",
                "--warm-up -1",
                "--warm-up inf",
                "--mini-batch 0",
                "--sgd-frequency 0",
                "--checkpoint-every 0",
                "--shards 0",
                "--shards 3",
                "--pieces 0",
                "--workers 0",
                "--workers 1000",
                "--schedule steps:x",
                "--schedule steps",
                "--max-epoch -1",
            ],
        ),
        ("bench softmax", &["--batch 0", "--repeat 0", "--batch -1", "--batch 99999999999999"]),
    ];
    for (command, options) in cases {
        for option in options {
            let words = format!("{command} {option}");
            // A number below 0 is no option.
            let words = words.replace(" -1", "=-1").replace(" -3", "=-3").replace(" -0.1", "=-0.1");
            let run = scene.striate(&words.split(' ').collect::<Vec<_>>());
            assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{words}: {}", run.stderr);
        }
    }
    scene.write("list.txt", "1 a.png\n2 b.png\n");
    let train = "train --spec lenet --train-list list.txt --working w.sqlite3 --device cpu";
    for option in ["--mini-batch 9999999999", "--sgd-frequency 9999999999"] {
        let words = format!("{train} {option}");
        let run = scene.striate(&words.split(' ').collect::<Vec<_>>());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{words}: {}", run.stderr);
        assert!(run.stderr.contains("error: training options"), "{}", run.stderr);
    }
    scene.striate(&["convert", "tiny.sqlite3", "o.xyz"]).wrong_usage();
    let threads = [("RAYON_NUM_THREADS", "5000")];
    let run = run_with(&["classify", "a.png"], scene.folder.path(), &threads);
    assert!(run.code == 2 && run.stderr.contains("at most 1024"), "{}", run.stderr);
}
