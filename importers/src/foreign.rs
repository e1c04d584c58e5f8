//! Files that are taken for models and are none: what they are, and what to do with them.

/// Where the bytes of a signature stand, the bytes, and what a file with them is.
type Signature = (usize, &'static [u8], &'static str);

/// Signatures of binary files.
const SIGNATURES: [Signature; 44] = [
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"\x80\x02", PICKLE),
    (0, b"\x80\x03", PICKLE),
    (0, b"\x80\x04", PICKLE),
    (0, b"\x80\x05", PICKLE),
    (0, b"\x89HDF", "an HDF5 file, such as Keras writes; save the weights as safetensors instead"),
    (
        0,
        b"\x93NUMPY",
        "an array of numpy's (.npy), which has no network; save the weights as safetensors instead",
    ),
    (0, b"MATLAB 5.0", "a MATLAB file; save the weights as safetensors instead"),
    (0, b"GGUF", "a GGUF file, which holds language models"),
    (0, b"PAR1", "a Parquet file, which holds a table"),
    (4, b"TFL3", "a TensorFlow Lite model, which has no import here"),
    (0, b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (0, b"\xfd7zXZ", "compressed by xz; unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first"),
    (0, b"BZh", "compressed by bzip2; unpack it first"),
    (0, b"\x04\x22\x4d\x18", "compressed by lz4; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"GIF8", "a GIF picture"),
    (8, b"WEBP", "a WebP picture"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"II+\0", "a TIFF picture"),
    (0, b"MM\0+", "a TIFF picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftypheic", "a HEIC picture"),
    (4, b"ftyp", "a film"),
    (0, b"8BPS", "a Photoshop picture"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ\x90\0", "a program"),
    (0, b"\xca\xfe\xba\xbe", "a program"),
    (0, b"\xcf\xfa\xed\xfe", "a program"),
    (0, b"\0asm", "a WebAssembly program"),
    (0, b"\x37\x7f\x06\x82", WAL),
    (0, b"\x37\x7f\x06\x83", WAL),
    (
        0,
        b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",
        "the rollback journal of an sqlite database (-journal); name the database itself",
    ),
    (0, b"\xff\xfe", "a text in UTF-16"),
    (0, b"\xfe\xff", "a text in UTF-16"),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document"),
    (0, b"BM", "a BMP picture"),
];

const PICKLE: &str =
    "a Python pickle, and none of torch.save's; save the weights by torch.save, or as safetensors";
const WAL: &str = "the write-ahead log of an sqlite database (-wal); name the database itself";

/// What a file is that begins so and is no model file; nothing where that cannot be told.
pub(crate) fn describe(head: &[u8]) -> Option<String> {
    let at = |(start, bytes, _): &&Signature| {
        head.get(*start..).is_some_and(|rest| rest.starts_with(bytes))
    };
    // Two letters alone can begin anything: a BMP says its own length, and zeros after it.
    let bmp = |what: &str| what != "a BMP picture" || head.get(6..10) == Some(&[0; 4]);
    if let Some((.., what)) = SIGNATURES.iter().find(at).filter(|(.., what)| bmp(what)) {
        return Some((*what).to_owned());
    }
    if head.iter().all(|byte| *byte == 0) {
        return Some("nothing but zeros at its beginning, as after a broken download".into());
    }
    describe_text(head)
}

/// An ONNX model is a protocol buffer without a signature. Its first field is the version of its form
/// (a small number), its second the name of the program that wrote it, or an operator set.
pub(crate) fn is_onnx(head: &[u8]) -> bool {
    match head {
        [0x08, 1..=30, 0x12, length, name @ ..] => {
            let name = &name[..name.len().min(usize::from(*length))];
            !name.is_empty() && name.iter().all(|c| c.is_ascii_graphic() || *c == b' ')
        }
        [0x08, 1..=30, 0x3a | 0x42, ..] => true,
        _ => false,
    }
}

/// A caffemodel has no signature either: it begins with the name of the network and its first layer, or
/// with that layer, which has a name and a type, or the names of what it sees.
pub(crate) fn is_caffe(head: &[u8]) -> bool {
    const NAME: u8 = 0x0a;
    const V1_LAYER: u8 = 0x12;
    const INPUT: u8 = 0x1a;
    const LAYER: [u8; 2] = [0xa2, 0x06];
    if let Some(rest) = head.strip_prefix(&[NAME]).and_then(behind_text) {
        return matches!(rest, [V1_LAYER | INPUT, ..]) || rest.starts_with(&LAYER);
    }
    let layer = head.strip_prefix(&[V1_LAYER]).map(|rest| (rest, 0x12..=0x22));
    let layer = layer.or_else(|| head.strip_prefix(&LAYER).map(|rest| (rest, NAME..=NAME)));
    let Some((rest, keys)) = layer else { return false };
    // The length of the layer, then its first field: a text.
    let Some((_, rest)) = length(rest) else { return false };
    match rest {
        [key, rest @ ..] => key & 7 == 2 && keys.contains(key) && behind_text(rest).is_some(),
        [] => false,
    }
}

/// A length of at most four bytes in protobuf's encoding, and the bytes after it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0;
    for (place, byte) in bytes.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((length, &bytes[place + 1..]));
        }
    }
    None
}

/// The bytes after a text that has its length before it; `None` where it is no text.
fn behind_text(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = length(bytes)?;
    let text = std::str::from_utf8(rest.get(..length)?).ok()?;
    (!text.chars().any(char::is_control)).then(|| &rest[length..])
}

