//! Steps of optimizers, in place.

use striate_tensor::Result;
use striate_tensor::ops::{Optimize, OptimizeFactors};

use super::constants::{Constants, WORKGROUP, word};
use crate::buffer::{Source, View, parts};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

static AVERAGE: Shader = shader!("optimize/average.wgsl", 1, 1, "optimize/shared.wgsl");
static ONE: Shader = shader!("optimize/one.wgsl", 2, 1, "optimize/shared.wgsl");
static TWO: Shader = shader!("optimize/two.wgsl", 3, 1, "optimize/shared.wgsl");

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let plain = (&AVERAGE, Vec::new());
    vec![plain, one(false, false), one(true, false), one(false, true), two(false), two(true)]
}

fn one(nesterov: bool, rms: bool) -> (&'static Shader, Constants) {
    (&ONE, vec![("NESTEROV", flag(nesterov)), ("RMS", flag(rms))])
}

fn two(rms: bool) -> (&'static Shader, Constants) {
    (&TWO, vec![("RMS", flag(rms))])
}

/// The shader of a step, and its constants.
fn kernel(op: &Optimize) -> (&'static Shader, Constants) {
    match *op {
        Optimize::Sgd { nesterov, .. } => one(nesterov, false),
        Optimize::Adam { .. } => two(false),
        Optimize::RmsProp { .. } if op.states() == 1 => one(false, true),
        Optimize::RmsProp { .. } => two(true),
        Optimize::Average { .. } => (&AVERAGE, Vec::new()),
    }
}

/// Takes the weights and as many tensors of state as the op has.
pub(super) fn optimize(
    cx: &Context,
    name: &'static str,
    op: &Optimize,
    targets: &[Source<'_>],
    gradient: Source<'_>,
) -> Result<()> {
    let OptimizeFactors { scale, decay, shrink, first, second, root, epsilon, rate, .. } =
        op.factors();
    let factors =
        [scale, decay, shrink, first[0], first[1], second[0], second[1], root, epsilon, rate];
    let (shader, constants) = kernel(op);
    let count = gradient.ty.count();
    for part in parts(&[cx.cuts(count, 4)]) {
        let views = targets.iter().map(|&x| cx.view(x, part.clone()));
        let views = views.collect::<Result<Vec<View>>>()?;
        let gradient = cx.view(gradient, part.clone())?;
        let mut params = vec![word(part.len())];
        params.extend(factors.map(f32::to_bits));
        cx.launch(Launch {
            op: name,
            shader,
            constants: &constants,
            params: &params,
            outputs: &views.iter().collect::<Vec<_>>(),
            inputs: &[&gradient],
            groups: Groups::Flat(part.len().div_ceil(4 * WORKGROUP)),
        })?;
    }
    Ok(())
}
