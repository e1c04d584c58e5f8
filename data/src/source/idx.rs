//! IDX files (MNIST): a magic number, the sides as big-endian numbers, then bytes.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{Dataset, Kind, Pictures};
use crate::{Error, Result};

/// Two zeros, the type (8: bytes without sign) and the number of axes.
const PICTURES: [u8; 4] = [0, 0, 8, 3];
const LABELS: [u8; 4] = [0, 0, 8, 1];

/// How compressed files start.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The most bytes of pictures that are taken into memory.
const MAX_BYTES: u64 = 16 << 30;

/// Whether a file that starts so is an IDX file, of whatever type, or one compressed.
pub(super) fn starts_one(start: &[u8]) -> bool {
    start.starts_with(&GZIP) || matches!(start, [0, 0, 8..=14, 1..=4, ..])
}

pub(super) fn open(path: &Path) -> Result<Dataset> {
    let (sides, values) = read::<3>(path, PICTURES, "pictures (n x rows x cols)")?;
    let [count, rows, cols] = sides;
    let labels_path = labels_beside(path)?;
    let ([label_count], labels) = read::<1>(&labels_path, LABELS, "labels")?;
    if label_count != count {
        return Err(Error::Format {
            path: labels_path,
            place: "header".to_owned(),
            detail: format!("{label_count} labels, but {} has {count} pictures", path.display()),
        });
    }
    let labels = labels.into_iter().map(u32::from).collect();
    let pictures = Pictures::Raw { shape: [rows, cols, 1], values };
    Dataset::assemble(path.to_owned(), Kind::Idx, pictures, count, labels, None)
}

/// The file of labels, by its name, compressed or not.
fn labels_beside(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let missing = |detail| Error::Dataset { path: path.to_owned(), detail };
    if !name.contains("images") {
        return Err(missing(
            "the labels are in a file of the same name with `labels` for `images`, but this name \
             has no `images` in it"
                .to_owned(),
        ));
    }
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels);
    let candidates = [labels.clone(), plain.to_owned(), format!("{plain}.gz")];
    candidates
        .iter()
        .map(|name| path.with_file_name(name))
        .find(|path| path.is_file())
        .ok_or_else(|| missing(format!("its labels, {labels}, are not beside it")))
}

/// Reads a file with this magic number: its sides and as many bytes as they multiply to.
fn read<const AXES: usize>(
    path: &Path,
    magic: [u8; 4],
    what: &str,
) -> Result<([usize; AXES], Vec<u8>)> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let wrong = |place: &str, detail| Error::Format {
        path: path.to_owned(),
        place: place.to_owned(),
        detail,
    };
    let open = || File::open(path).map(BufReader::new).map_err(read_error);
    let mut start = Vec::new();
    open()?.take(2).read_to_end(&mut start).map_err(read_error)?;
    let mut reader: Box<dyn Read> =
        if start == GZIP { Box::new(MultiGzDecoder::new(open()?)) } else { Box::new(open()?) };

    let mut header = Vec::new();
    reader.by_ref().take(4 + 4 * AXES as u64).read_to_end(&mut header).map_err(read_error)?;
    if header.len() < 4 || header[..4] != magic {
        let start = &header[..header.len().min(4)];
        return Err(wrong(
            "magic number",
            format!("expected {magic:?}, an IDX file of {what}, but got {start:?}"),
        ));
    }
    let words = header[4..].as_chunks::<4>().0;
    let sides: Vec<usize> = words.iter().map(|&word| u32::from_be_bytes(word) as usize).collect();
    let Ok(sides) = <[usize; AXES]>::try_from(sides) else {
        return Err(wrong("header", format!("the file ends after {} bytes", header.len())));
    };
    let expected = sides.iter().try_fold(1u64, |n, &side| n.checked_mul(side as u64));
    let Some(expected) = expected.filter(|&n| n <= MAX_BYTES) else {
        return Err(wrong("header", format!("sides {sides:?} are more than {MAX_BYTES} bytes")));
    };
    if expected == 0 {
        return Err(wrong("header", format!("sides {sides:?}: there is nothing in the file")));
    }
    // Memory is taken as bytes come, so that a header that lies costs nothing.
    let mut values = Vec::new();
    reader.take(expected + 1).read_to_end(&mut values).map_err(read_error)?;
    if values.len() as u64 != expected {
        let got = values.len() as u64;
        let got = if got > expected { "more".to_owned() } else { format!("only {got}") };
        return Err(wrong(
            "data",
            format!("the header says {sides:?}, {expected} bytes, but there are {got}"),
        ));
    }
    Ok((sides, values))
}
