//! Writing a file so that it is there whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::{Error, Result};

/// Writes a temporary file beside `target`, then puts it in the target's place.
///
/// A target that exists stays as it is until then; where anything fails, the temporary file goes
/// and nothing has changed.
pub(crate) fn replace(
    target: &Path,
    write: impl FnOnce(&mut NamedTempFile) -> Result<()>,
) -> Result<()> {
    let file = target.display().to_string();
    let (target, existing) = resolve(target, &file)?;
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        let reason = format!("there is no folder {}", folder.display());
        return Err(Error::Target { file, reason });
    }

    // In the same folder, because a rename is atomic only within one file system.
    let mut builder = Builder::new();
    builder.prefix(".striate-").suffix(".tmp");
    // Temporary files are private by default; a model file is an ordinary one.
    #[cfg(unix)]
    let ordinary = {
        use std::os::unix::fs::PermissionsExt;
        fs::Permissions::from_mode(0o666)
    };
    #[cfg(unix)]
    builder.permissions(ordinary);
    let mut temporary = builder
        .tempfile_in(folder)
        // The kind alone: the full message has the temporary path, which nobody knows.
        .map_err(|e| Error::io(&file, "write into its folder", e.kind().into()))?;

    write(&mut temporary)?;

    if let Some(permissions) = existing {
        let result = temporary.as_file().set_permissions(permissions);
        result.map_err(|source| Error::io(&file, "write", source))?;
    }
    // Before the rename: after a crash the new name must not point to missing bytes.
    temporary.as_file().sync_all().map_err(|source| Error::io(&file, "write", source))?;
    temporary.persist(&target).map_err(|e| Error::io(&file, "replace", e.error))?;
    // The rename itself lasts once the folder is on disk. Some file systems refuse to sync a
    // folder; the file is written all the same.
    #[cfg(unix)]
    if let Ok(folder) = fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// The path to replace, and the permissions of what is there.
fn resolve(target: &Path, file: &str) -> Result<(PathBuf, Option<fs::Permissions>)> {
    let metadata = match fs::metadata(target) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((target.into(), None)),
        Err(source) => return Err(Error::io(file, "write", source)),
    };
    let refuse = |reason: &str| Err(Error::Target { file: file.into(), reason: reason.into() });
    if metadata.is_dir() {
        return refuse("it is a directory; name a file in it");
    }
    if !metadata.is_file() {
        // Renaming over a device would replace the device.
        return refuse("it is not a regular file");
    }
    // Through a symbolic link the file that it points to is replaced, not the link.
    let real = fs::canonicalize(target).map_err(|source| Error::io(file, "write", source))?;
    Ok((real, Some(metadata.permissions())))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_at_success_only_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        replace(&target, |f| {
            f.write_all(b"one").unwrap();
            Ok(())
        })
        .unwrap();
        let failed = replace(&target, |f| {
            f.write_all(b"two").unwrap();
            Err(Error::Target { file: "x".into(), reason: "y".into() })
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["model"]);
    }

    #[test]
    fn refuses_directories_missing_folders_and_devices() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| replace(path, |_| Ok(())).unwrap_err().to_string();
        let text = message(folder.path());
        assert!(text.contains("directory") && text.contains(&folder.path().display().to_string()));
        let text = message(&folder.path().join("no/model"));
        assert!(text.contains("there is no folder"), "{text}");
        #[cfg(unix)]
        assert!(message(Path::new("/dev/null")).contains("not a regular file"));
        assert!(names(folder.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn writes_through_a_link_with_ordinary_permissions() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, b"old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&real, &link).unwrap();
        replace(&link, |f| {
            f.write_all(b"new").unwrap();
            Ok(())
        })
        .unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
