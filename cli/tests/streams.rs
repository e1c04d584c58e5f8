//! `-`, pipes and devices: read and written as they are.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Scene, json};

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// The program with something on its standard input; standard output as bytes.
fn piped(scene: &Scene, args: &[&str], input: &[u8]) -> (i32, Vec<u8>, String) {
    let output = assert_cmd::Command::from_std(common::program(scene.folder.path()))
        .args(args)
        .write_stdin(input)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), output.stdout, stderr)
}

#[test]
fn dash_is_standard_output() {
    let scene = Scene::new();
    let results = scene.striate(&words("classify -m tiny.sqlite3 a.png --format json -o -")).done();
    assert_eq!(json(&results).len(), 1);
    scene.write("r.json", &results);
    let bytes = |args: &str| {
        let (code, stdout, stderr) = piped(&scene, &words(args), b"");
        assert_eq!(code, 0, "{args}: {stderr}");
        stdout
    };
    scene.striate(&words("draw a.png r.json -o named.png")).done();
    let named = std::fs::read(scene.path("named.png")).unwrap();
    assert!(bytes("draw a.png r.json -o -") == named);
    let painted = bytes("classify -m tiny.sqlite3 --draw - -o other.json --format json a.png");
    assert!(painted.starts_with(b"\x89PNG"));
    assert!(bytes("visualize tiny.sqlite3 -o -").starts_with(b"\x89PNG"));
    assert!(bytes("encode -m tiny.sqlite3 -o - --type npy a.png").starts_with(b"\x93NUMPY"));
    scene.striate(&words("encode -m tiny.sqlite3 -o named.safetensors a.png")).done();
    let named = std::fs::read(scene.path("named.safetensors")).unwrap();
    assert!(bytes("encode -m tiny.sqlite3 -o - a.png") == named);
    scene.striate(&words("convert tiny.sqlite3 converted.safetensors")).done();
    let converted = std::fs::read(scene.path("converted.safetensors")).unwrap();
    assert!(bytes("convert tiny.sqlite3 -") == converted);
    assert!(bytes("convert tiny.sqlite3 - --type sqlite3").starts_with(b"SQLite format 3"));
    assert!(!scene.path("-").exists());

    // One thing at a time.
    scene.striate(&words("classify a.png --draw -")).wrong_usage();
    scene.striate(&words("classify a.png --draw - -o - --format json")).wrong_usage();
    scene.striate(&words("visualize -o - --format json")).wrong_usage();
    // A file of that name has a folder before it.
    scene.striate(&words("classify -m tiny.sqlite3 a.png --format json -o ./-")).done();
    assert!(scene.path("-").exists());
}

