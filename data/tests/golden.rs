//! The recorded outputs of ccv: those in `tests/fixtures/ccv` of the repository always, all of them where
//! they are beside it, in `../shared/ccv-golden`, which must be there where the environment variable
//! `STRIATE_REQUIRE_GOLDEN` is 1.
//!
//! Tolerance: ccv was built with -ffast-math and works in single precision; an independent double
//! precision implementation agreed with these files to 2e-4 of 0..255.

// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::{Path, PathBuf};

use striate_data::{Augmenter, Dataset, FloatImage, Geometry, Image, Prepared, Protocol, Recipe};
use striate_data::{decode, form_input, npy, resize_mean};

const TOLERANCE: f32 = 2e-4;

/// A network's name, its whole image and input (both square), its scan scale (the strides up to the last
/// convolution).
type Net = (&'static str, usize, usize, usize);

/// A picture's name and file.
type Sample = (&'static str, &'static str);

const NETS: [Net; 3] = [("tiny", 43, 35, 4), ("tiny2", 41, 33, 4), ("tiny-nolrn", 41, 33, 2)];

/// All that was recorded, where it is there.
fn whole() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/ccv-golden");
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("STRIATE_REQUIRE_GOLDEN").is_ok_and(|v| v == "1");
    assert!(!required, "STRIATE_REQUIRE_GOLDEN=1, but {} is not there", folder.display());
    None
}

/// Each folder of recorded values: with the networks and the pictures that it has them of.
fn golden() -> Vec<(PathBuf, &'static [Net], &'static [Sample])> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/ccv");
    let mut folders: Vec<(PathBuf, &[Net], &[Sample])> =
        vec![(fixtures, &NETS[..1], &[("dex", "dex.webp")])];
    if let Some(folder) = whole() {
        folders.push((folder, &NETS, &[("dex", "dex.png"), ("box", "box.png")]));
    }
    folders
}

fn array(folder: &Path, name: &str) -> FloatImage {
    npy::read(folder.join(name)).unwrap().into_picture().unwrap()
}

fn sample(folder: &Path, name: &str) -> Image {
    decode::open(folder.join("samples").join(name)).unwrap().to_rgb().unwrap()
}

#[track_caller]
fn assert_close(name: &str, got: &FloatImage, want: &FloatImage) {
    assert_eq!(got.shape(), want.shape(), "{name}");
    let worst = got.values().iter().zip(want.values()).map(|(a, b)| (a - b).abs());
    // `f32::max` would drop a NaN.
    let worst = worst.fold(0.0, |a: f32, b| if b > a || b.is_nan() { b } else { a });
    println!("{name}: largest difference {worst:e}");
    assert!(worst <= TOLERANCE, "{name}: largest difference {worst:e}");
}

/// Each network of each folder, with the photo that is in every folder.
fn nets_with_dex() -> impl Iterator<Item = (PathBuf, Image, Net)> {
    golden().into_iter().flat_map(|(folder, nets, samples)| {
        let dex = sample(&folder, samples[0].1);
        nets.iter().map(move |net| (folder.clone(), dex.clone(), *net))
    })
}

/// The formula of the fixtures' README: u(k, l, 1), in -1..1.
fn formula(k: u32, l: u32) -> f64 {
    let mut x = k.wrapping_mul(2654435761).wrapping_add(l.wrapping_mul(40503)).wrapping_add(1);
    x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    f64::from(x ^ (x >> 16)) / 4294967296.0 * 2.0 - 1.0
}

/// The mean image of the tiny networks.
fn tiny_mean(side: usize) -> FloatImage {
    let values = (0..side * side * 3).map(|i| (120.0 + 20.0 * formula(i as u32, 1000)) as f32);
    FloatImage::new(side, side, 3, values.collect()).unwrap()
}

#[test]
fn resized_pictures() {
    let (fixtures, ..) = golden().remove(0);
    let want = array(&fixtures, "nets/tiny.dex.formed.npy");
    let formed = form_input(&sample(&fixtures, "dex.webp"), 43, 43).unwrap();
    assert_close("the fixtures' photo", &formed, &want);

    let Some(folder) = whole() else { return };
    let (dex, boxes) = (sample(&folder, "dex.png"), sample(&folder, "box.png"));
    let crop = |top, left, rows, cols| dex.crop(top, left, rows, cols).unwrap();
    for (name, image, rows, cols) in [
        ("dex.257", dex.clone(), 257, 257),
        ("dex.61x97", dex.clone(), 61, 97),
        ("box.257", boxes, 257, 257),
        ("dexcrop_y200_x150_40x60.96", crop(200, 150, 40, 60), 96, 96),
        ("dexcrop_y100_x60_48x200.64", crop(100, 60, 48, 200), 64, 64),
        ("dexcrop_y100_x60_64x200.64", crop(100, 60, 64, 200), 64, 64),
    ] {
        let want = array(&folder, &format!("resize/resize.{name}.npy"));
        assert_close(name, &form_input(&image, rows, cols).unwrap(), &want);
    }
}

