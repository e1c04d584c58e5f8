//! Guesses which network a mistyped name means.

use crate::catalogue::all;

/// The most names that [`near`] gives: few enough to be read.
const MAX_NEAR: usize = 4;

/// A guess needs more than this many letters for each slip, or it would be wild: `resnet` is two
/// slips from `lenet`.
const LETTERS_PER_SLIP: usize = 3;

/// Names longer than this are not compared: nothing here is nearly as long.
const MAX_COMPARED_CHARS: usize = 32;

/// The names of networks that a mistyped one may mean, at most four, the closest first: those a few slips
/// away, and those that begin with it. None where each would be a wild guess.
///
/// ```
/// assert_eq!(striate_models::near("vgg-dd"), ["vgg-d"]);
/// assert_eq!(striate_models::near("resnet"), ["resnet18", "resnet34", "resnet50", "resnet20"]);
/// assert!(striate_models::near("transformer").is_empty());
/// ```
pub fn near(name: &str) -> Vec<&'static str> {
    let letters = name.chars().take(MAX_COMPARED_CHARS + 1).count();
    if letters > MAX_COMPARED_CHARS {
        return Vec::new();
    }
    let name = name.to_ascii_lowercase().replace('_', "-");
    let mut near: Vec<(usize, &str)> = Vec::new();
    for model in all() {
        let slips = slips(&name, model.name);
        // Three letters or fewer begin too many names.
        let is_begin = letters > LETTERS_PER_SLIP && model.name.starts_with(&name);
        if is_begin || slips * LETTERS_PER_SLIP < letters {
            near.push((slips, model.name));
        }
    }
    // Stable: where the distance is the same, the order of the catalogue stays.
    near.sort_by_key(|&(slips, _)| slips);
    near.truncate(MAX_NEAR);
    near.into_iter().map(|(_, name)| name).collect()
}

/// How many letters to insert, remove or replace to get from one word to the other (Levenshtein
/// 1966).
fn slips(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    // `row[j]`: slips from the letters of `from` so far to the first `j` of `to`.
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_slips() {
        for (from, to, expected) in
            [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("vgg_d", "vgg-d", 1)]
        {
            assert_eq!(slips(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn the_closest_names_come_first_and_are_few() {
        assert_eq!(near("LeNett"), ["lenet"]);
        assert_eq!(near("mobilnet_v2")[0], "mobilenet-v2");
        let near_all = all().iter().filter(|model| model.name.starts_with("resnet")).count();
        assert!(near_all > MAX_NEAR && near("resnet").len() == MAX_NEAR);
        assert_eq!(near("resnet5")[0], "resnet50");
        assert_eq!(near("alexnet")[0], "alexnet");
    }

    #[test]
    fn no_guess_is_wild() {
        for name in ["", "v", "net", "transformer", "ünïcödé"] {
            assert!(near(name).is_empty(), "{name}: {:?}", near(name));
        }
        assert!(near(&"resnet50".repeat(1 << 17)).is_empty());
    }
}
