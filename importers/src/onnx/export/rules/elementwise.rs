//! Element by element.

use striate_tensor::DType;
use striate_tensor::ops::{BinaryKind, CompareKind, UnaryKind};

use super::{Cx, Step};
use crate::onnx::elem::Elem;
use crate::onnx::export::emit::{At, Item, float, refuse, text};
use crate::onnx::export::layout::{Group, Layout};

pub(super) fn unary(cx: &mut Cx<'_>, kind: UnaryKind) -> Step<Item> {
    let (name, x) = cx.value(0)?;
    let name = function(cx, kind, name, x.elem)?;
    Ok(Item { at: At::Value(name), ..x })
}

/// A function of a value: the name of the result.
pub(super) fn function(cx: &mut Cx<'_>, kind: UnaryKind, x: String, elem: Elem) -> Step<String> {
    let opset = cx.emit.opset;
    let simple = match kind {
        UnaryKind::Neg => "Neg",
        UnaryKind::Abs => "Abs",
        UnaryKind::Sign => "Sign",
        UnaryKind::Sqrt => "Sqrt",
        UnaryKind::Recip => "Reciprocal",
        UnaryKind::Exp => "Exp",
        UnaryKind::Log => "Log",
        UnaryKind::Sin => "Sin",
        UnaryKind::Cos => "Cos",
        UnaryKind::Tanh => "Tanh",
        UnaryKind::Erf => "Erf",
        UnaryKind::Sigmoid => "Sigmoid",
        UnaryKind::Relu => "Relu",
        UnaryKind::HardSwish if opset >= 14 => "HardSwish",
        UnaryKind::Softplus => "Softplus",
        UnaryKind::Mish if opset >= 18 => "Mish",
        UnaryKind::Floor => "Floor",
        UnaryKind::Ceil => "Ceil",
        UnaryKind::Round => "Round",
        _ => "",
    };
    if !simple.is_empty() {
        return Ok(cx.emit.push(simple, &[&x], vec![]));
    }
    Ok(match kind {
        UnaryKind::Square => cx.emit.push("Mul", &[&x, &x], vec![]),
        UnaryKind::Rsqrt => {
            let root = cx.emit.push("Sqrt", &[&x], vec![]);
            cx.emit.push("Reciprocal", &[&root], vec![])
        }
        UnaryKind::LeakyRelu { slope } => {
            cx.emit.push("LeakyRelu", &[&x], vec![float("alpha", slope)])
        }
        UnaryKind::Elu { alpha } => cx.emit.push("Elu", &[&x], vec![float("alpha", alpha)]),
        UnaryKind::Silu => {
            let gate = cx.emit.push("Sigmoid", &[&x], vec![]);
            cx.emit.push("Mul", &[&x, &gate], vec![])
        }
        UnaryKind::HardSigmoid => hard_sigmoid(cx, &x),
        UnaryKind::HardSwish => {
            let gate = hard_sigmoid(cx, &x);
            cx.emit.push("Mul", &[&x, &gate], vec![])
        }
        UnaryKind::Mish => {
            let inner = cx.emit.push("Softplus", &[&x], vec![]);
            let gate = cx.emit.push("Tanh", &[&inner], vec![]);
            cx.emit.push("Mul", &[&x, &gate], vec![])
        }
        UnaryKind::Gelu | UnaryKind::GeluErf if opset >= 20 => {
            let form = if kind == UnaryKind::Gelu { "tanh" } else { "none" };
            cx.emit.push("Gelu", &[&x], vec![text("approximate", form)])
        }
        UnaryKind::Gelu => {
            // √(2 / π) · (x + 0.044715 · x³)
            let root = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
            let square = cx.emit.push("Mul", &[&x, &x], vec![]);
            let inner = affine(cx, &square, 0.044_715 * root, root, elem)?;
            let inner = cx.emit.push("Mul", &[&x, &inner], vec![]);
            let inner = cx.emit.push("Tanh", &[&inner], vec![]);
            half_of_one_more(cx, &x, &inner, elem)?
        }
        UnaryKind::GeluErf => {
            let inner = affine(cx, &x, std::f32::consts::FRAC_1_SQRT_2, 0.0, elem)?;
            let inner = cx.emit.push("Erf", &[&inner], vec![]);
            half_of_one_more(cx, &x, &inner, elem)?
        }
        UnaryKind::Affine { scale, shift } => affine(cx, &x, scale, shift, elem)?,
        UnaryKind::Powf { exponent } => {
            let exponent = cx.emit.scalar(exponent, elem)?;
            cx.emit.push("Pow", &[&x, &exponent], vec![])
        }
        UnaryKind::Clamp { min, max } => clip(cx, &x, [min, max], elem)?,
        _ => return refuse("this function has no form in ONNX"),
    })
}

