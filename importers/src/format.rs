//! Which kind of model file a file is.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// The kinds of model files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// A model of ccv's ConvNet, a sqlite 3 database.
    Ccv,
    /// Our own: safetensors with the specification in its metadata.
    Safetensors,
    /// A state dict of torchvision's in safetensors.
    Torchvision,
}

impl Format {
    /// The name as people read it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Ccv => "ccv sqlite",
            Format::Safetensors => "safetensors",
            Format::Torchvision => "torchvision safetensors",
        }
    }

    /// The format that a path to be written names by its extension.
    ///
    /// # Errors
    /// [`Error::Target`] where the extension is none of ours.
    pub fn of_extension(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "sqlite3" | "sqlite" | "db" => Ok(Format::Ccv),
            "safetensors" => Ok(Format::Safetensors),
            _ => Err(Error::Target {
                file: path.display().to_string(),
                reason: "its extension says no format; use .safetensors, or .sqlite3 for ccv's"
                    .into(),
            }),
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

const SQLITE: &[u8] = b"SQLite format 3\0";

/// Beginnings of files that people take for models, and what to do with them.
const OTHERS: [(&[u8], &str); 8] = [
    (b"PK\x03\x04", "a zip archive, such as torch.save writes; save it as safetensors instead"),
    (b"\x80\x02", "a Python pickle, such as torch.save wrote; save it as safetensors instead"),
    (b"\x89HDF", "an HDF5 file; save the weights as safetensors instead"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (b"\xfd7zXZ", "compressed by xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
];

/// The kind of a file, by its content; its name decides only what a message says.
pub(crate) fn recognise(path: &Path) -> Result<Format> {
    let (head, bytes) = head(path)?;
    recognise_head(&head, bytes, path.extension().and_then(|e| e.to_str()))
        .map_err(|reason| Error::NotAModel { file: path.display().to_string(), reason })
}

/// The size of a file, where it is of this kind.
pub(crate) fn expect(path: &Path, format: Format) -> Result<u64> {
    let (head, bytes) = head(path)?;
    let file = || path.display().to_string();
    let extension = match format {
        Format::Ccv => "sqlite3",
        _ => "safetensors",
    };
    match recognise_head(&head, bytes, Some(extension)) {
        Ok(found) if found == format => Ok(bytes),
        Ok(found) => {
            let reason = format!("{format} was asked for, and it is {found}");
            Err(Error::NotAModel { file: file(), reason })
        }
        Err(reason) => Err(Error::NotAModel { file: file(), reason }),
    }
}

fn head(path: &Path) -> Result<(Vec<u8>, u64)> {
    let file = path.display().to_string();
    let io = |source| Error::io(&file, "open", source);
    let handle = File::open(path).map_err(io)?;
    let metadata = handle.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Err(Error::NotAModel { file, reason: "it is a directory".into() });
    }
    let mut head = Vec::new();
    handle.take(64).read_to_end(&mut head).map_err(|e| Error::io(&file, "read", e))?;
    Ok((head, metadata.len()))
}

/// The kind by the first bytes, or why it is none.
fn recognise_head(
    head: &[u8],
    bytes: u64,
    extension: Option<&str>,
) -> std::result::Result<Format, String> {
    if head.starts_with(SQLITE) {
        return Ok(Format::Ccv);
    }
    if head.is_empty() {
        return Err("it is empty".into());
    }
    // The length of the header, then the header: a JSON object.
    let length = head.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
    if length.is_some_and(|n| n <= bytes) && head.get(8) == Some(&b'{') {
        return Ok(Format::Safetensors);
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(format!("it is {what}"));
    }
    match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
        // Its own parser says best what is wrong with it.
        "safetensors" => Ok(Format::Safetensors),
        "sqlite3" | "sqlite" | "db" => Err("it does not begin as an sqlite 3 database does \
                                            (encrypted, cut off, or something else)"
            .into()),
        _ => Err("it begins neither as an sqlite 3 database nor as safetensors does".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_by_content_first() {
        let safetensors = [&8u64.to_le_bytes()[..], b"{}      "].concat();
        let found = |head: &[u8], name| recognise_head(head, head.len() as u64, Some(name));
        assert_eq!(found(b"SQLite format 3\0\x10", "safetensors"), Ok(Format::Ccv));
        assert_eq!(found(&safetensors, "sqlite3"), Ok(Format::Safetensors));
        assert_eq!(found(b"short", "safetensors"), Ok(Format::Safetensors));
        assert!(found(b"", "sqlite3").unwrap_err().contains("empty"));
        assert!(found(b"PK\x03\x04....", "pt").unwrap_err().contains("torch.save"));
        assert!(found(b"?", "sqlite3").unwrap_err().contains("encrypted"));
        assert!(found(b"?", "bin").unwrap_err().contains("neither"));
    }

    #[test]
    fn names_the_extensions_that_can_be_written() {
        assert_eq!(Format::of_extension(Path::new("a/b.SQLITE3")).unwrap(), Format::Ccv);
        assert_eq!(Format::of_extension(Path::new("b.safetensors")).unwrap(), Format::Safetensors);
        let text = Format::of_extension(Path::new("b.onnx")).unwrap_err().to_string();
        assert!(text.contains("b.onnx") && text.contains(".safetensors"), "{text}");
    }
}
