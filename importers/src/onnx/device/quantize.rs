//! Numbers in steps of a scale: computed in floats, which hold integers of 8 and 16 bits exactly.

use striate_tensor::ops::{BinaryKind, UnaryKind};

use super::Rule;
use crate::onnx::compile::cx::Cx;
use crate::onnx::compile::item::{Dev, Item, Step, axis, invalid, unsupported};
use crate::onnx::elem::Elem;

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "QuantizeLinear" => quantize,
        "DequantizeLinear" => dequantize,
        _ => return None,
    })
}

/// A scale or zero point of `x`: one number, or one for each entry of an axis.
fn along(cx: &mut Cx<'_>, place: usize, x: &[usize]) -> Step<Dev> {
    let mut numbers = cx.dev(place)?;
    if cx.attributes.int("block_size", 0) != 0 {
        return unsupported("blocks");
    }
    if numbers.rank() == 1 && numbers.count() != 1 {
        let axis = axis(cx.attributes.int("axis", 1), x.len())?;
        if numbers.dims[0] != x[axis] {
            let got = numbers.dims[0];
            return invalid(format!("expected {} scales at axis {axis}, got {got}", x[axis]));
        }
        let mut dims = vec![1; x.len() - axis];
        dims[0] = x[axis];
        numbers.value = cx.reshape(numbers.value, &dims)?;
        numbers.axes = Dev::plain(dims.len());
        numbers.dims = dims;
    } else if numbers.count() == 1 {
        numbers.value = cx.reshape(numbers.value, &[])?;
        (numbers.axes, numbers.dims) = (Vec::new(), Vec::new());
    } else {
        return unsupported("scales of more than one axis");
    }
    Ok(numbers)
}

/// Whether an operand is 0 throughout.
fn is_zero(item: Option<&Item>) -> bool {
    match item {
        None => true,
        Some(Item::Host(array)) => array.ints().iter().all(|&x| x == 0),
        Some(Item::Device(_)) => false,
    }
}

fn quantize(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let x = cx.float(0)?;
    let elem = match cx.optional(2) {
        Some(zero) => zero.elem(),
        None => {
            let code = cx.attributes.int("output_dtype", 0) as i32;
            match Elem::of_code(code) {
                Some(elem) => elem,
                None if code == 0 => Elem::U8,
                None => return unsupported(Elem::name_of_code(code)),
            }
        }
    };
    let (min, max) = match elem {
        Elem::U8 => (0.0, 255.0),
        Elem::I8 => (-128.0, 127.0),
        Elem::U16 => (0.0, 65535.0),
        Elem::I16 => (-32768.0, 32767.0),
        other => return unsupported(format!("steps of {other}")),
    };
    let scale = along(cx, 1, &x.dims)?;
    let y = cx.binary(BinaryKind::Div, &x, &scale)?;
    let mut y = cx.unary(UnaryKind::Round, &y)?;
    if !is_zero(cx.optional(2)) {
        let zero = along(cx, 2, &x.dims)?;
        y = cx.binary(BinaryKind::Add, &y, &zero)?;
    }
    let y = cx.unary(UnaryKind::Clamp { min, max }, &y)?;
    Ok(vec![Item::Device(Dev { elem, ..y })])
}

fn dequantize(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let elem = cx.item(1)?.elem();
    let exact = |elem| matches!(elem, Elem::U8 | Elem::I8 | Elem::U16 | Elem::I16 | Elem::I32);
    if !exact(cx.item(0)?.elem()) {
        return unsupported(format!("steps of {}", cx.item(0)?.elem()));
    }
    let x = cx.dev(0)?;
    let x = cx.wide(&x)?;
    let scale = along(cx, 1, &x.dims)?;
    let mut y = x;
    if !is_zero(cx.optional(2)) {
        let zero = along(cx, 2, &y.dims)?;
        y = cx.binary(BinaryKind::Sub, &y, &zero)?;
    }
    let y = cx.binary(BinaryKind::Mul, &y, &scale)?;
    Ok(vec![Item::Device(Dev { elem, ..y })])
}
