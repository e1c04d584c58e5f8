//! What a command reads and writes.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::destination::is_stdout;
use super::file_target::FileTarget;
use crate::error::{Error, Result};
use crate::inputs::is_stdin;

/// The files that a command reads and those that it writes. [`check`](Self::check) comes before
/// the first byte is written.
#[derive(Debug, Default)]
pub(crate) struct Files<'a> {
    inputs: Vec<Named<'a>>,
    outputs: Vec<Named<'a>>,
}

/// A file, and what it is called in messages: `picture`, `--output`.
#[derive(Debug)]
struct Named<'a> {
    what: &'static str,
    path: &'a Path,
}

impl<'a> Files<'a> {
    /// A file that is read, and its name in messages: `picture`.
    pub(crate) fn reads(&mut self, what: &'static str, path: impl Into<Option<&'a Path>>) {
        self.inputs.extend(path.into().map(|path| Named { what, path }));
    }

    /// Several files that are read.
    pub(crate) fn reads_all(&mut self, what: &'static str, paths: &'a [PathBuf]) {
        self.inputs.extend(paths.iter().map(|path| Named { what, path }));
    }

    /// A file that is written, and the argument that says so: `--output`.
    pub(crate) fn writes(&mut self, what: &'static str, path: impl Into<Option<&'a Path>>) {
        self.outputs.extend(path.into().map(|path| Named { what, path }));
    }

    /// Several files that are written.
    pub(crate) fn writes_all(&mut self, what: &'static str, paths: &'a [PathBuf]) {
        self.outputs.extend(paths.iter().map(|path| Named { what, path }));
    }

