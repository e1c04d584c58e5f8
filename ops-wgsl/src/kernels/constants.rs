//! What launches are put together from: constants that specialise shaders, and parameters.

use crate::buffer::Source;
use crate::pipelines::{Shader, flag};

/// Invocations of a workgroup, where it is not the shader's business.
pub(super) const WORKGROUP: usize = 256;

/// Values of constants that specialise a shader.
pub(super) type Constants = Vec<(&'static str, f64)>;

/// A shader with all combinations of the values of constants.
pub(super) fn combinations(
    shader: &'static Shader,
    constants: &[(&'static str, &[f64])],
) -> Vec<(&'static Shader, Constants)> {
    sets(constants).into_iter().map(|constants| (shader, constants)).collect()
}

/// All combinations of the values of constants.
pub(super) fn sets(constants: &[(&'static str, &[f64])]) -> Vec<Constants> {
    let start: Vec<Constants> = vec![Vec::new()];
    constants.iter().fold(start, |all, &(name, values)| {
        let with = |some: &Constants| {
            let some = some.clone();
            values.iter().map(move |&value| {
                let mut more = some.clone();
                more.push((name, value));
                more
            })
        };
        all.iter().flat_map(with).collect()
    })
}

/// Both truth values.
pub(super) const BOTH: &[f64] = &[0.0, 1.0];

/// A count or an extent as a parameter: tensors have fewer than 2^32 elements.
pub(super) fn word(n: usize) -> u32 {
    n as u32
}

/// Whether an operand is f16, as a constant.
pub(super) fn half(source: Source<'_>) -> f64 {
    flag(source.half())
}
