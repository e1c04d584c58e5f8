//! Pictures resized once for training, so that no epoch pays for the full size again.

mod names;
mod origin;
mod places;

use std::fmt;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::decode::{self, Limits};
use crate::output::{write_replaceable, write_whole};
use crate::source::{Picture, write_names};
use crate::text::{MAX_SMALL_BYTES, Text};
use crate::{Dataset, Error, Image, Result, Skipped, form_input};
use names::output_names;
use origin::Origin;
pub use places::check_places;

/// The file in the output folder that says how its pictures were made.
const SETTINGS: &str = "prepared.json";

/// More than the header of a picture that [`encode`] wrote.
const HEADER_BYTES: u64 = 4096;

/// How a JPEG file that is whole ends.
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// How pictures are prepared.
#[derive(Clone, Debug)]
pub struct PrepareOptions {
    /// The shorter side, in pixels.
    pub size: usize,
    /// Quality of the JPEG files, 1 to 100.
    pub quality: u8,
    /// Threads; none for the current rayon pool.
    pub threads: Option<usize>,
    /// What a picture may cost.
    pub limits: Limits,
}

impl Default for PrepareOptions {
    /// 257 pixels, the whole image of ccv's networks; quality 95.
    fn default() -> Self {
        Self { size: 257, quality: 95, threads: None, limits: Limits::default() }
    }
}

/// What was prepared.
#[derive(Debug)]
pub struct PrepareReport {
    /// The list file of the prepared pictures.
    pub list: PathBuf,
    /// Pictures that were resized and written now.
    pub written: usize,
    /// Pictures that were there already.
    pub kept: usize,
    /// Pictures that could not be read, in the order of the set. They are not in the list.
    pub skipped: Vec<Skipped>,
}

/// What one picture came to.
enum Outcome {
    Written,
    Kept,
}

/// Resizes all pictures of a set into a folder, and writes a list of them there, `NAME.txt`, which
/// [`Dataset::open`] takes, with the classes' names in `NAME.labels` where they are known.
///
/// Each picture covers a square of the size, its shorter side equal to it, by ccv's rules
/// ([`form_input`]), and is stored as JPEG (grey ones grey) in a folder for its class. The work is
/// parallel, and is resumed where it was interrupted: a picture that is there whole, of the right size
/// and from the same source, is kept, and none is ever half written. Each says in a comment where it
/// is from: the path (a hash of it), the length and the time of its source. Pictures that cannot be
/// read are skipped and reported.
///
/// `progress` is called from the threads with the number of pictures that were done since its last
/// call.
///
/// # Errors
/// What [`check_places`] reports; [`Error::AmongInputs`] where a picture in the folder was prepared
/// from that of another set; [`Error::Setting`] for a size or quality that makes no sense, or a
/// folder whose pictures were prepared otherwise, [`Error::Dataset`] when the pictures are in memory or none could be read,
/// [`Error::Write`] when the disk refuses one (a full disk ends the work).
pub fn prepare(
    dataset: &Dataset,
    folder: impl AsRef<Path>,
    name: &str,
    options: &PrepareOptions,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<PrepareReport> {
    let folder = folder.as_ref();
    check(dataset, name, options)?;
    check_places(dataset, folder, name)?;
    let create = |path: &Path| {
        fs::create_dir_all(path).map_err(|source| Error::Write {
            path: path.to_owned(),
            what: "creating the folder",
            source,
        })
    };
    create(folder)?;
    claim(folder, options)?;
    let names = output_names(dataset);
    let mut folders: Vec<&Path> = names.iter().filter_map(|name| name.parent()).collect();
    folders.sort();
    folders.dedup();
    for class in folders {
        create(&folder.join(class))?;
    }

    let work = || {
        let one = |(index, name): (usize, &PathBuf)| {
            let outcome = prepare_one(dataset, index, &folder.join(name), options);
            progress(1);
            match outcome {
                // The folder's fault ends all of it; the picture's does not.
                Err(
                    error @ (Error::Write { .. }
                    | Error::NoFolder { .. }
                    | Error::AmongInputs { .. }),
                ) => Err(error),
                outcome => Ok(outcome),
            }
        };
        names.par_iter().enumerate().map(|(i, n)| one((i, n))).collect::<Result<Vec<_>>>()
    };
    let outcomes = match options.threads {
        Some(threads) => rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| Error::Thread { source: std::io::Error::other(error) })?
            .install(work)?,
        None => work()?,
    };

    let mut report = PrepareReport {
        list: folder.join(format!("{name}.txt")),
        written: 0,
        kept: 0,
        skipped: Vec::new(),
    };
    let mut entries = Vec::new();
    for (index, (outcome, name)) in outcomes.into_iter().zip(names).enumerate() {
        match outcome {
            Ok(Outcome::Written) => report.written += 1,
            Ok(Outcome::Kept) => report.kept += 1,
            Err(error) => {
                report.skipped.push(Skipped::new(dataset, index, error));
                continue;
            }
        }
        entries.push((name, dataset.labels()[index]));
    }
    if entries.is_empty() {
        return Err(Error::Dataset {
            path: dataset.origin().to_owned(),
            detail: match report.skipped.first() {
                Some(first) => format!("no picture could be read; the first: {first}"),
                None => "there is no picture".to_owned(),
            },
        });
    }
    write_list(&report.list, &entries, dataset.class_names())?;
    Ok(report)
}

