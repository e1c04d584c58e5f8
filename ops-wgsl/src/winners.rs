//! The winners of an adapter, in a file of the user's.
//!
//! Text: lines that say which adapter, driver and shaders were measured, an empty line, and a line a
//! case. One file an adapter: what another driver or other shaders took is of no use any more.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::choice::{Algorithm, Case};
use crate::device::Gpu;
use crate::file;
use crate::kernels::fingerprint;

/// What a file begins with; the number counts changes of its form.
const MAGIC: &str = "striate-tuned-2\n";
/// Cases that are kept; the oldest go first. The classic networks together have about 100.
const MOST_CASES: usize = 4096;
const MOST_BYTES: u64 = 1 << 20;

/// What was measured of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) case: Case,
    pub(crate) usual: (Algorithm, f64),
    pub(crate) winner: (Algorithm, f64),
}

/// The file of an adapter.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    path: PathBuf,
    key: String,
}

impl Store {
    /// The file of this adapter in a folder.
    pub(crate) fn new(gpu: &Gpu, folder: &Path) -> Self {
        let info = &gpu.info;
        let line = |text: &str| text.replace(['\n', '\r'], " ");
        let key = format!(
            "adapter {}\nids {:04x} {:04x} {}\ndriver {}\nversion {}\nshaders {:016x}\n",
            line(&info.name),
            info.vendor,
            info.device,
            info.backend,
            line(&info.driver),
            line(&info.driver_info),
            fingerprint(),
        );
        // A new driver writes over what the last one took.
        let name = file::hash(info.name.as_bytes());
        let name =
            format!("tuned_{}_{:04x}_{:04x}_{name:016x}", info.backend, info.vendor, info.device);
        Store { path: folder.join(name), key }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in the file.
    ///
    /// # Errors
    /// Why it is of no use, where it is damaged, or of another driver, adapter or version.
    pub(crate) fn read(&self) -> Result<Vec<Entry>, String> {
        let data = match file::read(&self.path, MAGIC, MOST_BYTES) {
            Ok(Some(data)) => data,
            Ok(None) => return Err("it is damaged or of another version".into()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.to_string()),
        };
        let text = String::from_utf8_lossy(&data);
        let lines = text.strip_prefix(&self.key).and_then(|rest| rest.strip_prefix('\n'));
        let lines = lines.ok_or("it was measured with another driver or other shaders")?;
        Ok(lines.lines().filter_map(Entry::parse).collect())
    }

    /// Adds what was measured to the file, in place of what it has of the same cases.
    pub(crate) fn add(&self, new: &[Entry]) -> std::io::Result<()> {
        // What is of no use is written over.
        let mut entries = self.read().unwrap_or_default();
        entries.retain(|old| !new.iter().any(|new| new.case == old.case));
        entries.extend(new);
        let old = entries.len().saturating_sub(MOST_CASES);
        let lines = entries.iter().skip(old).map(Entry::line);
        let text = format!("{}\n{}", self.key, lines.collect::<String>());
        file::write(&self.path, MAGIC, text.as_bytes())
    }
}

impl Entry {
    fn line(&self) -> String {
        let ((usual, usual_ms), (winner, winner_ms)) = (self.usual, self.winner);
        format!("{}\t{usual}\t{usual_ms}\t{winner}\t{winner_ms}\n", self.case)
    }

    /// An algorithm that this version does not have makes a line of no use.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split('\t');
        let case = Case::parse(words.next()?)?;
        let mut timed = || Some((Algorithm::by_name(words.next()?)?, words.next()?.parse().ok()?));
        let (usual, winner) = (timed()?, timed()?);
        words.next().is_none().then_some(Entry { case, usual, winner })
    }
}

/// The winners that are known of an adapter, where a folder for caches is.
pub(crate) fn winners(gpu: &Gpu, folder: Option<&Path>) -> HashMap<Case, Algorithm> {
    let Some(folder) = folder else { return HashMap::new() };
    let store = Store::new(gpu, folder);
    let entries = store.read().unwrap_or_else(|reason| {
        let path = store.path.display();
        log::warn!("{path} is passed over until the next `tune`: {reason}");
        Vec::new()
    });
    if !entries.is_empty() {
        log::info!("{}: {} tuned shapes", gpu.name, entries.len());
    }
    // The usual one stays the table's: it may be a better one in the next version.
    let other = entries.into_iter().filter(|entry| entry.winner.0 != entry.usual.0);
    other.map(|entry| (entry.case, entry.winner.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(case: &str, winner: Algorithm) -> Entry {
        let case = Case::parse(case).unwrap();
        Entry { case, usual: (Algorithm::Wide, 1.5), winner: (winner, 0.25) }
    }

    fn case(m: usize) -> String {
        format!("matmul {m}{} f32 f16", " 1".repeat(15))
    }

    #[test]
    fn what_is_added_is_read_and_what_is_foreign_or_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store { path: folder.path().join("deeper/tuned"), key: "adapter a\n".into() };
        assert_eq!(store.read().unwrap(), []);
        let first = [entry(&case(1), Algorithm::Simple), entry(&case(2), Algorithm::Wide)];
        store.add(&first).unwrap();
        assert_eq!(store.read().unwrap(), first);
        let again = entry(&case(1), Algorithm::MatVec);
        store.add(&[again]).unwrap();
        assert_eq!(store.read().unwrap(), [first[1], again]);

        let other = Store { key: "adapter b\n".into(), ..store.clone() };
        assert!(other.read().unwrap_err().contains("driver"));
        let mut bytes = std::fs::read(store.path()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(store.path(), &bytes).unwrap();
        assert!(store.read().unwrap_err().contains("damaged"));
        // What is damaged is written anew.
        store.add(&first).unwrap();
        assert_eq!(store.read().unwrap(), first);
    }

    #[test]
    fn lines_that_say_nothing_are_passed_over() {
        let line = entry(&case(1), Algorithm::MatVec).line();
        assert!(Entry::parse(line.trim_end()).is_some());
        for (from, to) in [("matvec", "magic"), ("1.5", "x"), ("matmul", "lrn"), ("0.25", "1\t2")] {
            assert_eq!(Entry::parse(line.trim_end().replace(from, to).as_str()), None, "{to}");
        }
    }

    #[test]
    fn the_oldest_go_where_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store { path: folder.path().join("tuned"), key: "adapter a\n".into() };
        let all: Vec<Entry> =
            (0..MOST_CASES + 9).map(|m| entry(&case(m), Algorithm::Simple)).collect();
        store.add(&all).unwrap();
        assert_eq!(store.read().unwrap(), all[9..]);
        assert!(std::fs::metadata(store.path()).unwrap().len() < MOST_BYTES);
    }
}
