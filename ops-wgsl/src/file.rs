//! Files in the user's cache folder: each is replaced whole, and carries a checksum.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};

/// After the magic: a checksum of the rest in hexadecimal digits, and the end of the line.
const CHECKSUM_BYTES: usize = 17;

/// Writes beside the file and renames: another process reads the old one or the new one.
pub(crate) fn write(file: &Path, magic: &str, data: &[u8]) -> std::io::Result<()> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Two devices of a process may write at the same time, too.
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let beside = file.with_extension(format!("{}-{number}.part", std::process::id()));
    let written = std::fs::File::create(&beside).and_then(|mut part| {
        part.write_all(magic.as_bytes())?;
        part.write_all(checksum(data).as_bytes())?;
        part.write_all(data)
    });
    written.and_then(|()| std::fs::rename(&beside, file)).inspect_err(|_| {
        // Nothing more can be done for it.
        let _ = std::fs::remove_file(&beside);
    })
}

/// The data of a file; none where it is not this kind's, is damaged, or has more than `most` bytes.
pub(crate) fn read(file: &Path, magic: &str, most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let begin = magic.len() + CHECKSUM_BYTES;
    let limit = most.saturating_add(begin as u64);
    // One byte more than there may be tells a longer file from a whole one.
    std::fs::File::open(file)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    let whole = bytes.len() as u64 <= limit
        && bytes.starts_with(magic.as_bytes())
        && bytes
            .split_at_checked(begin)
            .is_some_and(|(head, data)| head[magic.len()..] == *checksum(data).as_bytes());
    Ok(whole.then(|| bytes.split_off(begin)))
}

fn checksum(data: &[u8]) -> String {
    format!("{:016x}\n", hash(data))
}

/// FNV-1a of 64 bits: it finds damage and tells versions apart, and is the same everywhere.
pub(crate) fn hash(data: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    data.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Where caches are kept, unless said otherwise.
pub(crate) fn default_folder() -> Option<PathBuf> {
    Some(choose_native_strategy().ok()?.cache_dir().join("striate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_read_and_a_damaged_one_is_not() {
        const MAGIC: &str = "striate-test-1\n";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deeper").join("cache");
        assert!(read(&file, MAGIC, 99).is_err());
        let data = b"what the driver gave";
        write(&file, MAGIC, data).unwrap();
        let read = |most| read(&file, MAGIC, most).unwrap();
        assert_eq!(read(99).as_deref(), Some(&data[..]));
        assert_eq!(read(20).as_deref(), Some(&data[..]));
        assert_eq!(read(19), None);
        let bytes = std::fs::read(&file).unwrap();
        let mut damaged = bytes.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let other = [b"x", &bytes[1..]].concat();
        for bad in [&bytes[..bytes.len() - 1], &bytes[..20], b"", &damaged, &other] {
            std::fs::write(&file, bad).unwrap();
            assert_eq!(read(99), None, "{bad:?}");
        }
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
