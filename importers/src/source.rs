//! A model file that is open for reading: opened once, and read at any place by any thread.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use striate_tensor::SharedBytes;
use tempfile::TempPath;

use crate::format::{self, Format};
use crate::limits::MAX_PIPE_BYTES;
use crate::{Error, Result};

/// Bytes of the beginning that decide which kind of file it is.
pub(crate) const HEAD_BYTES: usize = 4096;

/// Bytes that are copied from a pipe at a time.
const COPIED_BYTES: usize = 1 << 20;

/// A file that is open for reading.
///
/// It is opened once, and everything comes from that one handle: what is recognised is what is
/// read, also where another file takes its name meanwhile. What is no regular file (a pipe) is first
/// copied whole into a temporary one, because model files are not read from one end to the other.
pub(crate) struct Source {
    data: Data,
    name: String,
    path: PathBuf,
    bytes: u64,
    head: Vec<u8>,
    format: Format,
    /// Of a regular file, when it was opened.
    stamp: Option<Stamp>,
    /// The temporary file, which goes with this.
    spooled: Option<TempPath>,
}

/// Where the bytes are.
enum Data {
    File(File),
    /// In memory, such as in the program itself.
    Memory(SharedBytes),
}

impl Source {
    /// A file in memory; `name` stands for it in messages. Only forms that need no file on a disk are
    /// taken.
    pub(crate) fn of_bytes(bytes: SharedBytes, name: &str) -> Result<Self> {
        let all = bytes.bytes();
        let head = all.get(..HEAD_BYTES).unwrap_or(all).to_vec();
        let refuse = |reason| Error::not_a_model(name, reason);
        let format = format::recognise(&head, Some(all.len() as u64), "").map_err(refuse)?;
        if format == Format::Ccv {
            return Err(refuse(format!("{format} is read from a file on a disk only")));
        }
        Ok(Source {
            name: name.to_owned(),
            path: PathBuf::new(),
            bytes: all.len() as u64,
            head,
            format,
            stamp: None,
            spooled: None,
            data: Data::Memory(bytes),
        })
    }

