//! Makes a learnable set of pictures out of a few photos, to try training on: classes of
//! crops of one photo with a colour cast and a texture of their own, in a folder a class.
//!
//! ```sh
//! cargo run --release -p striate-data --example make_photo_set -- PHOTOS OUTPUT [CLASSES] [IMAGES] [SEED]
//! ```
//!
//! 20 classes and 2,000 pictures by default, of 300 to 500 pixels a side, in `OUTPUT/train` (nine
//! tenths) and `OUTPUT/test`. The same photos and seed give the same files.

#![allow(clippy::print_stdout, reason = "an example talks to people")]

use std::error::Error;
use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;
use striate_data::formation::stretch;
use striate_data::{Image, decode};
use striate_tensor::RandomKey;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Factors of red, green and blue.
const CASTS: [[f32; 3]; 5] =
    [[1.0, 1.0, 1.0], [1.25, 0.9, 0.75], [0.75, 0.95, 1.25], [0.8, 1.2, 0.8], [1.15, 0.8, 1.15]];

/// How far a texture lightens and darkens, of 255.
const TEXTURE_DEPTH: f32 = 28.0;

/// Deviation of the light from picture to picture: what a network must learn to look past.
const LIGHT_RANGE: f32 = 0.25;

/// Sides of the pictures, in pixels.
const SIDES: (usize, usize) = (300, 500);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [photos, output, numbers @ ..] = &arguments[..] else {
        return Err("usage: make_photo_set PHOTOS OUTPUT [CLASSES] [IMAGES] [SEED]".into());
    };
    let number = |at: usize, default: u64| numbers.get(at).map_or(Ok(default), |n| n.parse());
    let (classes, images, seed) = (number(0, 20)?, number(1, 2000)?, number(2, 1)?);
    if classes == 0 {
        return Err("there must be a class".into());
    }
    let photos = read_photos(Path::new(photos))?;
    let output = Path::new(output);
    for class in 0..classes {
        for part in ["train", "test"] {
            fs::create_dir_all(output.join(part).join(format!("class-{class:02}")))?;
        }
    }
    (0..images).into_par_iter().try_for_each(|number| -> Result<()> {
        let class = number % classes;
        let part = if number / classes % 10 == 9 { "test" } else { "train" };
        let path = output.join(part).join(format!("class-{class:02}/{number:05}.jpg"));
        let picture = compose(&photos, class as usize, RandomKey::new(seed, number))?;
        let file = BufWriter::new(fs::File::create(&path)?);
        JpegEncoder::new_with_quality(file, 92).encode(
            picture.values(),
            picture.cols() as u32,
            picture.rows() as u32,
            ExtendedColorType::Rgb8,
        )?;
        Ok(())
    })?;
    println!("{}: {images} pictures of {classes} classes", output.display());
    Ok(())
}

/// The photos of a folder that are large enough to cut from, sorted by name.
fn read_photos(folder: &Path) -> Result<Vec<Image>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    let photos: Vec<Image> = paths
        .iter()
        .filter_map(|path| decode::open(path).and_then(|photo| photo.to_rgb()).ok())
        .filter(|photo| photo.rows().min(photo.cols()) >= 200)
        .collect();
    if photos.is_empty() {
        return Err(format!("{}: no photo of 200 pixels or more", folder.display()).into());
    }
    Ok(photos)
}

/// One picture of a class: what it is drawn from belongs to the class, the place, size, light and
/// noise to the picture.
fn compose(photos: &[Image], class: usize, key: RandomKey) -> Result<Image> {
    let photo = &photos[class % photos.len()];
    let cast = CASTS[class / photos.len() % CASTS.len()];
    let between = |i: u64, low: f32, high: f32| low + (high - low) * key.unit(i);
    let side = |i| between(i, SIDES.0 as f32, SIDES.1 as f32 + 0.99) as usize;
    let (rows, cols) = (side(0), side(1));

    // A part of the photo, of the picture's aspect, two fifths of it or more.
    let fit = (photo.rows() as f32 / rows as f32).min(photo.cols() as f32 / cols as f32);
    let scale = fit * between(2, 0.4, 1.0);
    let cut = |side: usize, whole: usize| ((side as f32 * scale) as usize).clamp(1, whole);
    let (part_rows, part_cols) = (cut(rows, photo.rows()), cut(cols, photo.cols()));
    let at = |i, free: usize| (between(i, 0.0, free as f32 + 0.99) as usize).min(free);
    let (top, left) = (at(3, photo.rows() - part_rows), at(4, photo.cols() - part_cols));
    let part = photo.crop(top, left, part_rows, part_cols)?;
    let part = if key.unit(5) < 0.5 { part.flip_horizontal() } else { part };

    let mut picture = stretch(&part, rows, cols)?;
    let light = between(6, 1.0 - LIGHT_RANGE, 1.0 + LIGHT_RANGE);
    let phase = [between(7, 0.0, 6.3), between(8, 0.0, 6.3)];
    for (index, pixel) in picture.values_mut().chunks_exact_mut(3).enumerate() {
        let (row, col) = ((index / cols) as f32, (index % cols) as f32);
        // After the first thousand numbers, which are the picture's.
        let noise = 10.0 * (key.unit(1000 + index as u64) - 0.5);
        let texture = TEXTURE_DEPTH * texture(class, row, col, phase);
        for (value, factor) in pixel.iter_mut().zip(cast) {
            *value = *value * factor * light + texture + noise;
        }
    }
    Ok(picture.to_bytes())
}

/// The texture of a class at a pixel, -1 to 1: stripes along or across, diagonals, checks, waves.
fn texture(class: usize, row: f32, col: f32, phase: [f32; 2]) -> f32 {
    let step = 0.25 + 0.05 * (class % 3) as f32;
    let (y, x) = (row * step + phase[0], col * step + phase[1]);
    match class % 5 {
        0 => y.sin(),
        1 => x.sin(),
        2 => (0.7 * (x + y)).sin(),
        3 => y.sin() * x.sin(),
        _ => (y + 2.0 * (0.3 * x).sin()).sin(),
    }
}
