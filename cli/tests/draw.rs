//! Pictures with ranks: `striate classify --draw` and `striate draw`.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Scene, json};
use striate::image;

fn is_a_picture(scene: &Scene, name: &str) {
    let bytes = std::fs::read(scene.path(name)).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"), "{name}");
    assert_eq!(image::open(scene.path(name)).unwrap().channels(), 3);
}

#[test]
fn one_image_one_picture() {
    let scene = Scene::new();
    let args = ["classify", "--model", "tiny.sqlite3", "a.png", "--draw"];
    let draw = |to| scene.striate(&[&args[..], &[to]].concat());
    let stdout = draw("out.png").done();
    assert!(stdout.contains("painted out.png"), "{stdout}");
    is_a_picture(&scene, "out.png");
    draw("new/").done();
    is_a_picture(&scene, "new/a.png");

    std::fs::create_dir(scene.path("folder")).unwrap();
    draw("folder").failed(&["folder is a directory"]);
    draw("no/such.png").failed(&["no/such.png", "folder no"]);
    draw("out.jpg").wrong_usage();
    assert!(!scene.path("out.jpg").exists());
}

#[test]
fn several_images_a_folder_or_a_pattern() {
    let scene = Scene::new();
    scene.write("list.txt", "a.png\ntext.png\nb.png\n");
    let classify =
        |more: &[&str]| scene.striate(&[&["classify", "--model", "tiny.sqlite3"], more].concat());
    classify(&["a.png", "b.png", "--draw", "rank-{}.png"]).done();
    is_a_picture(&scene, "rank-a.png");
    is_a_picture(&scene, "rank-b.png");
    std::fs::create_dir(scene.path("folder")).unwrap();
    classify(&["--list", "list.txt", "--draw", "folder"]).failed(&["text.png"]);
    is_a_picture(&scene, "folder/b.png");
    assert_eq!(std::fs::read_dir(scene.path("folder")).unwrap().count(), 2);
    classify(&["a.png", "b.png", "--draw", "out.png"]).wrong_usage();
}

#[test]
fn from_results_of_either_form() {
    let scene = Scene::new();
    let classify = |format, images: &[&str]| {
        let args = ["classify", "--model", "tiny.safetensors", "--format", format];
        scene.striate(&[&args[..], images].concat()).done()
    };
    scene.write("ranks.jsonl", &classify("json", &["a.png", "b.png"]));
    scene.write("ranks.txt", &classify("ccv", &["a.png"]));
    scene.write("labels.txt", "a\nb\nc\nd\ne\nf\n");
    let draw = |args: &[&str]| scene.striate(&[&["draw"], args].concat());

    draw(&["b.png", "ranks.jsonl", "--output", "json.png"]).done();
    is_a_picture(&scene, "json.png");
    draw(&["b.png", "ranks.jsonl", "--line", "2", "--output", "line.png"]).done();
    let bytes = |name: &str| std::fs::read(scene.path(name)).unwrap();
    assert_eq!(bytes("json.png"), bytes("line.png"));
    draw(&["a.png", "ranks.txt", "--labels", "labels.txt", "--output", "ccv.png"]).done();
    is_a_picture(&scene, "ccv.png");
    let args = ["a.png", "ranks.txt", "--output", "report.png", "--format", "json"];
    let report = json(&draw(&args).done());
    let painted = image::open(scene.path("report.png")).unwrap();
    assert_eq!(
        (&report[0]["rows"], &report[0]["cols"]),
        (&painted.rows().into(), &painted.cols().into())
    );

    draw(&["text.png", "ranks.jsonl", "--output", "x.png"]).failed(&["ranks.jsonl", "--line"]);
    draw(&["a.png", "ranks.jsonl", "--line", "7", "--output", "x.png"]).failed(&["line 7"]);
    draw(&["text.png", "ranks.txt", "--output", "x.png"]).failed(&["text.png"]);
    draw(&["a.png", "labels.txt", "--output", "x.png"]).failed(&["labels.txt", "line 1"]);
    draw(&["a.png", "ranks.txt", "--output", "."]).failed(&["directory"]);
    draw(&["a.png", "ranks.txt"]).wrong_usage();
    assert!(!scene.path("x.png").exists());
}
