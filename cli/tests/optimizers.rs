//! `striate train` with every optimizer, schedule and loss: what it says, what it keeps, what it refuses.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::bars::Bars;
use common::{json, run};

const ADAMW: &str = "--optimizer adamw --weight-decay 0.05 --schedule one-cycle --clip-norm 1 --ema 0.9 \
                     --label-smoothing 0.1 --class-weights balanced --max-epoch 2";

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn a_training_with_adamw_resumes_with_the_same_bits_and_says_what_it_is() {
    let bars = Bars::new();
    let whole = [&words(ADAMW)[..], &["--threads", "1", "--format", "json"]].concat();
    let lines = json(&bars.train("whole.safetensors", &whole).done());
    let options = &lines[0]["options"];
    assert_eq!(options["optimizer"]["kind"], "adamw");
    assert_eq!(options["weights"]["decay"], 0.05);
    assert_eq!(options["biases"]["decay"], 0.0);
    assert_eq!(options["schedule"]["decay"]["kind"], "one-cycle");
    assert_eq!(options["class-weights"].as_array().unwrap().len(), 3);

    for threads in ["1", "2"] {
        let working = format!("half{threads}.safetensors");
        let half = [&words(ADAMW)[..], &["--threads", threads, "--max-iterations", "7"]].concat();
        bars.train(&working, &half).done();
        let rest = [&words(ADAMW)[..], &["--threads", threads, "--workers", "3"]].concat();
        bars.train(&working, &rest).done();
        assert!(bars.bytes(&working) == bars.bytes("whole.safetensors"), "{threads} threads");
    }
    // The options as it prints them are options as it takes them.
    std::fs::write(bars.path().join("options.json"), options.to_string()).unwrap();
    bars.train("whole.safetensors", &["--options", "options.json"]).done();

    let striate = |args: &str| run(&words(args), bars.path());
    let inspected = striate("inspect whole.safetensors").done();
    for part in [
        "first-moment of 6 parameters, second-moment of 6 parameters, weights of 6 parameters",
        "epoch 2, iteration 0, 83 samples",
        "adamw, betas 0.9 and 0.999, learning rate 0.0005, decay 0.05",
        "one cycle, up over 30 % of the training, 2 epochs",
        "gradients of a norm of at most 1, an average of the weights that keeps 0.9, label smoothing 0.1",
    ] {
        assert!(inspected.contains(part), "no {part} in {inspected}");
    }
    assert!(!inspected.contains("train.first-moment"), "{inspected}");
    let all = striate("inspect --state whole.safetensors").done();
    assert!(all.contains("train.first-moment.layers.0.weight"), "{all}");
    let report = &json(&striate("inspect whole.safetensors --format json").done())[0];
    assert_eq!(report["training"]["epoch"], 2);
    assert_eq!(report["training_options"], *options);

    // A copy is the same training; a stripped one is none.
    striate("convert whole.safetensors copy.safetensors").done();
    assert!(bars.bytes("copy.safetensors") == bars.bytes("whole.safetensors"));
    striate("convert whole.safetensors bare.safetensors --strip").done();
    assert!(!striate("inspect bare.safetensors").done().contains("training"));
    let half = striate("convert whole.safetensors half.safetensors --dtype f16");
    assert!(
        half.stderr.contains("the training state of whole.safetensors is left out"),
        "{}",
        half.stderr
    );
    half.done();
}

#[test]
fn what_has_no_meaning_is_refused_with_what_would() {
    let bars = Bars::new();
    for (options, parts) in [
        ("--optimizer adam --momentum 0.9", ["--momentum", "--betas"]),
        ("--optimizer adamw --nesterov", ["--nesterov", "the optimizer is adamw"]),
        ("--nesterov --momentum 0", ["--nesterov", "which is 0"]),
        ("--betas 0.9,0.99", ["--betas", "the optimizer is sgd"]),
        ("--optimizer adam --alpha 0.9", ["--alpha", "rmsprop"]),
        ("--optimizer torch-sgd --epsilon 1e-6", ["--epsilon", "rmsprop"]),
        ("--clip-norm 1 --clip-value 1", ["--clip-norm", "--clip-value"]),
        ("--clip-norm 0", ["--clip-norm", "above 0"]),
        ("--ema 1", ["--ema", "less than 1"]),
        ("--optimizer lion", ["lion", "adamw"]),
        ("--schedule exponential", ["one-cycle", "plateau"]),
        ("--class-weights 1,x", ["balanced", "for each class"]),
        ("--loss hinge", ["hinge", "cross-entropy, bce, mse"]),
    ] {
        let run = bars.train("none.safetensors", &words(options)).wrong_usage();
        for part in parts {
            assert!(run.stderr.contains(part), "{options}: no {part} in {}", run.stderr);
        }
    }
    for (working, options, parts) in [
        (
            "none.safetensors",
            "--schedule one-cycle --warmup 1",
            ["one cycle without a warm-up", "rises"],
        ),
        ("none.safetensors", "--class-weights 1,2", ["the network's 3 classes", "2 of them"]),
        ("none.sqlite3", "--optimizer rmsprop", ["the optimizer rmsprop", "ends in .safetensors"]),
        ("none.sqlite3", "--ema 0.9", ["an average of the weights", "ends in .safetensors"]),
    ] {
        let run = bars.train(working, &words(options)).wrong_usage();
        for part in parts {
            assert!(run.stderr.contains(part), "{options}: no {part} in {}", run.stderr);
        }
    }
    assert!(!bars.path().join("none.sqlite3").exists());
    assert!(!bars.path().join("none.safetensors").exists());

    bars.train("adam.safetensors", &words("--optimizer adam --max-epoch 1")).done();
    let other = bars.train("adam.safetensors", &words("--optimizer adamw --max-epoch 2"));
    other.failed(&["expected the optimizer adamw, got adam", "convert --strip"]);
}

#[test]
fn every_optimizer_and_schedule_trains() {
    let bars = Bars::new();
    for (name, options) in [
        ("sgd", "--optimizer sgd --schedule plateau:1:0.5 --warmup 0.5"),
        ("nesterov", "--nesterov --schedule cosine-restarts:1 --clip-value 0.5"),
        ("torch", "--optimizer torch-sgd --decay-biases --schedule steps:1:0.5"),
        ("adam", "--optimizer adam --betas 0.8,0.99 --epsilon 1e-6 --schedule exponential:0.9"),
        ("bce", "--loss bce --label-smoothing 0.1 --class-weights balanced"),
        ("mse", "--loss mse --optimizer adam"),
        ("rmsprop", "--optimizer rmsprop --alpha 0.9 --momentum 0.5 --schedule cosine:0.1"),
    ] {
        let options = [&words(options)[..], &["--max-epoch", "2"]].concat();
        bars.train(&format!("{name}.safetensors"), &options).done();
    }
}
