//! Samples that are left out by their label.

use super::{Dataset, Kind, Pictures};
use crate::{Error, Result};

impl Dataset {
    /// The label that a person means: of a class by its name, else by its number as the set counts (from 1 in a
    /// list). Names go first. None where there is no such class and no sample has the number.
    pub fn label_of(&self, text: &str) -> Option<u32> {
        let named =
            self.names.as_ref().and_then(|names| names.iter().position(|name| name == text));
        if let Some(place) = named {
            return u32::try_from(place).ok();
        }
        let label = text.parse::<u32>().ok()?.checked_sub(u32::from(self.kind == Kind::List))?;
        let is_known = (label as usize) < self.classes || self.labels.contains(&label);
        is_known.then_some(label)
    }

    /// The set without the samples of these labels, which are ignored.
    ///
    /// Where classes have names, an ignored class is none any more, and those after it move up. Where they have
    /// numbers, the others keep theirs.
    ///
    /// # Errors
    /// [`Error::Dataset`] where no sample would be left.
    ///
    /// ```
    /// use striate_data::{Dataset, Image};
    ///
    /// let pictures = vec![Image::filled(2, 2, 1, 0)?; 3];
    /// // 255 stands for what nobody could name.
    /// let set = Dataset::from_images(pictures, vec![1, 255, 0])?.without(&[255])?;
    /// assert_eq!((set.labels(), set.classes()), (&[1, 0][..], 2));
    /// # Ok::<(), striate_data::Error>(())
    /// ```
    pub fn without(self, ignored: &[u32]) -> Result<Self> {
        let Self { origin, kind, pictures, labels, names, .. } = self;
        let kept: Vec<usize> =
            (0..labels.len()).filter(|&i| !ignored.contains(&labels[i])).collect();
        if kept.is_empty() {
            let detail = "all its samples have labels that are ignored".to_owned();
            return Err(Error::Dataset { path: origin, detail });
        }
        let pictures = match pictures {
            Pictures::Files { paths, lines } => Pictures::Files {
                lines: lines.map(|lines| kept.iter().map(|&i| lines[i]).collect()),
                paths: kept.iter().map(|&i| paths[i].clone()).collect(),
            },
            Pictures::Images(images) => {
                Pictures::Images(kept.iter().map(|&i| images[i].clone()).collect())
            }
            Pictures::Raw { shape, values } => {
                let size = shape.iter().product::<usize>();
                let chosen = kept.iter().flat_map(|&i| &values[i * size..(i + 1) * size]);
                Pictures::Raw { shape, values: chosen.copied().collect() }
            }
        };
        // The label of each class now.
        let mut next = 0;
        let moved: Option<Vec<u32>> = names.as_ref().map(|names| {
            let classes = 0..names.len() as u32;
            let place = |class| {
                let place = next;
                next += u32::from(!ignored.contains(&class));
                place
            };
            classes.map(place).collect()
        });
        let label = |i: &usize| match &moved {
            Some(moved) => moved[labels[*i] as usize],
            None => labels[*i],
        };
        let labels: Vec<u32> = kept.iter().map(label).collect();
        let names = names.map(|names| {
            let left = (0u32..).zip(names).filter(|(label, _)| !ignored.contains(label));
            left.map(|(_, name)| name).collect()
        });
        Self::assemble(origin, kind, pictures, kept.len(), labels, names)
    }
}