/// A value kept between two bounds, of which an infinite one is none.
fn clip(cx: &mut Cx<'_>, x: &str, [min, max]: [f32; 2], elem: Elem) -> Step<String> {
    let bound = |cx: &mut Cx<'_>, bound: f32, none: f32| match bound == none {
        true => Ok(String::new()),
        false => cx.emit.scalar(bound, elem),
    };
    let least = bound(cx, min, f32::NEG_INFINITY)?;
    let most = bound(cx, max, f32::INFINITY)?;
    let mut inputs = vec![x, &least, &most];
    while inputs.last().is_some_and(|input| input.is_empty()) {
        inputs.pop();
    }
    Ok(cx.emit.push("Clip", &inputs, vec![]))
}

fn hard_sigmoid(cx: &mut Cx<'_>, x: &str) -> String {
    cx.emit.push("HardSigmoid", &[x], vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)])
}

/// `scale · x + shift`
pub(super) fn affine(cx: &mut Cx<'_>, x: &str, scale: f32, shift: f32, elem: Elem) -> Step<String> {
    let mut y = x.to_owned();
    for (number, none, op) in [(scale, 1.0, "Mul"), (shift, 0.0, "Add")] {
        if number != none {
            let number = cx.emit.scalar(number, elem)?;
            y = cx.emit.push(op, &[&y, &number], vec![]);
        }
    }
    Ok(y)
}

/// `x · (y + 1) / 2`
fn half_of_one_more(cx: &mut Cx<'_>, x: &str, y: &str, elem: Elem) -> Step<String> {
    let y = affine(cx, y, 1.0, 1.0, elem)?;
    let y = cx.emit.push("Mul", &[x, &y], vec![]);
    affine(cx, &y, 0.5, 0.0, elem)
}

pub(super) fn binary(cx: &mut Cx<'_>, kind: BinaryKind) -> Step<Item> {
    let op = match kind {
        BinaryKind::Add => "Add",
        BinaryKind::Sub => "Sub",
        BinaryKind::Mul => "Mul",
        BinaryKind::Div => "Div",
        BinaryKind::Maximum => "Max",
        BinaryKind::Minimum => "Min",
        BinaryKind::Pow => "Pow",
        BinaryKind::Prelu => "PRelu",
        _ => return refuse("this function has no form in ONNX"),
    };
    if kind == BinaryKind::Prelu && cx.input(0)?.layout.dims() != cx.output.shape.dims() {
        return refuse("its slopes have more elements than what they are for");
    }
    let (names, layout) = aligned(cx, &[0, 1])?;
    let elem = cx.input(0)?.elem;
    Ok(Cx::made(cx.emit.push(op, &[&names[0], &names[1]], vec![]), layout, elem))
}

pub(super) fn compare(cx: &mut Cx<'_>, kind: CompareKind) -> Step<Item> {
    let (names, layout) = aligned(cx, &[0, 1])?;
    let inputs = [&*names[0], &*names[1]];
    let name = match kind {
        CompareKind::Eq => cx.emit.push("Equal", &inputs, vec![]),
        CompareKind::Ne => {
            let same = cx.emit.push("Equal", &inputs, vec![]);
            cx.emit.push("Not", &[&same], vec![])
        }
        CompareKind::Lt => cx.emit.push("Less", &inputs, vec![]),
        CompareKind::Le => cx.emit.push("LessOrEqual", &inputs, vec![]),
        CompareKind::Gt => cx.emit.push("Greater", &inputs, vec![]),
        CompareKind::Ge => cx.emit.push("GreaterOrEqual", &inputs, vec![]),
    };
    Ok(Cx::made(name, layout, Elem::Bool))
}

pub(super) fn select(cx: &mut Cx<'_>) -> Step<Item> {
    let (mut names, layout) = aligned(cx, &[0, 1, 2])?;
    let (condition, elem) = (cx.input(0)?.elem, cx.input(1)?.elem);
    names[0] = cx.emit.cast(names[0].clone(), condition, Elem::Bool);
    let inputs = [&*names[0], &*names[1], &*names[2]];
    Ok(Cx::made(cx.emit.push("Where", &inputs, vec![]), layout, elem))
}

pub(super) fn cast(cx: &mut Cx<'_>, dtype: DType) -> Step<Item> {
    let (name, x) = cx.value(0)?;
    let elem = Elem::of_dtype(dtype);
    let name = cx.emit.cast(name, x.elem, elem);
    Ok(Item { at: At::Value(name), elem, ..x })
}

