//! ImageNet's challenge set (ILSVRC): its devkit's `meta.mat` and ground truth, and the lists made of
//! them.

mod mat;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::source::pictures_in;
use crate::text::{MAX_SMALL_BYTES, Text};
use crate::{Dataset, Error, Result};
use mat::Value;

/// Where the files lie in an extracted devkit.
const META: [&str; 2] = ["data/meta.mat", "meta.mat"];
const TRUTH: [&str; 2] =
    ["data/ILSVRC2012_validation_ground_truth.txt", "ILSVRC2012_validation_ground_truth.txt"];

/// The most bytes of a `meta.mat` that are read.
const MAX_META_BYTES: u64 = 64 << 20;

/// A class of the challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synset {
    /// WordNet's id, such as `n01440764`: the name of the folder of training pictures.
    pub wnid: String,
    /// Its names, such as `tench, Tinca tinca`.
    pub words: String,
}

/// A devkit, as extracted from its tar file.
#[derive(Clone, Debug)]
pub struct Devkit {
    /// The classes in the challenge's order (ccv's too): class 0 has `ILSVRC2012_ID` 1.
    pub synsets: Vec<Synset>,
    /// The class of each validation picture, from 0; picture `ILSVRC2012_val_00000001` first.
    pub validation: Vec<u32>,
}

impl Devkit {
    /// Reads the devkit in a folder: `data/meta.mat` and
    /// `data/ILSVRC2012_validation_ground_truth.txt`, or both without `data/`.
    ///
    /// # Errors
    /// [`Error::Dataset`] when a file is not there, [`Error::Format`] when `meta.mat` contradicts its
    /// format, [`Error::List`] or [`Error::Label`] for a line of the ground truth that is no class.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let find = |names: [&str; 2]| {
            let paths = names.map(|name| folder.join(name));
            paths.into_iter().find(|path| path.is_file()).ok_or_else(|| Error::Dataset {
                path: folder.to_owned(),
                detail: format!("this is no ILSVRC devkit: it has no {}", names[0]),
            })
        };
        let synsets = read_synsets(&find(META)?)?;
        let validation = read_truth(&find(TRUTH)?, synsets.len())?;
        Ok(Self { synsets, validation })
    }

    /// The training set in a folder of a folder a class, named by its WordNet id. Folders of other
    /// names are left out; classes without a folder have no pictures.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Dataset`] when there is no picture of any class.
    pub fn training_set(&self, folder: impl AsRef<Path>) -> Result<Dataset> {
        let folder = folder.as_ref();
        let mut files = Vec::new();
        for (label, synset) in self.synsets.iter().enumerate() {
            let class = folder.join(&synset.wnid);
            if class.is_dir() {
                files.extend(pictures_in(&class)?.into_iter().map(|path| (path, label as u32)));
            }
        }
        if files.is_empty() {
            return Err(Error::Dataset {
                path: folder.to_owned(),
                detail: format!(
                    "expected a folder of pictures for each class, such as {}/*.JPEG, but there is \
                     none",
                    self.synsets.first().map_or("n01440764", |synset| &synset.wnid)
                ),
            });
        }
        Dataset::from_files(folder, files, Some(self.class_names()))
    }

    /// The validation set in a folder: the number at the end of a picture's name says which one it
    /// is.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Dataset`] when there is no picture, or one whose number the
    /// ground truth does not have.
    pub fn validation_set(&self, folder: impl AsRef<Path>) -> Result<Dataset> {
        let folder = folder.as_ref();
        let labelled = |path: PathBuf| {
            let label = number_at_end(&path).and_then(|n| self.validation.get(n.checked_sub(1)?));
            let label = *label.ok_or_else(|| Error::Dataset {
                path: path.clone(),
                detail: format!(
                    "expected a name that ends in the picture's number, 1 to {}, such as \
                     ILSVRC2012_val_00000001.JPEG",
                    self.validation.len()
                ),
            })?;
            Ok((path, label))
        };
        let files = pictures_in(folder)?.into_iter().map(labelled).collect::<Result<_>>()?;
        Dataset::from_files(folder, files, Some(self.class_names()))
    }

    /// The classes' names: WordNet's id and the words, as in `n01440764 tench, Tinca tinca`, for the
    /// words alone are not unique.
    pub fn class_names(&self) -> Vec<String> {
        self.synsets.iter().map(|synset| format!("{} {}", synset.wnid, synset.words)).collect()
    }
}