    /// Refuses a command that would write over what it reads, write two things into one file, or
    /// read standard input twice.
    ///
    /// # Errors
    /// [`Error::Usage`], which names both files; and where the system does not say which file a
    /// path means.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_stdin()?;
        let mut places: HashMap<FileTarget, &Named> = HashMap::new();
        let mut stdout = None;
        let mut some_exist = false;
        for output in &self.outputs {
            if is_stdout(output.path)
                && let Some(other) = stdout.replace(output)
            {
                return Err(Error::Usage(format!(
                    "'{}' and '{}' cannot both be standard output",
                    other.what, output.what
                )));
            }
            let place = FileTarget::of(output.path, true).map_err(|e| {
                Error::because(format!("cannot write {}", output.path.display()), e)
            })?;
            let Some(place) = place else { continue };
            some_exist |= matches!(place, FileTarget::There(_));
            if let Some(other) = places.insert(place, output) {
                return Err(two_outputs(other, output));
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        // An input that is not there yet can be told by its name alone. Asking the system about
        // each of a long list is left out where no output exists, so none can be an input.
        let absolute = |path: &Path| std::path::absolute(path).ok();
        let names: HashSet<PathBuf> =
            self.outputs.iter().filter_map(|output| absolute(output.path)).collect();
        for input in &self.inputs {
            let named = !is_stdin(input.path)
                && absolute(input.path).is_some_and(|path| names.contains(&path));
            if !some_exist && !named {
                continue;
            }
            // What is wrong with an input is said when it is read.
            let Ok(Some(place)) = FileTarget::of(input.path, false) else { continue };
            if let Some(output) = places.get(&place) {
                return Err(over_an_input(output, input));
            }
        }
        Ok(())
    }

    fn check_stdin(&self) -> Result<()> {
        let mut from_stdin = self.inputs.iter().filter(|input| is_stdin(input.path));
        match (from_stdin.next(), from_stdin.next()) {
            (Some(first), Some(second)) => Err(Error::Usage(format!(
                "'-' is standard input, which can be read once: it is the {} and the {}",
                first.what, second.what
            ))),
            _ => Ok(()),
        }
    }
}

/// Whether an output is the file that an input is.
///
/// # Errors
/// Where the system does not say which file the output means.
pub(crate) fn is_same_file(input: &Path, output: &Path) -> Result<bool> {
    let output = FileTarget::of(output, true)
        .map_err(|e| Error::because(format!("cannot write {}", output.display()), e))?;
    let input = FileTarget::of(input, false).unwrap_or(None);
    Ok(output.is_some() && output == input)
}

fn two_outputs(first: &Named, second: &Named) -> Error {
    let (one, other) = (first.path.display().to_string(), second.path.display().to_string());
    let same = if one == other { String::new() } else { format!(", which is {other}") };
    Error::Usage(format!(
        "'{}' and '{}' would both write {one}{same}; name two files",
        first.what, second.what
    ))
}

fn over_an_input(output: &Named, input: &Named) -> Error {
    Error::Usage(format!(
        "'{}' would write {} over the {} {}, which this command reads; name another file",
        output.what,
        output.path.display(),
        input.what,
        input.path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message about these inputs and outputs; empty where there is none.
    fn check(folder: &Path, inputs: &[&str], outputs: &[&str]) -> String {
        let join = |names: &[&str]| names.iter().map(|name| folder.join(name)).collect();
        let (inputs, outputs): (Vec<_>, Vec<_>) = (join(inputs), join(outputs));
        let mut files = Files::default();
        files.reads_all("picture", &inputs);
        files.writes_all("--output", &outputs);
        files.check().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_output_is_told_from_the_inputs_by_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.png"), "a").unwrap();
        std::fs::write(at("b.png"), "b").unwrap();
        std::fs::create_dir(at("sub")).unwrap();
        let check = |inputs: &[&str], outputs: &[&str]| check(folder.path(), inputs, outputs);
        assert_eq!(check(&["a.png"], &["b.png"]), "");
        assert_eq!(check(&["a.png", "a.png"], &["new.png"]), "");
        for same in ["a.png", "./a.png", "sub/../a.png"] {
            let message = check(&["b.png", "a.png"], &[same]);
            assert!(message.contains("over the picture") && message.contains("a.png"), "{message}");
        }
        // Not there yet.
        assert!(check(&["none.png"], &["none.png"]).contains("over the picture"));
        for other in ["new.png", "sub/../new.png", "./new.png"] {
            let message = check(&["a.png"], &["new.png", other]);
            assert!(message.contains("both write") && message.contains("new.png"), "{message}");
        }
        assert_eq!(check(&[], &["new.png", "sub/new.png", "no/new.png"]), "");
        assert!(check(&[], &["no/new.png", "no/new.png"]).contains("both write"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_looked_through() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.png"), "a").unwrap();
        symlink("a.png", at("soft.png")).unwrap();
        std::fs::hard_link(at("a.png"), at("hard.png")).unwrap();
        symlink(".", at("folder")).unwrap();
        symlink("later.png", at("dangling.png")).unwrap();
        symlink("loop.png", at("loop.png")).unwrap();
        let check = |inputs: &[&str], outputs: &[&str]| check(folder.path(), inputs, outputs);
        for output in ["soft.png", "hard.png", "folder/a.png", "folder/soft.png"] {
            assert!(check(&["a.png"], &[output]).contains("over the picture"), "{output}");
            assert!(check(&[output], &["a.png"]).contains("over the picture"), "{output}");
        }
        assert!(check(&["a.png"], &["dangling.png", "later.png"]).contains("both write"));
        assert!(check(&["a.png"], &["folder/later.png", "later.png"]).contains("both write"));
        assert_eq!(check(&["a.png"], &["dangling.png"]), "");
        assert!(check(&["a.png"], &["loop.png"]).contains("cannot write"));
        assert_eq!(check(&["loop.png"], &["a.png"]), "");
    }

    #[test]
    fn standard_input_and_output_are_for_one() {
        let check = |inputs: [&'static str; 2], outputs: [&'static str; 2]| {
            let mut files = Files::default();
            files.reads("list", Path::new(inputs[0]));
            files.reads("model", Path::new(inputs[1]));
            files.writes("--draw", Path::new(outputs[0]));
            files.writes("--output", Path::new(outputs[1]));
            files.check().err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(check(["-", "-"], ["x", "y"]).contains("the list and the model"));
        assert!(check(["a", "b"], ["-", "-"]).contains("both be standard output"));
        assert_eq!(check(["-", "./-"], ["-", "y"]), "");
    }
}
