//! Convolutional networks from LeNet to ConvNeXt as specifications, and their class labels.
//!
//! Each family has a file; [`by_name`] finds a network by the name that the command line uses, and
//! [`all`] lists them. [`imagenet`] has the classes that most of them tell apart.
//!
//! ```
//! let vgg = striate_models::by_name("vgg-d")?;
//! let verified = vgg.verify(1000)?;
//! assert_eq!(verified.summary().weights, 111_081_152);
//! assert!(verified.ccv_limits().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod alexnet;
mod blocks;
mod catalogue;
pub mod cifar_resnet;
pub mod convnext;
pub mod densenet;
pub mod efficientnet;
pub mod efficientnet_lite;
mod embedded;
mod error;
pub mod googlenet;
pub mod imagenet;
pub mod inception;
pub mod lenet;
pub mod mattnet;
pub mod mnasnet;
pub mod mobilenet_v1;
pub mod mobilenet_v2;
pub mod mobilenet_v3;
mod near;
pub mod nin;
pub mod overfeat;
pub mod regnet;
pub mod resnet;
pub mod shufflenet_v2;
pub mod squeezenet;
pub mod vgg;
pub mod zfnet;

pub use catalogue::{Model, all, by_name, find};
pub use embedded::digits;
#[cfg(feature = "embedded-photos")]
pub use embedded::photos;
pub use error::{Error, Result};
pub use near::near;
