//! Named tensors in a file that `torch.save` wrote.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use striate_tensor::{DType, Device, Tensor};

use super::element::Element;
use super::find::{self, Found};
use super::legacy;
use super::pickle::{self, Heap, Node, Reader, StorageRef, Value};
use super::strided::View;
use super::zip::{Directory, Member};
use crate::limits::MAX_HEADER_BYTES;
use crate::options::ReadOptions;
use crate::source::{Beside, Source, read_exact_at};
use crate::state_dict::{Fill, StateDict};
use crate::values::Stored;
use crate::{Error, Format, Result};

/// The member of an archive that holds the pickle.
const PICKLE: &str = "data.pkl";

/// How many times its file's bytes the tensors of a state dict may have: several names may stand for the
/// same numbers, and views may repeat them, but not without an end.
const MAX_TIMES: u64 = 8;

/// Bytes that tensors may have in any case.
const SPARE_BYTES: u64 = 1 << 20;

/// The tensors of a state dict in a file that `torch.save` wrote (`.pth`, `.pt`), by name.
///
/// Opening reads the pickle alone, which says what is where, and executes nothing of it. Each tensor is read
/// when it is asked for. Where the file holds more than one state dict, a warning says which this is and
/// which others there are; [`open_key`](TensorFile::open_key) chooses.
pub struct TensorFile {
    source: Arc<Source>,
    key: String,
    others: Vec<String>,
    entries: Vec<Entry>,
    /// The place of each name among the entries.
    places: HashMap<String, usize>,
    storages: Vec<Storage>,
    archive: Option<Directory>,
    /// Whether the machine that wrote it has the bytes of a number in the other order.
    is_big_endian: bool,
}

/// A tensor.
struct Entry {
    name: String,
    element: Element,
    shape: Vec<usize>,
    strides: Vec<u64>,
    storage: usize,
    /// The place of its first byte in the storage.
    first: u64,
}

/// The bytes that tensors are views of.
struct Storage {
    data: Data,
    bytes: u64,
}

enum Data {
    /// In the file, from this place on.
    At(u64),
    /// Compressed: unpacked to a temporary file when it is asked for.
    Packed(Box<Member>, Mutex<Option<Arc<File>>>),
}

/// A file's pickle, and where its storages are.
struct Opened {
    root: Value,
    heap: Heap,
    /// What a zip archive is, and what the names of its members begin with.
    archive: Option<(Directory, String)>,
    legacy: legacy::StorageExtents,
    is_big_endian: bool,
}

