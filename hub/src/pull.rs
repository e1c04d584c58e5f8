//! From a line of the table to a file in the cache.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;

use crate::cache::{cache_dir, cached_in, length, write_config};
use crate::http::{self, Answer, Bytes, Failure, shown};
use crate::options::{Progress, PullOptions};
use crate::part::{Lock, Part};
use crate::table::{Size, Weights};
use crate::{Error, Result};

/// Read at a time.
const CHUNK_BYTES: usize = 1 << 16;

/// A try that brought as much as this was a good one: failures are counted anew after it.
const GOOD_TRY_BYTES: u64 = 1 << 20;

/// The longest pause between tries, unless the server asks for one.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Of a file whose size nobody says, no more than this is taken.
const MAX_BYTES: u64 = 16 << 30;

/// How far from the size that is published roughly, to a thousandth of a mebibyte, a file may be.
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
    // A cache that others fill may be one that nothing can be written to.
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
    let mut urls = urls.iter().peekable();
    while let Some(url) = urls.next() {
        if !weights.digest.is_whole() && url.starts_with("http://") && !http::is_this_machine(url) {
            let (name, url) = (&weights.name, shown(url));
            log::warn!(
                "{name}: {url} has no https, and of the digest only the first digits are known: whoever \
                 stands in between can send another file"
            );
        }
        let fetch = Fetch { url, weights, options, agent: http::agent(url, options) };
        let fetched = write_config(&file, weights).and_then(|()| fetch.run(&file, progress));
        match fetched {
            Ok(()) => return Ok(file),
            Err(error) if error.is_of_the_server() && urls.peek().is_some() => {
                log::warn!("{error}; asking the next server");
            }
            Err(error) => return Err(error),
        }
    }
    // The table lets no line be without URL.
    Err(Error::Url { url: weights.name.clone(), source: "the table has no URL for it".into() })
}

/// Whether the file is there. Its digest was checked when it came, so it is computed again only where that is
/// asked for, or its size is odd.
fn is_right(
    folder: &Path,
    weights: &Weights,
    check: bool,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<bool> {
    let Some(file) = cached_in(folder, weights)? else { return Ok(false) };
    let is_odd = match (weights.size, length(&file)?) {
        (Size::About(size), Some(length)) => length.abs_diff(size) > SIZE_SLACK_BYTES,
        (_, length) => length.is_none(),
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

/// A file that is fetched from one server.
struct Fetch<'a> {
    url: &'a str,
    weights: &'a Weights,
    options: &'a PullOptions,
    agent: Agent,
}

impl Fetch<'_> {
    fn run(&self, file: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let mut part = Part::open(file)?;
        match self.fill(&mut part, progress) {
            Ok(()) => part.finish(file),
            // What is not the file's beginning, or nothing, is of no use to the next try.
            Err(error) if part.len() == 0 || matches!(error, Error::Digest { .. }) => {
                part.remove()?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches what is missing until the digest is right.
    fn fill(&self, part: &mut Part, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let mut from_old = part.len() > 0;
        loop {
            self.complete(part, &mut from_old, progress)?;
            progress(Progress::Checking);
            let differs = self.weights.digest.differs(part.path());
            let Some(got) = differs.map_err(|e| Error::io(part.path(), "read it", e))? else {
                return Ok(());
            };
            if from_old {
                // An old beginning may be of another version, or damaged: what is new from its first byte
                // to its last decides.
                log::info!("{}: not the right file: fetching it anew", part.path().display());
                part.restart()?;
                from_old = false;
                continue;
            }
            let expected = self.weights.digest.shown();
            return Err(Error::Digest { url: shown(self.url), expected, got });
        }
    }

    /// Fetches until nothing is missing. `from_old` says whether the beginning is of an earlier pull.
    fn complete(
        &self,
        part: &mut Part,
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

    /// Asks once, and writes what comes.
    fn attempt(
        &self,
        part: &mut Part,
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
        part: &mut Part,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Failure> {
        let total = match self.weights.size {
            Size::Exactly(size) => Some(size),
            _ => bytes.total,
        };
        let mut body = bytes.body.into_reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::passing(error)),
            };
            let most = total.unwrap_or(u64::MAX).min(self.most());
            let got = part.len().saturating_add(count as u64);
            if got > most {
                // Whatever it is, it is not the beginning of the file.
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

    /// The most bytes that the file may have.
    fn most(&self) -> u64 {
        match self.weights.size {
            Size::Exactly(size) => size,
            // Far beyond any rounding: the digest decides.
            Size::About(size) => size.saturating_add(size / 16).saturating_add(1 << 20),
            Size::Unknown => MAX_BYTES,
        }
    }

    /// Refuses a file of another size before it comes: the page of a hotel's network, say.
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
