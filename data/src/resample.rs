//! Resampling. As ccv does it: [`area`] to shrink, [`cubic`] to grow. As Pillow, torchvision and timm do
//! it: [`antialias`].

mod antialias;
mod area;
mod cubic;

pub use antialias::{Kernel, antialias, antialias_part};
pub use area::area;
pub use cubic::cubic;
