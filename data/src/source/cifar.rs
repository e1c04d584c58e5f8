//! CIFAR-10 and CIFAR-100 in binary: records of one or two labels and a picture of 32 x 32, channel
//! after channel.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Dataset, Kind, Pictures, names};
use crate::{Error, Result};

const SIDE: usize = 32;
const CHANNELS: usize = 3;
const PIXELS: usize = SIDE * SIDE;

/// One of the two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    name: &'static str,
    /// Labels before each picture; the last is the one that counts (CIFAR-100's fine label).
    labels: usize,
    classes: u8,
    /// The file beside that names the classes.
    names: &'static str,
}

const FORMS: [Form; 2] = [
    Form { name: "CIFAR-10", labels: 1, classes: 10, names: "batches.meta.txt" },
    Form { name: "CIFAR-100", labels: 2, classes: 100, names: "fine_label_names.txt" },
];

impl Form {
    fn record(&self) -> usize {
        self.labels + PIXELS * CHANNELS
    }

    /// The first record whose label there is no class for.
    fn bad_record(&self, bytes: &[u8]) -> Option<(usize, u8)> {
        let label = |record: &[u8]| record.get(self.labels - 1).copied().unwrap_or(u8::MAX);
        let mut labels = bytes.chunks_exact(self.record()).map(label).enumerate();
        labels.find(|(_, label)| *label >= self.classes)
    }
}

/// Whether a file of so many bytes can be one.
pub(super) fn fits(bytes: u64) -> bool {
    bytes > 0 && FORMS.iter().any(|form| bytes.is_multiple_of(form.record() as u64))
}

/// The training files of a folder, in order; none where it is another folder.
pub(super) fn training_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let read_error = |source| Error::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(read_error)? {
        let path = entry.map_err(read_error)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_training = name == "train.bin" || name.starts_with("data_batch");
        if is_training && name.ends_with(".bin") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn open(path: &Path) -> Result<Dataset> {
    let files = if path.is_dir() { training_files(path)? } else { vec![path.to_owned()] };
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    let mut common: Option<Form> = None;
    for file in &files {
        let bytes = fs::read(file).map_err(|source| Error::Read { path: file.clone(), source })?;
        let form = form_of(file, &bytes)?;
        if common.is_some_and(|common| common != form) {
            return Err(Error::Dataset {
                path: path.to_owned(),
                detail: "it holds CIFAR-10 and CIFAR-100 files; keep them in folders of their own"
                    .to_owned(),
            });
        }
        common = Some(form);
        for record in bytes.chunks_exact(form.record()) {
            let (label, planes) = record.split_at(form.labels);
            labels.extend(label.last().copied().map(u32::from));
            let (red, rest) = planes.split_at(PIXELS);
            let (green, blue) = rest.split_at(PIXELS);
            values.extend(red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]));
        }
    }
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
    let names = match common.map(|form| folder.join(form.names)).filter(|path| path.is_file()) {
        Some(path) => Some(names::lines(&path)?),
        None => None,
    };
    let (count, shape) = (labels.len(), [SIDE, SIDE, CHANNELS]);
    let pictures = Pictures::Raw { shape, values };
    Dataset::assemble(path.to_owned(), Kind::Cifar, pictures, count, labels, names)
}

/// The form, by the size and the labels: there is no magic number.
fn form_of(path: &Path, bytes: &[u8]) -> Result<Form> {
    let fits = FORMS.iter().filter(|f| !bytes.is_empty() && bytes.len().is_multiple_of(f.record()));
    let wrong = |place, detail| Error::Format { path: path.to_owned(), place, detail };
    let mut last = wrong(
        "size".to_owned(),
        format!(
            "{} bytes, but CIFAR-10 has 3,073 a picture and CIFAR-100 has 3,074; is the file \
             truncated?",
            bytes.len()
        ),
    );
    for form in fits {
        let Some((record, label)) = form.bad_record(bytes) else { return Ok(*form) };
        let (name, most) = (form.name, form.classes - 1);
        last = wrong(
            format!("picture {record}"),
            format!("expected a label of {name}, 0 to {most}, but got {label}"),
        );
    }
    Err(last)
}
