//! Labelled pictures, wherever they lie: a [`Dataset`] is opened from one path and recognised by
//! its content.
//!
//! | on disk | labels |
//! | --- | --- |
//! | a list of `<class label> <path>`, one a line (ccv's training lists) | in the list, from 1 |
//! | a folder with a folder for each class, its pictures in it or below (ImageNet's form) | by the folders' names, sorted |
//! | an IDX file of pictures (MNIST), plain or `.gz` | in the IDX file of labels beside it |
//! | CIFAR-10 or CIFAR-100 in binary, one file or the folder | in the same file |
//!
//! In memory labels always count from 0.

mod cifar;
mod detect;
mod difference;
mod folder;
mod idx;
mod list;
mod names;
mod samples;
mod without;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::decode::{self, Limits};
use crate::text::Text;
use crate::{Error, Image, Result};

pub use detect::Kind;
pub use folder::pictures_in;
use names::names_beside;
pub(crate) use names::write_names;
pub use samples::{FILES_READ, Samples};

/// Labelled pictures: files that are decoded when asked for, or small pictures held in memory.
///
/// ```
/// use striate_data::{Dataset, Image};
///
/// let pictures = vec![Image::filled(28, 28, 1, 0)?, Image::filled(28, 28, 1, 255)?];
/// let dataset = Dataset::from_images(pictures, vec![0, 1])?;
/// assert_eq!((dataset.len(), dataset.classes()), (2, 2));
/// assert_eq!(dataset.load(1, &Default::default())?.values()[0], 255);
/// # Ok::<(), striate_data::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What it was opened from, for messages.
    origin: PathBuf,
    kind: Kind,
    pictures: Pictures,
    /// Class labels, from 0.
    labels: Vec<u32>,
    classes: usize,
    names: Option<Vec<String>>,
}

/// Where the pixels are.
#[derive(Clone, Debug)]
enum Pictures {
    /// A file each; of a list also the line that names it.
    Files { paths: Vec<PathBuf>, lines: Option<Vec<u32>> },
    /// All of one size, one after another: `[n, rows, cols, channels]`.
    Raw { shape: [usize; 3], values: Vec<u8> },
    /// Of any size.
    Images(Vec<Image>),
}

