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
//! A module imports those before it in this list, and none after it:
//! - `file` writes files of the user's cache folder; `choice` says which kernels there are to choose from, and
//!   for which class of adapters; `kinds` writes the text of shaders that follows from tables of ops;
//! - `adapter` chooses an adapter, `options` say how it is opened, `device` opens it and keeps its errors;
//! - `cache` keeps compiled shaders on disk, `pipelines` compiles one once per specialisation;
//! - `staging` moves bytes in and out, `profile` counts and times, `pending` knows what is on its way;
//! - `buffer` holds tensors in pooled buffers, in chunks that a binding can take;
//! - `queue` records ops and submits them in batches;
//! - `views` gives kernels memory and what they bind of it, `reads` waits for values that come, `variants`
//!   says what an adapter's features enable;
//! - `kernels` has, for each op, the `.wgsl` beside the `.rs` that launches it;
//! - `winners` keeps which kernels won on an adapter, `backend` is all of this as a [`Wgpu`], and `tune`
//!   measures kernels with it.

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