    /// Opens a file and recognises its kind.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_as(path, None)
    }

    /// As `open`, where the file must be of this kind.
    pub(crate) fn expect(path: &Path, format: Format) -> Result<Self> {
        let source = Self::open_as(path, Some(format))?;
        if source.format != format {
            let found = source.format;
            let reason = format!("{format} was asked for, and it is {found}");
            return Err(Error::not_a_model(&source.name, reason));
        }
        Ok(source)
    }

    fn open_as(path: &Path, format: Option<Format>) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |e| Error::io(&name, "open", e);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Error::not_a_model(&name, "it is a directory"));
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        // What is asked for decides what a message looks for, as the extension does.
        let extension = format.map_or(extension, |format| format.extension());
        if !metadata.is_file() {
            return Self::spool(file, name, extension);
        }
        let mut head = Vec::new();
        let read = (&file).take(HEAD_BYTES as u64).read_to_end(&mut head);
        read.map_err(|e| Error::io(&name, "read", e))?;
        let bytes = metadata.len();
        let format = format::recognise(&head, Some(bytes), extension)
            .map_err(|reason| Error::not_a_model(&name, reason))?;
        let stamp = Some(Stamp::of(&metadata));
        let path = path.to_path_buf();
        let data = Data::File(file);
        Ok(Source { data, name, path, bytes, head, format, stamp, spooled: None })
    }

    /// Copies what comes out of a pipe to a temporary file, if it begins as a model file does.
    /// `name` stands for it in messages.
    pub(crate) fn spool(
        mut reader: impl Read,
        name: impl Into<String>,
        extension: &str,
    ) -> Result<Self> {
        let name = name.into();
        let read_failed = |e| Error::io(&name, "read", e);
        let mut head = Vec::new();
        let first = (&mut reader).take(HEAD_BYTES as u64).read_to_end(&mut head);
        first.map_err(read_failed)?;
        let refuse = |reason| Error::not_a_model(&name, reason);
        format::recognise(&head, None, extension).map_err(refuse)?;

        let copy_failed = |e| Error::io(&name, "copy to a temporary file", e);
        let mut temporary = tempfile::NamedTempFile::new().map_err(copy_failed)?;
        temporary.write_all(&head).map_err(copy_failed)?;
        let mut bytes = head.len() as u64;
        let mut buffer = vec![0; COPIED_BYTES];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(read_failed(e)),
            };
            bytes += n as u64;
            if bytes > MAX_PIPE_BYTES {
                let reason = format!(
                    "more than {MAX_PIPE_BYTES} bytes came out of the pipe; put it in a file \
                     and name that"
                );
                return Err(refuse(reason));
            }
            temporary.write_all(&buffer[..n]).map_err(copy_failed)?;
        }
        // Now that the length is known, a file that is cut off is seen here.
        let format = format::recognise(&head, Some(bytes), extension).map_err(refuse)?;
        let (file, path) = temporary.into_parts();
        let spooled = Some(path);
        let path = spooled.as_deref().unwrap_or(Path::new("")).to_path_buf();
        let data = Data::File(file);
        Ok(Source { data, name, path, bytes, head, format, stamp: None, spooled })
    }

    /// What stands for the file in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where the file is: for a pipe, the copy.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that the file is in; none for a pipe, and for what is in memory.
    pub(crate) fn folder(&self) -> Option<&Path> {
        if self.spooled.is_some() || self.in_memory().is_some() {
            return None;
        }
        match self.path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Some(Path::new(".")),
            parent => parent,
        }
    }

    /// Where other files of the same model are found; none for a pipe, and for what is in memory.
    pub(crate) fn beside(&self) -> Option<Beside> {
        Some(Beside { folder: self.folder()?.to_path_buf(), stem: self.stem() })
    }

    /// What a network without a name of its own is called. A pipe has a name that says nothing, such as
    /// `/dev/fd/63`.
    pub(crate) fn stem(&self) -> String {
        if self.folder().is_none() {
            return String::new();
        }
        let stem = Path::new(&self.name).file_stem();
        stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    }

    /// The length when the file was opened.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first [`HEAD_BYTES`], or all.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// The file that is open; none for what is in memory.
    pub(crate) fn file(&self) -> Option<&File> {
        match &self.data {
            Data::File(file) => Some(file),
            Data::Memory(_) => None,
        }
    }

    /// The bytes of what is in memory.
    pub(crate) fn in_memory(&self) -> Option<&SharedBytes> {
        match &self.data {
            Data::File(_) => None,
            Data::Memory(bytes) => Some(bytes),
        }
    }

    /// Fills `bytes` from the place `at`; any thread may.
    ///
    /// Places within the length are there, unless another program has made the file shorter.
    pub(crate) fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        let read = match &self.data {
            Data::File(file) => read_exact_at(file, bytes, at),
            Data::Memory(all) => match read_memory(all.bytes(), bytes, at) {
                read if read == bytes.len() => Ok(()),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        };
        read.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::Changed { file: self.name.clone() },
            _ => Error::io(&self.name, "read", e),
        })
    }

    /// Reads what there is from the place `at` on; any thread may.
    pub(crate) fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        match &self.data {
            Data::File(file) => read_at(file, bytes, at),
            Data::Memory(all) => Ok(read_memory(all.bytes(), bytes, at)),
        }
    }

    /// Refuses what was read, where another program has written the file since it was opened.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        let (Some(stamp), Data::File(file)) = (&self.stamp, &self.data) else { return Ok(()) };
        let metadata = file.metadata().map_err(|e| Error::io(&self.name, "read", e))?;
        match Stamp::of(&metadata) == *stamp {
            true => Ok(()),
            false => Err(Error::Changed { file: self.name.clone() }),
        }
    }
}

/// The folder of a file, and its name without the extension.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    folder: PathBuf,
    stem: String,
}

impl Beside {
    pub(crate) fn stem(&self) -> &str {
        &self.stem
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A small file of the folder; nothing where there is none.
    pub(crate) fn read(&self, name: &str, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(name);
        match std::fs::metadata(&path) {
            // Opening a pipe would wait for whoever writes it.
            Ok(metadata) if !metadata.is_file() => return Ok(None),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        }
        let mut bytes = Vec::new();
        File::open(&path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max_bytes {
            let text = format!("it has more than {max_bytes} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Some(bytes))
    }
}

/// Copies what there is from the place `at` on, and says how much.
fn read_memory(all: &[u8], bytes: &mut [u8], at: u64) -> usize {
    let rest = usize::try_from(at).ok().and_then(|at| all.get(at..)).unwrap_or_default();
    let count = rest.len().min(bytes.len());
    bytes[..count].copy_from_slice(&rest[..count]);
    count
}

/// Fills `bytes` from the place `at` of a file; any thread may.
pub(crate) fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match read_at(file, bytes, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => (bytes, at) = (&mut bytes[n..], at + n as u64),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// What changes when a file is written.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Stamp { bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, at)
}

/// Where a file has one place at a time, readers take turns.
#[cfg(not(any(unix, windows)))]
pub(crate) fn read_at(mut file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    use std::io::{Seek, SeekFrom};
    use std::sync::{Mutex, PoisonError};
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(at))?;
    file.read(bytes)
}
