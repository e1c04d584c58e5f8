//! Resampling as ccv does it: [`area`] to shrink, [`cubic`] to grow.

mod area;
mod cubic;

pub use area::area;
pub use cubic::cubic;
