//! Striate: convolutional networks on whatever CPU or GPU is there.
//!
//! This crate is the door to the house: it gathers the tensor library, the layers, the classic
//! networks and the model files, chooses devices by name, and classifies pictures.
//!
//! ```no_run
//! use striate::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::auto()?;
//! let network = importers::read("image-net-2012-vgg-d.sqlite3", &device, &ReadOptions::default())?;
//! let classifier = Classifier::new(network)?.protocol(Protocol::CcvCpu);
//! let ranks = classifier.classify(&image::open("dex.png")?)?;
//! for class in ranks.top(5) {
//!     println!("{class}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A network of one's own is data, and can be looked at before anything is computed:
//!
//! ```
//! use striate::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = NetworkSpec::new([28, 28, 1])
//!     .conv(conv2d(20, 5)).relu().max_pool(pool(2).stride(2))
//!     .conv(conv2d(50, 5)).relu().max_pool(pool(2).stride(2))
//!     .full_connect(500).relu().dropout(0.5)
//!     .full_connect(10);
//! println!("{}", spec.verify(10)?.summary());
//! let network = spec.build(&Device::cpu(None)?, Seed(7))?;
//! assert_eq!(network.forward(&Tensor::zeros([1, 28, 28, 1], network.device())?)?.dims(), [1, 10]);
//! # Ok(())
//! # }
//! ```
//!
//! Or code: see [`nn::Module`]. Each part of the house is a crate of its own, reachable from here:
//! [`tensor`], [`graph`], [`nn`], [`models`], [`importers`], [`image`](mod@image) (decoding, resizing, crop
//! protocols, training data), [`train`].
//!
//! # Features
//!
//! | feature | adds | on by default |
//! | --- | --- | --- |
//! | `gpu` | GPUs, by wgpu: half of the time of a build | yes |
//! | `embedded-photos` | `photo_model`: a network of 5 MB in the program that names what is on photos | no |
//! | `pull` | `hub`: published weights by name, fetched over https | no |
//! | `mpi` | training on many machines; needs Open MPI or MPICH, and libclang to build | no |

// What a feature adds is marked on docs.rs, whose compiler can.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(doctest)]
mod book;
mod classifier;
mod device;
mod embedded;
mod error;
pub mod visualize;

pub use classifier::{Classifier, Occlusion, OcclusionMap, Ranked, Ranks};
#[cfg(feature = "gpu")]
pub use device::gpu_by_name;
pub use device::{DeviceByName, DeviceOptions};
#[cfg(feature = "embedded-photos")]
pub use embedded::photo_model;
pub use embedded::{Embedded, digits_model};
pub use error::{Error, Result};

pub use striate_graph as graph;
#[cfg(feature = "pull")]
pub use striate_hub as hub;
pub use striate_importers as importers;
pub use striate_models as models;
pub use striate_nn as nn;
pub use striate_ops_cpu as ops_cpu;
#[cfg(feature = "gpu")]
pub use striate_ops_wgsl as ops_wgsl;
pub use striate_tensor as tensor;
pub use striate_train as train;

/// Pictures: decoding, resizing, crop protocols, and painting ranks, heat maps and tiles.
pub mod image {
    pub use striate_data::decode::{Limits, decode, open, open_with};
    pub use striate_data::*;
}

/// What a program that classifies or composes networks uses.
pub mod prelude {
    pub use crate::image::{self, Image, Protocol};
    pub use crate::importers::{self, ReadOptions, WriteOptions};
    pub use crate::models;
    pub use crate::nn::{
        Context, LayerSpec, Module, Network, NetworkSpec, Seed, Sequential, Visitor, conv2d,
        full_connect, lrn, pool,
    };
    #[cfg(feature = "embedded-photos")]
    pub use crate::photo_model;
    pub use crate::tensor::{DType, Device, RandomKey, Shape, Tensor, f16, ops};
    pub use crate::{
        Classifier, DeviceByName, DeviceOptions, Embedded, Ranked, Ranks, digits_model,
    };
}
