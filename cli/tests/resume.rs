//! `striate classify --output`: a run resumes its own results, and no other's.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Stdio;

use common::{Run, Scene};

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// A list of two pictures, in a file.
fn list(scene: &Scene) {
    scene.write("list.txt", "a.png\nb.png\na.png\n");
}

const RUN: &str = "classify -m tiny.safetensors --list list.txt -o r --format";

#[test]
fn results_of_another_run_are_refused_with_what_differs() {
    let scene = Scene::new();
    list(&scene);
    scene.write("other.txt", "a.png\na.png\nb.png\n");
    scene.write("labels.txt", "a\nb\nc\nd\ne\nf\n");
    // Another model of the same shape.
    let spec = scene.network.spec().clone();
    let device = scene.network.device().clone();
    let other = spec.build(&device, striate::nn::Seed(4)).unwrap();
    let options = striate::importers::WriteOptions::default();
    striate::importers::write(scene.path("other.safetensors"), &other, &options).unwrap();

    for format in ["json", "ccv"] {
        let _ = std::fs::remove_file(scene.path("r"));
        let args = |changes: &str| format!("{RUN} {format} {changes}");
        scene.striate(&words(&args(""))).done();
        let whole = std::fs::read(scene.path("r")).unwrap();
        for (changes, parts) in [
            ("--protocol centre", &["expected protocol centre, the file was made with tested"][..]),
            ("--top 2", &["expected top 2, the file was made with"]),
            ("--dtype f16", &["expected dtype f16, the file was made with f32"]),
            ("--labels labels.txt", &["expected labels labels.txt", "of the model"]),
            ("--max-pixels 99999", &["expected max-pixels 99999"]),
            ("--draw out/", &["expected draw", "nothing"]),
        ] {
            let run = scene.striate(&words(&args(changes)));
            run.failed(parts).failed(&["r holds the results of another run"]);
            assert!(std::fs::read(scene.path("r")).unwrap() == whole, "{changes}");
        }
        for (was, is, parts) in [
            ("list.txt", "other.txt", ["expected images other.txt", "list.txt"]),
            ("tiny.saf", "other.saf", ["expected model other.safetensors", "tiny.safetensors"]),
        ] {
            let run = scene.striate(&words(&args("").replace(was, is)));
            run.failed(&parts);
            assert!(std::fs::read(scene.path("r")).unwrap() == whole, "{is}");
        }
        let other_format = if format == "ccv" { "json" } else { "ccv" };
        scene.striate(&words(&format!("{RUN} {other_format}"))).failed(&["expected format"]);
        // The same run, said otherwise: on another device, with what is the default, with a model
        // that was moved.
        std::fs::copy(scene.path("tiny.safetensors"), scene.path("moved.safetensors")).unwrap();
        let same = args("--devices cpu,cpu --protocol tested --dtype f32 --threads 1")
            .replace("tiny.saf", "moved.saf");
        let run = scene.striate(&words(&same));
        assert!(run.stderr.contains("r is complete: all 3 images are done"), "{}", run.stderr);
        assert_eq!(run.done(), "");
        assert!(std::fs::read(scene.path("r")).unwrap() == whole);
    }
}

#[test]
fn the_current_folder_counts_where_paths_are_relative() {
    let scene = Scene::new();
    list(&scene);
    std::fs::create_dir(scene.path("other")).unwrap();
    for name in ["a.png", "b.png"] {
        std::fs::copy(scene.path("b.png"), scene.path("other").join(name)).unwrap();
    }
    let at = |name: &str| scene.path(name).display().to_string();
    let args = |folder: &str| -> Run {
        let (model, list, out) = (at("tiny.sqlite3"), at("list.txt"), at("r.jsonl"));
        let args = ["classify", "-m", &model, "--list", &list, "-o", &out, "--format", "json"];
        common::run(&args, &scene.path(folder))
    };
    args(".").done();
    args("other").failed(&["expected current folder", "other"]);
}

#[test]
fn a_run_is_resumed_after_its_last_whole_result() {
    let scene = Scene::new();
    list(&scene);
    for args in [
        format!("{RUN} json"),
        format!("{RUN} ccv"),
        "classify -m tiny.sqlite3 -o r --format ccv a.png text.png b.png".into(),
        "classify -m tiny.sqlite3 -o r --format json a.png text.png b.png".into(),
    ] {
        let _ = std::fs::remove_file(scene.path("r"));
        let code = scene.striate(&words(&args)).code;
        let whole = std::fs::read_to_string(scene.path("r")).unwrap();
        // Times differ from run to run.
        let untimed = |text: &str| -> Vec<String> {
            let line = |line: &str| match line.split_once("\"milliseconds\"") {
                Some((line, _)) => line.to_owned(),
                None if line.starts_with("elapsed time") => "elapsed time".to_owned(),
                None => line.to_owned(),
            };
            text.lines().map(line).collect()
        };
        for bytes in [1, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            scene.write("r", &whole[..bytes]);
            let run = scene.striate(&words(&args));
            assert_eq!(run.code, code, "{args}, {bytes}: {}", run.stderr);
            let again = std::fs::read_to_string(scene.path("r")).unwrap();
            assert_eq!(untimed(&again), untimed(&whole), "{args}, {bytes}");
            scene.write("r", &whole);
        }
        let run = scene.striate(&words(&args));
        assert!(run.stderr.contains("r is complete: all 3"), "{args}: {}", run.stderr);
        assert_eq!(run.code, code, "{args}");
        assert_eq!(std::fs::read_to_string(scene.path("r")).unwrap(), whole);
    }
}

