//! Downloads a file of the table into the cache.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;

use crate::cache::{cache_dir, cached_in, length, write_config};
use crate::http::{self, Answer, Bytes, Failure, shown};
use crate::options::{Progress, PullOptions};
use crate::partial_file::{Lock, PartialFile};
use crate::table::{Size, Weights};
use crate::{Error, Result};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 16;

/// A try that brought at least this much resets the count of failures.
const GOOD_TRY_BYTES: u64 = 1 << 20;

/// The longest pause between tries, unless the server asks for a longer one.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// The largest file accepted if the table gives no size.
const MAX_BYTES: u64 = 16 << 30;

/// How far the size of a file may be from an approximate one. These are published in mebibytes with three
/// decimals.
const SIZE_SLACK_BYTES: u64 = 1 << 10;

/// As [`pull`](crate::pull), for a line of any table.
///
/// # Errors
/// As [`pull`](crate::pull).
pub fn pull_weights(
    weights: &Weights,
    options: &PullOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    let folder = options.cache.clone().map_or_else(cache_dir, Ok)?;
    let file = folder.join(&weights.file);
    // A shared cache may be read-only.
    if is_right(&folder, weights, options.force, progress)? {
        if let Err(error) = write_config(&file, weights) {
            log::info!("{error}: {:?}", std::error::Error::source(&error));
        }
        return Ok(file);
    }
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "make the folder", e))?;
    let _lock = Lock::take(&file, progress)?;
    // Another pull may have fetched it while this one waited.
    if is_right(&folder, weights, options.force, progress)? {
        return Ok(file);
    }
    let mirror = options.base_url.as_ref();
    let mirrored =
        mirror.map(|base| vec![format!("{}/{}", base.trim_end_matches('/'), weights.file)]);
    let urls = mirrored.as_ref().unwrap_or(&weights.urls);
    write_config(&file, weights)?;
    let mut urls = urls.iter().peekable();
    while let Some(url) = urls.next() {
        if !weights.digest.is_whole() && url.starts_with("http://") && !http::is_this_machine(url) {
            let (name, url) = (&weights.name, shown(url));
            log::warn!(
                "{name}: {url} has no https, and only the first digits of the digest are known: an attacker \
                 on the network can send another file"
            );
        }
        let fetch = Fetch { url, weights, options, agent: http::agent(url, options) };
        match fetch.run(&file, progress) {
            Ok(()) => return Ok(file),
            Err(error) if error.is_of_the_server() && urls.peek().is_some() => {
                log::warn!("{error}; trying the next server");
            }
            Err(error) => return Err(error),
        }
    }
    // Unreachable by `parse_table`, which refuses a line without URL.
    Err(Error::Url { url: weights.name.clone(), source: "the table has no URL for it".into() })
}

/// Whether the right file is in the cache. Its digest was checked after the download; it is computed again only
/// if `check` is set, or if the size is far from the approximate one.
fn is_right(
    folder: &Path,
    weights: &Weights,
    check: bool,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<bool> {
    let Some(file) = cached_in(folder, weights)? else { return Ok(false) };
    let is_odd = match weights.size {
        Size::About(size) => {
            length(&file)?.is_none_or(|length| length.abs_diff(size) > SIZE_SLACK_BYTES)
        }
        _ => false,
    };
    if !check && !is_odd {
        return Ok(true);
    }
    progress(Progress::Checking);
    let differs = weights.digest.differs(&file).map_err(|e| Error::io(&file, "read it", e))?;
    if let Some(got) = &differs {
        let (file, expected) = (file.display(), weights.digest.shown());
        log::warn!("{file}: damaged: expected the digest {expected}, got {got}; fetching it again");
    }
    Ok(differs.is_none())
}

/// The download of a file from one server.
struct Fetch<'a> {
    url: &'a str,
    weights: &'a Weights,
    options: &'a PullOptions,
    agent: Agent,
}