impl TensorFile {
    /// Opens a file and finds the state dict in it. What is no regular file, such as a pipe, is copied to a
    /// temporary one first.
    ///
    /// # Errors
    /// Where it cannot be opened, is damaged or too large for the limits of this crate, or holds no state
    /// dict: a pickled model whose class is unknown here, for example.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::of(Arc::new(Source::expect(path.as_ref(), Format::Pth)?), None)
    }

    /// As [`open`](Self::open), for the state dict under this key of a checkpoint: `ema`, or
    /// `model.state_dict` for one within another.
    ///
    /// # Errors
    /// As [`open`](Self::open), and where there are no tensors under the key.
    pub fn open_key(path: impl AsRef<Path>, key: &str) -> Result<Self> {
        Self::of(Arc::new(Source::expect(path.as_ref(), Format::Pth)?), Some(key))
    }

    pub(crate) fn of(source: Arc<Source>, key: Option<&str>) -> Result<Self> {
        let opened = match source.head().starts_with(b"PK") {
            true => read_zip(&source)?,
            false => {
                let (root, heap, legacy) = legacy::read(&source)?;
                Opened { root, heap, archive: None, legacy, is_big_endian: false }
            }
        };
        let found = find::find(source.name(), &opened.heap, opened.root, key)?;
        tell(source.name(), &opened.heap, &found, key.is_some());
        let others = found.beside.iter().map(|(key, _)| key.clone()).collect();
        let (key, tensors) = (found.key, found.tensors);
        let (mut entries, mut storages) = (Vec::with_capacity(tensors.len()), Vec::new());
        let mut known = HashMap::new();
        for (name, tensor) in tensors {
            let Some(Node::Storage(view)) = opened.heap.nodes.get(tensor.storage) else { continue };
            let storage = match known.get(view.key.as_str()) {
                Some(known) => *known,
                None => {
                    storages.push(opened.storage(&source, &name, view)?);
                    known.insert(view.key.as_str(), storages.len() - 1);
                    storages.len() - 1
                }
            };
            let first = view.first * view.element.map_or(1, Element::size)
                + tensor.offset * tensor.element.size();
            let (element, shape) = (tensor.element, tensor.shape.clone());
            let entry =
                Entry { name, element, shape, strides: tensor.strides.clone(), storage, first };
            entry.check(source.name(), storages.get(storage).map_or(0, |s| s.bytes))?;
            entries.push(entry);
        }
        check_total(source.name(), &entries, &storages)?;
        let places = entries.iter().enumerate().map(|(i, e)| (e.name.clone(), i)).collect();
        let (archive, is_big_endian) = (opened.archive.map(|a| a.0), opened.is_big_endian);
        Ok(TensorFile { source, key, others, entries, places, storages, archive, is_big_endian })
    }

    /// The key of the state dict in the checkpoint; empty where it is the whole file.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The keys of the file's other state dicts.
    pub fn other_keys(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(String::as_str)
    }

    /// The names of the tensors, in the order of the state dict.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The shape of a tensor, where there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.entry(name)?.shape)
    }

    /// PyTorch's name for the type of a tensor's elements: `float32`.
    pub fn element_type(&self, name: &str) -> Option<&'static str> {
        Some(self.entry(name)?.element.name())
    }

    /// A tensor of floats: f32 and f16 as they are, bf16 and f64 as f32; or all as `dtype`, rounded to
    /// the nearest where that has fewer bits.
    ///
    /// # Errors
    /// [`Error::Content`] where there is none of this name, or it is not one of floats;
    /// [`Error::Overflow`] where a value is too large for the type; [`Error::Io`] and
    /// [`Error::Changed`] where the file cannot be read; [`Error::Tensor`] where the device has no
    /// memory for it.
    pub fn tensor(&self, name: &str, device: &Device, dtype: Option<DType>) -> Result<Tensor> {
        self.load(name, device, &ReadOptions::default().dtype(dtype))
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(*self.places.get(name)?)
    }

    fn find(&self, name: &str) -> Result<&Entry> {
        self.entry(name).ok_or_else(|| {
            let got = format!("{} others", self.entries.len());
            let place = format!("tensor {name}");
            Error::content(self.source.name(), place, "a tensor of this name", got)
        })
    }

    /// What copies the bytes of a storage, from a place in it on.
    fn reader(&self, storage: &Storage) -> Result<impl Fn(&mut [u8], u64) -> Result<()> + '_> {
        let unpacked = match &storage.data {
            Data::At(at) => Ok(*at),
            Data::Packed(member, file) => Err(self.unpacked(member, file)?),
        };
        Ok(move |bytes: &mut [u8], at: u64| match &unpacked {
            Ok(first) => self.source.read_exact_at(bytes, first + at),
            Err(file) => read_exact_at(file, bytes, at)
                .map_err(|e| Error::io(self.source.name(), "read what was unpacked of it", e)),
        })
    }

    /// A member that is compressed, as a temporary file.
    fn unpacked(&self, member: &Member, file: &Mutex<Option<Arc<File>>>) -> Result<Arc<File>> {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let failed = |e| Error::io(self.source.name(), "unpack to a temporary file", e);
        let mut unpacked = tempfile::tempfile().map_err(failed)?;
        if let Some(archive) = &self.archive {
            archive.unpack(&self.source, member, |bytes| unpacked.write_all(bytes))?;
        }
        Ok(Arc::clone(file.insert(Arc::new(unpacked))))
    }
}

impl StateDict for TensorFile {
    fn file(&self) -> &str {
        self.source.name()
    }

    fn bytes(&self) -> u64 {
        self.source.bytes()
    }

    fn beside(&self) -> Option<Beside> {
        self.source.beside()
    }

    fn format(&self) -> Format {
        Format::Pth
    }

