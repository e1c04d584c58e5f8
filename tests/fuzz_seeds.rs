//! The fuzzer's functions over its seeds, which hold every input that was ever a finding, and over
//! damaged copies of them: so that a regression is found by any compiler, without fuzzing.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

#[path = "../fuzz/src/lib.rs"]
mod parsers;

use std::panic::catch_unwind;
use std::path::Path;

/// The seeds of a target by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder:?} is empty");
    let named = |path: &std::path::PathBuf| {
        (path.display().to_string(), std::fs::read(path).unwrap_or_default())
    };
    files.iter().map(named).collect()
}

#[test]
fn every_seed_passes_its_target() {
    for (name, target) in parsers::TARGETS {
        for (file, bytes) in seeds(name) {
            let outcome = catch_unwind(|| target(&bytes));
            assert!(outcome.is_ok(), "{name} fails on {file}");
        }
    }
}

/// Some damage to every seed, the same every time; `STRIATE_FUZZ_ROUNDS` (16) is how often. An input that
/// fails is left in the folder for temporary files.
#[test]
fn damaged_seeds_pass_their_targets() {
    let rounds = std::env::var("STRIATE_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (name, target) in parsers::TARGETS {
        let seeds = seeds(name);
        for _ in 0..rounds.unwrap_or(16) {
            for (file, bytes) in &seeds {
                let other = &seeds[random.below(seeds.len())].1;
                let bytes = damaged(bytes, other, &mut random);
                if catch_unwind(|| target(&bytes)).is_err() {
                    let kept = std::env::temp_dir().join(format!("striate-fuzz-{name}"));
                    std::fs::write(&kept, &bytes).unwrap();
                    panic!("{name} fails on {}, made of {file}", kept.display());
                }
            }
        }
    }
}

/// Numbers by xorshift: what matters is that they are the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to `count - 1`; 0 for a count of 0.
    fn below(&mut self, count: usize) -> usize {
        (self.next() >> 16) as usize % count.max(1)
    }
}

/// Up to six changes: bytes, numbers, cuts, and pieces of itself or of another seed put in.
fn damaged(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    const BOUNDARIES: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, u64::MAX];
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 => bytes.insert(at, random.next() as u8),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            3 => {
                let number = BOUNDARIES[random.below(BOUNDARIES.len())];
                let width = 1 << random.below(4);
                let big = random.below(2) == 1;
                for (byte, place) in bytes.iter_mut().skip(at).take(width).zip(0..) {
                    let place = if big { width - 1 - place } else { place };
                    *byte = (number >> (8 * place)) as u8;
                }
            }
            4 => bytes.truncate(at),
            5 => {
                let end = (at + random.below(32)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let from = random.below(other.len());
                let to = (from + random.below(64)).min(other.len());
                let piece = other[from..to].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

#[test]
fn every_target_has_a_binary_and_every_binary_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(folder).unwrap();
    let stem = |path: std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut binaries: Vec<_> = entries.map(|entry| stem(entry.unwrap().path())).collect();
    binaries.sort();
    assert_eq!(binaries, parsers::TARGETS.map(|(name, _)| name));
}