#[test]
fn formed_pictures() {
    for (folder, nets, samples) in golden() {
        for &(net, side, ..) in nets {
            for (image, file) in samples {
                let want = array(&folder, &format!("nets/{net}.{image}.formed.npy"));
                let formed = form_input(&sample(&folder, file), side, side).unwrap();
                assert_close(&format!("{net}.{image}"), &formed, &want);
            }
        }
    }
}

#[test]
fn stretched_means_and_the_slices_they_fit() {
    for (folder, dex, (net, side, input, scan_scale)) in nets_with_dex() {
        let want = array(&folder, &format!("nets/{net}.dex.classify_mean.npy"));
        let mean = tiny_mean(side);
        let stretched = resize_mean(&mean, want.rows(), want.cols()).unwrap();
        assert_close(&format!("{net} mean"), &stretched, &want);

        let geometry = Geometry { image: [side; 2], net: [input; 2], channels: 3, scan_scale };
        let prepared = Protocol::CcvCpu.prepare(&dex, &geometry, Some(&mean)).unwrap();
        let Prepared::Scans(slices) = prepared else { panic!("{net}: not slices") };
        let formed = array(&folder, &format!("nets/{net}.dex.formed.npy"));
        let slice = formed.centre_crop(want.rows(), want.cols()).unwrap().subtract(&want).unwrap();
        assert_close(&format!("{net} slice"), &slices[0], &slice);
        assert_close(&format!("{net} mirror"), &slices[1], &slice.flip_horizontal());
        assert_eq!(slices.len(), 2);
    }
}

#[test]
fn the_centre_view() {
    for (folder, dex, (net, side, input, scan_scale)) in nets_with_dex() {
        let want = array(&folder, &format!("nets/{net}.dex.input.npy"));
        let geometry = Geometry { image: [side; 2], net: [input; 2], channels: 3, scan_scale };
        let mean = tiny_mean(side);
        let Prepared::Crops(views) =
            Protocol::Centre.prepare(&dex, &geometry, Some(&mean)).unwrap()
        else {
            panic!("{net}: not crops")
        };
        assert_eq!(views.len(), 1);
        assert_close(net, &views[0], &want);
    }
}

/// What training tests on: ccv's formed picture, cut at (difference + 1) / 2, minus the mean cut so.
#[test]
fn the_test_view_of_training() {
    for (folder, samples, (net, side, input, scan_scale)) in golden()
        .iter()
        .flat_map(|(folder, nets, samples)| nets.iter().map(move |n| (folder, samples, *n)))
    {
        let geometry = Geometry { image: [side; 2], net: [input; 2], channels: 3, scan_scale };
        let mean = tiny_mean(side);
        let recipe = Recipe::by_name("plain").unwrap();
        let augmenter = Augmenter::new(&recipe, &geometry, Some(&mean), None).unwrap();
        for (image, file) in *samples {
            let formed = array(folder, &format!("nets/{net}.{image}.formed.npy"));
            let [top, left, middle] =
                [formed.rows(), formed.cols(), side].map(|side| (side - input).div_ceil(2));
            let mean = mean.crop(middle, middle, input, input).unwrap();
            let want = formed.crop(top, left, input, input).unwrap().subtract(&mean).unwrap();
            let mut got = vec![0.0; augmenter.input_len()];
            augmenter.test(&sample(folder, file), &mut got).unwrap();
            let got = FloatImage::new(input, input, 3, got).unwrap();
            assert_close(&format!("{net}.{image}"), &got, &want);
        }
    }
}

/// The digits beside the recorded outputs: as many as their README says, and in range.
#[test]
fn digits_in_idx_files() {
    let Some(folder) = whole() else { return };
    let mnist = folder.join("../data/mnist");
    if !mnist.is_dir() {
        return;
    }
    for (file, count) in [("train-images-idx3-ubyte", 8004), ("t10k-images-idx3-ubyte", 1996)] {
        let digits = Dataset::open(mnist.join(file)).unwrap();
        assert_eq!((digits.len(), digits.classes()), (count, 10));
        let digit = digits.load(0, &Default::default()).unwrap();
        assert_eq!(digit.shape(), [28, 28, 1]);
        assert!(digit.values().iter().any(|&v| v > 200) && digit.values()[0] == 0);
    }
}