#[test]
fn dash_is_standard_input() {
    let scene = Scene::new();
    let run = |args: &str, input: &[u8]| {
        let (code, stdout, stderr) = piped(&scene, &words(args), input);
        assert_eq!(code, 0, "{args}: {stderr}");
        stdout
    };
    let classes = |text: Vec<u8>| {
        let lines = json(&String::from_utf8(text).unwrap());
        lines.into_iter().map(|line| line["classes"].clone()).collect::<Vec<_>>()
    };
    let picture = std::fs::read(scene.path("a.png")).unwrap();
    let expected = classes(run("classify -m tiny.sqlite3 --format json a.png b.png", b""));
    assert!(run("classify -m tiny.sqlite3 -", &picture).starts_with(b"-  ("));
    let got = classes(run("classify -m tiny.sqlite3 --format json - b.png", &picture));
    assert_eq!(got, expected);
    scene.write("list.txt", "a.png\nb.png\n");
    let listed = classes(run("classify -m tiny.sqlite3 --format json --list list.txt", b""));
    let list = b"a.png\r\n\nb.png";
    assert_eq!(classes(run("classify -m tiny.sqlite3 --format json --list -", list)), listed);
    for model in ["tiny.sqlite3", "tiny.safetensors"] {
        let model = std::fs::read(scene.path(model)).unwrap();
        let got = classes(run("classify -m - --format json a.png b.png", &model));
        assert_eq!(got[0][0]["id"], expected[0][0]["id"]);
        let facts = json(&String::from_utf8(run("inspect - --format json", &model)).unwrap());
        assert_eq!(facts[0]["file"], "-");
        run("convert - piped.safetensors", &model);
        run("encode -m - -o piped.npy a.png", &model);
        run("visualize - -o piped.png", &model);
    }
    // Resumed by the content of the model.
    let model = std::fs::read(scene.path("tiny.sqlite3")).unwrap();
    run("classify -m tiny.sqlite3 --format json -o r.jsonl a.png b.png", b"");
    let args = words("classify -m - --format json -o r.jsonl a.png b.png");
    let (code, _, stderr) = piped(&scene, &args, &model);
    assert!(code == 0 && stderr.contains("r.jsonl is complete"), "{stderr}");

    scene.write("r.json", &String::from_utf8(run("classify --format json a.png", b"")).unwrap());
    run("draw - r.json -o drawn.png", &picture);
    run("visualize tiny.sqlite3 --image - -o seen.png", &picture);
    run("encode -m tiny.sqlite3 -o one.npy -", &picture);
    run("encode -m tiny.sqlite3 -o two.npy a.png", b"");
    let read = |name: &str| std::fs::read(scene.path(name)).unwrap();
    assert!(read("one.npy") == read("two.npy"));
    run("encode -m tiny.sqlite3 --layer 0 -o layer.npy a.png", b"");

    let (code, _, stderr) = piped(&scene, &words("classify -m - --list -"), b"x");
    assert!(code == 2 && stderr.contains("the list and the model"), "{stderr}");
    let (code, _, stderr) = piped(&scene, &words("classify - -"), &picture);
    assert!(code == 2 && stderr.contains("which can be read once"), "{stderr}");
    let (code, _, stderr) = piped(&scene, &words("classify -"), b"no picture");
    assert!(code == 1 && stderr.contains("not an image"), "{stderr}");
    let (code, _, stderr) = piped(&scene, &words("inspect -"), &vec![b'y'; 1 << 20]);
    assert!(code == 1 && stderr.contains("standard input: not a model file"), "{stderr}");
    // A file of that name has a folder before it.
    std::fs::write(scene.path("-"), &picture).unwrap();
    assert!(run("classify -m tiny.sqlite3 ./-", b"").starts_with(b"./-  ("));
    let list = b"-\nb.png";
    assert_eq!(classes(run("classify -m tiny.sqlite3 --format json --list -", list)), listed);
}

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn spawn(scene: &Scene, args: &str, stdout: impl Into<Stdio>) -> Child {
        common::program(scene.folder.path())
            .args(words(args))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn fifo(scene: &Scene, name: &str) {
        let made = Command::new("mkfifo").arg(scene.path(name)).status().unwrap();
        assert!(made.success());
    }

    #[test]
    fn pipes_are_written_as_they_are() {
        let scene = Scene::new();
        fifo(&scene, "pipe");
        for args in [
            "classify -m tiny.sqlite3 a.png b.png --format json -o pipe",
            "classify -m tiny.sqlite3 a.png b.png --format ccv -o pipe",
            "visualize tiny.sqlite3 -o pipe",
            "encode -m tiny.sqlite3 a.png -o pipe",
            "convert tiny.sqlite3 pipe",
            "classify -m tiny.sqlite3 a.png --draw pipe",
        ] {
            let run = spawn(&scene, args, Stdio::null());
            let mut text = Vec::new();
            File::open(scene.path("pipe")).unwrap().read_to_end(&mut text).unwrap();
            let output = run.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !text.is_empty(), "{args}: {stderr}");
            // It is still a pipe, and nothing stands beside it.
            assert!(!scene.path("pipe").is_file() && !scene.path("pipe.run").exists(), "{args}");
        }
    }

    #[test]
    fn standard_output_by_its_names() {
        let scene = Scene::new();
        for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            if name.starts_with("/proc") && !cfg!(target_os = "linux") {
                continue;
            }
            let args = format!("classify -m tiny.sqlite3 a.png b.png --format ccv -o {name}");
            let output = spawn(&scene, &args, Stdio::piped()).wait_with_output().unwrap();
            let stdout = String::from_utf8(output.stdout).unwrap();
            assert_eq!(stdout.lines().count(), 4, "{name}");
            // Into a file: after what is in it.
            scene.write("log", "kept\n");
            let log = File::options().append(true).open(scene.path("log")).unwrap();
            assert!(spawn(&scene, &args, log).wait().unwrap().success());
            let text = std::fs::read_to_string(scene.path("log")).unwrap();
            assert!(text.starts_with("kept\n") && text.lines().count() == 5, "{name}: {text}");
            assert!(!scene.path("log.run").exists());
        }
    }

    #[test]
    fn standard_output_or_input_may_be_a_file_that_is_read() {
        let scene = Scene::new();
        scene.write("list.txt", "a.png\nb.png\na.png\n");
        let onto = |args: &str, name: &str| {
            let before = std::fs::read(scene.path(name)).unwrap();
            let file = File::options().append(true).open(scene.path(name)).unwrap();
            let output = spawn(&scene, args, file).wait_with_output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{args}: {stderr}");
            assert!(stderr.contains(name), "{stderr}");
            assert!(std::fs::read(scene.path(name)).unwrap() == before);
        };
        onto("classify --list list.txt", "list.txt");
        onto("classify a.png --format json -o /dev/stdout", "a.png");
        onto("classify a.png --format json -o - -m tiny.sqlite3", "tiny.sqlite3");
        onto("visualize tiny.sqlite3 -o -", "tiny.sqlite3");

        let output = common::program(scene.folder.path())
            .args(words("classify - --draw a.png"))
            .stdin(File::open(scene.path("a.png")).unwrap())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
    }

    #[test]
    fn a_reader_that_has_gone_is_no_fault() {
        let scene = Scene::new();
        scene.write("many.txt", &"a.png\n".repeat(2000));
        let results = "classify -m tiny.sqlite3 --list many.txt --format ccv";
        for output in ["-o -", "-o /dev/stdout", ""] {
            let mut run = spawn(&scene, &format!("{results} {output}"), Stdio::piped());
            let mut start = [0; 10];
            run.stdout.take().unwrap().read_exact(&mut start).unwrap();
            let output = run.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !stderr.contains("error"), "{stderr}");
        }
        fifo(&scene, "pipe");
        let run = spawn(&scene, &format!("{results} -o pipe"), Stdio::null());
        File::open(scene.path("pipe")).unwrap().read_exact(&mut [0; 10]).unwrap();
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_an_error_at_once() {
        let scene = Scene::new();
        for args in [
            "classify -m tiny.sqlite3 a.png --format json -o /dev/full",
            "visualize tiny.sqlite3 -o /dev/full",
            "encode -m tiny.sqlite3 a.png -o /dev/full",
            "convert tiny.sqlite3 /dev/full",
        ] {
            scene.striate(&words(args)).failed(&["cannot write /dev/full", "No space left"]);
        }
        let full = File::options().write(true).open("/dev/full").unwrap();
        for args in ["classify a.png --format json -o -", "help", "--version", "completions bash"] {
            let output = spawn(&scene, args, full.try_clone().unwrap());
            let output = output.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{args}: {stderr}");
            assert!(stderr.contains("No space left"), "{args}: {stderr}");
        }
    }

    #[test]
    fn a_network_is_not_called_after_its_pipe() {
        let scene = Scene::new();
        // A model of ccv's alone has no name in it.
        let golden = std::fs::read(common::golden()[0].join("nets/tiny.f32.sqlite3")).unwrap();
        std::fs::write(scene.path("ccv.sqlite3"), &golden).unwrap();
        fifo(&scene, "pipe");
        let name = |text: &str| json(text)[0]["name"].clone();
        let by_file = scene.striate(&words("inspect ccv.sqlite3 --format json")).done();
        assert_eq!(name(&by_file), "ccv");
        let run = spawn(&scene, "inspect pipe --format json", Stdio::piped());
        std::fs::write(scene.path("pipe"), &golden).unwrap();
        let output = run.wait_with_output().unwrap();
        assert_eq!(name(&String::from_utf8(output.stdout).unwrap()), "");
        let (code, stdout, stderr) = piped(&scene, &words("inspect - --format json"), &golden);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(name(&String::from_utf8(stdout).unwrap()), "");
    }

    #[test]
    fn a_model_through_a_pipe() {
        let scene = Scene::new();
        fifo(&scene, "pipe");
        for args in ["inspect pipe", "classify -m pipe a.png", "convert pipe out.safetensors"] {
            let run = spawn(&scene, args, Stdio::null());
            std::fs::write(scene.path("pipe"), std::fs::read(scene.path("tiny.sqlite3")).unwrap())
                .unwrap();
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
