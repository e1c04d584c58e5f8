//! `striate prepare`: from folders and lists of pictures to those that training reads.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{json, picture, run};
use striate::image::output::write_png;
use striate::image::{self, Dataset};

fn write(folder: &Path, name: &str, seed: usize) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_png(path, &picture(40, 60, seed)).unwrap();
}

#[test]
fn a_folder_of_classes_is_resized_once() {
    let folder = tempfile::tempdir().unwrap();
    for (seed, name) in
        ["photos/cat/1.png", "photos/cat/2.png", "photos/dog/1.png"].iter().enumerate()
    {
        write(folder.path(), name, seed);
    }
    std::fs::write(folder.path().join("photos/dog/2.png"), "broken").unwrap();
    let prepare = |more: &[&str]| {
        let args = ["prepare", "photos", "--output", "out", "--size", "20"];
        run(&[&args[..], more].concat(), folder.path())
    };
    let first = prepare(&[]);
    assert!(
        first.stderr.contains("left out") && first.stderr.contains("2.png"),
        "{}",
        first.stderr
    );
    assert_eq!(first.done(), "out/photos.txt: 3 images (3 written now), 1 left out\n");
    let list = std::fs::read_to_string(folder.path().join("out/photos.txt")).unwrap();
    assert_eq!(list, "1 cat/1.jpg\n1 cat/2.jpg\n2 dog/1.jpg\n");
    assert_eq!(image::open(folder.path().join("out/dog/1.jpg")).unwrap().shape(), [20, 30, 3]);

    std::fs::remove_file(folder.path().join("out/cat/2.jpg")).unwrap();
    let again = &json(&prepare(&["--format", "json", "--threads", "1"]).done())[0];
    assert_eq!((&again["written"], &again["kept"]), (&1.into(), &2.into()));
    assert!(again["skipped"][0]["image"].as_str().unwrap().ends_with("2.png"));
    prepare(&["--quality", "50"]).failed(&["quality: 95", "another folder"]);
    prepare(&["--quality", "0"]).wrong_usage();
    prepare(&["--devkit", "photos"]).failed(&["no ILSVRC devkit", "meta.mat"]);

    let prepared = Dataset::open(folder.path().join("out/photos.txt")).unwrap();
    assert_eq!(prepared.class_names().unwrap(), ["cat", "dog"]);
}

#[test]
fn a_list_alone() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.png", 1);
    std::fs::write(folder.path().join("in.txt"), "7 a.png\n").unwrap();
    let args = ["prepare", "in.txt", "--output", "out", "--name", "all", "--lists-only"];
    run(&args, folder.path()).done();
    let list = Dataset::open(folder.path().join("out/all.txt")).unwrap();
    assert_eq!((list.labels(), list.len()), (&[6][..], 1));
    assert!(list.load(0, &Default::default()).is_ok());
    std::fs::write(folder.path().join("in.txt"), "\n").unwrap();
    run(&args, folder.path()).failed(&["in.txt", "empty"]);
}
