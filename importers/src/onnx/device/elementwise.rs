//! Element by element.

use striate_tensor::ops::{self, BinaryKind, CompareKind, UnaryKind};

use super::Rule;
use crate::onnx::compile::cx::Cx;
use crate::onnx::compile::item::{Dev, Item, Step, Stop, unsupported};
use crate::onnx::elem::Elem;

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Abs" => |cx| function(cx, UnaryKind::Abs),
        "Neg" => |cx| function(cx, UnaryKind::Neg),
        "Sqrt" => |cx| function(cx, UnaryKind::Sqrt),
        "Exp" => |cx| function(cx, UnaryKind::Exp),
        "Log" => |cx| function(cx, UnaryKind::Log),
        "Sin" => |cx| function(cx, UnaryKind::Sin),
        "Cos" => |cx| function(cx, UnaryKind::Cos),
        "Tanh" => |cx| function(cx, UnaryKind::Tanh),
        "Erf" => |cx| function(cx, UnaryKind::Erf),
        "Sigmoid" => |cx| function(cx, UnaryKind::Sigmoid),
        "Relu" => |cx| function(cx, UnaryKind::Relu),
        "Floor" => |cx| function(cx, UnaryKind::Floor),
        "Ceil" => |cx| function(cx, UnaryKind::Ceil),
        "Round" => |cx| function(cx, UnaryKind::Round),
        "Sign" => |cx| function(cx, UnaryKind::Sign),
        "Reciprocal" => |cx| function(cx, UnaryKind::Recip),
        "Softplus" => |cx| function(cx, UnaryKind::Softplus),
        "Mish" => |cx| function(cx, UnaryKind::Mish),
        "HardSwish" => |cx| function(cx, UnaryKind::HardSwish),
        "LeakyRelu" => |cx| {
            let slope = cx.attributes.float("alpha", 0.01);
            function(cx, UnaryKind::LeakyRelu { slope })
        },
        "Elu" => |cx| {
            let alpha = cx.attributes.float("alpha", 1.0);
            function(cx, UnaryKind::Elu { alpha })
        },
        "Gelu" => |cx| match cx.attributes.text("approximate", "none") {
            "none" => function(cx, UnaryKind::GeluErf),
            "tanh" => function(cx, UnaryKind::Gelu),
            other => unsupported(format!("approximate `{other}`")),
        },
        "Selu" => selu,
        "Celu" => celu,
        "HardSigmoid" => hard_sigmoid,
        "ThresholdedRelu" => thresholded_relu,
        "Shrink" => shrink,
        "Softsign" => softsign,
        "Swish" => swish,
        "Clip" => clip,
        "Identity" => |cx| Ok(vec![cx.item(0)?.clone()]),
        "Dropout" => dropout,
        "Add" | "Sub" | "Mul" | "Div" | "PRelu" => arithmetic,
        "Pow" => pow,
        "Max" => |cx| fold(cx, BinaryKind::Maximum),
        "Min" => |cx| fold(cx, BinaryKind::Minimum),
        "Sum" => |cx| fold(cx, BinaryKind::Add),
        "Mean" => mean,
        _ => return None,
    })
}

/// One output.
fn one(dev: Dev) -> Step<Vec<Item>> {
    Ok(vec![Item::Device(dev)])
}

fn function(cx: &mut Cx<'_>, kind: UnaryKind) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    one(cx.unary(kind, &x)?)
}

fn selu(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    // Its constants are those of the paper (Klambauer and others 2017), in single precision.
    let alpha = cx.attributes.float("alpha", 1.673_263_2);
    let gamma = cx.attributes.float("gamma", 1.050_701);
    let x = cx.float(0)?;
    let y = cx.unary(UnaryKind::Elu { alpha }, &x)?;
    one(cx.affine(&y, gamma, 0.0)?)
}

fn celu(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let alpha = cx.attributes.float("alpha", 1.0);
    let x = cx.float(0)?;
    let y = cx.affine(&x, 1.0 / alpha, 0.0)?;
    let y = cx.unary(UnaryKind::Elu { alpha: 1.0 }, &y)?;
    one(cx.affine(&y, alpha, 0.0)?)
}

