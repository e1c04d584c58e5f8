//! What the samples of a set are, so that a training can tell whether they are still the same.
//!
//! A file is known by its path below the set's folder, its size and its label: moving the whole set
//! elsewhere changes nothing. Bytes of at most [`FILES_READ`] files are looked at too, since pictures
//! that are not compressed all have one size. Pictures in memory are known by all of their pixels.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Component, Path, PathBuf};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use twox_hash::xxhash3_128::Hasher;

use super::{Dataset, Kind, Pictures, difference};

/// The first line of [`Samples`] as text.
const HEAD: &str = "striate-samples 1";

/// Files of a set whose bytes are looked at, spread evenly over it.
pub const FILES_READ: usize = 256;

/// Bytes of each of them.
const BYTES_READ: u64 = 64 * 1024;

/// Threads that ask for the sizes of files: they wait for the disk, not for a processor.
const ASKING: usize = 16;

/// More text than any real set has.
const MAX_TEXT_BYTES: u64 = 4 << 30;

/// The samples of a [`Dataset`] at a time, without their pixels: class names, and the name, size and
/// label of each, in their order. It is a text, whose form is stable:
///
/// ```text
/// striate-samples 1
/// classes 2                     or `classes ?` where they have no names
/// cat
/// dog
/// samples 3
/// 0 1234 cat/a.png              label, bytes (`?` for a file that is not there), path
/// 1 99 dog/b.png
/// 1 28x28x1                     pictures in memory: label, rows x columns x channels
/// content 00112233445566778899aabbccddeeff
/// ```
///
/// `content` is the XXH3-128 of bytes of some files, or of all pixels in memory. Paths have `/`
/// between folders; a backslash or a line break in a name is written `\\` or `\n`.
///
/// ```
/// use striate_data::{Dataset, Image};
///
/// let picture = |value| Image::filled(2, 2, 1, value);
/// let now = Dataset::from_images(vec![picture(1)?, picture(2)?], vec![0, 1])?.samples();
/// let before = Dataset::from_images(vec![picture(1)?, picture(2)?], vec![1, 1])?.samples();
/// assert_ne!(now.digest(), before.digest());
/// let told = now.difference(&before).unwrap();
/// assert!(told.starts_with("1 has another label (picture 0: 0, before 1)"), "{told}");
/// # Ok::<(), striate_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    text: Vec<u8>,
}

impl Samples {
    /// The XXH3-128 of the text, 32 hexadecimal digits: equal for equal samples.
    pub fn digest(&self) -> String {
        hex(Hasher::oneshot(&self.text))
    }

    /// The text, compressed (zlib) and in base 64: for a file that holds texts.
    pub fn pack(&self) -> String {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
        // Memory takes all that is written to it.
        let written = packed.write_all(&self.text).and_then(|()| packed.finish());
        STANDARD.encode(written.unwrap_or_default())
    }

    /// What [`Samples::pack`] packed; nothing where it is damaged.
    pub fn unpack(packed: &str) -> Option<Self> {
        let bytes = STANDARD.decode(packed).ok()?;
        let mut text = Vec::new();
        ZlibDecoder::new(&bytes[..]).take(MAX_TEXT_BYTES).read_to_end(&mut text).ok()?;
        text.starts_with(HEAD.as_bytes()).then_some(Self { text })
    }

    /// In what way these samples differ from others of before, with the first few names; nothing
    /// where they are the same.
    pub fn difference(&self, before: &Self) -> Option<String> {
        (self.text != before.text).then(|| difference::tell(&self.text, &before.text))
    }
}

