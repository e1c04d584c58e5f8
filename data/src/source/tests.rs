use std::fs;
use std::io::Write;
use std::path::Path;

use super::*;
use crate::output::write_png;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn picture(path: impl AsRef<Path>) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    write_png(path, &Image::filled(3, 4, 3, 8).unwrap()).unwrap();
}

/// Two pictures of 2 x 3, labels 7 and 1.
fn idx(magic: u8, count: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, magic, 0, 0, 0, count];
    if magic == 3 {
        bytes.extend([0, 0, 0, 2, 0, 0, 0, 3]);
        bytes.extend(0..12);
    } else {
        bytes.extend([7, 1]);
    }
    bytes
}

#[test]
fn a_list_with_paths_relative_to_it() {
    let folder = folder();
    picture(folder.path().join("x/a b.png"));
    picture(folder.path().join("c.png"));
    let list = folder.path().join("train.txt");
    fs::write(&list, "3 x/a b.png\n\n1 c.png\n2 missing.png\n").unwrap();
    let dataset = Dataset::open(&list).unwrap();
    assert_eq!((dataset.kind(), dataset.len(), dataset.classes()), (Kind::List, 3, 3));
    assert_eq!(dataset.labels(), [2, 0, 1]);
    assert_eq!(dataset.load(0, &Limits::default()).unwrap().shape(), [3, 4, 3]);
    assert!(matches!(dataset.load(2, &Limits::default()), Err(Error::Read { .. })));
    assert!(matches!(dataset.load(3, &Limits::default()), Err(Error::Setting { .. })));

    fs::write(folder.path().join("train.labels"), "cat\ndog\neel\nfox\n\n").unwrap();
    let named = Dataset::open(&list).unwrap();
    assert_eq!(named.class_names().unwrap(), ["cat", "dog", "eel", "fox"]);
    assert_eq!(named.classes(), 4);
}

#[test]
fn labels_out_of_range_are_named_by_file_and_line() {
    let folder = folder();
    let list = folder.path().join("l.txt");
    fs::write(&list, "1 a\n\n12 b\n").unwrap();
    let dataset = Dataset::open(&list).unwrap();
    dataset.check_classes(12).unwrap();
    let text = dataset.check_classes(10).unwrap_err().to_string();
    assert!(text.contains("l.txt, line 3") && text.contains("label 12"), "{text}");
    assert!(text.contains("expected 1 to 10"), "{text}");
    fs::write(folder.path().join("l.labels"), "one\ntwo\n").unwrap();
    assert!(matches!(Dataset::open(&list), Err(Error::Label { label: 12, .. })));

    fs::write(&list, "1 a\n0 b\n").unwrap();
    let text = Dataset::open(&list).unwrap_err().to_string();
    assert!(text.contains("line 2") && text.contains("label 0"), "{text}");
    for empty in ["", "\n \n"] {
        fs::write(&list, empty).unwrap();
        assert!(matches!(Dataset::open(&list), Err(Error::List { .. })));
    }
}

#[test]
fn a_folder_of_classes_and_another_that_lacks_one() {
    let folder = folder();
    for file in ["train/b/2.png", "train/b/1.JPEG", "train/a/0.png", "train/c/9.png"] {
        picture(folder.path().join(file));
    }
    fs::write(folder.path().join("train/b/notes.txt"), "x").unwrap();
    let train = Dataset::open(folder.path().join("train")).unwrap();
    assert_eq!(train.class_names().unwrap(), ["a", "b", "c"]);
    assert_eq!(train.labels(), [0, 1, 1, 2]);
    assert!(train.name(1).ends_with("1.JPEG"));

    picture(folder.path().join("test/c/1.png"));
    let test = Dataset::open(folder.path().join("test")).unwrap();
    assert_eq!(test.labels(), [0]);
    let test = test.aligned_to(&train).unwrap();
    assert_eq!((test.labels(), test.classes()), (&[2][..], 3));
    picture(folder.path().join("test/d/1.png"));
    let other = Dataset::open(folder.path().join("test")).unwrap();
    let text = other.aligned_to(&train).unwrap_err().to_string();
    assert!(text.contains("`d`"), "{text}");

    fs::create_dir_all(folder.path().join("none/a")).unwrap();
    assert!(matches!(Dataset::open(folder.path().join("none")), Err(Error::Dataset { .. })));
    assert!(matches!(Dataset::open(folder.path().join("gone")), Err(Error::Read { .. })));
}

