//! Writing a file so that it is there whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::{Error, Result};

/// Between the target's name and the random part of a temporary file's.
const MARK: &str = ".striate-";
const SUFFIX: &str = ".tmp";
/// Letters and digits that tell temporary files apart.
const RANDOM_BYTES: usize = 6;
/// A longer name has no place in its temporary file's, for names end at 255 bytes.
const MAX_NAME_BYTES: usize = 200;

/// What the temporary files of a target are called before the random part: hidden, and by the
/// target, so that those that a killed program left can be told from those of others. `None` where
/// the name is too long for that.
fn prefix(target: &Path) -> Option<OsString> {
    let name = target.file_name().filter(|name| name.len() <= MAX_NAME_BYTES)?;
    Some([OsStr::new("."), name, OsStr::new(MARK)].into_iter().collect())
}

/// The folder of a file, which must be there.
fn folder<'a>(target: &'a Path, file: &str) -> Result<&'a Path> {
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        let reason = format!("there is no folder {}", folder.display());
        return Err(Error::Target { file: file.into(), reason });
    }
    Ok(folder)
}

/// Takes away what killed writers of `target` left beside it, `.NAME.striate-XXXXXX.tmp`, and gives
/// the number of files.
///
/// A file that is being written looks the same: only whoever makes sure that nobody writes `target`
/// may call this. The temporary files of names beyond 200 bytes do not say whose they are and stay.
///
/// # Errors
/// [`Error::Target`] where `target` is no place for a file, [`Error::Io`] where the system refuses.
pub fn remove_stale_temporaries(target: impl AsRef<Path>) -> Result<usize> {
    let file = target.as_ref().display().to_string();
    let (target, _) = resolve(target.as_ref(), &file)?;
    let folder = folder(&target, &file)?;
    let Some(prefix) = prefix(&target) else { return Ok(0) };
    let failed = |e| Error::io(&file, "remove what an earlier run left beside it", e);
    let mut removed = 0;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !is_temporary(&entry.file_name(), &prefix)
            || !entry.file_type().map_err(failed)?.is_file()
        {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Ok(()) => removed += 1,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(removed)
}

/// Whether a name is the prefix, the random part and the suffix, and nothing else: the temporary
/// files of another target may begin alike.
fn is_temporary(name: &OsStr, prefix: &OsStr) -> bool {
    let rest = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
    let random = rest.and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
    random.is_some_and(|r| r.len() == RANDOM_BYTES && r.iter().all(u8::is_ascii_alphanumeric))
}

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
    let folder = folder(&target, &file)?;

    // In the same folder, because a rename is atomic only within one file system.
    let mut builder = Builder::new();
    let prefix = prefix(&target).unwrap_or_else(|| MARK.into());
    builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM_BYTES);
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

    #[test]
    fn stale_temporaries_of_the_target_alone_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(folder.path().join(name), b"x").unwrap();
        let stay = [
            ".a.b.striate-aB3dE6.tmp",
            ".a.striate-x.striate-aB3dE6.tmp",
            ".a.striate-aB3dE6",
            ".a.striate-aB3.tmp",
            ".a.striate-aB3d.6.tmp",
            "a",
            "a.striate-aB3dE6.tmp",
        ];
        stay.iter().for_each(|name| put(name));
        put(".a.striate-aB3dE6.tmp");
        put(".a.striate-000000.tmp");
        fs::create_dir(folder.path().join(".a.striate-folder.tmp")).unwrap();
        let target = folder.path().join("a");
        assert_eq!(remove_stale_temporaries(&target).unwrap(), 2);
        assert_eq!(remove_stale_temporaries(&target).unwrap(), 0);
        let mut left = names(folder.path());
        left.sort();
        let mut expected = [&stay[..], &[".a.striate-folder.tmp"]].concat();
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert_eq!(remove_stale_temporaries(folder.path().join("new")).unwrap(), 0);
        let text = remove_stale_temporaries(folder.path().join("no/x")).unwrap_err().to_string();
        assert!(text.contains("there is no folder"), "{text}");
    }

    #[test]
    fn temporaries_are_named_after_the_target_where_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let seen = |name: &str| {
            let target = folder.path().join(name);
            let mut seen = None;
            replace(&target, |f| {
                seen = f.path().file_name().map(OsStr::to_owned);
                Ok(())
            })
            .unwrap();
            (seen.unwrap(), prefix(&target))
        };
        let (name, prefix) = seen("model.sqlite3");
        assert!(is_temporary(&name, &prefix.unwrap()), "{name:?}");
        let (name, prefix) = seen(&"n".repeat(255));
        assert!(prefix.is_none() && name.as_encoded_bytes().starts_with(b".striate-"), "{name:?}");
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
