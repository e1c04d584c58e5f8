//! Activations at the end of convolutions and products: applied to each result before it is written, so
//! that they cost no dispatch and no pass over memory.

use std::mem::discriminant;

use striate_tensor::ops::Activation;

use super::constants::Constants;
use super::elementwise;
use crate::pipelines::Shader;

/// A shader that calls `activate`: one for each activation.
///
/// The text of each has the function of its own activation alone. A constant that chooses one of all would
/// have compilers inline all of them at every call, of which the largest tile has 64.
pub(super) struct Activated([Shader; Activation::ALL.len()]);

impl Activated {
    /// Of shaders that are all the same: as [`activated`] makes them.
    pub(super) const fn new(mut each: [Shader; Activation::ALL.len()]) -> Self {
        let mut place = 0;
        while place < each.len() {
            each[place].activation = Some(Activation::ALL[place]);
            place += 1;
        }
        Activated(each)
    }

    /// The one that ends in an activation, whatever the bounds of a clamp: those are parameters.
    pub(super) fn of(&'static self, activation: Activation) -> &'static Shader {
        let is_it = |own: &Activation| discriminant(own) == discriminant(&activation);
        // All there are have a place.
        &self.0[Activation::ALL.iter().position(is_it).unwrap_or_default()]
    }

    /// Its pipelines: with all sets of constants without an activation and with ReLU, and with one of them
    /// for each of the others, whose text is no other for the rest.
    pub(super) fn variants(&'static self, sets: &[Constants]) -> Vec<(&'static Shader, Constants)> {
        let of = |activation: &Activation| {
            let with_all = matches!(activation, Activation::None | Activation::Relu);
            let count = if with_all { sets.len() } else { 1 };
            let shader = self.of(*activation);
            sets.iter().take(count).map(move |set| (shader, set.clone()))
        };
        Activation::ALL.iter().flat_map(of).collect()
    }
}

/// As [`shader`](crate::pipelines::shader), of a shader that calls `activate`, and has `low` and `high` among
/// its parameters.
macro_rules! activated {
    ($file:literal, $outputs:literal, $inputs:literal $(, $shared:literal)*) => {
        $crate::kernels::activations::Activated::new(
            [const {
                $crate::pipelines::shader!(
                    $file, $outputs, $inputs $(, $shared)*, "functions.wgsl"
                )
            }; striate_tensor::ops::Activation::ALL.len()],
        )
    };
}
pub(super) use activated;

/// The bounds of a clamp: `low` and `high` of the shaders.
pub(super) fn bounds(activation: Activation) -> [u32; 2] {
    activation.kind().map_or([0; 2], |kind| elementwise::parameters(kind).map(f32::to_bits))
}
