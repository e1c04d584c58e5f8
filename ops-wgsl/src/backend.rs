//! The backend.

use std::sync::Arc;
use std::time::{Duration, Instant};

use striate_tensor::{
    Backend, Buffer, DeviceInfo, Error, HostTensor, HostValues, Op, Operand, Pending, Result,
    SharedBytes, Target, TensorType, Update,
};

use crate::adapter::AdapterChoice;
use crate::buffer::{Source, own};
use crate::cache::Cache;
use crate::choice::{self, Choices};
use crate::device::Gpu;
use crate::kernels;
use crate::options::Options;
use crate::pipelines::Pipelines;
use crate::profile::{Clock, Profile};
use crate::queue::Context;
use crate::reads;
use crate::variants::{Variant, variants};
use crate::winners::winners;

/// How long [`Wgpu::lose`] waits for the word that the device is lost.
const LOSS_TIMEOUT: Duration = Duration::from_secs(10);

/// A graphics processor: a cheap handle, so that the one a device was made of can still be asked.
#[derive(Clone)]
pub struct Wgpu(Arc<Context>);

impl Wgpu {
    /// Opens an adapter, and waits for it: [`open`](Wgpu::open) does not.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] where there is no such adapter, [`Error::Device`] where it cannot
    /// be opened.
    pub fn new(choice: &AdapterChoice, options: Options) -> Result<Self> {
        pollster::block_on(Self::open(choice, options))
    }

