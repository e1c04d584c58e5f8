//! A training is resumed with the samples that it began with, and with no others.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod common;

use std::path::Path;

use common::{CLASSES, device, never, options, pictures, spec};
use striate_data::output::write_png;
use striate_data::{Dataset, Image};
use striate_nn::Metadata;
use striate_train::{Error, Result, Session, SessionData, SessionOptions};

/// A folder of classes: `a`, `b`, `c`, with pictures of the same names.
fn write_set(folder: &Path) {
    let all = pictures(24, 1);
    for (i, &label) in all.labels().iter().enumerate() {
        let class = folder.join(["a", "b", "c"][label as usize]);
        std::fs::create_dir_all(&class).unwrap();
        let picture = all.load(i, &Default::default()).unwrap().to_channels(3).unwrap();
        write_png(class.join(format!("{}.png", i / CLASSES)), &picture).unwrap();
    }
}

fn open(working: &Path, train: &Path, test: Option<&Path>, epochs: u64) -> Result<Session> {
    let mut options = options();
    options.train.max_epoch = epochs;
    let test = test.map(|path| Dataset::open(path).unwrap());
    Session::open(
        working,
        &spec(),
        SessionData::new(Dataset::open(train)?).test(test),
        options,
        &device(1),
    )
}

/// Trains so many epochs in all.
fn run(working: &Path, train: &Path, epochs: u64) {
    open(working, train, None, epochs).unwrap().run(&mut (), &never()).unwrap();
}

/// Resuming is refused, and says all of this; the working file stays.
fn refused(working: &Path, train: &Path, parts: &[&str]) {
    let before = std::fs::read(working).unwrap();
    let error = open(working, train, None, 3).err().unwrap();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "no `{part}` in {message}");
    }
    assert!(message.contains("training samples"), "{message}");
    assert_eq!(std::fs::read(working).unwrap(), before);
}

#[test]
fn changed_folders_are_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let (working, set) = (folder.path().join("m.sqlite3"), folder.path().join("set"));
    write_set(&set);
    run(&working, &set, 1);
    let rename = |from: &str, to: &str| std::fs::rename(set.join(from), set.join(to)).unwrap();

    rename("a", "zebra");
    let parts = ["1 class is new (zebra)", "1 class is gone (a)", "zebra/0.png, zebra/1.png"];
    refused(&working, &set, &parts);
    // The same names and numbers, but what was `a` is `b` now.
    rename("b", "a");
    rename("zebra", "b");
    refused(&working, &set, &["names and sizes are the same, but the content"]);
    rename("a", "x");
    rename("b", "a");
    rename("x", "b");

    std::fs::write(set.join("c/0b.png"), b"more").unwrap();
    refused(&working, &set, &["1 picture is new (c/0b.png)"]);
    std::fs::rename(set.join("c/1.png"), folder.path().join("1.png")).unwrap();
    refused(&working, &set, &["1 picture is new (c/0b.png)", "1 picture is gone (c/1.png)"]);
    std::fs::rename(folder.path().join("1.png"), set.join("c/1.png")).unwrap();
    std::fs::remove_file(set.join("c/0b.png")).unwrap();

    let first = std::fs::read(set.join("b/2.png")).unwrap();
    std::fs::write(set.join("b/2.png"), [&first[..], &[0]].concat()).unwrap();
    refused(&working, &set, &["1 has another size (b/2.png: ", "before"]);
    std::fs::write(set.join("b/2.png"), first).unwrap();

    // All of it elsewhere is the same.
    let moved = folder.path().join("another place");
    std::fs::rename(&set, &moved).unwrap();
    run(&working, &moved, 2);
}

/// Uncompressed pictures all have one size.
#[test]
fn swapped_folders_of_pictures_of_one_size_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (working, set) = (folder.path().join("m.sqlite3"), folder.path().join("set"));
    for (class, value) in [("a", 10), ("b", 90), ("c", 200)] {
        std::fs::create_dir_all(set.join(class)).unwrap();
        for i in 0..4 {
            // The smallest uncompressed picture: a header and three bytes a pixel.
            let mut bmp = b"BM".to_vec();
            for number in [54 + 120u32, 0, 54, 40, 6, 6, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
                bmp.extend(number.to_le_bytes());
            }
            // Rows of 18 bytes are padded to 20.
            bmp.extend((0..6 * 20).map(|p| value + i * 5 + (p % 7) as u8));
            std::fs::write(set.join(class).join(format!("{i}.bmp")), bmp).unwrap();
        }
    }
    run(&working, &set, 1);
    std::fs::rename(set.join("a"), folder.path().join("a")).unwrap();
    std::fs::rename(set.join("b"), set.join("a")).unwrap();
    std::fs::rename(folder.path().join("a"), set.join("b")).unwrap();
    refused(&working, &set, &["names and sizes are the same, but the content"]);
}