#[test]
fn results_without_a_record_or_of_another_file_are_left_alone() {
    let scene = Scene::new();
    list(&scene);
    let args = format!("{RUN} json");
    let run = || scene.striate(&words(&args));
    run().done();
    let whole = std::fs::read_to_string(scene.path("r")).unwrap();

    // Made by an older program, or moved here alone.
    std::fs::rename(scene.path("r.run"), scene.path("kept")).unwrap();
    run().failed(&["r holds something already", "r.run", "remove it to start anew"]);
    assert_eq!(std::fs::read_to_string(scene.path("r")).unwrap(), whole);
    assert!(!scene.path("r.run").exists());
    scene.write("notes.txt", "a shopping list\n");
    scene
        .striate(&words(&args.replace("-o r", "-o notes.txt")))
        .failed(&["notes.txt holds something"]);
    assert_eq!(std::fs::read_to_string(scene.path("notes.txt")).unwrap(), "a shopping list\n");

    // Other results in its place, which only look alike.
    std::fs::rename(scene.path("kept"), scene.path("r.run")).unwrap();
    scene.write("r", &whole.replacen("\"confidence\":0.", "\"confidence\":0.9", 1));
    run().failed(&["r is not the file that", "r.run"]);

    // Something else where the record would be.
    scene.write("r.run", "my marathon\n");
    run().failed(&["r.run", "something else"]);
    std::fs::remove_file(scene.path("r")).unwrap();
    run().failed(&["r.run", "something else"]);
    assert_eq!(std::fs::read_to_string(scene.path("r.run")).unwrap(), "my marathon\n");

    // Removed to start anew: the record alone is no obstacle, nor is an empty file.
    std::fs::remove_file(scene.path("r.run")).unwrap();
    run().done();
    std::fs::remove_file(scene.path("r")).unwrap();
    scene.striate(&words(&format!("{args} --top 2"))).done();
    scene.write("r", "");
    run().done();
    run().done();
}

#[test]
fn a_second_run_into_the_same_results_is_refused() {
    let scene = Scene::new();
    list(&scene);
    let held = std::fs::File::create(scene.path("r")).unwrap();
    let beside = std::fs::File::create(scene.path("r.run.lock")).unwrap();
    held.lock().unwrap();
    beside.lock().unwrap();
    let args = format!("{RUN} json");
    scene.striate(&words(&args)).failed(&["another run is writing its results into r"]);
    #[cfg(unix)]
    {
        std::fs::hard_link(scene.path("r"), scene.path("hard")).unwrap();
        std::os::unix::fs::symlink("r", scene.path("soft")).unwrap();
        for link in ["hard", "soft"] {
            let args = args.replace("-o r", &format!("-o {link}"));
            scene.striate(&words(&args)).failed(&["another run is writing"]);
        }
    }
    // A run that is over, however it ended, holds nothing.
    drop((held, beside));
    scene.striate(&words(&args)).done();
}

#[test]
fn a_killed_run_leaves_whole_results_and_no_lock() {
    let scene = Scene::new();
    scene.write("many.txt", &"a.png\nb.png\n".repeat(20_000));
    let args = "classify -m tiny.sqlite3 --list many.txt --format ccv --top 2 -o r";
    // Killed once there are more results than before; if it was done sooner, that is well, too.
    let kill_after = |bytes: u64| {
        let mut run = common::program(scene.folder.path())
            .args(words(args))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while std::fs::metadata(scene.path("r")).map_or(0, |m| m.len()) <= bytes
            && run.try_wait().unwrap().is_none()
        {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        run.kill().unwrap();
        run.wait().unwrap();
    };
    kill_after(1000);
    let killed = std::fs::read_to_string(scene.path("r")).unwrap();
    let whole = killed.rfind('\n').unwrap() + 1;
    assert!(killed[..whole].lines().all(|line| line.split(' ').count() == 4));
    // What was done stands; another run is still told from it.
    scene.striate(&words(&args.replace("--top 2", "--top 3"))).failed(&["expected top 3"]);
    kill_after(killed.len() as u64);
    let again = std::fs::read_to_string(scene.path("r")).unwrap();
    assert!(again.starts_with(&killed[..whole]));
}
