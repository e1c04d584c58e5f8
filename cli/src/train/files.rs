//! Which files a training reads and writes: none is both.

use std::io;
use std::path::{Path, PathBuf};

use striate::train::{MetricsFile, Observer, Session, TensorBoard};

use super::TrainArgs;
use crate::error::{Error, Result};
use crate::inputs::is_stdin;
use crate::output::SafeLines;
use crate::outputs::{Destination, Files, is_same_file, is_stdout};

/// Refuses to write over what is read, or two things into one file, however the names are spelled.
/// The working file may be the one that `--spec` names: then its weights are the first ones.
pub(super) fn check(args: &TrainArgs) -> Result<()> {
    let mut files = Files::default();
    files.reads("training list", &*args.train_list);
    files.reads("test list", args.test_list.as_deref());
    files.reads("options", args.learn.options.as_deref());
    // These two may be names of what is known.
    let file = |text: &String| Some(PathBuf::from(text)).filter(|p| p.is_file() || is_stdin(p));
    let (recipe, network) = (file(&args.recipe), file(&args.spec));
    files.reads("recipe", recipe.as_deref());
    if let Some(network) = &network
        && !is_same_file(network, &args.working)?
    {
        files.reads("network", &**network);
    }
    files.writes("--working", &*args.working);
    files.writes("--metrics", args.metrics.as_deref());
    files.check()?;
    // Before the training, whose results would be lost.
    if !matches!(Destination::of_whole(&args.working, "a model", true)?, Destination::File(_)) {
        return Err(Error::Usage(format!(
            "'--working' takes a file, which is read again and replaced; {} is none",
            args.working.display()
        )));
    }
    if let Some(metrics) = &args.metrics {
        Destination::of(metrics)?;
        let [best, lock] = Session::files_beside(&args.working);
        let mut beside = Files::default();
        beside.writes("the best network", &*best);
        beside.writes("the lock of the working file", &*lock);
        beside.writes("--metrics", &**metrics);
        beside.check()?;
    }
    check_folder(args)
}

/// What writes files while the training runs.
pub(super) fn observers(args: &TrainArgs) -> Result<Vec<Box<dyn Observer>>> {
    let mut files: Vec<Box<dyn Observer>> = Vec::new();
    if let Some(path) = &args.metrics {
        let metrics = match is_stdout(path) {
            true => MetricsFile::stream(SafeLines::new(io::stdout()), "standard output"),
            false => MetricsFile::append(path)?,
        };
        files.push(Box::new(metrics));
    }
    if let Some(folder) = &args.tensorboard {
        files.push(Box::new(TensorBoard::create(folder)?));
    }
    Ok(files)
}

/// Refuses a folder for events in which, or in a part of which, samples lie.
fn check_folder(args: &TrainArgs) -> Result<()> {
    let Some(board) = &args.tensorboard else { return Ok(()) };
    let inside = |samples: &Path| match (board.canonicalize(), samples.canonicalize()) {
        (Ok(folder), Ok(samples)) => samples.is_dir() && folder.starts_with(&samples),
        _ => false,
    };
    let samples = [Some(&args.train_list), args.test_list.as_ref()];
    match samples.into_iter().flatten().find(|samples| inside(samples)) {
        None => Ok(()),
        Some(samples) => Err(Error::Usage(format!(
            "'--tensorboard' would write into the samples, {}; name another folder",
            samples.display()
        ))),
    }
}
