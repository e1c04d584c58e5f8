//! Striate's layers, modules and network specifications.
//!
//! A network is data: a [`NetworkSpec`] is a list of [`LayerSpec`]s that can be verified,
//! summarised, stored as JSON, and built on a device into a [`Network`]. Whoever wants more
//! composes [`layers`] by hand: anything with a `forward` is a [`Module`].
//!
//! * [`spec`]: the specification and its builder.
//! * [`shapes`](LayerShape), [`verify`](Verified), [`summary`](Summary): what follows from a
//!   specification without weights.
//! * [`Network`]: a specification with its weights on a device; inference.
//! * [`layers`]: the same layers as modules; [`init`]: fresh weights; [`loss`]: what to minimise;
//!   [`Sgd`]: gradient descent.
//!
//! Activations are `[n, rows, cols, channels]`, convolution weights `[out, kernel rows, kernel
//! cols, channels / groups]`, full-connect weights `[out, in]`. Weights may be half precision
//! everywhere; arithmetic is single precision.

mod error;
pub mod init;
pub mod layers;
pub mod loss;
mod network;
mod optimizer;
mod shapes;
pub mod spec;
mod summary;
mod verify;

pub use error::{Error, Result};
pub use init::Seed;
pub use layers::{
    AvgPool2d, Context, Conv2d, Dropout, Flatten, FullConnect, Lrn, MaxPool2d, Module, Relu,
    Sequential, Visitor, VisitorMut, named_parameters, require_grad,
};
pub use network::{LayerParameters, Metadata, Network};
pub use optimizer::{Rates, Sgd, leaf_names, named_gradients};
pub use shapes::{LayerShape, MAX_ELEMENTS, Scan};
pub use spec::{
    ConvSpec, FullConnectSpec, Init, LayerKind, LayerSpec, LrnSpec, Misplaced, NetworkSpec,
    PoolSpec, conv, full_connect, lrn, pool,
};
pub use summary::{LayerSummary, Summary};
pub use verify::{CcvLimit, Verified};
