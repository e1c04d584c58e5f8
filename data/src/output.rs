//! Writing files whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

pub use crate::file_id::FileId;
use crate::{Error, Image, Result};

/// Writes a picture of 1 or 3 channels as PNG, whole or not at all (see [`write_whole`]).
///
/// # Errors
/// What [`png`] and [`write_whole`] report.
pub fn write_png(path: impl AsRef<Path>, image: &Image) -> Result<()> {
    write_whole(path, &png(image)?)
}

/// The bytes of a PNG file with a picture of 1 or 3 channels.
///
/// # Errors
/// [`Error::Channels`] for other numbers of channels, [`Error::Write`] where the picture is too
/// large for PNG.
pub fn png(image: &Image) -> Result<Vec<u8>> {
    let color = match image.channels() {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        got => {
            return Err(Error::Channels {
                operation: "writing a PNG",
                expected: "1 (grey) or 3 (RGB)",
                got,
            });
        }
    };
    // More than 2^32 pixels a side do not fit into memory.
    let (cols, rows) = (image.cols() as u32, image.rows() as u32);
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(image.values(), cols, rows, color).map_err(
        |error| Error::Write {
            path: "a PNG picture".into(),
            what: "encoding it",
            source: std::io::Error::other(error),
        },
    )?;
    Ok(bytes)
}

/// Writes a file whole or not at all: into a temporary file in the same folder, which then takes
/// the name. Whoever reads the path sees the old file or the new one, and a failure leaves the old
/// one as it was and nothing else behind. The new file has the permissions of the old one. A link
/// is followed. A pipe or a device is written to directly.
///
/// # Errors
/// [`Error::Directory`] when the path is a folder, [`Error::NoFolder`] when its folder is missing,
/// and [`Error::Write`] with the operating system's reason, such as a full disk.
pub fn write_whole(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        // Renaming over a device would replace the device.
        let failed = |what| move |source| Error::Write { path: path.to_owned(), what, source };
        let device = OpenOptions::new().write(true).open(path);
        let mut device = device.map_err(failed("opening the device"))?;
        return device.write_all(bytes).map_err(failed("writing to the device"));
    }
    // Through a link, so that the link stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    write(path, &target, bytes, true)
}

/// As [`write_whole`], without waiting until the disk has it: after a power cut (not after a crash of
/// the program) the file may be empty. For files of which there are many, and which can be made again.
/// A link is replaced, not followed: what it leads to is none of ours.
pub(crate) fn write_replaceable(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, path, bytes, false)
}

/// Writes a file at `target`, which messages call `path`.
fn write(path: &Path, target: &Path, bytes: &[u8], wait: bool) -> Result<()> {
    let failed = |what| move |source| Error::Write { path: path.to_owned(), what, source };
    let mut permissions = None;
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(Error::Directory {
                path: path.to_owned(),
                expected: "expected the name of a file to write",
            });
        }
        Ok(metadata) if metadata.is_file() => permissions = Some(metadata.permissions()),
        _ => {}
    }
    let Some(file_name) = target.file_name() else {
        return Err(failed("choosing its name")(std::io::ErrorKind::InvalidFilename.into()));
    };
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(Error::NoFolder { path: path.to_owned(), folder: folder.to_owned() });
    }
    let (mut file, temporary) = temporary_beside(folder, &file_name.to_string_lossy())
        .map_err(failed("creating a file in its folder"))?;
    file.write_all(bytes).map_err(failed("writing it"))?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions).map_err(failed("giving it the permissions it had"))?;
    }
    if wait {
        // Some file systems find out only now that they are full.
        file.sync_all().map_err(failed("writing it to the disk"))?;
    }
    drop(file);
    fs::rename(&temporary.path, target).map_err(failed("giving the finished file its name"))?;
    temporary.keep();
    Ok(())
}

/// A temporary file that is removed when it is dropped, whichever way its function is left.
struct Temporary {
    path: PathBuf,
    remove: bool,
}

impl Temporary {
    fn keep(mut self) {
        self.remove = false;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.remove {
            // Nothing better can be done about a failure here.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn temporary_beside(folder: &Path, name: &str) -> std::io::Result<(File, Temporary)> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    // A long name with our ending added could be longer than the file system takes.
    let stem: String = name.chars().take(40).collect();
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{stem}.{}-{number}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, Temporary { path, remove: true })),
            // Left over by another process with this number: take the next.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_picture_comes_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        for channels in [1, 3] {
            let values = (0..6 * channels).map(|v| v as u8 * 9).collect();
            let image = Image::new(2, 3, channels, values).unwrap();
            write_png(&path, &image).unwrap();
            assert_eq!(crate::decode::open(&path).unwrap(), image);
        }
        assert_eq!(entries(folder.path()), 1);
        let odd = Image::filled(2, 2, 2, 0).unwrap();
        assert!(matches!(write_png(&path, &odd), Err(Error::Channels { got: 2, .. })));
    }

    #[test]
    fn a_folder_in_the_place_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_whole(folder.path(), b"x").unwrap_err();
        assert!(matches!(error, Error::Directory { .. }), "{error}");
        assert!(error.to_string().contains(&folder.path().display().to_string()));
        assert_eq!(entries(folder.path()), 0);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_whole(folder.path().join("no/such.png"), b"x").unwrap_err();
        assert!(matches!(error, Error::NoFolder { .. }), "{error}");
        assert_eq!(entries(folder.path()), 0);
        assert!(write_whole("", b"x").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_and_nothing_is_left() {
        let error = write_whole("/dev/full", b"x").unwrap_err();
        assert!(matches!(error, Error::Write { .. }), "{error}");
        assert!(error.to_string().starts_with("cannot write /dev/full: "), "{error}");
        assert!(Path::new("/dev/full").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_whole(&link, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(entries(folder.path()), 2);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_stay_and_a_replaceable_file_takes_the_place_of_a_link() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        write_whole(&target, b"new").unwrap();
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_replaceable(&link, b"other").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::read(&link).unwrap(), b"other");
        assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_failure_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        fs::write(&path, "old").unwrap();
        let (mut file, temporary) = temporary_beside(folder.path(), "kept").unwrap();
        file.write_all(b"half").unwrap();
        drop(temporary);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(entries(folder.path()), 1);
    }
}
