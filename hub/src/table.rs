//! The table of published weights.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::digest::Digest;
use crate::{Error, Result};

/// The environment variable that names a user's own table, in the format of `assets/weights.tsv`. Its lines
/// take precedence over the built-in ones.
pub const TABLE_VARIABLE: &str = "STRIATE_WEIGHTS";

const BUILT_IN: &str = include_str!("../assets/weights.tsv");

/// The largest table read: far more than any needs.
const MAX_TABLE_BYTES: u64 = 4 << 20;

/// The longest file name. File systems allow 255 bytes; the rest is for our endings, such as `.part`.
const MAX_FILE_CHARS: usize = 200;

/// The size of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Size {
    /// Exactly this many bytes.
    Exactly(u64),
    /// About this many bytes.
    About(u64),
    /// Not published.
    Unknown,
}

impl Size {
    /// Parses `123`, `~123` or `-`.
    fn parse(text: &str) -> Option<Size> {
        match (text, text.strip_prefix('~')) {
            ("-", _) => Some(Size::Unknown),
            (_, Some(about)) => about.parse().ok().map(Size::About),
            _ => text.parse().ok().map(Size::Exactly),
        }
    }

    /// The number of bytes, if known.
    pub fn bytes(self) -> Option<u64> {
        match self {
            Size::Exactly(bytes) | Size::About(bytes) => Some(bytes),
            Size::Unknown => None,
        }
    }
}

/// A line of the table: weights that can be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Weights {
    /// The name to pull them by.
    pub name: String,
    /// The name of the file in the cache and on a mirror.
    pub file: String,
    /// Where to download the file, tried in this order.
    pub urls: Vec<String>,
    /// Its size.
    pub size: Size,
    /// Its digest.
    pub digest: Digest,
    /// The SPDX identifier of its licence.
    pub licence: String,
    /// Where it comes from.
    pub notes: String,
    /// The text of a JSON file of the same stem to write beside it: timm's `config.json`.
    pub config: Option<String>,
}

impl Weights {
    /// Their path in the user's cache, or `None` if they were not pulled yet. Does not use the network.
    ///
    /// # Errors
    /// [`Error::NoCache`] if there is no cache folder; [`Error::Io`] if it cannot be read.
    pub fn cached(&self) -> Result<Option<PathBuf>> {
        crate::cache::cached_in(&crate::cache_dir()?, self)
    }

    /// Parses a line of a table; the error holds what was expected and what is there.
    fn parse(line: &str) -> Result<Weights, (String, String)> {
        let columns: Vec<&str> = line.split('\t').collect();
        let &[name, file, urls, bytes, digest, licence, notes, config] = columns.as_slice() else {
            return Err(("8 columns, separated by tabs".into(), columns.len().to_string()));
        };
        let wrong = |expected: &str, got: &str| Err((expected.to_owned(), format!("`{got}`")));
        let is_plain = |text: &str| {
            let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            !text.is_empty() && text.bytes().all(letter) && !text.starts_with('.')
        };
        if !is_plain(name) {
            return wrong("a name of letters, digits, `.`, `_` and `-`", name);
        }
        // It becomes a file in the cache: it must not be a path, nor a name that this crate uses itself.
        let ours = [".part", ".from", ".lock", ".json"].iter().any(|end| file.ends_with(end));
        if !is_plain(file) || ours || file.len() > MAX_FILE_CHARS {
            return wrong("the plain name of a file", file);
        }
        let is_url = |url: &str| ["https://", "http://"].iter().any(|begin| url.starts_with(begin));
        let urls: Vec<String> = urls.split(' ').map(Into::into).collect();
        if let Some(url) = urls.iter().find(|url| !is_url(url)) {
            return wrong("a URL that begins with `https://` or `http://`", url);
        }
        let Some(size) = Size::parse(bytes) else {
            return wrong(
                "a number of bytes, with `~` before it where it is not exact, or `-`",
                bytes,
            );
        };
        let Some(digest) = Digest::parse(digest) else {
            return wrong("`sha256:` and 8 to 64 digits, or `git:` and 40", digest);
        };
        if licence.is_empty() {
            return wrong("a licence", licence);
        }
        let is_object = config.starts_with('{') && config.ends_with('}');
        if config != "-" && !is_object {
            return wrong("an object in JSON, or `-`", config);
        }
        Ok(Weights {
            name: name.into(),
            file: file.into(),
            urls,
            size,
            digest,
            licence: licence.into(),
            notes: notes.into(),
            config: is_object.then(|| config.into()),
        })
    }
}