/// The number at the end of a file's name.
fn number_at_end(path: &Path) -> Option<usize> {
    let stem = path.file_stem()?.to_str()?;
    let digits = stem.len() - stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    stem[stem.len() - digits..].parse().ok()
}

/// The classes of `meta.mat`: of its synsets (inner nodes of WordNet too) those without children,
/// which have the first ids.
fn read_synsets(path: &Path) -> Result<Vec<Synset>> {
    let bytes = read_limited(path)?;
    let variables = mat::read(&bytes, path)?;
    let wrong =
        |place: String, detail: String| Error::Format { path: path.to_owned(), place, detail };
    let synsets = variables.into_iter().find(|(name, _)| name == "synsets").map(|(_, value)| value);
    let Some(Value::Struct(elements)) = synsets else {
        let detail = "expected a struct array called `synsets`".to_owned();
        return Err(wrong("variables".to_owned(), detail));
    };
    let mut found = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        let field = |name: &str| {
            element.iter().find(|(field, _)| field == name).map(|(_, value)| value).ok_or_else(
                || wrong(format!("synset {}", index + 1), format!("it has no field `{name}`")),
            )
        };
        let text = |name: &str| match field(name)? {
            Value::Text(text) => Ok(text.trim().to_owned()),
            _ => Err(wrong(format!("synset {}", index + 1), format!("`{name}` is no text"))),
        };
        let number = |name: &str| match field(name)? {
            Value::Numbers(numbers) if numbers.len() == 1 => Ok(numbers[0]),
            _ => Err(wrong(format!("synset {}", index + 1), format!("`{name}` is no number"))),
        };
        if number("num_children")? == 0.0 {
            let synset = Synset { wnid: text("WNID")?, words: text("words")? };
            found.push((number("ILSVRC2012_ID")?, synset));
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let in_order = found.iter().enumerate().all(|(index, (id, _))| *id == (index + 1) as f64);
    if found.is_empty() || !in_order {
        return Err(wrong(
            "synsets".to_owned(),
            format!(
                "expected the {} without children to have `ILSVRC2012_ID` from 1 without a gap",
                found.len()
            ),
        ));
    }
    Ok(found.into_iter().map(|(_, synset)| synset).collect())
}

/// The bytes of a `meta.mat`: the devkit's has 140 kB.
fn read_limited(path: &Path) -> Result<Vec<u8>> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(read_error)?;
    file.take(MAX_META_BYTES + 1).read_to_end(&mut bytes).map_err(read_error)?;
    if bytes.len() as u64 > MAX_META_BYTES {
        return Err(Error::Format {
            path: path.to_owned(),
            place: "size".to_owned(),
            detail: format!("more than {MAX_META_BYTES} bytes, the most that are read of it"),
        });
    }
    Ok(bytes)
}

/// The ground truth: the class of a picture on each line, from 1.
fn read_truth(path: &Path, classes: usize) -> Result<Vec<u32>> {
    let text = Text::open(path, MAX_SMALL_BYTES)?;
    let label = |(number, line): (usize, &str)| {
        let label: u32 = line
            .parse()
            .map_err(|_| text.error(number, "expected the number of a class, from 1"))?;
        match label.checked_sub(1).filter(|&label| (label as usize) < classes) {
            Some(label) => Ok(label),
            None => Err(Error::Label {
                place: format!("{}, line {number}", path.display()),
                label,
                expected: format!("1 to {classes}"),
            }),
        }
    };
    text.entries().map(label).collect()
}

#[cfg(test)]
mod tests;