#[test]
fn idx_plain_and_compressed() {
    let folder = folder();
    let images = folder.path().join("train-images-idx3-ubyte");
    fs::write(&images, idx(3, 2)).unwrap();
    let error = Dataset::open(&images).unwrap_err().to_string();
    assert!(error.contains("train-labels-idx1-ubyte"), "{error}");
    fs::write(folder.path().join("train-labels-idx1-ubyte"), idx(1, 2)).unwrap();
    let plain = Dataset::open(&images).unwrap();
    assert_eq!((plain.labels(), plain.classes()), (&[7, 1][..], 8));
    let second = plain.load(1, &Limits::default()).unwrap();
    assert_eq!((second.shape(), second.values()), ([2, 3, 1], &[6, 7, 8, 9, 10, 11][..]));

    let packed = folder.path().join("train-images-idx3-ubyte.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(fs::File::create(&packed).unwrap(), Default::default());
    encoder.write_all(&idx(3, 2)).unwrap();
    encoder.finish().unwrap();
    let unpacked = Dataset::open(&packed).unwrap();
    assert_eq!(unpacked.load(1, &Limits::default()).unwrap(), second);
}

#[test]
fn damaged_idx_files_are_refused() {
    let folder = folder();
    let images = folder.path().join("t-images-idx3-ubyte");
    let labels = folder.path().join("t-labels-idx1-ubyte");
    let open = |pictures: &[u8], label_bytes: &[u8]| {
        fs::write(&images, pictures).unwrap();
        fs::write(&labels, label_bytes).unwrap();
        Dataset::from_idx(&images).unwrap_err().to_string()
    };
    let (good, good_labels) = (idx(3, 2), idx(1, 2));
    for length in 0..good.len() {
        open(&good[..length], &good_labels);
    }
    assert!(open(&good[..20], &good_labels).contains("12 bytes, but there are only 4"));
    assert!(open(&[&good[..], &[0]].concat(), &good_labels).contains("more"));
    assert!(open(&good_labels, &good_labels).contains("expected [0, 0, 8, 3]"));
    assert!(open(&good, &good).contains("expected [0, 0, 8, 1]"));
    assert!(open(&good, &[0, 0, 8, 1, 0, 0, 0, 1, 7]).contains("1 labels"));
    assert!(open(&idx(3, 0)[..16], &good_labels).contains("nothing"));
    let mut lie = good.clone();
    lie[4..16].fill(0xff);
    assert!(open(&lie, &good_labels).contains("more than"));
}

#[test]
fn cifar_both_forms() {
    let folder = folder();
    let record = |labels: &[u8]| {
        let planes = [[1u8; 1024], [2; 1024], [3; 1024]].concat();
        [labels, &planes].concat()
    };
    for (file, label) in [("data_batch_2.bin", 4), ("data_batch_1.bin", 9), ("test_batch.bin", 0)] {
        fs::write(folder.path().join(file), record(&[label])).unwrap();
    }
    let train = Dataset::open(folder.path()).unwrap();
    assert_eq!((train.labels(), train.kind()), (&[9, 4][..], Kind::Cifar));
    assert_eq!(train.load(1, &Limits::default()).unwrap().values()[..6], [1, 2, 3, 1, 2, 3]);
    let names = "a b c d e f g h i j".replace(' ', "\n");
    fs::write(folder.path().join("batches.meta.txt"), names).unwrap();
    let test = Dataset::open(folder.path().join("test_batch.bin")).unwrap();
    assert_eq!((test.labels(), test.classes()), (&[0][..], 10));

    let hundred = folder.path().join("h.bin");
    fs::write(&hundred, [record(&[3, 77]), record(&[0, 5])].concat()).unwrap();
    assert_eq!(Dataset::open(&hundred).unwrap().labels(), [77, 5]);
    fs::write(&hundred, record(&[3, 100])).unwrap();
    let text = Dataset::from_cifar(&hundred).unwrap_err().to_string();
    assert!(text.contains("picture 0") && text.contains("got 100"), "{text}");
    fs::write(&hundred, &record(&[3])[..3000]).unwrap();
    assert!(matches!(Dataset::open(&hundred), Err(Error::Dataset { .. })));
    assert!(matches!(Dataset::from_cifar(&hundred), Err(Error::Format { .. })));
}

#[test]
fn a_picture_is_no_data_set() {
    let folder = folder();
    let path = folder.path().join("a.png");
    picture(&path);
    let text = Dataset::open(&path).unwrap_err().to_string();
    assert!(text.contains("this is a picture"), "{text}");
}

#[test]
fn pictures_in_folders_below_a_class_are_found() {
    let folder = folder();
    let at = |path: &str| folder.path().join("set").join(path);
    for file in ["a/2.png", "a/x/y/1.png", "a/x/0.JPG", "a/1.png", "b/deep/er/3.png"] {
        picture(at(file));
    }
    // What is hidden, or left behind by file managers, is no sample.
    for file in
        ["a/.git/4.png", "a/._1.png", ".cache/c/5.png", "a/@eaDir/1.png", "__MACOSX/a/6.png"]
    {
        picture(at(file));
    }
    fs::write(at("a/.DS_Store"), "x").unwrap();
    fs::write(at("a/x/notes.txt"), "x").unwrap();
    // A folder that is named as pictures are.
    picture(at("b/album.jpg/7.png"));
    let set = Dataset::open(at("")).unwrap();
    assert_eq!(set.class_names().unwrap(), ["a", "b"]);
    let names: Vec<_> = (0..set.len()).map(|i| set.name(i)).collect();
    let wanted =
        ["a/1.png", "a/2.png", "a/x/0.JPG", "a/x/y/1.png", "b/album.jpg/7.png", "b/deep/er/3.png"];
    assert_eq!(names.len(), wanted.len(), "{names:?}");
    assert!(names.iter().zip(wanted).all(|(name, end)| name.ends_with(end)), "{names:?}");
    assert_eq!(set.labels(), [0, 0, 0, 0, 1, 1]);
    assert!(set.empty_classes().is_empty());
}

#[test]
fn classes_without_pictures_are_named() {
    let folder = folder();
    picture(folder.path().join("b/1.png"));
    for class in ["a", "c/d"] {
        fs::create_dir_all(folder.path().join(class)).unwrap();
    }
    let set = Dataset::open(folder.path()).unwrap();
    assert_eq!(set.empty_classes(), ["a", "c"]);
    // By number, as the set counts.
    let list = folder.path().join("l.txt");
    fs::write(&list, "1 a\n4 b\n").unwrap();
    assert_eq!(Dataset::open(&list).unwrap().empty_classes(), ["2", "3"]);
    let image = Image::filled(2, 2, 1, 0).unwrap();
    let gap = Dataset::from_images(vec![image.clone(), image], vec![0, 2]).unwrap();
    assert_eq!(gap.empty_classes(), ["1"]);
}

#[test]
fn samples_of_ignored_labels_are_left_out() {
    let folder = folder();
    for name in ["a/1.png", "b/1.png", "b/2.png", "c/1.png"] {
        picture(folder.path().join(name));
    }
    let set = Dataset::open(folder.path()).unwrap();
    assert_eq!((set.label_of("b"), set.label_of("2"), set.label_of("d")), (Some(1), Some(2), None));
    // A class that is ignored is none any more.
    let set = set.without(&[1]).unwrap();
    assert_eq!(set.class_names().unwrap(), ["a", "c"]);
    assert_eq!(set.labels(), [0, 1]);
    assert!(set.name(1).ends_with("c/1.png"));
    let error = set.without(&[0, 1]).unwrap_err().to_string();
    assert!(error.contains("all its samples"), "{error}");
    // By the number in the list; the others keep theirs, and each its line.
    let list = folder.path().join("l.txt");
    fs::write(&list, "3 a/1.png\n256 b/1.png\n1 c/1.png\n9 d\n").unwrap();
    let set = Dataset::open(&list).unwrap();
    let unknown = set.label_of("256").unwrap();
    assert_eq!((unknown, set.label_of("0")), (255, None));
    let set = set.without(&[unknown]).unwrap();
    assert_eq!((set.labels(), set.classes()), (&[2, 0, 8][..], 9));
    let error = set.check_classes(3).unwrap_err().to_string();
    assert!(error.contains("line 4"), "{error}");
    // Pixels in one block, of labels 7 and 1.
    let images = folder.path().join("t-images-idx3-ubyte");
    fs::write(&images, idx(3, 2)).unwrap();
    fs::write(folder.path().join("t-labels-idx1-ubyte"), idx(1, 2)).unwrap();
    let set = Dataset::open(&images).unwrap();
    let last = set.load(1, &Limits::default()).unwrap();
    let set = set.without(&[7]).unwrap();
    assert_eq!((set.labels(), set.classes()), (&[1][..], 2));
    assert_eq!(set.load(0, &Limits::default()).unwrap(), last);
}

#[test]
fn a_folder_that_holds_pictures_itself_is_told_what_is_wanted() {
    let folder = folder();
    picture(folder.path().join("1.png"));
    picture(folder.path().join("2.png"));
    let text = Dataset::open(folder.path()).unwrap_err().to_string();
    assert!(text.contains("2 pictures in the folder itself"), "{text}");
    assert!(text.contains("a folder of the class's name"), "{text}");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let text = Dataset::open(&empty).unwrap_err().to_string();
    assert!(text.contains("found no folder in it"), "{text}");
}

#[cfg(unix)]
#[test]
fn symbolic_links_are_followed_once() {
    use std::os::unix::fs::symlink;

    let folder = folder();
    let at = |path: &str| folder.path().join(path);
    picture(at("set/a/1.png"));
    picture(at("elsewhere/2.png"));
    symlink(at("set/a"), at("set/a/loop")).unwrap();
    symlink(at("set"), at("set/a/up")).unwrap();
    symlink(at("elsewhere"), at("set/b")).unwrap();
    symlink(at("elsewhere"), at("set/a/more")).unwrap();
    symlink(at("elsewhere"), at("set/a/once more")).unwrap();
    symlink(at("nowhere.png"), at("elsewhere/3.png")).unwrap();
    let set = Dataset::open(at("set")).unwrap();
    assert_eq!(set.class_names().unwrap(), ["a", "b"]);
    // `b` is reached from `a`, too, by way of `up`: there it is the same folder as `more`.
    let of_a: Vec<_> =
        (0..set.len()).filter(|&i| set.labels()[i] == 0).map(|i| set.name(i)).collect();
    assert_eq!(of_a.len(), 3, "{of_a:?}");
    assert_eq!(set.len(), 5);
    // A link that leads nowhere is a picture that cannot be read.
    let broken = (0..set.len()).find(|&i| set.name(i).ends_with("b/3.png")).unwrap();
    assert!(matches!(set.load(broken, &Limits::default()), Err(Error::Read { .. })));
}

#[test]
fn samples_do_not_depend_on_where_they_are_and_have_a_stable_form() {
    let folder = folder();
    for place in ["here", "far/away/there"] {
        picture(folder.path().join(place).join("a/1.png"));
        picture(folder.path().join(place).join("b/x/2.png"));
    }
    let samples = |place: &str| Dataset::open(folder.path().join(place)).unwrap().samples();
    let (here, there) = (samples("here"), samples("far/away/there"));
    assert_eq!(here.digest(), there.digest());
    assert_eq!(here.difference(&there), None);
    assert_eq!(Samples::unpack(&here.pack()).unwrap(), here);
    for damaged in ["", "x", "AAAA", &here.pack()[8..]] {
        assert!(Samples::unpack(damaged).is_none(), "{damaged}");
    }

    // A list of the same pictures, wherever they are: other samples than a folder's in that they
    // have no class names.
    let list = |place: &str| {
        let file = folder.path().join("l.txt");
        let root = folder.path().join(place);
        let text = format!("1 {0}/a/1.png\n2 {0}/b/x/2.png\n", root.display());
        fs::write(&file, text).unwrap();
        Dataset::open(&file).unwrap().samples()
    };
    assert_eq!(list("here").digest(), list("far/away/there").digest());
    let told = list("here").difference(&here).unwrap();
    assert_eq!(told, "the classes have no names now, none before".replace(", none before", ""));

    // The digest is what a working file holds: it must not change from version to version.
    let image = |value| Image::filled(2, 3, 1, value).unwrap();
    let set = Dataset::from_images(vec![image(1), image(2)], vec![1, 0]).unwrap();
    assert_eq!(set.samples().digest(), "d28047b20fae96f1a470fcb593c53dcc");
}

proptest::proptest! {
    #[test]
    fn damaged_samples_are_no_panic(
        now in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
        before in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
    ) {
        let head = |body: Vec<u8>| [&b"striate-samples 1\nclasses 2\n"[..], &body].concat();
        let _ = difference::tell(&head(now.clone()), &head(before.clone()));
        let _ = difference::tell(&now, &before);
    }

    #[test]
    fn any_bytes_are_a_set_or_an_error(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let folder = folder();
        let path = folder.path().join("images");
        fs::write(&path, &bytes).unwrap();
        let _ = Dataset::open(&path);
        let _ = Dataset::from_idx(&path);
        let _ = Dataset::from_cifar(&path);
    }
}
