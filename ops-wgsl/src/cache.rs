//! Compiled pipelines on disk, so that the next start need not compile them again.
//!
//! Where the driver gives them out (Vulkan). A file that is not ours, is damaged or is stale is
//! passed over, and written anew: it is a cache.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::device::Gpu;
use crate::file;

/// What a file begins with; the number counts changes of its form.
const MAGIC: &str = "striate-pipes-2\n";
/// Compiled pipelines of all shaders are a few MiB; what has more is not worth reading.
const MOST_BYTES: u64 = 256 << 20;

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
        let path = folder.join(format!("{key}_{:016x}", version.finish()));
        let data = file::read(&path, MAGIC, MOST_BYTES).ok().flatten();
        let data = data.as_deref();
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: Some("striate"), data, fallback: true };
        // SAFETY: the data was returned by `get_data` for an adapter with this key: the file has
        // our magic, and its checksum says that nothing has changed since we wrote it.
        let made = gpu.scoped(0, || unsafe { gpu.device.create_pipeline_cache(&descriptor) });
        match made {
            Ok(pipelines) => Cache { pipelines: Some(pipelines), file: Some(path), ..none },
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
        let Some((pipelines, path)) = self.pipelines.as_ref().zip(self.file.as_ref()) else {
            return;
        };
        let Some(data) = pipelines.get_data() else { return };
        if let Err(error) = file::write(path, MAGIC, &data) {
            log::warn!("compiled pipelines are not kept in {}: {error}", path.display());
        }
    }
}