#[test]
fn changed_lists_are_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let (working, list) = (folder.path().join("m.sqlite3"), folder.path().join("train.txt"));
    write_set(&folder.path().join("set"));
    let lines: Vec<String> = (0..8)
        .flat_map(|i| ["a", "b", "c"].into_iter().enumerate().map(move |(l, c)| (l, c, i)))
        .map(|(label, class, i)| format!("{} set/{class}/{i}.png", label + 1))
        .collect();
    let write = |lines: &[String]| std::fs::write(&list, lines.join("\n")).unwrap();
    write(&lines);
    run(&working, &list, 1);

    let mut changed = lines.clone();
    changed.swap(3, 6);
    write(&changed);
    refused(&working, &list, &["the order is another from number 3 on (a/2.png, before a/1.png)"]);
    changed.swap(3, 6);
    changed[4] = "3 set/b/1.png".into();
    write(&changed);
    refused(&working, &list, &["1 has another label (b/1.png: 3, before 2)"]);
    // As many samples with as many labels, but another file.
    changed[4] = "2 set/b/1 copy.png".into();
    std::fs::copy(folder.path().join("set/b/1.png"), folder.path().join("set/b/1 copy.png"))
        .unwrap();
    write(&changed);
    refused(&working, &list, &["1 picture is new (b/1 copy.png)", "1 picture is gone (b/1.png)"]);
    write(&lines[..23]);
    refused(&working, &list, &["1 picture is gone (c/7.png)"]);

    write(&lines);
    std::fs::write(folder.path().join("train.labels"), "ant\nbee\ncat\n").unwrap();
    refused(&working, &list, &["the classes have names now, none before"]);
    std::fs::remove_file(folder.path().join("train.labels")).unwrap();

    // Absolute paths name the same files, and so does the list elsewhere, with its pictures.
    let absolute = |folder: &Path| -> Vec<String> {
        let place = format!(" {}/set", folder.display());
        lines.iter().map(|line| line.replace(" set", &place)).collect()
    };
    write(&absolute(folder.path()));
    run(&working, &list, 2);
    let moved = tempfile::tempdir().unwrap();
    std::fs::rename(folder.path().join("set"), moved.path().join("set")).unwrap();
    write(&absolute(moved.path()));
    run(&working, &list, 3);
}

#[test]
fn pictures_in_memory_are_known_by_their_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let working = folder.path().join("m.sqlite3");
    let open = |train: Dataset, test: Option<Dataset>, epochs| {
        let mut options = options();
        options.train.max_epoch = epochs;
        Session::open(&working, &spec(), SessionData::new(train).test(test), options, &device(1))
    };
    open(pictures(24, 1), Some(pictures(9, 2)), 1).unwrap().run(&mut (), &never()).unwrap();
    let message = open(pictures(24, 3), None, 2).err().unwrap().to_string();
    assert!(message.contains("the content of some pictures is not"), "{message}");
    let message = open(pictures(25, 1), None, 2).err().unwrap().to_string();
    assert!(message.contains("1 picture is new (picture 24)"), "{message}");

    // A miss rate of other test samples says nothing about which network is the best. Without a
    // test it goes on, and does not forget what it was tested on.
    let other = |epochs| open(pictures(24, 1), Some(pictures(9, 7)), epochs).err().unwrap();
    let message = other(2).to_string();
    assert!(message.contains("expected the test samples that it began with"), "{message}");
    open(pictures(24, 1), None, 2).unwrap().run(&mut (), &never()).unwrap();
    assert!(matches!(other(3), Error::Mismatch { .. }));
    open(pictures(24, 1), Some(pictures(9, 2)), 3).unwrap().run(&mut (), &never()).unwrap();
}

/// The notes of a working file as the first form had them: without what samples are known by.
fn make_old(working: &Path) {
    let checkpoint = striate_importers::ccv::read_checkpoint(working, &device(1)).unwrap();
    let mut state = checkpoint.state.unwrap();
    let mut notes: serde_json::Value = serde_json::from_str(&state.notes["training"]).unwrap();
    notes["version"] = 1.into();
    let identity = notes["identity"].as_object_mut().unwrap();
    assert!(identity.remove("train").is_some());
    identity.remove("test");
    state.notes = [("training".to_owned(), notes.to_string())].into();
    let metadata =
        Metadata { labels: checkpoint.network.metadata().labels.clone(), ..Metadata::default() };
    let network = checkpoint.network.with_metadata(metadata);
    striate_importers::ccv::write_checkpoint(working, &network, &state).unwrap();
}