/// Characters of a text that a message shows.
const SHOWN: usize = 48;

/// What a text is, by its beginning.
fn describe_text(head: &[u8]) -> Option<String> {
    let text = text(head)?;
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let begins = |with: &str| {
        text.get(..with.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(with))
    };
    if begins("version https://git-lfs") {
        return Some(
            "a Git LFS pointer, which stands for the file; fetch the file itself with `git lfs pull`"
                .into(),
        );
    }
    if ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| begins(tag)) {
        return Some(
            "an HTML page, such as a web server sends in place of a file; download it again from a \
             link to the file itself"
                .into(),
        );
    }
    if is_prototxt(text) {
        return Some(
            "a network of Caffe's in text (.prototxt), which has no weights; name the .caffemodel, and this \
             file is read with it where it is beside it, or given as --prototxt"
                .into(),
        );
    }
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    Some(match text.chars().next() {
        Some('{' | '[') => format!(
            "a JSON text (an error message of a server, an index of other files, or a network \
             without weights): {shown:?}"
        ),
        Some('<') => format!("an XML text: {shown:?}"),
        Some(_) => format!("a text: {shown:?}"),
        None => "white space alone".into(),
    })
}

/// Whether a text is a definition of Caffe's: its first field is one of a network's.
fn is_prototxt(text: &str) -> bool {
    const FIELDS: [&str; 7] =
        ["name", "layer", "layers", "input", "input_dim", "input_shape", "force_backward"];
    let mut lines = text.lines().map(str::trim_start);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let end = first.find(|c: char| c != '_' && !c.is_ascii_alphabetic()).unwrap_or(first.len());
    let (name, rest) = first.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix(':').map(str::trim_start);
    let is_value = value.is_some_and(|value| value.starts_with(['"', '\'', '{']));
    let is_number = name == "input_dim" || name == "force_backward";
    FIELDS.contains(&name) && (rest.starts_with('{') || is_value || (is_number && value.is_some()))
}

/// The beginning as text, where it is one: UTF-8, and no control characters.
fn text(head: &[u8]) -> Option<&str> {
    // A text of a character or two says nothing.
    const LEAST: usize = 4;
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be cut.
        Err(e) if head.len() - e.valid_up_to() < 4 && e.error_len().is_none() => {
            std::str::from_utf8(&head[..e.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}' | '\u{1b}');
    (text.len() >= LEAST && text.chars().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_a_file_is() {
        let tar: Vec<u8> = [vec![b'a'; 8], vec![0; 249], b"ustar\0".to_vec()].concat();
        let cases: [(&[u8], &str); 25] = [
            (b"# AlexNet\nname: \"AlexNet\"\n", "name the .caffemodel"),
            (b"layer {\n  name: 'a'", "name the .caffemodel"),
            (b"input_dim: 1", "name the .caffemodel"),
            (b"net: \"train.prototxt\"", "a text: \"net:"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
            (b"<!DOCTYPE html><html>", "an HTML page"),
            (b"\xef\xbb\xbf\n <HTML lang=en>", "an HTML page"),
            (b"{\"error\": \"not found\"}", "a JSON text (an error message"),
            (b"[1, 2, 3]", "a JSON text"),
            (b"<?xml version='1.0'?><Error>", "an XML text"),
            (b"Access denied", "a text: \"Access denied\""),
            (b"\x80\x02\x8a\x0a", "pickle"),
            (b"\x80\x04\x95", "pickle"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"BZh91AY", "bzip2"),
            (b"\x93NUMPY\x01", "numpy"),
            (b"GIF89a", "GIF"),
            (b"RIFF\x10\0\0\0WEBPVP8", "WebP"),
            (b"\xff\xd8\xff\xe0", "JPEG"),
            (b"\x37\x7f\x06\x82\0", "write-ahead log"),
            (b"\xff\xfeh\0i\0", "UTF-16"),
            (b"\0\0\0\0\0\0\0\0\0", "zeros"),
            (b"\x20\0\0\0TFL3", "TensorFlow Lite"),
            (b"BM\x36\0\0\0\0\0\0\0\x36\0", "BMP"),
            (&tar, "tar archive"),
        ];
        for (head, expected) in cases {
            let text = describe(head).unwrap_or_else(|| panic!("{head:?}"));
            assert!(text.contains(expected), "{head:?}\n  expected: {expected}\n  got: {text}");
        }
        for nothing in [&b"\x01\x02\x03\x04\x05"[..], b"?", b"\x5a\x01\x5a\x01", b"ab\xff\xffcdef"]
        {
            assert_eq!(describe(nothing), None);
        }
    }

    #[test]
    fn a_long_text_is_shown_in_part_and_without_control_characters() {
        let long = "x\ny".repeat(2000);
        let text = describe(&long.as_bytes()[..4096]).unwrap();
        assert!(text.len() < 200 && !text.contains('\n') && text.contains('…'), "{text}");
        // A character that the end of what was read cuts in two.
        let text = describe("Zugriff verweigert: für".as_bytes().split_last().unwrap().1).unwrap();
        assert!(text.contains("Zugriff"), "{text}");
        let cut = [&b"Grenze "[..], &"ü".as_bytes()[..1]].concat();
        assert!(describe(&cut).unwrap().contains("Grenze"));
    }
}