/// Operands in one order of axes, broadcast against each other from the last axis; and how what is made of
/// them lies.
fn aligned(cx: &mut Cx<'_>, places: &[usize]) -> Step<(Vec<String>, Layout)> {
    let dims = cx.output.shape.dims().to_vec();
    let mut items = Vec::with_capacity(places.len());
    for &place in places {
        let mut item = cx.input(place)?;
        if let At::Value(_) = item.at {
            item.layout = item.layout.lifted(dims.len());
            check_open(&item.layout, &dims)?;
        }
        items.push(item);
    }
    // The largest value says in which order: it is the dearest to move.
    let count = |item: &Item| item.layout.dims().iter().product::<usize>();
    let values = || items.iter().filter(|item| matches!(item.at, At::Value(_)));
    let Some(main) = values().max_by_key(|item| count(item)).cloned() else {
        let order: Vec<usize> = (0..dims.len()).collect();
        return ordered(cx, &items, &order, &dims);
    };
    if main.layout.dims() == dims {
        let same = main.layout.counted();
        let mut wanted = Vec::with_capacity(items.len());
        for item in &items {
            wanted.push(match item.at {
                At::Value(_) => (item.layout.counted() == same)
                    .then(|| (item.clone(), item.layout.file().to_vec())),
                At::Weight(_) => following(item, &main.layout),
            });
        }
        if let Some(wanted) = wanted.into_iter().collect::<Option<Vec<_>>>() {
            let names = wanted.iter().map(|(item, groups)| cx.emit.realize(item, groups));
            return Ok((names.collect::<Step<_>>()?, main.layout));
        }
    }
    let order = main.layout.order();
    ordered(cx, &items, &order, &dims)
}

/// Operands in this order of axes.
fn ordered(
    cx: &mut Cx<'_>,
    items: &[Item],
    order: &[usize],
    dims: &[usize],
) -> Step<(Vec<String>, Layout)> {
    let mut names = Vec::with_capacity(items.len());
    let mut layout: Option<Layout> = None;
    for item in items {
        let lifted = item.layout.lifted(dims.len());
        let mut groups = lifted.groups(order);
        if let At::Weight(_) = item.at {
            let ones = groups.iter().take_while(|group| group.is_empty()).count();
            groups.drain(..ones.min(groups.len()));
        }
        names.push(cx.emit.realize(&Item { layout: lifted.clone(), ..item.clone() }, &groups)?);
        let is_better = |known: &Layout| {
            let open = |layout: &Layout| layout.axes().iter().any(|group| layout.is_open(group));
            open(&lifted) && !open(known)
        };
        if layout.as_ref().is_none_or(is_better) {
            layout = Some(lifted);
        }
    }
    let Some(layout) = layout else { return refuse("it has no operands") };
    let own = layout.dims();
    let kept: Vec<Option<usize>> =
        (0..dims.len()).map(|axis| (own[axis] == dims[axis]).then_some(axis)).collect();
    Ok((names, layout.next(dims, &kept, order)))
}

/// Refuses an open axis that is broadcast: of one image it would become several.
fn check_open(layout: &Layout, dims: &[usize]) -> Step<()> {
    let axes = layout.axes().iter().zip(dims);
    let mut open = axes.filter(|(group, _)| layout.is_open(group));
    match open.all(|(group, extent)| layout.extent(group) == *extent) {
        true => Ok(()),
        false => refuse("it broadcasts images against each other"),
    }
}

/// A weight, and the axes by which it lies as a value that it is broadcast to; none where an axis of the
/// file is made of axes that the weight has and of such as it has not.
fn following(weight: &Item, main: &Layout) -> Option<(Item, Vec<Group>)> {
    let mut own = weight.layout.lifted(main.rank());
    let extents = own.dims();
    let mut atoms: Vec<Option<usize>> = vec![None; main.extents().len()];
    for (axis, group) in main.axes().iter().enumerate() {
        if extents[axis] == 1 {
            continue;
        }
        if main.is_open(group) || extents[axis] != main.extent(group) {
            return None;
        }
        let parts: Vec<usize> = group.iter().map(|&atom| main.extents()[atom]).collect();
        own = own.split(axis, &parts)?;
        if own.axes()[axis].len() != group.len() {
            return None;
        }
    }
    for (axis, group) in main.axes().iter().enumerate().filter(|(axis, _)| extents[*axis] != 1) {
        for (part, &atom) in own.axes()[axis].iter().zip(group) {
            atoms[atom] = Some(*part);
        }
    }
    let mut file: Vec<Group> = Vec::with_capacity(main.rank());
    for group in main.file() {
        let parts: Group = group.iter().filter_map(|&atom| atoms[atom]).collect();
        if !parts.is_empty() && parts.len() != group.len() {
            return None;
        }
        file.push(parts);
    }
    let ones = file.iter().take_while(|group| group.is_empty()).count();
    file.drain(..ones);
    Some((Item { layout: own, ..weight.clone() }, file))
}