    fn all_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.names())
    }

    fn dims(&self, name: &str) -> Option<&[usize]> {
        self.shape(name)
    }

    fn stored(&self, name: &str) -> Result<Stored> {
        let entry = self.find(name)?;
        entry.element.floats().ok_or_else(|| {
            let expected = "elements of type float32, float16, bfloat16 or float64";
            let place = format!("tensor {name}");
            Error::content(self.source.name(), place, expected, entry.element.name())
        })
    }

    fn fill(&self, name: &str) -> Result<Fill<'_>> {
        let entry = self.find(name)?;
        let Some(storage) = self.storages.get(entry.storage) else {
            return Err(Error::content(self.source.name(), name, "a storage", "none"));
        };
        let read = self.reader(storage)?;
        let (first, unit) = (entry.first, entry.element.unit());
        let is_swapped = self.is_big_endian;
        let order = move |bytes: &mut [u8]| {
            if is_swapped {
                bytes.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
            }
        };
        let view = entry.view();
        if view.is_contiguous() {
            return Ok(Box::new(move |bytes, at| {
                read(bytes, first + at as u64)?;
                order(bytes);
                Ok(())
            }));
        }
        let mut all = view.gather(|bytes, at| read(bytes, first + at))?;
        order(&mut all);
        let name = self.source.name();
        Ok(Box::new(move |bytes, at| match all.get(at..at + bytes.len()) {
            Some(from) => {
                bytes.copy_from_slice(from);
                Ok(())
            }
            None => Err(Error::Changed { file: name.into() }),
        }))
    }

    fn check(&self) -> Result<()> {
        self.source.check_unchanged()
    }
}

impl Entry {
    fn view(&self) -> View<'_> {
        // At most 16 bytes.
        let size = self.element.size() as usize;
        View { shape: &self.shape, strides: &self.strides, size }
    }

    /// Refuses a view that reaches beyond the bytes of its storage.
    fn check(&self, file: &str, storage: u64) -> Result<()> {
        if self.shape.contains(&0) {
            return Ok(());
        }
        let steps = self.shape.iter().zip(&self.strides);
        let last = steps.fold(0u64, |sum, (&extent, &stride)| {
            sum.saturating_add((extent as u64 - 1).saturating_mul(stride))
        });
        let bytes = last.saturating_add(1).saturating_mul(self.element.size());
        if self.first.saturating_add(bytes) <= storage {
            return Ok(());
        }
        let expected = format!("{bytes} bytes from {} on in its storage", self.first);
        let got = format!("a storage of {storage} bytes");
        Err(Error::content(file, format!("tensor {}", self.name), expected, got))
    }
}

impl Opened {
    /// Where a storage is, checked against the file; `name` is a tensor's that needs it.
    fn storage(&self, source: &Source, name: &str, view: &StorageRef) -> Result<Storage> {
        let place = || format!("tensor {name}, storage {:?}", view.key);
        let fail = |expected: String, got: String| {
            Err(Error::content(source.name(), place(), expected, got))
        };
        let Some((archive, beginning)) = &self.archive else {
            return match self.legacy.get(&view.key) {
                Some(&(at, bytes)) => Ok(Storage { data: Data::At(at), bytes }),
                None => fail("a storage of this name in the file".into(), "none".into()),
            };
        };
        let member = format!("{beginning}data/{}", view.key);
        let Some(member) = archive.find(&member) else {
            return fail(format!("a zip member {member}"), "none".into());
        };
        let size = view.element.map_or(1, Element::size);
        if view.whole.checked_mul(size).is_none_or(|bytes| bytes > member.bytes) {
            let expected = format!("{} elements of {size} bytes", view.whole);
            return fail(expected, format!("{} bytes", member.bytes));
        }
        let data = match member.is_stored() {
            true => Data::At(archive.place(source, member)?),
            false => Data::Packed(Box::new(member.clone()), Mutex::new(None)),
        };
        Ok(Storage { data, bytes: member.bytes })
    }
}