/// Parses a table; `file` is its name in errors. Empty lines and lines that begin with `#` are skipped.
///
/// # Errors
/// [`Error::Table`] if a line is invalid, or repeats the name or the file of an earlier one.
pub fn parse_table(text: &str, file: &str) -> Result<Vec<Weights>> {
    let (mut names, mut files) = (HashSet::new(), HashSet::new());
    let mut table = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail =
            |(expected, got)| Error::Table { file: file.into(), line: index + 1, expected, got };
        let weights = Weights::parse(line).map_err(fail)?;
        if !names.insert(plain(&weights.name)) {
            return Err(fail(("a name of its own".into(), weights.name)));
        }
        // Some file systems ignore case.
        if !files.insert(weights.file.to_ascii_lowercase()) {
            return Err(fail(("a file of its own".into(), weights.file)));
        }
        table.push(weights);
    }
    Ok(table)
}

/// All weights that can be pulled: those of the table that [`TABLE_VARIABLE`] names, then the built-in ones
/// except those whose name or file is in the user's table.
///
/// # Errors
/// [`Error::Table`] if the user's own table is invalid, and [`Error::Io`] if it cannot be read.
pub fn all() -> Result<&'static [Weights]> {
    // Read once: a name means the same for as long as the program runs.
    static TABLE: OnceLock<Vec<Weights>> = OnceLock::new();
    if let Some(table) = TABLE.get() {
        return Ok(table);
    }
    let table = read_all()?;
    Ok(TABLE.get_or_init(|| table))
}

fn read_all() -> Result<Vec<Weights>> {
    let built_in = parse_table(BUILT_IN, "the built-in table of weights")?;
    let Some(file) = std::env::var_os(TABLE_VARIABLE).filter(|file| !file.is_empty()) else {
        return Ok(built_in);
    };
    let file = Path::new(&file);
    let text = read_text(file).map_err(|e| Error::io(file, "read the table of weights", e))?;
    let mut table = parse_table(&text, &file.display().to_string())?;
    let names: HashSet<String> = table.iter().map(|weights| plain(&weights.name)).collect();
    let files: HashSet<String> = table.iter().map(|w| w.file.to_ascii_lowercase()).collect();
    let is_free = |weights: &Weights| {
        !names.contains(&plain(&weights.name))
            && !files.contains(&weights.file.to_ascii_lowercase())
    };
    table.extend(built_in.into_iter().filter(is_free));
    Ok(table)
}

fn read_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_TABLE_BYTES + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_TABLE_BYTES {
        true => Err(io::Error::other(format!("it has more than {MAX_TABLE_BYTES} bytes"))),
        false => Ok(text),
    }
}

/// The weights of this name. Case is ignored, and `-` equals `_`.
///
/// # Errors
/// As [`all`].
pub fn find(name: &str) -> Result<Option<&'static Weights>> {
    let name = plain(name);
    Ok(all()?.iter().find(|weights| plain(&weights.name) == name))
}

fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

/// The most names that [`near`] returns.
const MAX_NEAR: usize = 4;

/// Longer names are not compared.
const MAX_COMPARED_CHARS: usize = 64;

/// A name must have more than this many letters for each typing error, or suggestions would be far-fetched.
const LETTERS_PER_SLIP: usize = 3;

/// Similar names, the closest first: few typing errors away, or this name with a tag.
pub fn near(name: &str) -> Vec<String> {
    let name = plain(name);
    if name.is_empty() || name.chars().take(MAX_COMPARED_CHARS + 1).count() > MAX_COMPARED_CHARS {
        return Vec::new();
    }
    let letters = name.chars().count();
    let mut near: Vec<(usize, &str)> = Vec::new();
    for weights in all().unwrap_or_default() {
        let known = plain(&weights.name);
        let slips = slips(&name, &known);
        let is_begin = letters > LETTERS_PER_SLIP && known.starts_with(&name);
        if is_begin || slips.saturating_mul(LETTERS_PER_SLIP) < letters {
            near.push((slips, &weights.name));
        }
    }
    near.sort_by_key(|&(slips, _)| slips);
    near.into_iter().take(MAX_NEAR).map(|(_, name)| name.to_owned()).collect()
}

