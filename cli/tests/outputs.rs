//! What a command writes is never what it reads.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::Scene;

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Every file of a folder and those below, with its content.
fn snapshot(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                // The program's cache is its own affair.
                if !path.ends_with("cache") {
                    folders.push(path);
                }
            } else if path.is_file() {
                files.push((path.display().to_string(), std::fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// It refused the command line, named both files, and changed nothing.
#[track_caller]
fn refuses(scene: &Scene, args: &[&str], parts: &[&str]) {
    let before = snapshot(scene.folder.path());
    let run = scene.striate(args);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{args:?}: {}", run.stderr);
    for part in parts {
        assert!(run.stderr.contains(part), "{args:?}: no `{part}` in {}", run.stderr);
    }
    assert!(snapshot(scene.folder.path()) == before, "{args:?} changed something");
}

#[test]
fn pictures_are_never_painted_over_the_pictures_that_are_read() {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.path("ph/deep")).unwrap();
    for name in ["ph/a.png", "ph/b.png", "ph/deep/a.png"] {
        std::fs::copy(scene.path("a.png"), scene.path(name)).unwrap();
    }
    scene.write("list.txt", "ph/a.png\nph/b.png\n");
    let classify =
        |more: &'static str| [&words("classify -m tiny.sqlite3")[..], &words(more)].concat();
    for args in [
        "--draw ph/ ph/a.png ph/b.png",
        "--draw ph ph/a.png ph/b.png",
        "--draw ph/../ph/ ph/b.png",
        "--draw . a.png b.png",
        "--draw {}.png a.png b.png",
        "--draw ph/{}.png a.png ph/b.png",
        "--draw ph/deep/{}.png ph/b.png ph/deep/a.png",
        "--draw a.png a.png",
        "--draw ./a.png a.png",
        "--draw ph/a.png --list list.txt",
        "--draw ph/{}.png --list list.txt",
        "--draw new/ a.png -o ph/a.png --format json ph/a.png",
    ] {
        // One picture for a list is refused for another reason.
        let part =
            if args.contains("ph/a.png --list") { "several images" } else { "over the picture" };
        refuses(&scene, &classify(args), &[part]);
    }
    // Pictures of the same name in several folders get several names, none of them an input's.
    scene.striate(&classify("--draw out/ ph/a.png ph/deep/a.png a.png")).done();
    for name in ["out/a.png", "out/a-2.png", "out/a-3.png"] {
        assert!(scene.path(name).exists(), "{name}");
    }
    // Again: outputs may be replaced.
    scene.striate(&classify("--draw out/ ph/a.png ph/deep/a.png a.png")).done();
}

#[test]
fn no_command_writes_over_what_it_reads() {
    let scene = Scene::new();
    let results = scene.striate(&words("classify -m tiny.sqlite3 --format json a.png")).done();
    scene.write("r.json", &results);
    scene.write("labels.png", "a\nb\nc\nd\ne\nf\n");
    scene.write("list.txt", "a.png\nb.png\n");
    std::fs::copy(scene.path("tiny.sqlite3"), scene.path("model")).unwrap();
    scene.striate(&words("encode -m tiny.sqlite3 --layer 0 -o in.npy a.png")).done();
    for (args, input) in [
        ("draw a.png r.json -o a.png", "the picture a.png"),
        ("draw a.png r.json --labels labels.png -o labels.png", "the labels labels.png"),
        ("draw a.png labels.png -o labels.png", "the results labels.png"),
        ("visualize --image a.png -o a.png", "the photo a.png"),
        ("visualize model -o model", "the model model"),
        ("visualize model --image a.png -o ./a.png", "the photo a.png"),
        ("encode -o in.npy in.npy", "the input in.npy"),
        ("encode -m tiny.safetensors -o tiny.safetensors a.png", "the model tiny.safetensors"),
        ("classify --format json -o list.txt --list list.txt", "the list list.txt"),
        ("classify --format json -m model -o model a.png", "the model model"),
        ("classify --format json -o a.png a.png", "the picture a.png"),
        ("classify --format json --labels labels.png -o labels.png a.png", "the labels"),
        ("classify --labels labels.png --draw labels.png a.png", "the labels"),
        ("classify -m model --draw model a.png", "the model"),
        ("plot tiny.sqlite3 -o tiny.sqlite3 --type svg", "the training tiny.sqlite3"),
    ] {
        refuses(&scene, &words(args), &["over", input]);
    }
    // Neither is a second output, nor what stands beside one.
    for args in [
        "classify --format json -o out.png --draw out.png a.png",
        "classify --format json -o out.png --draw ./{}.png out.png",
        "classify --format json -o r.jsonl --draw r.jsonl.run a.png",
    ] {
        let run = scene.striate(&words(args));
        assert_eq!(run.code, 2, "{args}: {}", run.stderr);
        assert!(!scene.path("out.png").exists() && !scene.path("r.jsonl").exists(), "{args}");
    }
}

#[cfg(unix)]
#[test]
fn links_do_not_hide_an_input() {
    use std::os::unix::fs::symlink;

    let scene = Scene::new();
    symlink("a.png", scene.path("soft.png")).unwrap();
    std::fs::hard_link(scene.path("a.png"), scene.path("hard.png")).unwrap();
    symlink(".", scene.path("folder")).unwrap();
    symlink("new.png", scene.path("dangling.png")).unwrap();
    symlink("loop.png", scene.path("loop.png")).unwrap();
    let over = |more: &str| {
        refuses(&scene, &words(&format!("classify -m tiny.sqlite3 {more}")), &["over the picture"]);
    };
    over("--draw soft.png a.png");
    over("--draw hard.png a.png");
    over("--draw folder/a.png a.png");
    over("--draw folder/soft.png hard.png");
    over("--draw a.png soft.png");
    over("--draw folder/ a.png b.png");
    over("--format json -o soft.png a.png");
    let run = scene.striate(&words("classify --format json -o new.png --draw dangling.png a.png"));
    assert_eq!(run.code, 2, "{}", run.stderr);
    scene.striate(&words("classify --draw loop.png a.png")).failed(&["cannot write loop.png"]);
    // What stands beside results is written where a link leads.
    std::fs::create_dir(scene.path("sub")).unwrap();
    symlink("sub/r.jsonl", scene.path("r.jsonl")).unwrap();
    std::fs::copy(scene.path("a.png"), scene.path("sub/r.jsonl.run")).unwrap();
    over("--format json -o r.jsonl sub/r.jsonl.run");
    // What is not there yet may be written through a link.
    scene.striate(&words("classify --draw dangling.png a.png")).done();
    assert!(scene.path("dangling.png").exists());
}

#[test]
fn what_cannot_be_written_is_told_before_the_work() {
    let scene = Scene::new();
    let classify = |more: &str| scene.striate(&words(&format!("classify {more} a.png")));
    classify("--format json -o .").failed(&["directory"]);
    classify("--format json -o no/r.jsonl").failed(&["no/r.jsonl", "there is no folder no"]);
    classify("--draw no/{}.png").failed(&["there is no folder no"]);
    classify("--draw a.png/x.png").failed(&["cannot write a.png/x.png"]);
    scene.write("kept.png", "precious");
    let mut permissions = std::fs::metadata(scene.path("kept.png")).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(scene.path("kept.png"), permissions).unwrap();
    classify("--draw kept.png").failed(&["kept.png", "read-only"]);
    assert_eq!(std::fs::read(scene.path("kept.png")).unwrap(), b"precious");
}

#[test]
fn a_set_is_not_prepared_into_itself() {
    let scene = Scene::new();
    for class in ["set/a", "set/b"] {
        std::fs::create_dir_all(scene.path(class)).unwrap();
        std::fs::copy(scene.path("a.png"), scene.path(&format!("{class}/1.png"))).unwrap();
        std::fs::copy(scene.path("b.png"), scene.path(&format!("{class}/1.jpg"))).unwrap();
    }
    std::fs::copy(scene.path("a.png"), scene.path("set/a/2.png")).unwrap();
    scene.write("all.txt", "1 set/a/1.jpg\n2 set/b/1.jpg\n");
    scene.write("all.labels", "a\nb\n");
    refuses(&scene, &words("prepare set --output set"), &["set"]);
    refuses(&scene, &words("prepare set/ --output ./set/../set"), &["set"]);
    refuses(&scene, &words("prepare set --output set/out"), &["lies in set"]);
    refuses(&scene, &words("prepare all.txt --output set"), &["set/a"]);
    refuses(&scene, &words("prepare all.txt --output ."), &["the list all.txt"]);
    refuses(&scene, &words("prepare all.txt --output . --lists-only"), &["the list all.txt"]);
    scene.striate(&words("prepare set --output out")).done();
    // The same command resumes; its own pictures are no sources.
    assert!(scene.striate(&words("prepare set --output out")).done().contains("0 written now"));
    // Another set with classes and pictures of the same names is not the first one.
    std::fs::create_dir_all(scene.path("second/a")).unwrap();
    std::fs::write(scene.path("second/a/2.png"), std::fs::read(scene.path("b.png")).unwrap())
        .unwrap();
    let before = snapshot(&scene.path("out"));
    scene
        .striate(&words("prepare second --output out"))
        .failed(&["out/a/2.jpg", "another picture than second/a/2.png"]);
    assert!(snapshot(&scene.path("out")) == before);
}

#[test]
fn converting_in_place_loses_nothing() {
    let scene = Scene::new();
    let before = std::fs::read(scene.path("tiny.safetensors")).unwrap();
    for args in [
        "convert tiny.safetensors tiny.safetensors --dtype f16",
        "convert tiny.safetensors ./tiny.safetensors --dtype f16",
        "convert tiny.safetensors tiny.safetensors --type sqlite3",
    ] {
        refuses(&scene, &words(args), &["tiny.safetensors", "would be lost"]);
    }
    scene.striate(&words("convert tiny.safetensors tiny.safetensors")).done();
    assert!(std::fs::read(scene.path("tiny.safetensors")).unwrap() == before);
    scene.striate(&words("convert tiny.safetensors half.safetensors --dtype f16")).done();
    scene.striate(&words("convert half.safetensors half.safetensors --dtype f32")).done();
}