impl Dataset {
    /// What the samples are now. Files are asked for their size, all of them, by several threads.
    pub fn samples(&self) -> Samples {
        let mut text = format!("{HEAD}\n");
        // Writing to a string cannot fail.
        let _ = match &self.names {
            Some(names) => writeln!(text, "classes {}", names.len()),
            None => writeln!(text, "classes ?"),
        };
        let mut text = text.into_bytes();
        for name in self.names.iter().flatten() {
            push_escaped(&mut text, name.as_bytes());
            text.push(b'\n');
        }
        text.extend(format!("samples {}\n", self.len()).as_bytes());
        let content = match &self.pictures {
            Pictures::Files { paths, .. } => {
                let below = self.common_folder(paths);
                for ((path, size), label) in paths.iter().zip(sizes(paths)).zip(&self.labels) {
                    let size = size.map_or_else(|| "?".to_owned(), |size| size.to_string());
                    text.extend(format!("{label} {size} ").as_bytes());
                    push_path(&mut text, path, below);
                    text.push(b'\n');
                }
                some_bytes(paths)
            }
            Pictures::Raw { shape: [rows, cols, channels], values } => {
                for label in &self.labels {
                    text.extend(format!("{label} {rows}x{cols}x{channels}\n").as_bytes());
                }
                Hasher::oneshot(values)
            }
            Pictures::Images(images) => {
                let mut hasher = Hasher::new();
                for (image, label) in images.iter().zip(&self.labels) {
                    let [rows, cols, channels] = image.shape();
                    text.extend(format!("{label} {rows}x{cols}x{channels}\n").as_bytes());
                    hasher.write(image.values());
                }
                hasher.finish_128()
            }
        };
        text.extend(format!("content {}\n", hex(content)).as_bytes());
        Samples { text }
    }

    /// How many leading parts of the paths are not the samples' own: those of the set's folder, or
    /// of the folder that the pictures of a list have in common.
    fn common_folder(&self, paths: &[PathBuf]) -> usize {
        if self.kind == Kind::Folder && paths.iter().all(|path| path.starts_with(&self.origin)) {
            return self.origin.components().count();
        }
        let Some(first) = paths.first().and_then(|path| path.parent()) else { return 0 };
        let first: Vec<Component<'_>> = first.components().collect();
        paths.iter().skip(1).fold(first.len(), |common, path| {
            let parent = path.parent().unwrap_or(Path::new(""));
            let same = first[..common].iter().zip(parent.components()).take_while(|(a, b)| *a == b);
            same.count()
        })
    }
}

fn hex(hash: u128) -> String {
    format!("{hash:032x}")
}

/// A name without line breaks, as [`difference`] takes it apart.
fn push_escaped(text: &mut Vec<u8>, name: &[u8]) {
    for &byte in name {
        match byte {
            b'\\' => text.extend(b"\\\\"),
            b'\n' => text.extend(b"\\n"),
            byte => text.push(byte),
        }
    }
}

/// A path without its first `below` parts.
fn push_path(text: &mut Vec<u8>, path: &Path, below: usize) {
    let parts = path.components().skip(below).filter(|part| *part != Component::CurDir);
    for (number, part) in parts.enumerate() {
        if number > 0 {
            text.push(b'/');
        }
        push_escaped(text, part.as_os_str().as_encoded_bytes());
    }
}

/// The size of each file in bytes; none for one that is not there.
fn sizes(paths: &[PathBuf]) -> Vec<Option<u64>> {
    let ask = |paths: &[PathBuf]| -> Vec<Option<u64>> {
        let size = |path: &PathBuf| path.metadata().ok().filter(|m| m.is_file()).map(|m| m.len());
        paths.iter().map(size).collect()
    };
    let share = paths.len().div_ceil(ASKING).max(256);
    thread::scope(|scope| {
        let parts: Vec<_> = paths
            .chunks(share)
            .map(|part| (part, thread::Builder::new().spawn_scoped(scope, move || ask(part))))
            .collect();
        let mut all = Vec::with_capacity(paths.len());
        for (part, thread) in parts {
            // Without a thread of its own a part is asked for here.
            let sizes = thread.ok().and_then(|thread| thread.join().ok());
            all.extend(sizes.unwrap_or_else(|| ask(part)));
        }
        all
    })
}

/// A hash of the beginnings of some files.
fn some_bytes(paths: &[PathBuf]) -> u128 {
    let count = paths.len().min(FILES_READ);
    let mut hasher = Hasher::new();
    for number in 0..count {
        let path = &paths[number * paths.len() / count];
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(BYTES_READ).read_to_end(&mut bytes));
        // What cannot be read has no size either, which is noted already.
        let length = read.unwrap_or(0) as u64;
        hasher.write(&length.to_le_bytes());
        hasher.write(&bytes);
    }
    hasher.finish_128()
}
