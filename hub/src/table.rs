//! The table of published weights.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::LazyLock;

use crate::digest::Digest;
use crate::{Error, Result};

/// The environment variable that names a table of one's own, in the form of `assets/weights.tsv`: its lines
/// come before those of the built-in one.
pub const TABLE_VARIABLE: &str = "STRIATE_WEIGHTS";

const BUILT_IN: &str = include_str!("../assets/weights.tsv");

/// No table of one's own is nearly as large.
const MAX_TABLE_BYTES: u64 = 4 << 20;

/// The longest name of a file that every file system takes, endings of ours included.
const MAX_FILE_CHARS: usize = 200;

/// The size of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Size {
    /// So many bytes.
    Exactly(u64),
    /// So many bytes, more or less.
    About(u64),
    /// Nobody says.
    Unknown,
}

impl Size {
    /// `123`, `~123` or `-`.
    fn parse(text: &str) -> Option<Size> {
        match (text, text.strip_prefix('~')) {
            ("-", _) => Some(Size::Unknown),
            (_, Some(about)) => about.parse().ok().map(Size::About),
            _ => text.parse().ok().map(Size::Exactly),
        }
    }

    /// The number, where there is one.
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
    /// What they are asked for by.
    pub name: String,
    /// The name of the file in the cache and on a mirror.
    pub file: String,
    /// Where the file is: one after another is tried.
    pub urls: Vec<String>,
    /// Its size.
    pub size: Size,
    /// Its digest.
    pub digest: Digest,
    /// Its licence, by its SPDX name.
    pub licence: String,
    /// Where it comes from.
    pub notes: String,
    /// What stands in a JSON file of the same stem beside it: timm's `config.json`.
    pub config: Option<String>,
}

impl Weights {
    /// Their file in the user's cache; none where it is not there. Nothing is asked of the network.
    ///
    /// # Errors
    /// [`Error::NoCache`] where there is no cache folder; where the system does not say what is there.
    pub fn cached(&self) -> Result<Option<PathBuf>> {
        crate::cache::cached_in(&crate::cache_dir()?, self)
    }

    /// A line of a table; what was expected and what is there where it is none.
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
        // It becomes a file in the cache: no path, and none of our own.
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

/// The lines of a table; `file` is what errors call it. Empty lines and such that begin with `#` say nothing.
///
/// # Errors
/// [`Error::Table`] where a line is none, or its name or file stands in an earlier one.
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
        // Names of files differ in case nowhere alone: some file systems do not see it.
        if !files.insert(weights.file.to_ascii_lowercase()) {
            return Err(fail(("a file of its own".into(), weights.file)));
        }
        table.push(weights);
    }
    Ok(table)
}

/// All weights that can be pulled: those of the table that [`TABLE_VARIABLE`] names, then the built-in ones.
/// Where both have a name, the first counts.
///
/// # Errors
/// [`Error::Table`] and [`Error::Unreadable`] where the table of one's own is wrong.
pub fn all() -> Result<&'static [Weights]> {
    // The environment is read once: a name means the same for as long as the program runs.
    static TABLE: LazyLock<Result<Vec<Weights>>> = LazyLock::new(read_all);
    match &*TABLE {
        Ok(table) => Ok(table),
        Err(Error::Table { file, line, expected, got }) => Err(Error::Table {
            file: file.clone(),
            line: *line,
            expected: expected.clone(),
            got: got.clone(),
        }),
        Err(Error::Unreadable { file, reason }) => {
            Err(Error::Unreadable { file: file.clone(), reason: reason.clone() })
        }
        Err(other) => {
            Err(Error::Unreadable { file: TABLE_VARIABLE.into(), reason: other.to_string() })
        }
    }
}

fn read_all() -> Result<Vec<Weights>> {
    let built_in = parse_table(BUILT_IN, "the built-in table of weights")?;
    let Some(file) = std::env::var_os(TABLE_VARIABLE).filter(|file| !file.is_empty()) else {
        return Ok(built_in);
    };
    let name = file.to_string_lossy().into_owned();
    let fail = |reason: String| Error::Unreadable { file: name.clone(), reason };
    let mut text = String::new();
    let opened = File::open(&file).map_err(|e| fail(e.to_string()))?;
    let read = opened.take(MAX_TABLE_BYTES + 1).read_to_string(&mut text);
    read.map_err(|e| fail(e.to_string()))?;
    if text.len() as u64 > MAX_TABLE_BYTES {
        return Err(fail(format!("it has more than {MAX_TABLE_BYTES} bytes")));
    }
    let own = parse_table(&text, &name)?;
    let taken: HashSet<String> = own.iter().map(|weights| plain(&weights.name)).collect();
    let files: HashSet<String> = own.iter().map(|w| w.file.to_ascii_lowercase()).collect();
    let is_free = |weights: &Weights| {
        !taken.contains(&plain(&weights.name))
            && !files.contains(&weights.file.to_ascii_lowercase())
    };
    Ok(own.iter().cloned().chain(built_in.into_iter().filter(is_free)).collect())
}

/// The weights of this name, whatever the case, with dashes or underscores.
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

/// The most names that are offered.
const MAX_NEAR: usize = 4;

/// Names longer than this are like none.
const MAX_COMPARED_CHARS: usize = 64;

/// A guess needs more than this many letters for each slip, or it would be wild.
const LETTERS_PER_SLIP: usize = 3;

/// Names like this one, the likest first: few slips away, or longer by a tag.
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

/// How many letters to insert, remove or replace to get from one word to the other (Levenshtein 1966).
fn slips(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    // `row[j]`: slips from the letters of `from` so far to the first `j` of `to`.
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
    fn slips_are_counted() {
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
            // Who publishes leading digits has them in the file's name.
            if let Digest::Sha256(digits) = &weights.digest
                && !weights.digest.is_whole()
            {
                let stem = weights.file.trim_end_matches(".pth");
                assert!(stem.ends_with(&format!("-{digits}")), "{name}: {}", weights.file);
            }
            // And a full digest begins with them.
            if let (Digest::Sha256(digits), Some((_, end))) =
                (&weights.digest, weights.file.trim_end_matches(".pth").rsplit_once('-'))
                && weights.file.ends_with(".pth")
            {
                assert!(digits.starts_with(end), "{name}: {digits} {}", weights.file);
            }
            if let Some(bytes) = weights.size.bytes() {
                assert!((1_000_000..3_000_000_000).contains(&bytes), "{name}: {bytes}");
            }
            // One file beside it, and none of another's.
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
    fn wrong_lines_are_told() {
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
