//! Striate's data path: from picture files to what a network sees and learns from, and back to a
//! picture with the ranks painted on it.
//!
//! * [`decode`]: picture files to 8-bit [`Image`]s, with limits and clear errors.
//! * [`resample`] and [`formation`]: resizing exactly as ccv does it, and as Pillow does.
//! * [`protocol`]: which parts of a picture a network is run on, by name.
//! * [`source`]: labelled pictures ([`Dataset`]): list files, folders of classes, IDX, CIFAR.
//! * [`statistics`]: the mean image and the colours of a training set.
//! * [`augment`]: what is done to a picture before a network learns from it ([`Recipe`]).
//! * [`loader`]: batches, formed ahead by worker threads.
//! * [`prepare`]: pictures resized once for training; [`ilsvrc`]: the lists of ImageNet's devkit.
//! * [`list`] and [`npy`]: list files and arrays on disk; [`text`]: the reader of all text files.
//! * [`render`]: ranks, heat maps and tiles as pictures; [`output`]: writing them, whole or not at all.
//!
//! Pictures are channels last (`[rows, cols, channels]`), pixel values are 0..255 and never scaled.
//! Of the tensor crate only its random numbers and its tensors in host memory are used. Threads are started by the [`loader`]; what
//! else works in parallel does so on the current rayon pool, or one of its own where asked. No
//! result depends on their number.
//!
//! ```no_run
//! use striate_data::{Geometry, Prepared, Protocol, decode, five_windows};
//!
//! let image = decode::open("photo.jpg")?;
//! let geometry = Geometry { image: [257, 257], net: [225, 225], channels: 3, scan_scale: 16 };
//! match Protocol::CcvCpu.prepare(&image, &geometry, None)? {
//!     Prepared::Crops(views) => println!("{} pictures of 225 x 225", views.len()),
//!     // Run up to the last convolution, whose output here is [21, 14] for windows of [13, 13].
//!     Prepared::Scans(_) => println!("{:?}", five_windows([21, 14], [13, 13])?),
//! }
//! # Ok::<(), striate_data::Error>(())
//! ```

pub mod augment;
pub mod decode;
mod error;
mod file_id;
pub mod formation;
pub mod ilsvrc;
pub mod list;
pub mod loader;
pub mod npy;
pub mod output;
pub mod prepare;
pub mod protocol;
mod raster;
pub mod render;
pub mod resample;
pub mod source;
pub mod statistics;
pub mod text;

pub use augment::{Augmenter, Recipe};
pub use error::{Error, Result};
pub use formation::{form_input, resize_mean};
pub use loader::{Batch, BatchPosition, Batches, Loader, LoaderOptions, Purpose, Skipped};
pub use protocol::{Geometry, Prepared, Protocol, five_windows};
pub use raster::{FloatImage, Image, Raster};
pub use source::Dataset;
pub use statistics::{ColorComponents, Statistics};
