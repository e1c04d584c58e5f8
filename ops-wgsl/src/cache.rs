//! Compiled pipelines on disk, so that the next start need not compile them again.
//!
//! Where the driver gives them out (Vulkan). A file that is not ours, is damaged or is stale is
//! passed over, and written anew: it is a cache.

use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::device::Gpu;

/// What a file begins with; the number counts changes of its form.
const MAGIC: &[u8; 16] = b"striate-pipes-1\n";
/// After the magic: a checksum of the rest.
const CHECKSUM_BYTES: usize = 8;

pub(crate) struct Cache {
    pipelines: Option<wgpu::PipelineCache>,
    file: Option<PathBuf>,
    changed: AtomicBool,
}

impl Cache {
    /// The cache of an adapter, in a folder of the user's.
    pub(crate) fn open(gpu: &Gpu, folder: Option<&Path>) -> Self {
        let none = Cache { pipelines: None, file: None, changed: AtomicBool::new(false) };
        if !gpu.features.contains(wgpu::Features::PIPELINE_CACHE) {
            return none;
        }
        let Some((folder, key)) = folder.zip(wgpu::util::pipeline_cache_key(&gpu.info)) else {
            return none;
        };
        // One file a driver version: it would refuse the data of another.
        let mut version = DefaultHasher::new();
        version.write(gpu.info.driver_info.as_bytes());
        let file = folder.join(format!("{key}_{:016x}", version.finish()));
        let data = std::fs::read(&file).ok();
        let data = data.as_deref().and_then(unwrapped);
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: Some("striate"), data, fallback: true };
        // SAFETY: the data was returned by `get_data` for an adapter with this key: the file has
        // our magic, and its checksum says that nothing has changed since we wrote it.
        let made = gpu.scoped(0, || unsafe { gpu.device.create_pipeline_cache(&descriptor) });
        match made {
            Ok(pipelines) => Cache { pipelines: Some(pipelines), file: Some(file), ..none },
            Err(error) => {
                log::warn!("no cache of compiled pipelines: {error}");
                none
            }
        }
    }

    pub(crate) fn pipelines(&self) -> Option<&wgpu::PipelineCache> {
        self.pipelines.as_ref()
    }

    pub(crate) fn changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Writes the file, where something was compiled since.
    pub(crate) fn save(&self) {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let Some((pipelines, file)) = self.pipelines.as_ref().zip(self.file.as_ref()) else {
            return;
        };
        let Some(data) = pipelines.get_data() else { return };
        if let Err(error) = write(file, &data) {
            log::warn!("compiled pipelines are not kept in {}: {error}", file.display());
        }
    }
}

/// Writes beside the file and renames: another process reads the old one or the new one.
fn write(file: &Path, data: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = file.with_extension(format!("{}.part", std::process::id()));
    let mut part = std::fs::File::create(&beside)?;
    part.write_all(MAGIC)?;
    part.write_all(&checksum(data))?;
    part.write_all(data)?;
    drop(part);
    std::fs::rename(&beside, file).inspect_err(|_| {
        // Nothing more can be done for it.
        let _ = std::fs::remove_file(&beside);
    })
}

/// The data of a file that is whole.
fn unwrapped(file: &[u8]) -> Option<&[u8]> {
    let rest = file.strip_prefix(MAGIC)?;
    let (sum, data) = rest.split_at_checked(CHECKSUM_BYTES)?;
    (sum == checksum(data)).then_some(data)
}

/// FNV-1a of 64 bits: it finds damage, which is all that is asked of it.
fn checksum(data: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    data.iter().fold(0xcbf2_9ce4_8422_2325, step).to_le_bytes()
}

/// Where caches are kept, unless said otherwise.
pub(crate) fn default_folder() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("striate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_read_and_a_damaged_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deeper").join("cache");
        write(&file, b"what the driver gave").unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        assert_eq!(unwrapped(&bytes), Some(&b"what the driver gave"[..]));
        assert_eq!(unwrapped(&bytes[..bytes.len() - 1]), None);
        assert_eq!(unwrapped(&bytes[..20]), None);
        assert_eq!(unwrapped(b""), None);
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(unwrapped(&bytes), None);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
