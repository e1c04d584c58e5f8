//! Steps of optimizers, in place: many tensors a dispatch.

use std::fmt::Write;

use striate_tensor::ops::{Optimize, OptimizeFactors, SgdMomentum};
use striate_tensor::{Op, Result};

use super::constants::{Constants, WORKGROUP, word};
use crate::buffer::{Source, View, parts};
use crate::pipelines::{Shader, flag, shader};
use crate::queue::{Context, Groups, Launch};

/// Bytes of gradients that are held until the weights that they are of move together: dozens of those of biases
/// and normalization. Of more the pool would have to make new buffers in each step: with 4 MiB MobileNetV2 took 91,
/// for 14 dispatches fewer.
pub(crate) const GATHERED_BYTES: usize = 1 << 18;

/// How many tensors a dispatch may move: as many as it can bind, the most that are left.
const SLOTS: [usize; 4] = [8, 4, 2, 1];
/// Storage buffers that a dispatch binds at most, however many an adapter offers: binding them is work, too.
const MOST_BOUND: usize = 32;

/// The shaders of an optimizer, by [`SLOTS`].
type Shaders = [Shader; SLOTS.len()];

macro_rules! shaders {
    ($file:literal, $states:literal, $($slots:literal $name:literal),+) => {
        [$(shader!(
            $name = $file, $slots * (1 + $states), $slots, "optimize/shared.wgsl";
            bindings::<$slots, $states>
        )),+]
    };
}

static SGD: Shaders =
    shaders!("optimize/sgd.wgsl", 1, 8 "sgd of 8", 4 "sgd of 4", 2 "sgd of 2", 1 "sgd");
static AVERAGE: Shaders = shaders!(
    "optimize/average.wgsl", 0,
    8 "average of 8", 4 "average of 4", 2 "average of 2", 1 "average"
);
static ONE: Shaders = shaders!(
    "optimize/one.wgsl", 1,
    8 "optimize one of 8", 4 "optimize one of 4", 2 "optimize one of 2", 1 "optimize one"
);
static TWO: Shaders = shaders!(
    "optimize/two.wgsl", 2,
    8 "optimize two of 8", 4 "optimize two of 4", 2 "optimize two of 2", 1 "optimize two"
);

pub(super) fn variants() -> Vec<(&'static Shader, Constants)> {
    let (sgd, average) = ((&SGD, Vec::new()), (&AVERAGE, Vec::new()));
    let ones = [one(false, false), one(true, false), one(false, true)];
    let kernels = [sgd, average].into_iter().chain(ones).chain([two(false), two(true)]);
    let each = |(shaders, constants): (&'static Shaders, Constants)| {
        shaders.iter().map(move |shader| (shader, constants.clone()))
    };
    kernels.flat_map(each).collect()
}

fn one(nesterov: bool, rms: bool) -> (&'static Shaders, Constants) {
    (&ONE, vec![("NESTEROV", flag(nesterov)), ("RMS", flag(rms))])
}

fn two(rms: bool) -> (&'static Shaders, Constants) {
    (&TWO, vec![("RMS", flag(rms))])
}

/// `SLOTS`, the bindings of so many tensors with their state and gradients, and `step`, which moves four
/// elements of one of them.
fn bindings<const N: usize, const STATES: usize>() -> String {
    let targets = &["w", "one", "two"][..=STATES];
    let mut text = format!("\nconst SLOTS = {N}u;\n");
    let mut bind = |access: &str, name: &str, slot: usize, binding: usize| {
        let variable = format!("var<storage, {access}> {name}{slot}: array<vec4<f32>>");
        // Writing to a string does not fail.
        let _ = writeln!(text, "@group(0) @binding({binding}) {variable};");
    };
    for slot in 0..N {
        for (place, name) in targets.iter().enumerate() {
            bind("read_write", name, slot, 1 + slot * targets.len() + place);
        }
    }
    (0..N).for_each(|slot| bind("read", "gradient", slot, 1 + N * targets.len() + slot));
    text += "fn step(slot: u32, i: u32) {\n    let given = params.own[slot];\n";
    text += "    let own = Own(given.x, given.y, given.z, given.w);\n    switch slot {\n";
    for slot in 0..N {
        let given: String = targets.iter().map(|name| format!("{name}{slot}[i], ")).collect();
        let moved = format!("let moved = stepped({given}gradient{slot}[i], own);");
        let _ = write!(text, "        case {slot}u: {{ {moved}");
        for name in targets {
            let _ = write!(text, " {name}{slot}[i] = moved.{name};");
        }
        text += " }\n";
    }
    text + "        default: {}\n    }\n}\n"
}

/// How a tensor moves.
#[derive(Clone)]
struct Step {
    op: &'static str,
    shaders: &'static [Shader],
    constants: Constants,
    /// What all tensors of a dispatch have in common.
    shared: [u32; 6],
}