fn hard_sigmoid(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let scale = cx.attributes.float("alpha", 0.2);
    let shift = cx.attributes.float("beta", 0.5);
    let x = cx.float(0)?;
    if (scale - 1.0 / 6.0).abs() < 1e-6 && shift == 0.5 {
        return one(cx.unary(UnaryKind::HardSigmoid, &x)?);
    }
    let y = cx.affine(&x, scale, shift)?;
    one(cx.unary(UnaryKind::Clamp { min: 0.0, max: 1.0 }, &y)?)
}

/// `a` where a comparison of `x` with a number holds, else `b`.
fn choose(
    cx: &mut Cx<'_>,
    (x, kind, bound): (&Dev, CompareKind, f32),
    a: &Dev,
    b: &Dev,
) -> Step<Dev> {
    let bound = cx.scalar(bound)?;
    let condition = cx.push(ops::Compare { kind }, &[x.value, bound])?;
    let value = cx.push(ops::Select, &[condition, a.value, b.value])?;
    Ok(Dev { value, ..x.clone() })
}

/// Zeros like a value.
fn zeros(cx: &mut Cx<'_>, like: &Dev) -> Step<Dev> {
    let value = cx.scalar(0.0)?;
    Ok(Dev { value, ..like.clone() })
}

fn thresholded_relu(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let alpha = cx.attributes.float("alpha", 1.0);
    let x = cx.float(0)?;
    let x = cx.wide(&x)?;
    let zero = zeros(cx, &x)?;
    one(choose(cx, (&x, CompareKind::Gt, alpha), &x, &zero)?)
}

fn shrink(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let (bias, lambda) = (cx.attributes.float("bias", 0.0), cx.attributes.float("lambd", 0.5));
    let x = cx.float(0)?;
    let x = cx.wide(&x)?;
    let zero = zeros(cx, &x)?;
    let (above, below) = (cx.affine(&x, 1.0, -bias)?, cx.affine(&x, 1.0, bias)?);
    let y = choose(cx, (&x, CompareKind::Gt, lambda), &above, &zero)?;
    one(choose(cx, (&x, CompareKind::Lt, -lambda), &below, &y)?)
}

fn softsign(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let below = cx.unary(UnaryKind::Abs, &x)?;
    let below = cx.affine(&below, 1.0, 1.0)?;
    one(cx.binary(BinaryKind::Div, &x, &below)?)
}

fn swish(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let alpha = cx.attributes.float("alpha", 1.0);
    let x = cx.float(0)?;
    if alpha == 1.0 {
        return one(cx.unary(UnaryKind::Silu, &x)?);
    }
    let gate = cx.affine(&x, alpha, 0.0)?;
    let gate = cx.unary(UnaryKind::Sigmoid, &gate)?;
    one(cx.binary(BinaryKind::Mul, &x, &gate)?)
}

fn clip(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let old = cx.opset() < 11;
    let mut bounds = [cx.attributes.float("min", f32::NEG_INFINITY), f32::INFINITY];
    bounds[1] = cx.attributes.float("max", bounds[1]);
    let mut y = x;
    for (place, bound) in bounds.iter_mut().enumerate() {
        if old {
            continue;
        }
        match cx.optional(place + 1) {
            None => *bound = [f32::NEG_INFINITY, f32::INFINITY][place],
            Some(Item::Host(array)) => {
                *bound = array.floats().first().map_or(*bound, |&bound| bound as f32);
            }
            Some(Item::Device(_)) => {
                let kind = [BinaryKind::Maximum, BinaryKind::Minimum][place];
                let limit = cx.float(place + 1)?;
                y = cx.binary(kind, &y, &limit)?;
            }
        }
    }
    let [min, max] = bounds;
    if min <= max {
        return match (min, max) {
            (f32::NEG_INFINITY, f32::INFINITY) => one(y),
            (0.0, f32::INFINITY) => one(cx.unary(UnaryKind::Relu, &y)?),
            _ => one(cx.unary(UnaryKind::Clamp { min, max }, &y)?),
        };
    }
    // Of bounds that cross the upper one holds.
    let y = cx.with_scalar(BinaryKind::Maximum, &y, min)?;
    one(cx.with_scalar(BinaryKind::Minimum, &y, max)?)
}

