use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::augment::Recipe;
use crate::output::write_png;
use crate::{Geometry, Image};

fn augmenter() -> Arc<Augmenter> {
    let geometry = Geometry { image: [9, 9], net: [7, 7], channels: 3, scan_scale: 1 };
    let recipe = Recipe { color_gain: 0.0, ..Recipe::by_name("ccv").unwrap() };
    Arc::new(Augmenter::new(&recipe, &geometry, None, None).unwrap())
}

fn picture(seed: usize) -> Image {
    let value = |i: usize| (i * 31 + seed * 7 + i / 9 * seed) as u8;
    Image::new(9, 11, 3, (0..9 * 11 * 3).map(value).collect()).unwrap()
}

/// Picture files, of which some are broken.
fn files(count: usize, broken: &[usize]) -> (tempfile::TempDir, Arc<Dataset>) {
    let folder = tempfile::tempdir().unwrap();
    let file = |index: usize| -> (PathBuf, u32) {
        let path = folder.path().join(format!("{index}.png"));
        if broken.contains(&index) {
            std::fs::write(&path, "broken").unwrap();
        } else {
            write_png(&path, &picture(index)).unwrap();
        }
        (path, index as u32)
    };
    let dataset = Dataset::from_files("files", (0..count).map(file).collect(), None).unwrap();
    (folder, Arc::new(dataset))
}

fn loader(dataset: &Arc<Dataset>, purpose: Purpose, options: LoaderOptions) -> Loader {
    Loader::new(Arc::clone(dataset), augmenter(), purpose, options).unwrap()
}

/// What of a batch must not depend on anything but its position.
type Held = (BatchPosition, Vec<u32>, Vec<u32>, usize);

fn held(batch: &Batch) -> Held {
    let bits = batch.images.iter().map(|v| v.to_bits()).collect();
    (batch.position, bits, batch.labels.clone(), batch.missing)
}

fn all(loader: &Loader, from: BatchPosition, end: u32) -> Vec<Held> {
    loader.batches(from, end).unwrap().map(|batch| held(&batch.unwrap())).collect()
}

const TRAIN: Purpose = Purpose::Train { seed: 3 };

#[test]
fn batches_depend_on_their_position_only() {
    let (_folder, dataset) = files(23, &[4, 17]);
    let with = |workers, ahead, cache_bytes| {
        let options = LoaderOptions { batch: 4, workers, ahead, cache_bytes, ..Default::default() };
        loader(&dataset, TRAIN, options)
    };
    let from = BatchPosition::default();
    let one = all(&with(1, 1, 0), from, 3);
    assert_eq!(one.len(), 18);
    for (workers, ahead, cache_bytes) in [(2, 1, 0), (3, 7, 1000), (8, 3, 1 << 20)] {
        assert_eq!(one, all(&with(workers, ahead, cache_bytes), from, 3));
    }
    // From any place on, also one beyond an epoch's end.
    for skip in [1, 6, 7, 17, 18] {
        let position = BatchPosition { epoch: (skip / 6) as u32, batch: skip % 6 };
        assert_eq!(one[skip..], all(&with(2, 4, 0), position, 3));
    }
    assert_eq!(one[6..], all(&with(2, 2, 0), BatchPosition { epoch: 0, batch: 6 }, 3));
    // Epochs differ, in order and in views.
    assert_ne!(one[0].1, one[6].1);
    let labels = |epoch: usize| {
        let mut labels: Vec<u32> =
            one[epoch * 6..][..6].iter().flat_map(|held| held.2.clone()).collect();
        labels.sort();
        labels.dedup();
        labels.len()
    };
    // Each once an epoch, less the broken ones.
    assert_eq!((labels(0), labels(1)), (21, 21));
}

#[test]
fn tests_come_in_order_and_whole() {
    let (_folder, dataset) = files(7, &[2]);
    let options = LoaderOptions { batch: 3, ..Default::default() };
    let loader = loader(&dataset, Purpose::Test, options);
    let batches: Vec<Batch> =
        loader.batches(BatchPosition::default(), 1).unwrap().map(Result::unwrap).collect();
    let labels: Vec<&[u32]> = batches.iter().map(|batch| &batch.labels[..]).collect();
    assert_eq!(labels, [&[0, 1][..], &[3, 4, 5], &[6]]);
    assert_eq!(batches[0].shape(), [2, 7, 7, 3]);
    assert_eq!(batches[0].images.len(), 2 * 7 * 7 * 3);
    assert_eq!((batches[0].missing, batches[0].skipped.len()), (1, 1));
    assert!(batches[0].skipped[0].name.ends_with("2.png"));
    // Told with its name once, whether the error has it or not.
    let skipped = &batches[0].skipped[0];
    assert_eq!(skipped.to_string().matches(&skipped.name).count(), 1, "{skipped}");
    let disk = std::io::Error::other("disk on fire");
    let error = Error::Read { path: skipped.name.clone().into(), source: disk };
    let read = Skipped::new(&dataset, skipped.index, error).to_string();
    assert_eq!(read, format!("cannot read {}: disk on fire", skipped.name));
    let bare = Skipped::new(&dataset, skipped.index, Error::Geometry { detail: "none".into() });
    assert_eq!(bare.to_string(), format!("{}: impossible network geometry: none", skipped.name));
    let mut want = vec![0.0; 7 * 7 * 3];
    augmenter().test(&picture(1), &mut want).unwrap();
    assert_eq!(batches[0].images[7 * 7 * 3..], want);
}