impl Step {
    /// Whether both can go in one dispatch.
    fn is_like(&self, other: &Step) -> bool {
        self.op == other.op && self.constants == other.constants && self.shared == other.shared
    }
}

/// A step, and what is the tensor's own.
fn step(cx: &Context, op: &Op) -> Result<(Step, [u32; 4])> {
    let (shaders, constants): (&Shaders, _) = match op {
        Op::SgdMomentum(_) => (&SGD, Vec::new()),
        Op::Optimize(Optimize::Sgd { nesterov, .. }) => one(*nesterov, false),
        Op::Optimize(Optimize::Adam { .. }) => two(false),
        Op::Optimize(step @ Optimize::RmsProp { .. }) if step.states() == 1 => one(false, true),
        Op::Optimize(Optimize::RmsProp { .. }) => two(true),
        Op::Optimize(Optimize::Average { .. }) => (&AVERAGE, Vec::new()),
        op => return Err(cx.gpu.unsupported(op.name(), "it updates no such targets in place")),
    };
    let (shared, own) = match op {
        Op::SgdMomentum(SgdMomentum { rate, momentum, decay, scale }) => {
            ([0.0; 6], [1.0, decay * rate, rate * scale, *momentum])
        }
        Op::Optimize(step) => {
            let OptimizeFactors {
                scale, decay, shrink, first, second, root, epsilon, rate, ..
            } = step.factors();
            // A velocity's momentum is the tensor's own.
            let (first_kept, kept) = match step {
                Optimize::Adam { .. } => (first[0], shrink),
                _ => (0.0, first[0]),
            };
            let shared = [first_kept, first[1], second[0], second[1], root, epsilon];
            (shared, [scale, decay, rate, kept])
        }
        _ => ([0.0; 6], [0.0; 4]),
    };
    let shared = shared.map(f32::to_bits);
    let step = Step { op: op.name(), shaders, constants, shared };
    Ok((step, own.map(f32::to_bits)))
}

/// An op that updates its targets: the weights, with what an optimizer keeps of them. Its operand is the
/// gradient.
pub(crate) struct Update<'a> {
    pub(crate) op: &'a Op,
    pub(crate) targets: Vec<Source<'a>>,
    pub(crate) inputs: Vec<Source<'a>>,
}

/// What can be bound of a tensor at once.
struct Piece {
    step: Step,
    own: [u32; 4],
    count: usize,
    targets: Vec<View>,
    gradient: View,
}

/// Moves tensors, neighbours of one kind together.
pub(super) fn update(cx: &Context, updates: &[Update<'_>]) -> Result<()> {
    let mut pieces = Vec::with_capacity(updates.len());
    for Update { op, targets, inputs } in updates {
        let (step, own) = step(cx, op)?;
        let Some(gradient) = inputs.first() else { continue };
        for part in parts(&[cx.cuts(gradient.ty.count(), 4)]) {
            let views = targets.iter().map(|&x| cx.view(x, part.clone()));
            pieces.push(Piece {
                step: step.clone(),
                own,
                count: part.len(),
                targets: views.collect::<Result<_>>()?,
                gradient: cx.view(*gradient, part)?,
            });
        }
    }
    let limit = cx.gpu.limits.max_storage_buffers_per_shader_stage as usize;
    for alike in pieces.chunk_by(|a, b| a.step.is_like(&b.step)) {
        let mut rest = alike;
        while let Some(piece) = rest.first() {
            let bound = 1 + piece.targets.len();
            let fits = |&slots: &usize| {
                slots == 1 || (slots <= rest.len() && slots * bound <= limit.min(MOST_BOUND))
            };
            let which = SLOTS.iter().position(fits).unwrap_or(SLOTS.len() - 1);
            let (together, others) = rest.split_at(SLOTS[which]);
            launch(cx, &piece.step, &piece.step.shaders[which], together)?;
            rest = others;
        }
    }
    Ok(())
}

fn launch(cx: &Context, step: &Step, shader: &'static Shader, pieces: &[Piece]) -> Result<()> {
    let mut params: Vec<u32> = pieces.iter().map(|piece| word(piece.count)).collect();
    params.resize(SLOTS[0], 0);
    params.extend(step.shared);
    params.extend([0; 2]);
    params.extend(pieces.iter().flat_map(|piece| piece.own));
    let outputs: Vec<&View> = pieces.iter().flat_map(|piece| &piece.targets).collect();
    let inputs: Vec<&View> = pieces.iter().map(|piece| &piece.gradient).collect();
    let groups = pieces.iter().map(|piece| piece.count.div_ceil(4 * WORKGROUP)).sum();
    cx.launch(Launch {
        op: step.op,
        shader,
        constants: &step.constants,
        params: &params,
        outputs: &outputs,
        inputs: &inputs,
        groups: Groups::Flat(groups),
    })
}
