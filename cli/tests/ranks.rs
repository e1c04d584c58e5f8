//! Several devices at once, and several processes where MPI is there.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Scene, json, picture};
use striate::image::output::write_png;

/// A list of 21 images, two of which are none.
fn list(scene: &Scene) -> String {
    let mut list = String::new();
    for i in 0..21 {
        let name = format!("{i}.png");
        if i % 8 == 5 {
            scene.write(&name, "no picture");
        } else {
            write_png(scene.path(&name), &picture(15 + i, 17, i)).unwrap();
        }
        list += &name;
        list.push('\n');
    }
    scene.write("list.txt", &list);
    list
}

/// Results without their times.
fn untimed(text: &str) -> Vec<serde_json::Value> {
    let mut lines = json(text);
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("milliseconds");
    }
    lines
}

const CLASSIFY: &str = "classify --model tiny.safetensors --list list.txt --format json";

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn devices_share_a_list_and_results_stay_in_order() {
    let scene = Scene::new();
    list(&scene);
    let one = scene.striate(&words(&format!("{CLASSIFY} --device cpu")));
    assert_eq!(one.code, 1, "two images are none");
    let want = untimed(&one.stdout);
    assert_eq!(want.len(), 21);
    for devices in ["cpu", "cpu,cpu", "cpu,cpu,cpu,cpu,cpu"] {
        let run = scene.striate(&words(&format!("{CLASSIFY} --devices {devices}")));
        assert_eq!((run.code, untimed(&run.stdout)), (1, want.clone()), "{}", run.stderr);
        assert_eq!(run.stderr.matches("error: ").count(), 3, "{}", run.stderr);
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_where_it_was() {
    let scene = Scene::new();
    list(&scene);
    let args = format!("{CLASSIFY} --devices cpu,cpu -o results.jsonl");
    let args = words(&args);
    let whole = scene.striate(&args);
    assert_eq!((whole.code, whole.stdout.as_str()), (1, ""));
    let text = std::fs::read_to_string(scene.path("results.jsonl")).unwrap();
    let want = untimed(&text);
    assert_eq!(want.len(), 21);

    // Killed in the middle of a line, of a block, before the first one.
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (done, rest) in [(10, 17), (8, 0), (0, 9), (21, 0)] {
        let cut = lines[..done].concat() + &lines.get(done).unwrap_or(&"")[..rest];
        scene.write("results.jsonl", &cut);
        let run = scene.striate(&args);
        assert_eq!(run.code, 1, "what the file held counts too: {}", run.stderr);
        let text = std::fs::read_to_string(scene.path("results.jsonl")).unwrap();
        assert_eq!(untimed(&text), want);
        // What was done is not done again.
        assert!(text.starts_with(&lines[..done].concat()));
    }

    for (text, complaint) in [
        (lines[1].to_owned(), "line 1: cannot resume: expected the result of 0.png, got 1.png"),
        ("a shopping list\n".into(), "line 1: cannot resume: expected the result of 0.png"),
        ("a shopping list".into(), "cannot resume: expected results, got something else"),
        (text.repeat(2), "line 22: cannot resume: expected no more images"),
    ] {
        scene.write("results.jsonl", &text);
        let run = scene.striate(&args);
        assert_eq!(run.code, 1);
        assert!(run.stderr.contains(complaint), "{}", run.stderr);
        assert_eq!(std::fs::read_to_string(scene.path("results.jsonl")).unwrap(), text);
    }
    let run = scene.striate(&words("classify a.png -o results.txt"));
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("--format json"), "{}", run.stderr);
}

#[test]
fn the_form_of_ccv_goes_on_too() {
    let scene = Scene::new();
    list(&scene);
    let args = words(
        "classify --model tiny.sqlite3 --list list.txt --format ccv --device cpu --output r.txt",
    );
    scene.striate(&args);
    let whole = std::fs::read_to_string(scene.path("r.txt")).unwrap();
    assert_eq!(whole.lines().count(), 21);
    scene.write("r.txt", &whole[..whole.len() / 2]);
    scene.striate(&args);
    assert_eq!(std::fs::read_to_string(scene.path("r.txt")).unwrap(), whole);
}

#[test]
fn what_makes_no_sense_of_devices_is_refused() {
    let scene = Scene::new();
    list(&scene);
    let run = scene.striate(&words(&format!("{CLASSIFY} --devices cpu,toaster")));
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("invalid value 'toaster' for '--devices'"), "{}", run.stderr);
    let run = scene.striate(&words(&format!("{CLASSIFY} --devices cpu --device cpu")));
    assert_eq!(run.code, 2, "{}", run.stderr);
    // A device that is not there ends all.
    let run = scene.striate(&words(&format!("{CLASSIFY} --devices cpu,gpu:97")));
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("gpu:97"), "{}", run.stderr);
}