/// In inference it passes on what it reads.
fn dropout(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    if cx.optional(2).is_some() && cx.array(2)?.ints().first().is_some_and(|&on| on != 0) {
        return unsupported("training mode");
    }
    let x = cx.item(0)?.clone();
    let count = x.dims().iter().product();
    let elem = if cx.opset() < 10 { x.elem() } else { Elem::Bool };
    let mask = || crate::onnx::array::Array::of_ints(elem, x.dims().to_vec(), vec![1; count]);
    let mask = (cx.outputs() > 1).then(|| Item::Host(mask()));
    Ok(std::iter::once(x.clone()).chain(mask).collect())
}

fn arithmetic(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let kind = match &*cx.attributes.node.op_type {
        "Add" => BinaryKind::Add,
        "Sub" => BinaryKind::Sub,
        "Mul" => BinaryKind::Mul,
        "Div" => BinaryKind::Div,
        _ => BinaryKind::Prelu,
    };
    if !cx.item(0)?.elem().is_float() {
        return Err(Stop::Host);
    }
    if let Some(y) = with_number(cx, kind)? {
        return one(y);
    }
    let (a, mut b) = (cx.float(0)?, cx.float(1)?);
    // Before opset 7 the second operand could stand at an axis of the first.
    if cx.opset() < 7
        && cx.attributes.has("axis")
        && let Ok(axis) = usize::try_from(cx.attributes.int("axis", 0))
        && axis + b.rank() <= a.rank()
    {
        let mut dims = b.dims.clone();
        dims.resize(a.rank() - axis, 1);
        b = cx.plain(&b)?;
        b.value = cx.reshape(b.value, &dims)?;
        b = Dev { axes: Dev::plain(dims.len()), dims, ..b };
    }
    one(cx.binary(kind, &a, &b)?)
}

/// One of the operands is a number that is known.
fn with_number(cx: &mut Cx<'_>, kind: BinaryKind) -> Step<Option<Dev>> {
    let number = |item: &Item| match item {
        Item::Host(array) if array.count() == 1 => array.floats().first().map(|&x| x as f32),
        _ => None,
    };
    let (a, b) = (cx.item(0)?, cx.item(1)?);
    let fits = |x: &Item, number: &Item| {
        matches!(x, Item::Device(_)) && number.dims().len() <= x.dims().len()
    };
    let (place, number) = match (number(a), number(b)) {
        (_, Some(number)) if fits(a, b) => (0, number),
        (Some(number), _) if fits(b, a) => (1, number),
        _ => return Ok(None),
    };
    let (scale, shift) = match (kind, place) {
        (BinaryKind::Add, _) => (1.0, number),
        (BinaryKind::Sub, 0) => (1.0, -number),
        (BinaryKind::Sub, _) => (-1.0, number),
        (BinaryKind::Mul, _) => (number, 0.0),
        _ => return Ok(None),
    };
    let x = cx.float(place)?;
    cx.affine(&x, scale, shift).map(Some)
}

fn pow(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    if let Item::Host(power) = cx.item(1)?
        && power.count() == 1
        && power.dims.len() <= x.rank()
    {
        let exponent = power.floats().first().map_or(1.0, |&power| power as f32);
        let kind = match exponent {
            2.0 => UnaryKind::Square,
            0.5 => UnaryKind::Sqrt,
            _ => UnaryKind::Powf { exponent },
        };
        return one(cx.unary(kind, &x)?);
    }
    let power = cx.dev(1)?;
    one(cx.binary(BinaryKind::Pow, &x, &power)?)
}

/// All operands together, from the first to the last.
fn fold(cx: &mut Cx<'_>, kind: BinaryKind) -> Step<Vec<Item>> {
    let mut y = cx.float(0)?;
    for place in 1..cx.inputs.len() {
        let next = cx.float(place)?;
        y = cx.binary(kind, &y, &next)?;
    }
    one(y)
}

fn mean(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let count = cx.inputs.len() as f32;
    let sum = fold(cx, BinaryKind::Add)?;
    match &sum[..] {
        [Item::Device(sum)] => one(cx.affine(sum, 1.0 / count, 0.0)?),
        _ => Ok(sum),
    }
}
