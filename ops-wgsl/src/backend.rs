//! The backend.

use std::path::PathBuf;

use striate_tensor::{
    Backend, Buffer, DeviceInfo, Error, HostTensor, HostValues, Op, Operand, Result, SharedBytes,
    Target, TensorType,
};

use crate::adapter::AdapterChoice;
use crate::buffer::{Source, own};
use crate::cache::{Cache, default_folder};
use crate::device::Gpu;
use crate::kernels;
use crate::pipelines::Pipelines;
use crate::profile::Profile;
use crate::queue::Context;

/// How a device is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Ask for no more than WebGPU promises on every adapter (128 MiB a binding, 16 KiB of
    /// workgroup memory, no features), though this one offers it: for tests.
    pub default_limits: bool,
    /// Shaders check every index and divisor, at some cost: for tests.
    pub checked: bool,
    /// Take the time of each op on the GPU's own clock. Each batch is waited for.
    pub profile: bool,
    /// Where compiled pipelines are kept from run to run; nowhere if none.
    pub cache: Option<PathBuf>,
}

impl Default for Options {
    /// All that the adapter offers, no checks, no times, and pipelines kept in the user's cache
    /// folder.
    fn default() -> Self {
        Options { default_limits: false, checked: false, profile: false, cache: default_folder() }
    }
}

/// A graphics processor.
pub struct Wgpu(Context);

impl Wgpu {
    /// Opens an adapter.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] where there is no such adapter, [`Error::Device`] where it cannot
    /// be opened.
    pub fn new(choice: &AdapterChoice, options: Options) -> Result<Self> {
        let gpu = Gpu::open(choice, options.default_limits)?;
        let cache = Cache::open(&gpu, options.cache.as_deref());
        let pipelines = Pipelines::new(cache, options.checked);
        Ok(Wgpu(Context::new(gpu, pipelines, options.profile)?))
    }

    /// What was asked of the device since it was opened, and the time that it took where
    /// [`Options::profile`] asks for it.
    pub fn profile(&self) -> Profile {
        self.0.profile()
    }

    fn upload_bytes(&self, bytes: &[u8]) -> Result<Buffer> {
        let cx = &self.0;
        let buffer = cx.allocate(bytes.len())?;
        let chunk = cx.gpu.chunk_bytes() as usize;
        for (to, bytes) in buffer.chunks.iter().zip(bytes.chunks(chunk)) {
            cx.write(&to.buffer, 0, bytes)?;
        }
        Ok(Buffer::new(buffer))
    }
}

impl Backend for Wgpu {
    fn info(&self) -> DeviceInfo {
        self.0.gpu.describe()
    }

    fn upload(&self, values: HostValues) -> Result<Buffer> {
        self.upload_bytes(values.bytes())
    }

    fn upload_shared(&self, bytes: SharedBytes, ty: &TensorType) -> Result<Buffer> {
        let bytes = bytes.bytes();
        if bytes.len() != ty.size_bytes() {
            let expected = format!("{} bytes of {ty}", ty.size_bytes());
            return Err(Error::shape("upload", expected, format!("{} bytes", bytes.len())));
        }
        self.upload_bytes(bytes)
    }

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<HostTensor> {
        let cx = &self.0;
        let own = own(&cx.gpu, buffer)?;
        let mut values = HostValues::zeros(ty.dtype, ty.count());
        if own.bytes() != values.bytes().len() {
            let message = format!("a buffer of {} bytes is no {ty}", own.bytes());
            return Err(cx.gpu.error(message));
        }
        let chunk = cx.gpu.chunk_bytes() as usize;
        for (from, bytes) in own.chunks.iter().zip(values.bytes_mut().chunks_mut(chunk)) {
            cx.read(&from.buffer, bytes)?;
        }
        cx.gpu.check()?;
        HostTensor::new(ty.shape, values)
    }

    fn execute(&self, op: &Op, inputs: &[Operand<'_>], output: &TensorType) -> Result<Buffer> {
        let cx = &self.0;
        let inputs = inputs.iter().map(|x| Source::new(&cx.gpu, x)).collect::<Result<Vec<_>>>()?;
        Ok(Buffer::new(kernels::execute(cx, op, &inputs, output)?))
    }

    fn execute_in_place(
        &self,
        op: &Op,
        targets: &mut [Target<'_>],
        inputs: &[Operand<'_>],
    ) -> Result<()> {
        let cx = &self.0;
        let inputs = inputs.iter().map(|x| Source::new(&cx.gpu, x)).collect::<Result<Vec<_>>>()?;
        // What is shared is replaced by copies, all of them before anything is written.
        for target in targets.iter_mut() {
            own(&cx.gpu, target.buffer)?;
            match target.buffer.unique::<crate::buffer::GpuBuffer>() {
                Some(buffer) => buffer.changed(),
                None => {
                    let copy = cx.duplicate(own(&cx.gpu, target.buffer)?)?;
                    *target.buffer = Buffer::new(copy);
                }
            }
        }
        let targets = targets
            .iter()
            .map(|t| Source::new(&cx.gpu, &Operand { buffer: t.buffer, ty: t.ty }))
            .collect::<Result<Vec<_>>>()?;
        kernels::execute_in_place(cx, op, &targets, &inputs)
    }

    fn supports(&self, op: &Op, _: &[TensorType]) -> bool {
        kernels::supports(op)
    }

    fn synchronize(&self) -> Result<()> {
        self.0.synchronize()
    }
}

impl Drop for Wgpu {
    fn drop(&mut self) {
        self.0.pipelines.save();
    }
}

impl std::fmt::Debug for Wgpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wgpu({}, {})", self.0.gpu.name, self.0.gpu.info.name)
    }
}