#[test]
fn a_broken_picture_is_counted_each_time_and_reported_once() {
    let (_folder, dataset) = files(4, &[0, 1, 2, 3]);
    let options = LoaderOptions { batch: 2, ..Default::default() };
    let loader = loader(&dataset, TRAIN, options);
    let run = || {
        let (mut missing, mut told) = (0, 0);
        for batch in loader.batches(BatchPosition::default(), 3).unwrap() {
            let batch = batch.unwrap();
            assert!(batch.is_empty() && batch.images.is_empty());
            missing += batch.missing;
            told += batch.skipped.len();
        }
        (missing, told)
    };
    assert_eq!(run(), (12, 4));
    assert_eq!(run(), (12, 0));
}

#[test]
fn no_more_than_allowed_is_ahead() {
    let pictures = (0..100).map(picture).collect();
    let dataset = Arc::new(Dataset::from_images(pictures, vec![0; 100]).unwrap());
    let options = LoaderOptions { batch: 1, workers: 4, ahead: 3, ..Default::default() };
    let loader = loader(&dataset, TRAIN, options);
    let mut batches = loader.batches(BatchPosition::default(), 1).unwrap();
    let taken = batches.next_batch().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(batches.formed_ahead() <= 3);
    batches.recycle(taken.images);
    assert_eq!(batches.count(), 99);
}

#[test]
fn dropping_it_stops_the_workers_soon() {
    let pictures = (0..2000).map(picture).collect();
    let dataset = Arc::new(Dataset::from_images(pictures, vec![0; 2000]).unwrap());
    let options = LoaderOptions { batch: 500, workers: 3, ahead: 3, ..Default::default() };
    let loader = loader(&dataset, TRAIN, options);
    let started = Instant::now();
    for _ in 0..20 {
        let mut batches = loader.batches(BatchPosition::default(), u32::MAX).unwrap();
        assert_eq!(batches.next_batch().unwrap().unwrap().len(), 500);
    }
    // Without stopping within batches it would take many times that.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn the_cache_keeps_what_fits() {
    let (_folder, dataset) = files(5, &[]);
    // One picture has 297 bytes.
    let options = LoaderOptions { batch: 5, cache_bytes: 700, ..Default::default() };
    let loader = loader(&dataset, TRAIN, options);
    all(&loader, BatchPosition::default(), 3);
    assert_eq!(loader.source.cache.kept(), 2);
}

#[test]
fn shards_together_are_the_batch() {
    let (_folder, dataset) = files(23, &[4, 17]);
    let with = |shards| {
        let options = LoaderOptions { batch: 6, workers: 2, shards, ..Default::default() };
        let loader = loader(&dataset, TRAIN, options);
        let batches = loader.batches(BatchPosition::default(), 2).unwrap();
        batches.map(Result::unwrap).collect::<Vec<Batch>>()
    };
    let whole = with(Shards::default());
    assert!(whole.iter().all(|batch| batch.shards == [batch.len()]));
    for (of, cuts) in
        [(4, vec![0, 4]), (4, vec![0, 2, 4]), (4, vec![0, 1, 2, 3, 4]), (8, vec![0, 5, 8])]
    {
        let parts: Vec<Vec<Batch>> =
            cuts.windows(2).map(|w| with(Shards { of, own: w[0]..w[1] })).collect();
        for (i, batch) in whole.iter().enumerate() {
            let join = |of: fn(&Batch) -> Vec<u32>| -> Vec<u32> {
                parts.iter().flat_map(|part| of(&part[i])).collect()
            };
            assert_eq!(join(|b| b.labels.clone()), batch.labels);
            let bits = |b: &Batch| b.images.iter().map(|v| v.to_bits()).collect();
            assert_eq!(join(bits), bits(batch));
            let shards = join(|b| b.shards.iter().map(|&n| n as u32).collect());
            assert_eq!(shards.len(), of);
            assert_eq!(shards.iter().sum::<u32>() as usize, batch.len());
            assert_eq!(parts.iter().map(|part| part[i].missing).sum::<usize>(), batch.missing);
        }
    }
}

#[test]
fn nonsense_is_refused() {
    let (_folder, dataset) = files(3, &[]);
    for options in [
        LoaderOptions { batch: 0, ..Default::default() },
        LoaderOptions { workers: 0, ..Default::default() },
        LoaderOptions { ahead: 0, ..Default::default() },
        LoaderOptions { batch: usize::MAX, ..Default::default() },
        LoaderOptions { shards: Shards { of: 2, own: 1..3 }, ..Default::default() },
        LoaderOptions { shards: Shards { of: 2, own: 1..1 }, ..Default::default() },
    ] {
        let loader = Loader::new(Arc::clone(&dataset), augmenter(), TRAIN, options);
        assert!(matches!(loader, Err(Error::Setting { .. })));
    }
}
