//! The digests that identify files.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// Digits of a whole SHA-256.
const SHA256_DIGITS: usize = 64;

/// The fewest leading digits accepted: as many as torchvision publishes.
const MIN_DIGITS: usize = 8;

/// Digits of the SHA-1 that names a git object.
const GIT_DIGITS: usize = 40;

/// The digest that a file must have.
///
/// ```
/// use striate_hub::Digest;
///
/// let digest = Digest::parse("sha256:b0353104").unwrap();
/// assert!(!digest.is_whole());
/// assert_eq!(digest.to_string(), "sha256:b0353104");
/// assert_eq!(Digest::parse("sha256:b0"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Digest {
    /// A SHA-256 in hexadecimal digits: all 64, or the leading ones that the publisher gives.
    Sha256(String),
    /// The SHA-1 of the file as a git object (a blob).
    Git(String),
}

impl Digest {
    /// Parses `sha256:` or `git:` followed by lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Digest> {
        let is_hex = |digits: &str| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let (kind, digits) = text.split_once(':')?;
        let length = digits.len();
        match kind {
            _ if !is_hex(digits) => None,
            "sha256" => (MIN_DIGITS..=SHA256_DIGITS)
                .contains(&length)
                .then(|| Digest::Sha256(digits.to_owned())),
            "git" => (length == GIT_DIGITS).then(|| Digest::Git(digits.to_owned())),
            _ => None,
        }
    }

    /// Whether all digits are known. A shorter digest finds damage, but can be forged.
    pub fn is_whole(&self) -> bool {
        match self {
            Digest::Sha256(digits) => digits.len() == SHA256_DIGITS,
            Digest::Git(_) => true,
        }
    }

    /// For messages: `sha256:b0353104…`
    pub(crate) fn shown(&self) -> String {
        if self.is_whole() { self.to_string() } else { format!("{self}…") }
    }

    /// `None` if the file has this digest, else the digest that it has.
    pub(crate) fn differs(&self, file: &Path) -> io::Result<Option<String>> {
        let (kind, digits, got) = match self {
            Digest::Sha256(digits) => ("sha256", digits, sha256(file)?),
            Digest::Git(digits) => ("git", digits, git(file)?),
        };
        Ok((!got.starts_with(digits.as_str())).then(|| format!("{kind}:{got}")))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Digest::Sha256(digits) => write!(f, "sha256:{digits}"),
            Digest::Git(digits) => write!(f, "git:{digits}"),
        }
    }
}

fn sha256(file: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    each_chunk(&mut File::open(file)?, |bytes| hasher.update(bytes))?;
    Ok(hex(&hasher.finalize()))
}

/// Git hashes a header with the length of the file, then the file.
fn git(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", file.metadata()?.len()));
    each_chunk(&mut file, |bytes| hasher.update(bytes))?;
    Ok(hex(&hasher.finalize()))
}

fn each_chunk(from: &mut impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => take(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn digests_of_known_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("abc");
        std::fs::write(&file, "abc").unwrap();
        let differs = |text: &str| Digest::parse(text).unwrap().differs(&file).unwrap();
        // FIPS 180-4's example, whole and its leading digits.
        assert_eq!(differs(&format!("sha256:{ABC}")), None);
        assert_eq!(differs("sha256:ba7816bf"), None);
        assert_eq!(differs("sha256:ba7816b0").unwrap(), format!("sha256:{ABC}"));
        // `printf abc | git hash-object --stdin`
        assert_eq!(differs("git:f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"), None);
        assert!(differs("git:f2ba8f84ab5c1bce84a7b441cb1959cfc7093b70").is_some());
    }

    #[test]
    fn invalid_digests_are_refused() {
        for text in ["", "sha256", "sha256:", "sha256:ba7816", "sha256:BA7816BF", "md5:ba7816bf"] {
            assert_eq!(Digest::parse(text), None, "{text}");
        }
        for text in [format!("sha256:{ABC}0"), "sha256:ba7816bg".into(), "git:ba7816bf".into()] {
            assert_eq!(Digest::parse(&text), None, "{text}");
        }
    }
}
