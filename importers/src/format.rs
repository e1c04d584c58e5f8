//! Which kind of model file a file is.

use std::path::Path;

use crate::foreign;
use crate::pth;
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
    /// An ONNX model.
    Onnx,
    /// A file that PyTorch's `torch.save` wrote: `.pth`, `.pt`.
    Pth,
    /// A Caffe model: `.caffemodel`, usually with a `.prototxt` beside it that defines the layers.
    Caffe,
}

impl Format {
    /// The name as people read it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Ccv => "ccv sqlite",
            Format::Safetensors => "safetensors",
            Format::Torchvision => "torchvision safetensors",
            Format::Onnx => "ONNX",
            Format::Pth => "PyTorch",
            Format::Caffe => "Caffe",
        }
    }

    /// The extension that files of this kind usually have.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Format::Ccv => "sqlite3",
            Format::Safetensors | Format::Torchvision => "safetensors",
            Format::Onnx => "onnx",
            Format::Pth => "pth",
            Format::Caffe => "caffemodel",
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

/// How an sqlite 3 database begins.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// How a zip archive begins.
const ZIP: &[u8] = b"PK\x03\x04";

/// A length beyond this is none: the header of a safetensors file is JSON, and short.
const MAX_LENGTH: u64 = 100_000_000;

/// The kind of a file by its first bytes, or why it is none. `bytes` is its length, where that is
/// known; the extension decides only what a message looks for.
pub(crate) fn recognise(
    head: &[u8],
    bytes: Option<u64>,
    extension: &str,
) -> std::result::Result<Format, String> {
    if head.starts_with(SQLITE) {
        return Ok(Format::Ccv);
    }
    if head.is_empty() {
        return Err("it is empty".into());
    }
    // The length of the header, then the header: a JSON object. One that does not fit in the file is
    // the parser's to explain: the file is cut off.
    let length = head.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
    let fits = |length| length <= MAX_LENGTH || bytes.is_some_and(|bytes| length <= bytes);
    if length.is_some_and(fits) && head.get(8) == Some(&b'{') {
        return Ok(Format::Safetensors);
    }
    // Another archive than one of torch.save's is known by what is in it.
    if head.starts_with(ZIP) || pth::is_legacy(head) {
        return Ok(Format::Pth);
    }
    // The messages of protobuf have no signature.
    if foreign::is_onnx(head) {
        return Ok(Format::Onnx);
    }
    if foreign::is_caffe(head) {
        return Ok(Format::Caffe);
    }
    if let Some(what) = foreign::describe(head) {
        return Err(format!("it is {what}"));
    }
    // Its fields may come in another order.
    if extension.eq_ignore_ascii_case("onnx") {
        return Ok(Format::Onnx);
    }
    if extension.eq_ignore_ascii_case("caffemodel") {
        return Ok(Format::Caffe);
    }
    let first: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let first = first.join(" ");
    Err(match extension.to_ascii_lowercase().as_str() {
        "safetensors" if length.is_none() => {
            format!("it has {} bytes, and a safetensors file has more", head.len())
        }
        "safetensors" => format!(
            "it does not begin as a safetensors file does, with the length of a JSON header and \
             that header; its first bytes are {first}"
        ),
        "sqlite3" | "sqlite" | "db" => format!(
            "it does not begin as an sqlite 3 database does (encrypted, cut off, or something \
             else); its first bytes are {first}"
        ),
        "pth" | "pt" => format!(
            "it does not begin as a file of torch.save does (a zip archive, or a pickle with its number); \
             its first bytes are {first}"
        ),
        _ => format!(
            "it begins neither as an sqlite 3 database nor as a safetensors file does; its first \
             bytes are {first}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(head: &[u8], extension: &str) -> std::result::Result<Format, String> {
        recognise(head, Some(head.len() as u64), extension)
    }

    #[test]
    fn recognises_by_content_first() {
        let safetensors = [&8u64.to_le_bytes()[..], b"{}      "].concat();
        assert_eq!(found(b"SQLite format 3\0\x10", "safetensors"), Ok(Format::Ccv));
        assert_eq!(found(&safetensors, "sqlite3"), Ok(Format::Safetensors));
        // Of a pipe the length is not known before its end.
        assert_eq!(recognise(&safetensors, None, ""), Ok(Format::Safetensors));
        // The header's parser says that the file is cut off.
        assert_eq!(found(&safetensors[..12], "safetensors"), Ok(Format::Safetensors));
        assert!(found(b"", "sqlite3").unwrap_err().contains("empty"));
        assert_eq!(found(b"PK\x03\x04....", "bin"), Ok(Format::Pth));
        let legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
        assert_eq!(found(legacy, "safetensors"), Ok(Format::Pth));
        let framed = b"\x80\x04\x95\x0d\0\0\0\0\0\0\0\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
        assert_eq!(found(framed, ""), Ok(Format::Pth));
        assert!(found(b"\x80\x04\x95\x0d\0\0\0\0", "pt").unwrap_err().contains("pickle"));
        assert!(found(b"\x01?", "pth").unwrap_err().contains("torch.save"));
        assert!(found(b"\x01?", "sqlite3").unwrap_err().contains("encrypted"));
        let text = found(b"\x01\x02", "bin").unwrap_err();
        assert!(text.contains("neither") && text.contains("first bytes are 01 02"), "{text}");
        let text = found(b"\x01\x02", "safetensors").unwrap_err();
        assert!(text.contains("has 2 bytes"), "{text}");
    }

    #[test]
    fn recognises_models_of_caffes() {
        let heads: [&[u8]; 6] = [
            // A name, and a layer of each form or an input.
            b"\x0a\x03net\xa2\x06\x10",
            b"\x0a\x00\x12\x10",
            b"\x0a\x03net\x1a\x04data",
            // Layers alone.
            b"\xa2\x06\x85\x02\x0a\x04conv\x12",
            b"\x12\x85\x02\x12\x04data\x1a",
            b"\x12\x20\x22\x04data",
        ];
        for head in heads {
            assert_eq!(found(head, "bin"), Ok(Format::Caffe), "{head:?}");
        }
        assert_eq!(found(b"\x20\x01", "caffemodel"), Ok(Format::Caffe));
        // ONNX, a name that is none or is cut off, other fields, a text that begins with an empty line.
        assert_eq!(found(b"\x08\x07\x12\x07pytorch", "caffemodel"), Ok(Format::Onnx));
        let others: [&[u8]; 4] = [
            b"\n\x03n\0t\xa2\x06",
            b"\x0a\x09net\xa2\x06",
            b"\xa2\x06\x10\x12\x04conv",
            b"\x12\x07pytorch\x1a\x01",
        ];
        for head in others {
            assert!(found(head, "bin").is_err(), "{head:?}");
        }
        assert!(found(b"\nname: 'net'\nlayer {", "bin").unwrap_err().contains(".prototxt"));
    }

    #[test]
    fn a_text_is_never_taken_for_a_length() {
        for text in [
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "<!DOCTYPE html>\n<html>",
            "{\"error\":\"Repository not found\"}",
            "Entry not found",
        ] {
            for extension in ["safetensors", "sqlite3", "pt", ""] {
                let message = found(text.as_bytes(), extension).unwrap_err();
                assert!(!message.contains("length"), "{text}: {message}");
            }
        }
    }

    #[test]
    fn names_the_extensions_that_can_be_written() {
        assert_eq!(Format::of_extension(Path::new("a/b.SQLITE3")).unwrap(), Format::Ccv);
        assert_eq!(Format::of_extension(Path::new("b.safetensors")).unwrap(), Format::Safetensors);
        let text = Format::of_extension(Path::new("b.onnx")).unwrap_err().to_string();
        assert!(text.contains("b.onnx") && text.contains(".safetensors"), "{text}");
    }
}
