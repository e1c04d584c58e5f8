use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::*;
use crate::output::write_png;

/// Smooth, so that JPEG changes it little.
fn picture(rows: usize, cols: usize, channels: usize) -> Image {
    let value = |i: usize| (i / channels % cols * 2 + i / channels / cols) as u8;
    Image::new(rows, cols, channels, (0..rows * cols * channels).map(value).collect()).unwrap()
}

fn scene() -> (tempfile::TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for class in ["in/a", "in/b"] {
        fs::create_dir_all(at(class)).unwrap();
    }
    write_png(at("in/a/wide.png"), &picture(50, 90, 3)).unwrap();
    write_png(at("in/a/small.png"), &picture(10, 12, 3)).unwrap();
    write_png(at("in/b/grey.png"), &picture(90, 50, 1)).unwrap();
    fs::write(at("in/b/broken.png"), "no").unwrap();
    let dataset = Dataset::from_folder(at("in")).unwrap();
    (folder, dataset)
}

fn options() -> PrepareOptions {
    PrepareOptions { size: 30, threads: Some(2), ..Default::default() }
}

#[test]
fn pictures_are_resized_as_ccv_does() {
    let (folder, dataset) = scene();
    let out = folder.path().join("new/out");
    let done = AtomicUsize::new(0);
    let count = |n| {
        done.fetch_add(n, Ordering::Relaxed);
    };
    let report = prepare(&dataset, &out, "train", &options(), &count).unwrap();
    assert_eq!((report.written, report.kept, done.into_inner()), (3, 0, 4));
    assert_eq!(report.skipped.len(), 1);
    assert!(report.skipped[0].name.ends_with("broken.png"));

    let prepared = Dataset::open(&report.list).unwrap();
    assert_eq!(prepared.labels(), [0, 0, 1]);
    assert_eq!(prepared.class_names().unwrap(), ["a", "b"]);
    let image = |index| prepared.load(index, &Limits::default()).unwrap();
    // The order of the set: small, wide, grey.
    assert_eq!(
        [image(0), image(1), image(2)].map(|i| i.shape()),
        [[30, 36, 3], [30, 54, 3], [54, 30, 1]]
    );
    let want = form_input(&picture(50, 90, 3), 30, 30).unwrap();
    let wide = image(1).to_float();
    let errors = wide.values().iter().zip(want.values()).map(|(a, b)| (a - b).abs());
    assert!(errors.fold(0.0, f32::max) < 12.0);
}

#[test]
fn it_goes_on_where_it_stopped() {
    let (folder, dataset) = scene();
    let out = folder.path().join("out");
    let run = || {
        let report = prepare(&dataset, &out, "train", &options(), &|_| {}).unwrap();
        (report.written, report.kept)
    };
    assert_eq!(run(), (3, 0));
    let read = |name: &str| fs::read(out.join(name)).unwrap();
    let (list, wide) = (read("train.txt"), read("a/wide.jpg"));
    assert_eq!(run(), (0, 3));
    // Missing, empty after a power cut, truncated, of another size, older than its source.
    fs::remove_file(out.join("a/wide.jpg")).unwrap();
    assert_eq!(run(), (1, 2));
    for damaged in [&[][..], &wide[..wide.len() / 2], b"\xff\xd8\xff\xd9"] {
        fs::write(out.join("a/wide.jpg"), damaged).unwrap();
        assert_eq!(run(), (1, 2));
    }
    fs::write(out.join("a/small.jpg"), encode(&picture(9, 9, 3), 95, &out).unwrap()).unwrap();
    assert_eq!(run(), (1, 2));
    let file = fs::File::options().write(true).open(folder.path().join("in/b/grey.png")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(9)).unwrap();
    assert_eq!(run(), (1, 2));
    assert_eq!((read("train.txt"), read("a/wide.jpg")), (list, wide));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (folder, dataset) = scene();
    let out = folder.path().join("out");
    let run = |options: &PrepareOptions| prepare(&dataset, &out, "x", options, &|_| {});
    for wrong in [
        PrepareOptions { size: 0, ..options() },
        PrepareOptions { quality: 0, ..options() },
        PrepareOptions { threads: Some(0), ..options() },
    ] {
        assert!(matches!(run(&wrong), Err(Error::Setting { .. })));
    }
    run(&options()).unwrap();
    let error = run(&PrepareOptions { size: 31, ..options() }).unwrap_err().to_string();
    assert!(error.contains("size: 30") && error.contains("size: 31"), "{error}");
    assert!(prepare(&dataset, &out, "../x", &options(), &|_| {}).is_err());
    let memory = Dataset::from_images(vec![picture(3, 3, 1)], vec![0]).unwrap();
    assert!(matches!(prepare(&memory, &out, "x", &options(), &|_| {}), Err(Error::Dataset { .. })));
    let broken = vec![(folder.path().join("in/b/broken.png"), 0)];
    let broken = Dataset::from_files("broken", broken, None).unwrap();
    let error = prepare(&broken, &out, "y", &options(), &|_| {}).unwrap_err().to_string();
    assert!(error.contains("no picture could be read") && error.contains("broken.png"), "{error}");
    assert!(!out.join("y.txt").exists());
}

