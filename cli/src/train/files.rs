//! Which files a training reads and writes: none is both.

use std::path::{Path, PathBuf};

use super::TrainArgs;
use crate::error::{Error, Result};

/// Whether an argument means standard output. A file that is really called `-` is `./-`.
pub(super) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Refuses to write over what is read, or two things into one file, however the names are spelled.
/// The working file may be the one that `--spec` names: then its weights are the first ones.
pub(super) fn check(args: &TrainArgs) -> Result<()> {
    let mut inputs: Vec<(&str, PathBuf)> = vec![("training list", args.train_list.clone())];
    inputs.extend(args.test_list.clone().map(|list| ("test list", list)));
    inputs.extend(args.options.clone().map(|file| ("options", file)));
    // These two may be names of what is known.
    let file = |what, text: &String| Some((what, PathBuf::from(text))).filter(|(_, p)| p.is_file());
    inputs.extend(file("recipe", &args.recipe));
    refuse("--working", &args.working, &inputs)?;
    let Some(metrics) = args.metrics.as_ref().filter(|metrics| !is_stdout(metrics)) else {
        return check_folder(args);
    };
    inputs.extend(file("network", &args.spec));
    inputs.push(("working file", args.working.clone()));
    refuse("--metrics", metrics, &inputs)?;
    check_folder(args)
}

fn refuse(option: &str, output: &Path, inputs: &[(&str, PathBuf)]) -> Result<()> {
    let place = place(output);
    match inputs.iter().find(|(_, input)| place.is_some() && self::place(input) == place) {
        None => Ok(()),
        Some((what, input)) => Err(Error::Usage(format!(
            "'{option}' would write {} over the {what} {}; name another file",
            output.display(),
            input.display()
        ))),
    }
}

/// Refuses a folder for events in which, or in a part of which, samples lie.
fn check_folder(args: &TrainArgs) -> Result<()> {
    let Some(board) = &args.tensorboard else { return Ok(()) };
    for samples in [Some(&args.train_list), args.test_list.as_ref()].into_iter().flatten() {
        let (Ok(folder), Ok(samples)) = (board.canonicalize(), samples.canonicalize()) else {
            continue;
        };
        if samples.is_dir() && folder.starts_with(&samples) {
            return Err(Error::Usage(format!(
                "'--tensorboard' would write into the samples, {}; name another folder",
                samples.display()
            )));
        }
    }
    Ok(())
}

/// The file that a path means, where nothing else can be it.
#[derive(PartialEq, Eq)]
enum Place {
    #[cfg(unix)]
    There(u64, u64),
    New(PathBuf),
}

/// `None` for what is no regular file: nothing is lost there.
fn place(path: &Path) -> Option<Place> {
    if let Ok(metadata) = std::fs::metadata(path) {
        if !metadata.is_file() {
            return None;
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            return Some(Place::There(metadata.dev(), metadata.ino()));
        }
        #[cfg(not(unix))]
        return path.canonicalize().ok().map(Place::New);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
    Some(Place::New(folder.join(path.file_name()?)))
}