/// One picture of a [`Dataset`].
#[derive(Clone, Debug, PartialEq)]
pub enum Picture<'a> {
    /// A file, still encoded.
    File(&'a Path),
    /// Pixels.
    Image(Cow<'a, Image>),
}

impl Dataset {
    /// Opens what is at a path, recognised by its content (see [the module](self)).
    ///
    /// # Errors
    /// [`Error::Read`] when it cannot be read, [`Error::Dataset`] when it is none of the forms, is
    /// empty or lacks its labels, [`Error::List`], [`Error::Label`] and [`Error::Format`] when it
    /// contradicts its form.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match detect::detect(path)? {
            Kind::List => Self::from_list(path),
            Kind::Folder => Self::from_folder(path),
            Kind::Idx => Self::from_idx(path),
            Kind::Cifar => Self::from_cifar(path),
            Kind::Memory => Err(Error::Dataset {
                path: path.to_owned(),
                detail: "nothing on a disk is held in memory".to_owned(),
            }),
        }
    }

    /// Opens a list of `<class label> <path>`, labels from 1 (ccv's training lists). Relative paths
    /// are looked for from the current folder, as in ccv; where none of the first pictures is
    /// there but one is beside the list, all are relative to the list's folder.
    ///
    /// The classes' names are taken from the file of the list's name with the extension `labels`,
    /// one a line, where there is one.
    ///
    /// # Errors
    /// As [`list::read_labelled`](crate::list::read_labelled), and [`Error::Label`] for the label 0
    /// or one that the names beside the list have no line for.
    pub fn from_list(path: impl AsRef<Path>) -> Result<Self> {
        list::open(path.as_ref())
    }

    /// A list of `<class label> <path>` that was read already, such as one from standard input. Relative
    /// paths are looked for from the current folder, and its classes have no names.
    ///
    /// # Errors
    /// As [`from_list`](Self::from_list).
    pub fn from_text(text: &Text) -> Result<Self> {
        list::of_text(text)
    }

    /// Opens a folder with a folder of pictures for each class: classes are the sorted names of the
    /// folders, pictures the files in them and in folders below, with the extension of a picture,
    /// sorted by path. Hidden files and folders are left out, and so is what file managers leave
    /// behind (`__MACOSX`, `@eaDir`, `Thumbs.db`). A symbolic link is followed; a folder that a class
    /// reaches twice counts once. Other files, and pictures that are in no class folder, are counted
    /// in a warning (of the `log` crate).
    ///
    /// A class may be empty: [`Dataset::empty_classes`] names such.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Dataset`] when there is no class or no picture.
    pub fn from_folder(path: impl AsRef<Path>) -> Result<Self> {
        folder::open(path.as_ref())
    }

    /// Opens an IDX file of pictures (`train-images-idx3-ubyte`, `.gz` too) and the file of labels
    /// beside it, which has `labels` for `images` and `idx1` for `idx3` in its name.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Dataset`] when the labels are not found, [`Error::Format`] when a
    /// file is truncated or too long, has another magic number or another number of items.
    pub fn from_idx(path: impl AsRef<Path>) -> Result<Self> {
        idx::open(path.as_ref())
    }

    /// Opens CIFAR-10 or CIFAR-100 (the fine labels) in binary: a file, or a folder, of which all
    /// training files are taken. Class names come from the text file beside.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Format`] when the size is no multiple of a picture's or a label
    /// is out of range.
    pub fn from_cifar(path: impl AsRef<Path>) -> Result<Self> {
        cifar::open(path.as_ref())
    }

    /// Pictures in memory with their labels, from 0.
    ///
    /// # Errors
    /// [`Error::Dataset`] when there is none, or not as many labels as pictures.
    pub fn from_images(pictures: Vec<Image>, labels: Vec<u32>) -> Result<Self> {
        let origin = PathBuf::from("pictures in memory");
        let count = pictures.len();
        Self::assemble(origin, Kind::Memory, Pictures::Images(pictures), count, labels, None)
    }

    /// Picture files with their labels, from 0, and the names of all classes where known. `origin`
    /// is what messages call the set.
    ///
    /// # Errors
    /// [`Error::Dataset`] when there is no picture, [`Error::Label`] when a label has no name.
    pub fn from_files(
        origin: impl Into<PathBuf>,
        files: Vec<(PathBuf, u32)>,
        names: Option<Vec<String>>,
    ) -> Result<Self> {
        let count = files.len();
        let (paths, labels) = files.into_iter().unzip();
        let pictures = Pictures::Files { paths, lines: None };
        Self::assemble(origin.into(), Kind::Folder, pictures, count, labels, names)
    }

    /// Checks what every form has in common.
    fn assemble(
        origin: PathBuf,
        kind: Kind,
        pictures: Pictures,
        count: usize,
        labels: Vec<u32>,
        names: Option<Vec<String>>,
    ) -> Result<Self> {
        let wrong = |detail| Err(Error::Dataset { path: origin.clone(), detail });
        if count == 0 {
            return wrong("there is no picture in it".to_owned());
        }
        if u32::try_from(count).is_err() {
            return wrong(format!("{count} pictures are more than the 4,294,967,295 supported"));
        }
        if labels.len() != count {
            return wrong(format!("there are {count} pictures, but {} labels", labels.len()));
        }
        let highest = labels.iter().copied().max().unwrap_or(0) as usize + 1;
        let classes = names.as_ref().map_or(highest, Vec::len);
        let dataset = Self { origin, kind, pictures, labels, classes, names };
        dataset.check_classes(classes)?;
        Ok(dataset)
    }

    /// How many pictures there are, at least one.
    #[expect(clippy::len_without_is_empty, reason = "there is always a picture")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// How many classes there are: as many as have a name, else the highest label and one.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The classes without a picture, by name where they have names, else by number as the set counts
    /// (from 1 in a list). A training set with such a class is mostly a mistake.
    pub fn empty_classes(&self) -> Vec<String> {
        let mut filled = vec![false; self.classes];
        for &label in &self.labels {
            if let Some(filled) = filled.get_mut(label as usize) {
                *filled = true;
            }
        }
        let name = |class: usize| match self.names.as_ref().and_then(|names| names.get(class)) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => (class + usize::from(self.kind == Kind::List)).to_string(),
        };
        (0..self.classes).filter(|&class| !filled[class]).map(name).collect()
    }

    /// The classes' names, where known.
    pub fn class_names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// The form it was opened from.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The path it was opened from.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// The label of every picture, from 0.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Picture `index`, without decoding it; none beyond the last.
    pub fn picture(&self, index: usize) -> Option<Picture<'_>> {
        match &self.pictures {
            Pictures::Files { paths, .. } => paths.get(index).map(|path| Picture::File(path)),
            Pictures::Images(images) => {
                images.get(index).map(|image| Picture::Image(Cow::Borrowed(image)))
            }
            Pictures::Raw { shape: [rows, cols, channels], values } => {
                // No side is 0, or there would be no picture.
                let values = values.chunks_exact(rows * cols * channels).nth(index)?.to_vec();
                let image = Image::new(*rows, *cols, *channels, values).ok()?;
                Some(Picture::Image(Cow::Owned(image)))
            }
        }
    }

    /// Picture `index`, decoded.
    ///
    /// # Errors
    /// What [`decode::open_with`] reports, [`Error::Setting`] beyond the last picture.
    pub fn load(&self, index: usize, limits: &Limits) -> Result<Image> {
        match self.picture(index) {
            Some(Picture::File(path)) => decode::open_with(path, limits),
            Some(Picture::Image(image)) => Ok(image.into_owned()),
            None => Err(Error::Setting {
                what: "the number of a picture",
                expected: format!("one from 0 to {}", self.len() - 1),
                got: index.to_string(),
            }),
        }
    }

    /// What messages call picture `index`: its file, or its number within the file.
    pub fn name(&self, index: usize) -> String {
        match self.picture(index) {
            Some(Picture::File(path)) => path.display().to_string(),
            _ => format!("{}, picture {index}", self.origin.display()),
        }
    }

    /// Whether all pixels are in memory already.
    pub fn in_memory(&self) -> bool {
        !matches!(self.pictures, Pictures::Files { .. })
    }

    /// Checks that a network of so many classes has one for every label.
    ///
    /// # Errors
    /// [`Error::Label`], which names the first label beyond and its place.
    pub fn check_classes(&self, classes: usize) -> Result<()> {
        let Some(index) = self.labels.iter().position(|&label| label as usize >= classes) else {
            return Ok(());
        };
        // As a person wrote it: from 1 in a list.
        let first = u32::from(self.kind == Kind::List);
        Err(Error::Label {
            place: self.place(index),
            label: self.labels[index].saturating_add(first),
            expected: format!("{first} to {}, for {classes} classes", classes + first as usize - 1),
        })
    }

    /// The set with its labels counted as in `other` (the training set), class by class name, where
    /// both know names: a folder of test pictures that lacks a class would count otherwise.
    ///
    /// # Errors
    /// [`Error::Dataset`] for a class that `other` does not have, [`Error::Label`] for a label
    /// beyond its classes.
    pub fn aligned_to(mut self, other: &Self) -> Result<Self> {
        if let (Some(own), Some(wanted)) = (&self.names, &other.names) {
            let places = names::places(own, wanted).map_err(|name| Error::Dataset {
                path: self.origin.clone(),
                detail: format!("the class `{name}` is not one of {}", other.origin.display()),
            })?;
            for label in &mut self.labels {
                if let Some(&place) = places.get(*label as usize) {
                    *label = place;
                }
            }
        }
        self.check_classes(other.classes)?;
        self.names = other.names.clone();
        self.classes = other.classes;
        Ok(self)
    }

    /// Where a person finds the label of a picture.
    fn place(&self, index: usize) -> String {
        match &self.pictures {
            Pictures::Files { lines: Some(lines), .. } => {
                let line = lines.get(index).copied().unwrap_or(0);
                format!("{}, line {line}", self.origin.display())
            }
            _ => self.name(index),
        }
    }
}

#[cfg(test)]
mod tests;
