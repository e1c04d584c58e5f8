//! Striate's CPU backend.
//!
//! [`Cpu`] executes ops with SIMD kernels, chosen once per process for the processor at hand, on
//! threads that share every loop. Work is cut into parts by the shape alone and every element is summed in one fixed
//! order, so results are the same bits for any number of threads.
//!
//! ```
//! use striate_ops_cpu::Cpu;
//! use striate_tensor::{Device, Tensor};
//!
//! # fn main() -> striate_tensor::Result<()> {
//! let device = Device::new(Cpu::new(None)?);
//! let x = Tensor::from_vec(vec![-1.0f32, 2.0], [2], &device)?;
//! assert_eq!(x.relu()?.to_vec::<f32>()?, [0.0, 2.0]);
//! # Ok(())
//! # }
//! ```

mod activation;
mod along;
mod arg_sort;
mod backend;
mod batch_norm;
mod binary;
mod buffer;
mod cast;
mod channels;
mod compare;
mod concatenate;
mod context;
mod conv;
mod cross_entropy;
mod cumulative_sum;
mod custom;
mod dropout;
mod elementwise;
mod fill;
mod flip;
mod gather;
mod gemm;
mod group_norm;
mod lrn;
mod lrn_grad;
mod math;
mod matmul;
mod memory;
mod number;
mod optimize;
mod pad;
mod part;
mod permute;
mod pool2d;
mod pool2d_grad;
#[doc(hidden)]
pub mod probe;
mod random;
mod reduce;
mod resample;
mod select;
mod sgd;
pub mod simd;
mod slice;
mod softmax;
#[cfg(feature = "task-times")]
pub mod task_times;
mod threads;
mod unary;
mod unary_grad;
mod walk;

pub use backend::Cpu;
pub use simd::Level;
