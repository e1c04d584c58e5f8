//! Where the painted pictures go.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::draw;
use crate::error::{Error, Result};
use crate::outputs::{Destination, is_stdout};

/// What stands for an image's name in the pattern of `--draw`.
const NAME: &str = "{}";

/// What is painted, in messages.
const WHAT: &str = "a PNG picture";

/// A path for each image; none where nothing is painted.
pub(super) struct Pictures {
    paths: Vec<PathBuf>,
    /// The folder of them all, which is made if it is not there.
    folder: Option<PathBuf>,
}

impl Pictures {
    /// Plans a path for each image. Writes nothing.
    pub(super) fn plan(draw: Option<&Path>, images: &[PathBuf], list: bool) -> Result<Self> {
        let Some(draw) = draw else { return Ok(Pictures { paths: Vec::new(), folder: None }) };
        let text = draw.to_string_lossy();
        let pattern = text.contains(NAME);
        let several = images.len() > 1 || list;
        let ends_as_folder = text.ends_with(std::path::is_separator);
        if ends_as_folder || (several && !pattern && draw.is_dir()) {
            let paths = plan(images, |name| draw.join(format!("{name}.png")));
            return Ok(Pictures { paths, folder: Some(draw.to_owned()) });
        }
        let paths = match (pattern, several) {
            (true, _) => plan(images, |name| PathBuf::from(text.replace(NAME, name))),
            (false, false) => vec![draw.to_owned()],
            (false, true) => {
                draw::check_name(draw).map_err(Error::Usage)?;
                return Err(Error::Usage(format!(
                    "'--draw {text}' is one picture for several images; name a folder ('{text}/') \
                     or a pattern such as '{NAME}.png'"
                )));
            }
        };
        draw::check_name(draw).map_err(Error::Usage)?;
        Ok(Pictures { paths, folder: None })
    }

    /// Where all pictures go.
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Whether the picture goes to standard output.
    pub(super) fn to_stdout(&self) -> bool {
        self.paths.iter().any(|path| is_stdout(path))
    }

    /// Makes the folder where there is to be one, and refuses paths that cannot be written.
    pub(super) fn prepare(&self) -> Result<()> {
        if let Some(folder) = &self.folder {
            let text = folder.display();
            fs::create_dir_all(folder)
                .map_err(|e| Error::because(format!("cannot make the folder {text}"), e))?;
        }
        for path in &self.paths {
            Destination::of(path)?;
        }
        // Those of several are in few folders, most often one.
        if let Some(first) = self.paths.first() {
            Destination::of_whole(first, WHAT, true)?;
        }
        Ok(())
    }

    /// The path for the image of this number.
    pub(super) fn path(&self, number: usize) -> Option<&Path> {
        self.paths.get(number).map(PathBuf::as_path)
    }
}

/// A path for each image by its name without folder and extension. What is taken already gets a
/// number, so that `a/x.png` and `b/x.png` do not overwrite each other's picture; nor do `x.png`
/// and `X.png`, which are one file on some systems.
fn plan(images: &[PathBuf], path: impl Fn(&str) -> PathBuf) -> Vec<PathBuf> {
    let mut taken = HashSet::new();
    let mut paths = Vec::with_capacity(images.len());
    for image in images {
        let stem = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut name = stem.clone();
        let mut number = 1;
        while !taken.insert(name.to_lowercase()) {
            number += 1;
            name = format!("{stem}-{number}");
        }
        paths.push(path(&name));
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let images = ["a/x.png", "b/x.jpg", "x-2.png", "y.png", "Y.png"].map(PathBuf::from);
        let paths = plan(&images, |name| PathBuf::from(format!("{name}.png")));
        let expected = ["x.png", "x-2.png", "x-2-2.png", "y.png", "Y-2.png"].map(PathBuf::from);
        assert_eq!(paths, expected);
    }

    #[test]
    fn one_picture_is_not_for_several_images() {
        let images = ["x.png", "y.png"].map(PathBuf::from);
        let plan =
            |draw: &str, images: &[PathBuf]| Pictures::plan(Some(draw.as_ref()), images, false);
        assert!(matches!(plan("out.png", &images), Err(Error::Usage(_))));
        assert!(matches!(plan("out.jpg", &images[..1]), Err(Error::Usage(_))));
        let pattern = plan("ranks-{}.png", &images).unwrap();
        assert_eq!(pattern.path(1), Some(Path::new("ranks-y.png")));
        assert_eq!(plan("out.png", &images[..1]).unwrap().path(0), Some(Path::new("out.png")));
    }
}
