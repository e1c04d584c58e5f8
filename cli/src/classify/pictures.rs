//! Where the painted pictures go.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::{draw, target};

/// What stands for an image's name in the pattern of `--draw`.
const NAME: &str = "{}";

/// A path for each image; none where nothing is painted.
pub(super) struct Pictures(Vec<PathBuf>);

impl Pictures {
    /// Plans a path for each image, and makes the folder where a name that ends in `/` asks for it.
    pub(super) fn new(draw: Option<&Path>, images: &[PathBuf], list: bool) -> Result<Self> {
        let Some(draw) = draw else { return Ok(Pictures(Vec::new())) };
        let text = draw.to_string_lossy();
        let pattern = text.contains(NAME);
        let folder = text.ends_with(std::path::is_separator);
        let several = images.len() > 1 || list;
        if folder || (several && !pattern && draw.is_dir()) {
            fs::create_dir_all(draw)
                .map_err(|e| Error::because(format!("cannot make the folder {text}"), e))?;
            return Ok(Pictures(plan(images, |name| draw.join(format!("{name}.png")))));
        }
        draw::check_name(draw).map_err(Error::Usage)?;
        if pattern {
            let paths = plan(images, |name| PathBuf::from(text.replace(NAME, name)));
            paths.iter().try_for_each(|path| target::check(path))?;
            return Ok(Pictures(paths));
        }
        if several {
            return Err(Error::Usage(format!(
                "'--draw {text}' is one picture for several images; name a folder ('{text}/') or \
                 a pattern such as '{NAME}.png'"
            )));
        }
        target::check(draw)?;
        Ok(Pictures(vec![draw.to_owned()]))
    }

    /// The path for the image of this number.
    pub(super) fn path(&self, number: usize) -> Option<&Path> {
        self.0.get(number).map(PathBuf::as_path)
    }
}

/// A path for each image by its name without folder and extension. What is taken already gets a
/// number, so that `a/x.png` and `b/x.png` do not overwrite each other's picture.
fn plan(images: &[PathBuf], path: impl Fn(&str) -> PathBuf) -> Vec<PathBuf> {
    let mut taken = HashSet::new();
    let mut paths = Vec::with_capacity(images.len());
    for image in images {
        let stem = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut name = stem.clone();
        let mut number = 1;
        while !taken.insert(name.clone()) {
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
        let images = ["a/x.png", "b/x.jpg", "x-2.png", "y.png"].map(PathBuf::from);
        let paths = plan(&images, |name| PathBuf::from(format!("{name}.png")));
        let expected = ["x.png", "x-2.png", "x-2-2.png", "y.png"].map(PathBuf::from);
        assert_eq!(paths, expected);
    }

    #[test]
    fn one_picture_is_not_for_several_images() {
        let images = ["x.png", "y.png"].map(PathBuf::from);
        let plan =
            |draw: &str, images: &[PathBuf]| Pictures::new(Some(draw.as_ref()), images, false);
        assert!(matches!(plan("out.png", &images), Err(Error::Usage(_))));
        assert!(matches!(plan("out.jpg", &images[..1]), Err(Error::Usage(_))));
        let pattern = plan("ranks-{}.png", &images).unwrap();
        assert_eq!(pattern.path(1), Some(Path::new("ranks-y.png")));
        assert_eq!(plan("out.png", &images[..1]).unwrap().path(0), Some(Path::new("out.png")));
    }
}
