//! Striate's GPU backend.
//!
//! [`Wgpu`] executes ops in WGSL compute shaders through wgpu, on Vulkan, Metal and DX12: nothing
//! beyond a graphics driver is needed. Everything works within WebGPU's default limits; what an
//! adapter offers beyond them is used where it is there.
//!
//! ```
//! use striate_ops_wgsl::{AdapterChoice, Options, Wgpu};
//! use striate_tensor::{Device, Tensor};
//!
//! # fn main() -> striate_tensor::Result<()> {
//! // No GPU: say so, and use another device.
//! let Ok(gpu) = Wgpu::new(&AdapterChoice::Gpu, Options::default()) else { return Ok(()) };
//! let device = Device::new(gpu);
//! let x = Tensor::from_vec(vec![-1.0f32, 2.0], [2], &device)?;
//! assert_eq!(x.relu()?.to_vec::<f32>()?, [0.0, 2.0]);
//! # Ok(())
//! # }
//! ```
//!
//! # How it is laid out
//! - `adapter` chooses an adapter, `device` opens it and keeps its errors;
//! - `buffer` holds tensors in pooled buffers, in chunks that a binding can take;
//! - `queue` records ops and submits them in batches, `staging` moves bytes in and out, `reads` waits for
//!   those that come;
//! - `pipelines` compiles a shader once per specialisation, `cache` keeps the result on disk;
//! - `profile` counts and times; `variants` says what an adapter's features enable;
//! - `tune` measures kernels on this adapter, and keeps which one won;
//! - `kernels` has, for each op, the `.wgsl` beside the `.rs` that launches it.

mod adapter;
mod backend;
mod buffer;
mod cache;
mod choice;
mod device;
mod file;
mod kernels;
mod kinds;
mod options;
mod pending;
mod pipelines;
mod profile;
mod queue;
mod reads;
mod staging;
mod tune;
mod variants;
mod views;
mod winners;

pub use adapter::{AdapterChoice, AdapterInfo, adapters};
pub use backend::Wgpu;
pub use choice::Class;
pub use kernels::{Specialisation, specialisations};
pub use options::Options;
pub use profile::{Clock, Profile, Timing};
pub use tune::{Candidate, TuneCase, Tuned, Tuner};
pub use variants::Variant;