/// Writes a list of pictures with their labels, from 0 (from 1 in the file, as in ccv), and the names
/// of the classes beside it, if there are any: what [`Dataset::from_list`] reads.
///
/// # Errors
/// [`Error::Dataset`] for a path that no list can hold (not UTF-8, or with a line break), and what
/// [`write_whole`] reports.
pub fn write_list(
    list: impl AsRef<Path>,
    entries: &[(PathBuf, u32)],
    names: Option<&[String]>,
) -> Result<()> {
    let list = list.as_ref();
    let mut text = String::new();
    for (path, label) in entries {
        let line =
            path.to_str().filter(|line| line.trim() == *line && !line.contains(['\n', '\r']));
        let Some(line) = line else {
            return Err(Error::Dataset {
                path: path.clone(),
                detail: "a list cannot hold this name: it is not UTF-8, or begins or ends with \
                         white space, or has a line break in it"
                    .to_owned(),
            });
        };
        text.push_str(&format!("{} {line}\n", u64::from(*label) + 1));
    }
    // The names first: with a list there are always its names.
    if let Some(names) = names {
        write_names(list, names)?;
    }
    write_whole(list, text.as_bytes())
}

fn check(dataset: &Dataset, name: &str, options: &PrepareOptions) -> Result<()> {
    let wrong = |what, expected: &str, got: String| {
        Err(Error::Setting { what, expected: expected.to_owned(), got })
    };
    if !(1..=4096).contains(&options.size) {
        return wrong("the size of prepared pictures", "1 to 4096", options.size.to_string());
    }
    if !(1..=100).contains(&options.quality) {
        return wrong("the quality of JPEG files", "1 to 100", options.quality.to_string());
    }
    if options.threads == Some(0) {
        return wrong("the number of threads", "at least 1", "0".to_owned());
    }
    if name.is_empty() || name.contains(['/', '\\', '.']) {
        return wrong("the name of the list", "a plain name", format!("`{name}`"));
    }
    if dataset.in_memory() {
        return Err(Error::Dataset {
            path: dataset.origin().to_owned(),
            detail:
                "its pictures are small and in one file; they are used as they are and need no \
                     preparing"
                    .to_owned(),
        });
    }
    Ok(())
}

/// What the pictures of a folder have in common.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Settings {
    size: usize,
    quality: u8,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "size: {}, quality: {}", self.size, self.quality)
    }
}

/// Writes down how the folder's pictures are made, or compares with what it says already: pictures
/// of another size must not be taken for finished.
fn claim(folder: &Path, options: &PrepareOptions) -> Result<()> {
    let path = folder.join(SETTINGS);
    let settings = Settings { size: options.size, quality: options.quality };
    match Text::open(&path, MAX_SMALL_BYTES) {
        Ok(text) => {
            let found: Settings = text.json()?;
            if found == settings {
                return Ok(());
            }
            Err(Error::Setting {
                what: "the settings of the folder to prepare into",
                expected: format!("{found}, as {} says", path.display()),
                got: format!("{settings}; choose another folder, or remove this one"),
            })
        }
        Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            let text = serde_json::to_vec(&settings).map_err(|error| Error::Write {
                path: path.clone(),
                what: "forming it",
                source: error.into(),
            })?;
            write_whole(&path, &text)
        }
        Err(error) => Err(error),
    }
}

fn prepare_one(
    dataset: &Dataset,
    index: usize,
    output: &Path,
    options: &PrepareOptions,
) -> Result<Outcome> {
    let origin = match dataset.picture(index) {
        Some(Picture::File(source)) => Origin::of(source),
        _ => None,
    };
    if let (Some(origin), Some(made)) = (&origin, whole(output, options.size)) {
        match made {
            Some(made) if made.is_of(origin) => return Ok(Outcome::Kept),
            Some(made) if !made.is_earlier(origin) => {
                return Err(Error::AmongInputs {
                    path: output.to_owned(),
                    detail: format!(
                        "it was prepared from another picture than {}; sets whose classes and \
                         pictures have the same names need folders of their own",
                        dataset.name(index)
                    ),
                });
            }
            _ => {}
        }
    }
    let image = dataset.load(index, &options.limits)?;
    let formed = form_input(&image, options.size, options.size)?.to_bytes();
    let mut bytes = encode(&formed, options.quality, output)?;
    if let Some(origin) = origin {
        origin.add_to(&mut bytes);
    }
    write_replaceable(output, &bytes)?;
    Ok(Outcome::Written)
}

/// Where a picture that is there whole and of the size was prepared from, if it says so. `None` where
/// it is not: pictures are written without waiting for the disk, so a power cut may have left an
/// empty one.
fn whole(output: &Path, size: usize) -> Option<Option<Origin>> {
    let (head, tail) = read_ends(output).ok()?;
    let [rows, cols] = decode::jpeg_size(&head).unwrap_or_default();
    (tail == END_OF_IMAGE && rows.min(cols) == size).then(|| Origin::find(&head))
}

/// The start of a file, with the header that [`encode`] writes, and its last two bytes.
fn read_ends(path: &Path) -> std::io::Result<(Vec<u8>, [u8; 2])> {
    let mut file = fs::File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(HEADER_BYTES).read_to_end(&mut head)?;
    let mut tail = [0; 2];
    file.seek(SeekFrom::End(-2))?;
    file.read_exact(&mut tail)?;
    Ok((head, tail))
}

fn encode(image: &Image, quality: u8, output: &Path) -> Result<Vec<u8>> {
    let color = match image.channels() {
        1 => ExtendedColorType::L8,
        _ => ExtendedColorType::Rgb8,
    };
    let mut bytes = Vec::new();
    // A side beyond JPEG's 65,535 is the encoder's to refuse.
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(image.values(), image.cols() as u32, image.rows() as u32, color)
        .map_err(|error| Error::Unsupported {
            name: output.display().to_string(),
            what: format!("storing {} x {} pixels as JPEG ({error})", image.rows(), image.cols()),
        })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
