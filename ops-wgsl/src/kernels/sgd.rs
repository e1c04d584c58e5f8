//! A step of gradient descent, in place.

use striate_tensor::Result;
use striate_tensor::ops::SgdMomentum;

use super::constants::{Constants, WORKGROUP, word};
use crate::buffer::{Source, parts};
use crate::pipelines::{Shader, shader};
use crate::queue::{Context, Groups, Launch};

static SGD: Shader = shader!("sgd.wgsl", 2, 1);

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    vec![(&SGD, Vec::new())]
}

pub(super) fn sgd_momentum(
    cx: &Context,
    op: &SgdMomentum,
    w: Source<'_>,
    v: Source<'_>,
    gradient: Source<'_>,
) -> Result<()> {
    let factors = [op.momentum, op.decay * op.rate, op.rate * op.scale].map(f32::to_bits);
    let count = w.ty.count();
    for part in parts(&[cx.cuts(count, 4)]) {
        let [w, v, gradient] = [w, v, gradient].map(|x| cx.view(x, part.clone()));
        let mut params = vec![word(part.len())];
        params.extend(factors);
        cx.launch(Launch {
            op: "sgd_momentum",
            shader: &SGD,
            constants: &[],
            params: &params,
            outputs: &[&w?, &v?],
            inputs: &[&gradient?],
            groups: Groups::Flat(part.len().div_ceil(4 * WORKGROUP)),
        })?;
    }
    Ok(())
}