    /// Opens an adapter without blocking, for programs that must not: the future is for any executor.
    ///
    /// ```
    /// use striate_ops_wgsl::{AdapterChoice, Options, Wgpu};
    /// use striate_tensor::{Device, Result, Tensor};
    ///
    /// async fn sum(values: Vec<f32>) -> Result<f32> {
    ///     let device = Device::new(Wgpu::open(&AdapterChoice::Gpu, Options::default()).await?);
    ///     let count = values.len();
    ///     let x = Tensor::from_vec(values, [count], &device)?;
    ///     x.sum_all()?.read_scalar().await
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`new`](Wgpu::new).
    pub async fn open(choice: &AdapterChoice, options: Options) -> Result<Self> {
        let folder = options.cache.clone().filter(|_| options.class.is_none());
        Self::with(choice, options, |gpu| {
            // Another class is asked for to see its own kernels.
            Choices::Settled(winners(gpu, folder.as_deref()))
        })
        .await
    }

    pub(crate) async fn with(
        choice: &AdapterChoice,
        options: Options,
        choices: impl FnOnce(&Gpu) -> Choices,
    ) -> Result<Self> {
        let gpu = Gpu::open(choice, &options).await?;
        let cache = Cache::open(&gpu, options.cache.as_deref());
        let pipelines = Pipelines::new(cache, options.checked);
        let choices = choices(&gpu);
        Ok(Wgpu(Arc::new(Context::new(gpu, pipelines, choices, options)?)))
    }

    pub(crate) fn context(&self) -> &Context {
        &self.0
    }

    /// What [`Profile::timings`] can be taken by on this device as it was opened:
    /// [`Clock::Wall`] without [`Options::profile`].
    pub fn clock(&self) -> Clock {
        self.0.clock()
    }

    /// What was asked of the device since it was opened, and the time that it took where
    /// [`Options::profile`] asks for it.
    pub fn profile(&self) -> Profile {
        self.0.profile()
    }

    /// The variants of kernels beyond what every adapter has, whether this device uses each, and why.
    pub fn variants(&self) -> Vec<Variant> {
        variants(self.context())
    }

    /// Loses the device, as when its driver is reset: for tests of what comes after.
    #[doc(hidden)]
    pub fn lose(&self) {
        let gpu = &self.0.gpu;
        gpu.device.destroy();
        // The word of it may be with another thread, which waits for reads: it is lost once that has said so.
        let start = Instant::now();
        while gpu.poll().is_ok() && start.elapsed() < LOSS_TIMEOUT {
            std::thread::yield_now();
        }
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

/// An update, with the buffers that are this backend's own.
fn sources<'a>(gpu: &Gpu, update: &'a Update<'_>) -> Result<kernels::Update<'a>> {
    let source = |buffer: &'a Buffer, ty| Source::new(gpu, &Operand { buffer, ty });
    let targets = update.targets.iter().map(|target| source(target.buffer, target.ty));
    let inputs = update.inputs.iter().map(|input| source(input.buffer, input.ty));
    let (targets, inputs) = (targets.collect::<Result<_>>()?, inputs.collect::<Result<_>>()?);
    Ok(kernels::Update { op: update.op, targets, inputs })
}

impl Backend for Wgpu {
    fn info(&self) -> DeviceInfo {
        let cx = &self.0;
        let mut info = cx.gpu.describe();
        let more = [
            ("kernels", choice::of_class(cx.class)),
            ("tuned shapes", cx.choices.winners().to_string()),
        ];
        info.properties.extend(more.map(|(name, value)| (name.to_string(), value)));
        info.properties.extend(self.variants().into_iter().map(|variant| {
            let used = if variant.enabled { "used" } else { "not used" };
            (format!("variant {}", variant.name), format!("{used}: {}", variant.why))
        }));
        info
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

    fn download(&self, buffer: &Buffer, ty: &TensorType) -> Result<Pending<HostTensor>> {
        reads::read(&self.0, buffer, ty)
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
        let targets = targets.iter_mut().map(|Target { buffer, ty }| Target { buffer, ty });
        let update = Update { op, targets: targets.collect(), inputs: inputs.to_vec() };
        self.execute_updates(&mut [update])
    }

    fn execute_updates(&self, updates: &mut [Update<'_>]) -> Result<()> {
        let cx = &self.0;
        // What is shared is replaced by copies, all of them before anything is written.
        for target in updates.iter_mut().flat_map(|update| &mut update.targets) {
            own(&cx.gpu, target.buffer)?;
            match target.buffer.unique::<crate::buffer::GpuBuffer>() {
                Some(buffer) => buffer.changed(),
                None => {
                    let copy = cx.duplicate(own(&cx.gpu, target.buffer)?)?;
                    *target.buffer = Buffer::new(copy);
                }
            }
        }
        let updates = updates.iter().map(|update| sources(&cx.gpu, update));
        kernels::execute_updates(cx, &updates.collect::<Result<Vec<_>>>()?)
    }

    fn gathered_bytes(&self) -> usize {
        kernels::GATHERED_BYTES
    }

    fn supports(&self, op: &Op, inputs: &[TensorType]) -> bool {
        kernels::supports(op, inputs)
    }

    fn algorithm(&self, op: &Op, inputs: &[TensorType], output: &TensorType) -> Option<String> {
        kernels::algorithm(&self.0, op, inputs, output)
    }

    fn synchronize(&self) -> Result<()> {
        self.0.synchronize()
    }
}

impl std::fmt::Debug for Wgpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wgpu({}, {})", self.0.gpu.name, self.0.gpu.info.name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::pipelines::Shader;
    use crate::queue::{Groups, Launch};
    use striate_tensor::{DType, Device, Tensor};

    /// A device, where there is an adapter; there has to be one with `STRIATE_REQUIRE_GPU=1`.
    pub(crate) fn gpu(options: Options) -> Option<Wgpu> {
        let opened = Wgpu::new(&AdapterChoice::Gpu, options);
        let required = std::env::var_os("STRIATE_REQUIRE_GPU").is_some_and(|value| value == "1");
        assert!(opened.is_ok() || !required, "STRIATE_REQUIRE_GPU is set, and {:?}", opened.err());
        opened.ok()
    }

    #[test]
    fn a_lost_device_is_an_error_in_every_call() {
        let Some(gpu) = gpu(Options { cache: None, ..Options::default() }) else { return };
        let device = Device::new(gpu.clone());
        let x = Tensor::ones([100], &device).unwrap();
        let reads = [x.read_vec::<f32>(), x.abs().unwrap().read_vec()];
        gpu.lose();
        // They were asked for before: either they were in time, or they fail.
        let [first, second] = reads;
        for read in [first.wait(), pollster::block_on(second)] {
            match read {
                Ok(values) => assert_eq!(values, [1.0; 100]),
                Err(error) => assert!(matches!(error, Error::Device { .. }), "{error:?}"),
            }
        }
        for result in [
            x.relu().and_then(|y| y.to_host()).map(|_| ()),
            x.to_host().map(|_| ()),
            Tensor::from_vec(vec![1.0f32; 9], [9], &device).and_then(|y| y.to_host()).map(|_| ()),
            device.synchronize(),
        ] {
            assert!(matches!(result, Err(Error::Device { .. })), "{result:?}");
        }
    }

    #[test]
    fn variants_follow_the_features() {
        let enabled = |gpu: Wgpu, name| {
            let all = gpu.variants();
            assert!(all.iter().all(|variant| !variant.why.is_empty()));
            all.iter().any(|variant| variant.name == name && variant.enabled)
        };
        let options = Options { cache: None, ..Options::default() };
        let Some(plain) = gpu(Options { default_limits: true, ..options.clone() }) else { return };
        assert!(!enabled(plain, "timestamps"));
        let Some(full) = gpu(options) else { return };
        let clock = full.context().gpu.features.contains(wgpu::Features::TIMESTAMP_QUERY);
        assert_eq!(enabled(full, "timestamps"), clock);
    }

    #[test]
    fn a_refused_shader_is_an_error_and_the_device_goes_on() {
        static BROKEN: Shader = Shader {
            name: "broken",
            written: || "fn main() { nonsense }".into(),
            source: std::sync::OnceLock::new(),
            activation: None,
            outputs: 0,
            inputs: 0,
        };
        let Some(gpu) = gpu(Options { cache: None, ..Options::default() }) else { return };
        let launch = Launch {
            op: "broken",
            shader: &BROKEN,
            constants: &[],
            params: &[],
            outputs: &[],
            inputs: &[],
            groups: Groups::Flat(1),
        };
        let message = gpu.0.launch(launch).unwrap_err().to_string();
        assert!(message.contains("broken"), "{message}");
        let device = Device::new(gpu);
        assert_eq!(Tensor::ones([2], &device).unwrap().to_vec::<f32>().unwrap(), [1.0, 1.0]);
    }

    #[test]
    fn a_tensor_beyond_counting_is_out_of_memory() {
        let Some(gpu) = gpu(Options { cache: None, ..Options::default() }) else { return };
        let device = Device::new(gpu);
        let result = Tensor::full([1 << 20, 1 << 20], 1.0, DType::F32, &device);
        assert!(matches!(result, Err(Error::OutOfMemory { .. })), "{result:?}");
        assert_eq!(Tensor::ones([2], &device).unwrap().to_vec::<f32>().unwrap(), [1.0, 1.0]);
    }

    #[test]
    fn pipelines_are_kept_on_disk_and_a_damaged_file_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let options = || Options { cache: Some(folder.path().into()), ..Options::default() };
        let run = || {
            let gpu = gpu(options())?;
            let caches = gpu.0.gpu.features.contains(wgpu::Features::PIPELINE_CACHE);
            let device = Device::new(gpu);
            let x = Tensor::ones([2], &device).unwrap().exp().unwrap();
            assert!((x.to_vec::<f32>().unwrap()[0] - std::f32::consts::E).abs() < 1e-6);
            Some(caches)
        };
        let Some(caches) = run() else { return };
        let files = || std::fs::read_dir(folder.path()).unwrap().flatten().collect::<Vec<_>>();
        assert_eq!(files().len(), usize::from(caches));
        run();
        for file in files() {
            std::fs::write(file.path(), b"not a cache").unwrap();
        }
        run();
        for file in files() {
            assert!(std::fs::read(file.path()).unwrap().len() > 11);
        }
    }

    #[test]
    fn times_are_taken_where_there_is_a_clock() {
        let options = Options { profile: true, cache: None, ..Options::default() };
        let Some(gpu) = gpu(options) else { return };
        let clock = gpu.0.gpu.features.contains(wgpu::Features::TIMESTAMP_QUERY);
        let shape = striate_tensor::Shape::new(&[1000]).unwrap();
        let fill = striate_tensor::ops::Fill { ty: TensorType::f32(shape), value: 1.0 };
        for _ in 0..100 {
            gpu.execute(&fill.into(), &[], &fill.ty).unwrap();
        }
        gpu.synchronize().unwrap();
        let profile = gpu.profile();
        assert_eq!(profile.dispatches, 100);
        assert_eq!(profile.submissions, 2);
        match profile.timings.as_slice() {
            [time] if clock => assert!(time.op == "fill" && time.dispatches == 100),
            timings => assert!(!clock && timings.is_empty(), "{timings:?}"),
        }
    }
}