#[test]
fn names_are_unique_whatever_the_order() {
    let files = ["x/a/1.png", "y/a/1.jpg", "x/b/1.png", "x/b/\u{1}?.png"].map(PathBuf::from);
    let names = |files: Vec<PathBuf>| {
        let files = files.into_iter().map(|path| (path, 0)).collect();
        output_names(&Dataset::from_files("files", files, None).unwrap())
    };
    let first = names(files.to_vec());
    let mut reversed = names(files.iter().rev().cloned().collect());
    reversed.reverse();
    assert_eq!(first, reversed);
    assert_ne!(first[0], first[1]);
    assert!(first[0].starts_with("a") && first[0].to_string_lossy().starts_with("a/1-"));
    assert_eq!(first[2..], [PathBuf::from("b/1.jpg"), PathBuf::from("b/__.jpg")]);
}

#[test]
fn a_list_holds_what_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("l.txt");
    let write = |name: &str| write_list(&list, &[(name.into(), 0)], None);
    assert!(write("a\nb").is_err() && write(" a").is_err() && !list.exists());
    write("a b").unwrap();
    assert_eq!(fs::read_to_string(&list).unwrap(), "1 a b\n");
}

#[test]
fn sources_are_never_among_the_outputs() {
    let (folder, dataset) = scene();
    let at = |name: &str| folder.path().join(name);
    let before = fs::read(at("in/a/wide.png")).unwrap();
    let run = |dataset: &Dataset, out: &str, name: &str| {
        let report = prepare(dataset, at(out), name, &options(), &|_| {});
        report.map(|report| report.written).map_err(|error| error.to_string())
    };
    fs::create_dir(at("other")).unwrap();
    for out in ["in", "in/a", "in/new", "in/new/deep", "other/../in", "in/../in/new"] {
        let message = run(&dataset, out, "train").unwrap_err();
        assert!(message.contains("cannot write into") && message.contains("in"), "{message}");
    }
    // A list: its pictures stay where they are, and so does the list.
    fs::write(at("all.txt"), "1 in/a/wide.png\n2 in/b/grey.png\n").unwrap();
    fs::write(at("all.labels"), "a\nb\n").unwrap();
    let list = Dataset::open(at("all.txt")).unwrap();
    assert!(run(&list, "in", "train").unwrap_err().contains("pictures of the set"));
    assert!(run(&list, "", "all").unwrap_err().contains("all.txt"));
    assert!(!at("prepared.json").exists() && !at("in/prepared.json").exists());
    assert_eq!(fs::read_to_string(at("all.txt")).unwrap().lines().count(), 2);
    assert_eq!(run(&list, "", "train"), Ok(2));
    assert_eq!(fs::read(at("in/a/wide.png")).unwrap(), before);
    assert_eq!(fs::read_dir(at("in/a")).unwrap().count(), 2);
}

#[cfg(unix)]
#[test]
fn links_into_the_sources_are_not_followed() {
    use std::os::unix::fs::symlink;

    let (folder, dataset) = scene();
    let at = |name: &str| folder.path().join(name);
    let run = |out: &str| prepare(&dataset, at(out), "train", &options(), &|_| {});
    symlink(at("in"), at("link")).unwrap();
    assert!(matches!(run("link/new"), Err(Error::AmongInputs { .. })));
    fs::create_dir(at("classes")).unwrap();
    symlink(at("in/a"), at("classes/a")).unwrap();
    assert!(matches!(run("classes"), Err(Error::AmongInputs { .. })));
    fs::create_dir_all(at("out/a")).unwrap();
    symlink(at("in/a/wide.png"), at("out/a/wide.jpg")).unwrap();
    let before = fs::read(at("in/a/wide.png")).unwrap();
    assert_eq!(run("out").unwrap().written, 3);
    assert_eq!(fs::read(at("in/a/wide.png")).unwrap(), before);
}

#[test]
fn pictures_of_another_set_are_not_taken_for_its_own() {
    let (folder, dataset) = scene();
    let at = |name: &str| folder.path().join(name);
    let run = |dataset: &Dataset| {
        let report = prepare(dataset, at("out"), "train", &options(), &|_| {});
        report.map(|report| (report.written, report.kept))
    };
    assert_eq!(run(&dataset).unwrap(), (3, 0));
    let before = fs::read(at("out/a/wide.jpg")).unwrap();
    // Another set with a class and a picture of the same names.
    fs::create_dir_all(at("second/a")).unwrap();
    write_png(at("second/a/wide.png"), &picture(60, 80, 3)).unwrap();
    let second = Dataset::from_folder(at("second")).unwrap();
    let error = run(&second).unwrap_err();
    assert!(matches!(error, Error::AmongInputs { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("wide.jpg") && error.contains("another picture than"), "{error}");
    assert_eq!(fs::read(at("out/a/wide.jpg")).unwrap(), before);
    // The first set, moved to another place, is the same.
    fs::rename(at("in"), at("moved")).unwrap();
    assert_eq!(run(&Dataset::from_folder(at("moved")).unwrap()).unwrap(), (0, 3));
    // A picture that was changed is prepared again.
    fs::rename(at("moved"), at("in")).unwrap();
    write_png(at("in/a/wide.png"), &picture(60, 80, 3)).unwrap();
    assert_eq!(run(&dataset).unwrap(), (1, 2));
}
