//! An opened adapter: its limits, its features, and what has gone wrong on it.

use std::sync::{Arc, Mutex, PoisonError};

use striate_tensor::{DeviceInfo, DeviceKind, Error, Result};

use crate::adapter;
use crate::options::Options;

/// Bytes of one chunk of a tensor, at most, however much a binding takes: chunks are counted in
/// 32-bit words by shaders, and a smaller one finds room where memory is fragmented.
const MAX_CHUNK_BYTES: u64 = 1 << 30;

/// The smallest allocation; also what all offsets of bindings are a multiple of.
pub(crate) const ALIGN_BYTES: u64 = 256;

/// An adapter, opened.
pub(crate) struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    /// `gpu:0`
    pub(crate) name: String,
    pub(crate) kind: DeviceKind,
    pub(crate) limits: wgpu::Limits,
    pub(crate) features: wgpu::Features,
    pub(crate) info: wgpu::AdapterInfo,
    /// Its place among the adapters.
    pub(crate) index: usize,
    /// All features of the adapter, asked for or not.
    offered: wgpu::Features,
    chunk_bytes: u64,
    health: Arc<Health>,
}

/// What has gone wrong since it was last asked.
#[derive(Default)]
struct Health {
    lost: Mutex<Option<String>>,
    failed: Mutex<Option<Failure>>,
}

#[derive(Clone)]
enum Failure {
    OutOfMemory,
    Refused(String),
}

impl From<&wgpu::Error> for Failure {
    fn from(error: &wgpu::Error) -> Self {
        match error {
            wgpu::Error::OutOfMemory { .. } => Failure::OutOfMemory,
            other => Failure::Refused(other.to_string()),
        }
    }
}

/// The features that kernels and the profiler have a use for.
fn wanted_features() -> wgpu::Features {
    wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP
        | wgpu::Features::PIPELINE_CACHE
}

impl Gpu {
    /// Opens an adapter: with all that it offers, or with the limits that WebGPU promises on every
    /// adapter and no features.
    pub(crate) async fn open(choice: &adapter::AdapterChoice, options: &Options) -> Result<Self> {
        let (index, adapter) = adapter::choose(choice).await?;
        let name = format!("gpu:{index}");
        let (limits, features) = if options.default_limits {
            // The cache of pipelines changes no kernel.
            (wgpu::Limits::default(), wgpu::Features::PIPELINE_CACHE & adapter.features())
        } else {
            (adapter.limits(), wanted_features() & adapter.features())
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("striate"),
            required_features: features,
            required_limits: limits.clone(),
            ..Default::default()
        };
        let (device, queue) = (adapter.request_device(&descriptor).await)
            .map_err(|e| Error::Device { device: name.clone(), message: e.to_string() })?;
        let health = Arc::new(Health::default());
        let seen = Arc::clone(&health);
        device.set_device_lost_callback(move |reason, message| {
            let message = format!("the device was lost ({reason:?}): {message}");
            seen.lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
        });
        let seen = Arc::clone(&health);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            log::error!("{error}");
            let mut failed = seen.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| Failure::from(&error));
        }));
        let kind = adapter::describe(index, &adapter).kind;
        let info = adapter.get_info();
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let most = options.chunk_bytes.unwrap_or(MAX_CHUNK_BYTES).min(most).min(MAX_CHUNK_BYTES);
        let chunk_bytes = 1 << most.max(ALIGN_BYTES).ilog2();
        let offered = adapter.features();
        Ok(Gpu {
            device,
            queue,
            name,
            kind,
            limits,
            features,
            info,
            index,
            offered,
            chunk_bytes,
            health,
        })
    }

    /// What has gone wrong: a lost device stays lost, another failure is told once.
    pub(crate) fn check(&self) -> Result<()> {
        let lost = self.health.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = &*lost {
            return Err(self.error(message.clone()));
        }
        let failed = self.health.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failed {
            None => Ok(()),
            Some(Failure::OutOfMemory) => Err(self.out_of_memory(0)),
            Some(Failure::Refused(message)) => Err(self.error(message)),
        }
    }

    /// Runs `make`, whose failures are its own and not the next op's.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn scoped<T>(&self, bytes: usize, make: impl FnOnce() -> T) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = make();
        // Outside of a browser they are there at once.
        let [validation, internal, memory] = [validation.pop(), internal.pop(), memory.pop()]
            .map(pollster::block_on)
            .map(|error| error.as_ref().map(Failure::from));
        match memory.or(internal).or(validation) {
            None => Ok(made),
            Some(Failure::OutOfMemory) => Err(self.out_of_memory(bytes)),
            Some(Failure::Refused(message)) => {
                self.check()?;
                Err(self.error(message))
            }
        }
    }

    /// Runs `make`. A browser tells of its failures later, and must not be waited for: they are told by the
    /// next [`check`](Gpu::check).
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn scoped<T>(&self, _: usize, make: impl FnOnce() -> T) -> Result<T> {
        Ok(make())
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        Error::Device { device: self.name.clone(), message: message.into() }
    }

    pub(crate) fn out_of_memory(&self, bytes: usize) -> Error {
        Error::OutOfMemory { device: self.name.clone(), bytes }
    }

    pub(crate) fn unsupported(&self, op: &'static str, reason: impl Into<String>) -> Error {
        Error::Unsupported { device: self.name.clone(), op, reason: reason.into() }
    }

    /// Bytes of a chunk of a tensor: what both a buffer and a binding can hold, a power of two so
    /// that chunks of all element types begin at common elements.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    /// Waits for the device; `None` waits for all that was submitted.
    pub(crate) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let poll = wgpu::PollType::Wait { submission_index: submission, timeout: None };
        self.device.poll(poll).map_err(|e| self.error(e.to_string()))?;
        self.check()
    }

    /// Lets callbacks of what is done be called; does not wait.
    pub(crate) fn poll(&self) -> Result<()> {
        self.device.poll(wgpu::PollType::Poll).map_err(|e| self.error(e.to_string()))?;
        self.check()
    }

    pub(crate) fn describe(&self) -> DeviceInfo {
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let limits = &self.limits;
        // What the adapter has, and what of it this device was opened with.
        let has = |feature| match (self.features.contains(feature), self.offered.contains(feature))
        {
            (true, _) => "yes",
            (false, true) => "offered",
            (false, false) => "no",
        };
        let driver = format!("{} {}", self.info.driver, self.info.driver_info);
        let properties = [
            ("interface", self.info.backend.to_string()),
            ("driver", driver.trim().to_string()),
            ("buffer", mib(limits.max_buffer_size)),
            ("storage binding", mib(limits.max_storage_buffer_binding_size)),
            ("workgroup memory", format!("{} B", limits.max_compute_workgroup_storage_size)),
            ("invocations", limits.max_compute_invocations_per_workgroup.to_string()),
            ("timestamps", has(wgpu::Features::TIMESTAMP_QUERY).into()),
            ("f16 arithmetic", has(wgpu::Features::SHADER_F16).into()),
            ("subgroups", has(wgpu::Features::SUBGROUP).into()),
            ("cooperative matrices", has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX).into()),
            ("pipeline cache", has(wgpu::Features::PIPELINE_CACHE).into()),
        ];
        DeviceInfo {
            name: self.name.clone(),
            kind: self.kind,
            description: self.info.name.clone(),
            properties: properties.map(|(name, value)| (name.to_string(), value)).into(),
        }
    }
}