impl Fetch<'_> {
    fn run(&self, file: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let mut part = PartialFile::open(file)?;
        match self.fill(&mut part, progress) {
            Ok(()) => part.finish(file),
            // An empty or wrong part is useless to the next pull.
            Err(error) if part.len() == 0 || matches!(error, Error::Digest { .. }) => {
                part.remove()?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Downloads what is missing, and checks the digest.
    fn fill(&self, part: &mut PartialFile, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let mut from_old = part.len() > 0;
        loop {
            self.complete(part, &mut from_old, progress)?;
            progress(Progress::Checking);
            let differs = self.weights.digest.differs(part.path());
            let Some(got) = differs.map_err(|e| Error::io(part.path(), "read it", e))? else {
                return Ok(());
            };
            if from_old {
                // The part of an earlier pull may be damaged or of another version. Only a download from
                // the first byte on proves that the server has the wrong file.
                log::info!("{}: not the right file: fetching it anew", part.path().display());
                part.restart()?;
                from_old = false;
                continue;
            }
            let expected = self.weights.digest.shown();
            return Err(Error::Digest { url: shown(self.url), expected, got });
        }
    }

    /// Downloads until no byte is missing, with retries. `from_old` says whether the first bytes are of an
    /// earlier pull.
    fn complete(
        &self,
        part: &mut PartialFile,
        from_old: &mut bool,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<()> {
        if matches!(self.weights.size, Size::Exactly(size) if size == part.len()) {
            return Ok(());
        }
        if part.len() > self.most() {
            part.restart()?;
        }
        let (mut tries, mut best, mut went_well) = (0_u32, part.len(), false);
        loop {
            let (reason, pause, only_if_it_went_well) = match self.attempt(part, from_old, progress)
            {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { reason, pause, only_if_it_went_well }) => {
                    (reason, pause, only_if_it_went_well)
                }
            };
            went_well |= part.len() > best;
            if part.len() >= best.saturating_add(GOOD_TRY_BYTES) {
                tries = 0;
            }
            best = best.max(part.len());
            tries = tries.saturating_add(1);
            if tries > self.options.retries || (only_if_it_went_well && !went_well) {
                let (url, kept) = (shown(self.url), part.len());
                return Err(Error::Fetch { url, tries, kept, source: reason });
            }
            let double = 2_u32.saturating_pow(tries.saturating_sub(1));
            let backoff = self.options.backoff.saturating_mul(double).min(MAX_BACKOFF);
            let pause = pause.unwrap_or(backoff);
            progress(Progress::Retrying { reason: &reason.to_string(), pause });
            std::thread::sleep(pause);
        }
    }

    /// Sends one request, and writes the bytes that it brings.
    fn attempt(
        &self,
        part: &mut PartialFile,
        from_old: &mut bool,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Failure> {
        let url = shown(self.url);
        let asked = part.len();
        let validator = part.validator(&url);
        let answer = http::ask(&self.agent, self.url, asked, validator.as_deref());
        let bytes = match answer {
            Ok(Answer::Whole(bytes)) => {
                self.check_total(bytes.total).map_err(Failure::Final)?;
                part.restart().map_err(Failure::Final)?;
                *from_old = false;
                part.note(&url, bytes.validator.as_deref());
                bytes
            }
            Ok(Answer::Rest(bytes)) => {
                self.check_total(bytes.total).map_err(Failure::Final)?;
                bytes
            }
            Ok(Answer::NothingMore(total)) if total.is_none_or(|total| total == asked) => {
                return Ok(());
            }
            Ok(Answer::NothingMore(_) | Answer::OtherPart) => {
                part.restart().map_err(Failure::Final)?;
                *from_old = false;
                return Err(Failure::passing("the server has another version of the file"));
            }
            Err(failure) => return Err(failure),
        };
        progress(Progress::Fetching { url: &url, from: part.len(), total: bytes.total });
        self.receive(bytes, part, progress)
    }

    fn receive(
        &self,
        bytes: Bytes,
        part: &mut PartialFile,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Failure> {
        let total = match self.weights.size {
            Size::Exactly(size) => Some(size),
            _ => bytes.total,
        };
        let mut body = bytes.body.into_reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        let most = total.unwrap_or(u64::MAX).min(self.most());
        loop {
            let count = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::passing(error)),
            };
            let got = part.len().saturating_add(count as u64);
            if got > most {
                // These bytes are of another file.
                part.restart().map_err(Failure::Final)?;
                let (url, expected) = (shown(self.url), format!("at most {most}"));
                return Err(Failure::Final(Error::Size { url, expected, got }));
            }
            part.append(chunk.get(..count).unwrap_or_default()).map_err(Failure::Final)?;
            progress(Progress::Received { bytes: part.len() });
        }
        match total {
            Some(total) if part.len() < total => {
                let got = part.len();
                Err(Failure::passing(format!("the connection ended after {got} of {total} bytes")))
            }
            _ => Ok(()),
        }
    }

    /// The largest size accepted.
    fn most(&self) -> u64 {
        match self.weights.size {
            Size::Exactly(size) => size,
            // Generous: the digest decides.
            Size::About(size) => size.saturating_add(size / 16).saturating_add(1 << 20),
            Size::Unknown => MAX_BYTES,
        }
    }

    /// Refuses an answer of the wrong size, such as a login page, before it is downloaded.
    fn check_total(&self, total: Option<u64>) -> Result<()> {
        let Some(got) = total else { return Ok(()) };
        let expected = match self.weights.size {
            Size::Exactly(size) if got != size => size.to_string(),
            _ if got > self.most() => format!("at most {}", self.most()),
            _ => return Ok(()),
        };
        Err(Error::Size { url: shown(self.url), expected, got })
    }
}