#[test]
fn trainings_of_before_are_resumed_by_what_they_know() {
    let folder = tempfile::tempdir().unwrap();
    let (working, set) = (folder.path().join("m.sqlite3"), folder.path().join("set"));
    write_set(&set);
    run(&working, &set, 1);
    make_old(&working);
    std::fs::write(set.join("a/9.png"), b"more").unwrap();
    refused(&working, &set, &["25 now, 24 before"]);
    std::fs::remove_file(set.join("a/9.png")).unwrap();
    std::fs::rename(set.join("a"), set.join("d")).unwrap();
    let message = open(&working, &set, None, 2).err().unwrap().to_string();
    assert!(
        message.contains("class names") && message.contains("`b` now, `a` before"),
        "{message}"
    );
    std::fs::rename(set.join("d"), set.join("a")).unwrap();
    run(&working, &set, 2);
    // From now on it knows more.
    std::fs::rename(set.join("a/1.png"), set.join("a/1b.png")).unwrap();
    refused(&working, &set, &["1 picture is new (a/1b.png)"]);
}

#[test]
fn a_class_without_training_samples_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (working, set) = (folder.path().join("m.sqlite3"), folder.path().join("set"));
    write_set(&set);
    std::fs::remove_dir_all(set.join("b")).unwrap();
    std::fs::create_dir(set.join("b")).unwrap();
    let message = open(&working, &set, None, 1).err().unwrap().to_string();
    assert!(message.contains("none of 1 of its 3 classes: b"), "{message}");
    assert!(!working.exists());
    // An empty folder beside those of the network's classes is named too.
    std::fs::create_dir(set.join("lost")).unwrap();
    let message = open(&working, &set, None, 1).err().unwrap().to_string();
    assert!(message.contains("; without pictures: b, lost"), "{message}");
    std::fs::remove_dir(set.join("lost")).unwrap();
    // Test samples may lack a class.
    let train = folder.path().join("train");
    write_set(&train);
    open(&working, &train, Some(&set), 1).unwrap().run(&mut (), &never()).unwrap();

    let allowed = SessionOptions { allow_empty_classes: true, ..options() };
    let (other, set) = (folder.path().join("n.sqlite3"), Dataset::open(&set).unwrap());
    Session::open(other, &spec(), set, allowed, &device(1)).unwrap();

    // A label that no sample has is one, too.
    let image = Image::filled(9, 9, 1, 3).unwrap();
    let gap = Dataset::from_images(vec![image.clone(), image], vec![0, 2]).unwrap();
    let error = Session::open("x.sqlite3", &spec(), gap, options(), &device(1));
    let message = error.err().unwrap().to_string();
    assert!(message.contains("none of 1 of its 3 classes: 1"), "{message}");
}

#[test]
fn the_network_records_what_it_was_trained_and_tested_with() {
    let folder = tempfile::tempdir().unwrap();
    let (working, set) = (folder.path().join("m.sqlite3"), folder.path().join("set"));
    write_set(&set);
    run(&working, &set, 1);
    let read = || striate_importers::read(&working, &device(1), &Default::default()).unwrap();
    let metadata = read().metadata().clone();
    assert_eq!(metadata.labels.unwrap(), ["a", "b", "c"]);
    assert_eq!(metadata.protocol.as_deref(), Some("tested"));
    assert_eq!(metadata.recipe.unwrap()["place"], "random");
    let view = metadata.view.unwrap();
    assert_eq!(view["mean"], "symmetric");
    assert_eq!(view["size"], serde_json::json!([9, 9]));

    // What a model says of itself stays when it is trained further; class names are the samples'.
    let note = Some("pictures of bars".to_owned());
    let labels = Some(["x", "y", "z"].map(String::from).to_vec());
    let extra = [("author".to_owned(), "me".to_owned())].into();
    let before = read().with_metadata(Metadata { labels, note, extra, ..Metadata::default() });
    striate_importers::ccv::write(&working, &before, &Default::default()).unwrap();
    run(&working, &set, 1);
    let metadata = read().metadata().clone();
    assert_eq!(metadata.labels.unwrap(), ["a", "b", "c"]);
    assert_eq!(metadata.note.as_deref(), Some("pictures of bars"));
    assert_eq!(metadata.extra["author"], "me");
    assert_eq!(metadata.protocol.as_deref(), Some("tested"));
}

/// A recipe that subtracts no mean image leaves none in the network: no protocol would know that it
/// is not to be subtracted.
#[test]
fn a_network_that_is_trained_without_a_mean_image_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let (working, set) = (folder.path().join("m.sqlite3"), folder.path().join("set"));
    write_set(&set);
    run(&working, &set, 1);
    let read = || striate_importers::read(&working, &device(1), &Default::default()).unwrap();
    assert!(read().mean().is_some());
    striate_importers::ccv::write(&working, &read(), &Default::default()).unwrap();
    let mut options = options();
    options.train.max_epoch = 1;
    options.recipe.mean = striate_data::augment::MeanPatch::None;
    let set = Dataset::open(&set).unwrap();
    let mut session = Session::open(&working, &spec(), set, options, &device(1)).unwrap();
    session.run(&mut (), &never()).unwrap();
    drop(session);
    assert!(read().mean().is_none());
}
