//! Which file or folder a path means.

use std::fs;
use std::io;
use std::path::Path;

/// The identity of a file or a folder, however its path is spelled and by whichever link: device and
/// inode on Unix, elsewhere the path that the system calls it (which does not tell that two hard
/// links are one file).
///
/// ```
/// use striate_data::output::FileId;
///
/// let here = FileId::of(".")?;
/// assert_eq!(here, FileId::of("./.")?);
/// assert_ne!(here, FileId::of("..")?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileId(Id);

#[cfg(unix)]
type Id = (u64, u64);

#[cfg(not(unix))]
type Id = std::path::PathBuf;

impl FileId {
    /// The identity of what is at a path. Links are followed.
    ///
    /// # Errors
    /// Where nothing is there, or the system does not say what.
    pub fn of(path: impl AsRef<Path>) -> io::Result<Self> {
        #[cfg(unix)]
        return Ok(Self::of_metadata(&fs::metadata(path)?));
        #[cfg(not(unix))]
        fs::canonicalize(path).map(FileId)
    }

    /// The identity of the file that has this metadata.
    #[cfg(unix)]
    pub fn of_metadata(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        FileId((metadata.dev(), metadata.ino()))
    }
}