/// The edit distance: letters to insert, remove or replace to turn one word into the other (Levenshtein 1966).
fn slips(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    // `row[j]`: the distance from the letters of `from` so far to the first `j` of `to`.
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((b, pair), left) in to.iter().zip(row.windows(2)).zip(1..) {
            let &[diagonal, above] = pair else { continue };
            let before = next.get(left - 1).copied().unwrap_or_default();
            next.push((diagonal + usize::from(a != *b)).min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distances() {
        for (from, to, count) in
            [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(slips(from, to), count, "{from} {to}");
            assert_eq!(slips(to, from), count, "{to} {from}");
        }
    }

    #[test]
    fn the_built_in_table_is_whole() {
        let table = parse_table(BUILT_IN, "table").unwrap();
        assert!(table.len() > 100, "{}", table.len());
        for weights in &table {
            let name = &weights.name;
            for url in &weights.urls {
                assert!(url.starts_with("https://"), "{name}: {url}");
            }
            // Publishers of leading digits put them into the file's name.
            if let Digest::Sha256(digits) = &weights.digest
                && !weights.digest.is_whole()
            {
                let stem = weights.file.trim_end_matches(".pth");
                assert!(stem.ends_with(&format!("-{digits}")), "{name}: {}", weights.file);
            }
            // A full digest begins with the digits in the name.
            if let (Digest::Sha256(digits), Some((_, end))) =
                (&weights.digest, weights.file.trim_end_matches(".pth").rsplit_once('-'))
                && weights.file.ends_with(".pth")
            {
                assert!(digits.starts_with(end), "{name}: {digits} {}", weights.file);
            }
            if let Some(bytes) = weights.size.bytes() {
                assert!((1_000_000..3_000_000_000).contains(&bytes), "{name}: {bytes}");
            }
            // The JSON file beside it has the stem, so two files must not share one.
            let stem = |file: &str| file.rsplit_once('.').map(|(stem, _)| stem.to_owned());
            let same = table.iter().filter(|other| stem(&other.file) == stem(&weights.file));
            assert_eq!(same.count(), 1, "{name}: {}", weights.file);
            let known = ["BSD-3-Clause", "Apache-2.0", "CC-BY-4.0", "CC-BY-NC-4.0"];
            assert!(known.contains(&weights.licence.as_str()), "{name}: {}", weights.licence);
        }
    }

    #[test]
    fn names_are_found_and_guessed() {
        let name = |text: &str| find(text).unwrap().map(|weights| weights.name.as_str());
        assert_eq!(name("mobilenet_v2"), Some("mobilenet_v2"));
        assert_eq!(name("MobileNet-v2"), Some("mobilenet_v2"));
        assert_eq!(name("resnet50.V2"), Some("resnet50.v2"));
        assert_eq!(name("resnet"), None);
        assert_eq!(near("resnet5")[0], "resnet50");
        assert_eq!(near("mobilnet_v2")[0], "mobilenet_v2");
        assert!(near("vgg16_").contains(&"vgg16".to_owned()));
        assert!(near("resnet").len() == MAX_NEAR);
        assert_eq!(near("cat"), Vec::<String>::new());
        assert_eq!(near(""), Vec::<String>::new());
        assert_eq!(near(&"resnet50".repeat(1000)), Vec::<String>::new());
    }

    #[test]
    fn wrong_lines_are_refused() {
        const GOOD: &str = "net\tnet.pth\thttps://a.b/net.pth\t~12\tsha256:01234567\tMIT\tmine\t-";
        let table = parse_table(&format!("# head\n\n{GOOD}\n"), "t.tsv").unwrap();
        assert_eq!(table[0].size, Size::About(12));
        assert_eq!(table[0].urls, ["https://a.b/net.pth"]);
        let wrong = [
            ("net\t", "x\t", "8 columns"),
            ("net\tnet.pth", "n t\tnet.pth", "a name of letters"),
            ("net.pth\t", "../net.pth\t", "plain name of a file"),
            ("net.pth\t", ".net\t", "plain name of a file"),
            ("net.pth\t", "net.pth.part\t", "plain name of a file"),
            ("https://a.b", "ftp://a.b", "a URL"),
            ("https://a.b/net.pth", "https://a.b/net.pth ", "a URL"),
            ("~12", "12k", "a number of bytes"),
            ("~12", "-1", "a number of bytes"),
            ("sha256:01234567", "sha256:0123456", "8 to 64 digits"),
            ("MIT", "", "a licence"),
            ("\t-", "\tnone", "an object in JSON"),
            ("net.pth\t", "net.json\t", "plain name of a file"),
        ];
        for (from, to, expected) in wrong {
            let line =
                if expected == "8 columns" { "x\ty".into() } else { GOOD.replacen(from, to, 1) };
            let error = parse_table(&format!("#\n{line}"), "t.tsv").unwrap_err().to_string();
            assert!(error.starts_with("t.tsv: line 2: expected "), "{error}");
            assert!(error.contains(expected), "{expected}: {error}");
        }
        for (from, to) in [("net.pth", "other.pth"), ("net\t", "other\t")] {
            let twice = format!("{GOOD}\n{}", GOOD.replacen(from, to, 1));
            let error = parse_table(&twice, "t.tsv").unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains("of its own"), "{error}");
        }
    }
}