fn read_zip(source: &Source) -> Result<Opened> {
    let file = source.name();
    let archive = Directory::read(source)?;
    let ends = |name: &str| name.strip_suffix(PICKLE).is_some_and(|n| n.ends_with('/'));
    // Of several, that of the archive itself: closest to its root.
    let pickles = archive.members.iter().filter(|m| ends(&m.name) || m.name == PICKLE);
    let Some(member) = pickles.min_by_key(|member| member.name.matches('/').count()) else {
        let first: Vec<&str> = archive.members.iter().take(3).map(|m| m.name.as_str()).collect();
        let what = match first.first() {
            Some(name) if name.ends_with(".npy") => ", as numpy.savez writes",
            _ => "",
        };
        return Err(Error::not_a_model(
            file,
            format!(
                "it is a zip archive{what} without the {PICKLE} of torch.save; its first members: {}",
                first.join(", ")
            ),
        ));
    };
    let beginning = member.name.strip_suffix(PICKLE).unwrap_or_default().to_owned();
    let is_big_endian = match archive.find(&format!("{beginning}byteorder")) {
        Some(order) => archive.contents(source, order, 64)?.trim_ascii() == b"big",
        None => false,
    };
    let (root, heap) = match member.is_stored() {
        true => {
            let at = archive.place(source, member)?;
            let fill = |bytes: &mut [u8], at| source.read_exact_at(bytes, at);
            pickle::read(&mut Reader::new(file, PICKLE, at, at + member.bytes, fill))?
        }
        false => {
            let bytes = archive.contents(source, member, MAX_HEADER_BYTES)?;
            let fill = |to: &mut [u8], at: u64| {
                // The reader stays within the length that it was given.
                let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..at + to.len()));
                from.map(|from| to.copy_from_slice(from))
                    .ok_or_else(|| Error::Changed { file: file.to_owned() })
            };
            pickle::read(&mut Reader::new(file, PICKLE, 0, bytes.len() as u64, fill))?
        }
    };
    Ok(Opened {
        root,
        heap,
        archive: Some((archive, beginning)),
        legacy: legacy::StorageExtents::new(),
        is_big_endian,
    })
}

/// Refuses tensors that have many times the bytes of their storages.
fn check_total(file: &str, entries: &[Entry], storages: &[Storage]) -> Result<()> {
    let stored: u64 = storages.iter().map(|storage| storage.bytes).fold(0, u64::saturating_add);
    let most = stored.saturating_mul(MAX_TIMES).saturating_add(SPARE_BYTES);
    let mut total = 0u64;
    for entry in entries {
        let count = entry.shape.iter().fold(1u64, |n, &extent| n.saturating_mul(extent as u64));
        total = total.saturating_add(count.saturating_mul(entry.element.size()));
        if total > most {
            let place = format!("tensor {}", entry.name);
            let expected = format!(
                "tensors of at most {most} bytes, {MAX_TIMES} times the {stored} that are stored"
            );
            return Err(Error::content(file, place, expected, format!("{total}, with this one")));
        }
    }
    Ok(())
}

/// Modules of Python's by which a pickle does harm when it is opened there.
const HARMFUL: [&str; 14] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "shutil",
    "socket",
    "runpy",
    "importlib",
    "pickle",
    "ctypes",
    "pty",
    "webbrowser",
    "commands",
];

/// Functions of every program by which one does.
const HARMFUL_BUILTINS: [&str; 6] = ["eval", "exec", "execfile", "compile", "open", "__import__"];

/// Says what was chosen and what was left out.
fn tell(file: &str, heap: &Heap, found: &Found<'_>, is_asked: bool) {
    let Found { key, tensors, others, beside } = found;
    if !beside.is_empty() && !is_asked {
        let named = |(key, count): &(String, usize)| match key.as_str() {
            "" => format!("at its top ({count} tensors)"),
            key => format!("{key:?} ({count} tensors)"),
        };
        let shown: Vec<String> = beside.iter().take(8).map(named).collect();
        let shown = shown.join(", ");
        let which = match key.as_str() {
            "" => "the tensors at its top are".to_owned(),
            key => format!("{key:?} ({} tensors) is", tensors.len()),
        };
        log::warn!("{file}: it holds several state dicts: {which} read; others are {shown}");
    } else if !key.is_empty() {
        log::info!("{file}: the state dict is {key:?} of the checkpoint");
    }
    for (name, what) in others.iter().take(4) {
        log::warn!("{file}: {name} is left out: it is what {what} makes, which is not read");
    }
    let (mut harmful, mut others) = (Vec::new(), Vec::new());
    for global in heap.unknown() {
        let module = global.module.split('.').next().unwrap_or_default();
        let is_builtin = matches!(module, "builtins" | "__builtin__");
        let is_harmful = HARMFUL.contains(&module)
            || is_builtin && HARMFUL_BUILTINS.contains(&global.name.as_str());
        let list = if is_harmful { &mut harmful } else { &mut others };
        if list.len() < 8 {
            list.push(format!("{} (offset {})", global.path(), global.at));
        }
    }
    if !harmful.is_empty() {
        let harmful = harmful.join(", ");
        log::warn!(
            "{file}: whoever opens it in Python executes {harmful}, which no model needs; here nothing is \
             executed"
        );
    }
    if !others.is_empty() {
        let others = others.join(", ");
        log::info!("{file}: not read, and not executed: {others}");
    }
}

impl std::fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorFile({}, {} tensors)", self.source.name(), self.entries.len())
    }
}
