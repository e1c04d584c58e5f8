//! Compiled shaders: one pipeline for each shader and each set of its constants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use striate_tensor::ops::{Activation, Custom};
use striate_tensor::{Error, Result};

use crate::cache::Cache;
use crate::device::Gpu;
use crate::kinds::activate;

/// A shader: its entry point is `main`, its `Params` are at binding 0, its outputs and then its
/// inputs after that.
pub(crate) struct Shader {
    pub(crate) name: &'static str,
    /// Puts its text together, but for `activate`.
    pub(crate) written: fn() -> String,
    pub(crate) source: OnceLock<String>,
    /// What its `activate` does; none where it calls no such function.
    pub(crate) activation: Option<Activation>,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

impl Shader {
    /// Its WGSL, put together when first asked for.
    pub(crate) fn source(&self) -> &str {
        self.source.get_or_init(|| {
            let activate = self.activation.map(activate).unwrap_or_default();
            (self.written)() + &activate
        })
    }

    /// What tells it from all others.
    fn key(&self) -> ShaderKey {
        let kind = self.activation.and_then(Activation::kind);
        (self.name, kind.map(|kind| kind.number()))
    }
}

/// The name, and the number of the activation's kind.
type ShaderKey = (&'static str, Option<u32>);

/// A shader from a file beside the one that launches it, behind the functions that all share, and
/// behind files of what it shares with its neighbours if any are named. After a semicolon: functions
/// that make more of its text, from tables that Rust has as well. A file of which several shaders are
/// made has a name for each before it.
macro_rules! shader {
    ($file:literal, $outputs:expr, $inputs:expr $(, $shared:literal)* $(; $($made:path),+)?) => {
        $crate::pipelines::shader!($file = $file, $outputs, $inputs $(, $shared)* $(; $($made),+)?)
    };
    (
        $name:literal = $file:literal, $outputs:expr, $inputs:expr
        $(, $shared:literal)* $(; $($made:path),+)?
    ) => {
        $crate::pipelines::Shader {
            name: $name,
            written: || {
                // Put together as it runs: the program holds each file once, not once for each shader.
                [
                    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/kernels/prelude.wgsl")),
                    "\n",
                    $(
                        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/kernels/", $shared)),
                        "\n",
                    )*
                    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/kernels/", $file)),
                    $($(&$made(),)+)?
                ]
                .concat()
            },
            source: std::sync::OnceLock::new(),
            activation: None,
            outputs: $outputs,
            inputs: $inputs,
        }
    };
}
pub(crate) use shader;

/// Values of a shader's `override` constants.
pub(crate) type Constants<'a> = &'a [(&'static str, f64)];

/// A truth value as a constant.
pub(crate) fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// Why an op of a user's own does not run here, and what to do.
const NO_SHADER: &str = "it has no shader: give it one by CustomOp::wgsl, or compute it on the CPU";

pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

type Key = (ShaderKey, Vec<(&'static str, u64)>);

/// The pipelines of a device, compiled when first asked for.
pub(crate) struct Pipelines {
    compiled: Mutex<HashMap<Key, Arc<Pipeline>>>,
    modules: Mutex<HashMap<ShaderKey, wgpu::ShaderModule>>,
    /// Of users' own ops, and of so many operands.
    custom: Mutex<HashMap<(Custom, usize), Arc<Pipeline>>>,
    cache: Cache,
    /// Shaders check every index and every divisor.
    checked: bool,
}

impl Pipelines {
    pub(crate) fn new(cache: Cache, checked: bool) -> Self {
        Pipelines {
            compiled: Mutex::default(),
            modules: Mutex::default(),
            custom: Mutex::default(),
            cache,
            checked,
        }
    }

    pub(crate) fn get(
        &self,
        gpu: &Gpu,
        shader: &'static Shader,
        constants: Constants<'_>,
    ) -> Result<Arc<Pipeline>> {
        let key: Key = (
            shader.key(),
            constants.iter().map(|&(name, value)| (name, value.to_bits())).collect(),
        );
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = compiled.get(&key) {
            return Ok(Arc::clone(pipeline));
        }
        let pipeline = Arc::new(gpu.scoped(0, || self.compile(gpu, shader, constants))?);
        compiled.insert(key, Arc::clone(&pipeline));
        self.cache.changed();
        Ok(pipeline)
    }

    /// The pipeline of a user's own op with so many operands.
    pub(crate) fn custom(&self, gpu: &Gpu, op: &Custom, inputs: usize) -> Result<Arc<Pipeline>> {
        let key = (op.clone(), inputs);
        let mut custom = self.custom.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = custom.get(&key) {
            return Ok(Arc::clone(pipeline));
        }
        let name = op.op().name();
        let Some(source) = op.op().wgsl() else {
            return Err(gpu.unsupported(name, NO_SHADER));
        };
        let compile = || {
            // Of another's making: every index is checked and every loop ends.
            let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(name),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            });
            let options = wgpu::PipelineCompilationOptions {
                constants: &[],
                zero_initialize_workgroup_memory: true,
            };
            self.pipeline(gpu, name, [1, inputs], &module, options)
        };
        let pipeline = Arc::new(gpu.scoped(0, compile).map_err(|error| match error {
            Error::Device { message, .. } => {
                gpu.unsupported(name, format!("its shader was refused: {message}"))
            }
            error => error,
        })?);
        custom.insert(key, Arc::clone(&pipeline));
        self.cache.changed();
        Ok(pipeline)
    }

    fn module(&self, gpu: &Gpu, shader: &'static Shader) -> wgpu::ShaderModule {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(shader.name),
                source: wgpu::ShaderSource::Wgsl(shader.source().into()),
            };
            if self.checked {
                return gpu.device.create_shader_module(descriptor);
            }
            // SAFETY: these shaders are our own. Each index is below the count in its parameters,
            // which is that of the tensor bound (indices that are data are compared with it); each
            // loop ends at such a count, and each divisor is an extent that is not 0. The
            // conformance suite runs with the checks as well, and gives the same bits.
            unsafe {
                let checks = wgpu::ShaderRuntimeChecks::unchecked();
                gpu.device.create_shader_module_trusted(descriptor, checks)
            }
        };
        modules.entry(shader.key()).or_insert_with(make).clone()
    }

    fn compile(&self, gpu: &Gpu, shader: &'static Shader, constants: Constants<'_>) -> Pipeline {
        let options = wgpu::PipelineCompilationOptions {
            constants,
            // Every kernel writes its workgroup memory before it reads it.
            zero_initialize_workgroup_memory: false,
        };
        let module = self.module(gpu, shader);
        self.pipeline(gpu, shader.name, [shader.outputs, shader.inputs], &module, options)
    }

    fn pipeline(
        &self,
        gpu: &Gpu,
        name: &str,
        [outputs, inputs]: [usize; 2],
        module: &wgpu::ShaderModule,
        compilation_options: wgpu::PipelineCompilationOptions<'_>,
    ) -> Pipeline {
        let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
        let types = std::iter::once((wgpu::BufferBindingType::Uniform, true))
            .chain((0..outputs).map(|_| (storage(false), false)))
            .chain((0..inputs).map(|_| (storage(true), false)));
        let entries: Vec<wgpu::BindGroupLayoutEntry> = types
            .zip(0..)
            .map(|((ty, has_dynamic_offset), binding)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
                count: None,
            })
            .collect();
        let layout = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(name),
            entries: &entries,
        });
        let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&pipeline_layout),
            module,
            entry_point: Some("main"),
            compilation_options,
            cache: self.cache.pipelines(),
        });
        Pipeline { pipeline, layout }
    }

    /// Keeps what was compiled on disk, where there is something new.
    pub(crate) fn save(&self) {
        self.cache.save();
    }
}
