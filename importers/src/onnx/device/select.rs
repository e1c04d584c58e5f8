//! Truth values, comparisons and casts.

use striate_tensor::DType;
use striate_tensor::ops::{self, BinaryKind, CompareKind, UnaryKind};

use super::Rule;
use crate::onnx::compile::cx::Cx;
use crate::onnx::compile::item::{Dev, Item, Step, Stop, unsupported};
use crate::onnx::elem::Elem;

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Equal" => |cx| compare(cx, CompareKind::Eq),
        "Greater" => |cx| compare(cx, CompareKind::Gt),
        "GreaterOrEqual" => |cx| compare(cx, CompareKind::Ge),
        "Less" => |cx| compare(cx, CompareKind::Lt),
        "LessOrEqual" => |cx| compare(cx, CompareKind::Le),
        "And" => |cx| logic(cx, ops::Binary { kind: BinaryKind::Minimum }.into()),
        "Or" => |cx| logic(cx, ops::Binary { kind: BinaryKind::Maximum }.into()),
        "Xor" => |cx| logic(cx, ops::Compare { kind: CompareKind::Ne }.into()),
        "Not" => not,
        "IsNaN" => is_nan,
        "Where" => choose,
        "Cast" | "CastLike" => cast,
        _ => return None,
    })
}

fn compare(cx: &mut Cx<'_>, kind: CompareKind) -> Step<Vec<Item>> {
    let (a, b) = (cx.item(0)?.elem(), cx.item(1)?.elem());
    let (a, b) = match a.is_float() && b.is_float() {
        true => {
            let (a, b) = (cx.dev(0)?, cx.dev(1)?);
            (cx.wide(&a)?, cx.wide(&b)?)
        }
        // Truth values are words on the device; other integers may be too large to compare there.
        false if a == Elem::Bool && b == Elem::Bool => (cx.dev(0)?, cx.dev(1)?),
        false => return Err(Stop::Host),
    };
    let y = cx.broadcast(ops::Compare { kind }, &[a, b], Elem::Bool)?;
    Ok(vec![Item::Device(y)])
}

/// A truth value on the device.
fn truth(cx: &mut Cx<'_>, place: usize) -> Step<Dev> {
    match cx.item(place)?.elem() {
        Elem::Bool => cx.dev(place),
        _ => Err(Stop::Host),
    }
}

fn logic(cx: &mut Cx<'_>, op: striate_tensor::Op) -> Step<Vec<Item>> {
    let (a, b) = (truth(cx, 0)?, truth(cx, 1)?);
    let y = cx.broadcast(op, &[a, b], Elem::Bool)?;
    Ok(vec![Item::Device(y)])
}

fn not(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = truth(cx, 0)?;
    let zero = cx.words(&[], vec![0])?;
    let value = cx.push(ops::Compare { kind: CompareKind::Eq }, &[x.value, zero])?;
    Ok(vec![cx.like(value, &x)])
}

fn is_nan(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let value = cx.push(ops::Compare { kind: CompareKind::Ne }, &[x.value, x.value])?;
    Ok(vec![Item::Device(Dev { value, elem: Elem::Bool, ..x })])
}

fn choose(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let condition = truth(cx, 0)?;
    let elem = cx.item(1)?.elem();
    let (a, b) = match elem {
        Elem::Bool => (cx.dev(1)?, cx.dev(2)?),
        _ => {
            let (a, b) = (cx.float(1)?, cx.float(2)?);
            (cx.wide(&a)?, cx.wide(&b)?)
        }
    };
    let y = cx.broadcast(ops::Select, &[condition, a, b], elem)?;
    Ok(vec![Item::Device(y)])
}

fn cast(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let elem = match cx.attributes.node.op_type == "CastLike" {
        true => cx.item(1)?.elem(),
        false => {
            let code = cx.attributes.int("to", 1) as i32;
            match Elem::of_code(code) {
                Some(elem) => elem,
                None => return unsupported(format!("a cast to {}", Elem::name_of_code(code))),
            }
        }
    };
    let x = cx.dev(0)?;
    if elem == x.elem {
        return Ok(vec![Item::Device(x)]);
    }
    let y = match (x.elem.is_float(), elem) {
        (true, Elem::Bool) => {
            let zero = cx.scalar(0.0)?;
            let x = cx.wide(&x)?;
            let value = cx.push(ops::Compare { kind: CompareKind::Ne }, &[x.value, zero])?;
            Dev { value, ..x }
        }
        (_, Elem::F16) => {
            let value = cx.push(ops::Cast { dtype: DType::F16 }, &[x.value])?;
            cx.wide(&Dev { value, ..x })?
        }
        (_, to) if to.is_float() => cx.wide(&x)?,
        // Toward zero; what follows sees whole numbers in floats.
        (true, _) => {
            let size = cx.unary(UnaryKind::Abs, &x)?;
            let size = cx.unary(UnaryKind::Floor, &size)?;
            let sign = cx.unary(UnaryKind::Sign, &x)?;
            cx.binary(BinaryKind::Mul, &size, &sign)?
        }
        (false, Elem::Bool) => return Err(Stop::Host),
        // A wider type holds what a narrower one held.
        (false, _) => x,
    };
    Ok(vec![Item::Device(Dev { elem, ..y })])
}
