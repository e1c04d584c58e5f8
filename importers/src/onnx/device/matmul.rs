//! Products of matrices.

use striate_graph::Value;
use striate_tensor::ops::{self, BinaryKind};

use super::Rule;
use crate::onnx::compile::cx::Cx;
use crate::onnx::compile::item::{Dev, Item, Step, broadcast, invalid};

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "MatMul" => matmul,
        "Gemm" => gemm,
        _ => return None,
    })
}

/// Matrices as they lie on the device, and whether rows and columns are exchanged there.
fn matrices(cx: &mut Cx<'_>, x: &Dev) -> Step<(Value, bool)> {
    let rank = x.rank();
    let mut swapped = Dev::plain(rank);
    swapped.swap(rank - 2, rank - 1);
    match x.axes == swapped {
        true => Ok((x.value, true)),
        false => Ok((cx.plain(x)?.value, false)),
    }
}

/// A value with another shape, in the file's order of axes.
fn reshaped(cx: &mut Cx<'_>, x: &Dev, dims: Vec<usize>) -> Step<Dev> {
    let x = cx.plain(x)?;
    let value = cx.reshape(x.value, &dims)?;
    Ok(Dev { value, axes: Dev::plain(dims.len()), dims, elem: x.elem })
}

fn matmul(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let (mut a, mut b) = (cx.float(0)?, cx.float(1)?);
    a = cx.wide(&a)?;
    let elem = a.elem;
    if a.rank() == 0 || b.rank() == 0 {
        return invalid("expected matrices or vectors, got a number");
    }
    // A vector is one row at the left, and one column at the right.
    let (row, column) = (a.rank() == 1, b.rank() == 1);
    if row {
        let dims = vec![1, a.dims[0]];
        a = reshaped(cx, &a, dims)?;
    }
    if column {
        let dims = vec![b.dims[0], 1];
        b = reshaped(cx, &b, dims)?;
    }
    let ((left, transpose_a), (right, transpose_b)) = (matrices(cx, &a)?, matrices(cx, &b)?);
    let product =
        ops::MatMul { transpose_a, transpose_b, bias: false, activation: ops::Activation::None };
    let value = cx.push(product, &[left, right])?;
    let batch = |dev: &Dev| dev.dims[..dev.rank() - 2].to_vec();
    let mut dims = broadcast(&[&batch(&a), &batch(&b)])?;
    if !row {
        dims.push(a.dims[a.rank() - 2]);
    }
    if !column {
        dims.push(b.dims[b.rank() - 1]);
    }
    let value = cx.reshape(value, &dims)?;
    Ok(vec![cx.made(value, dims, elem)])
}

fn gemm(cx: &mut Cx<'_>) -> Step<Vec<Item>> {
    let (alpha, beta) = (cx.attributes.float("alpha", 1.0), cx.attributes.float("beta", 1.0));
    let flag = |name| cx.attributes.flag(name, false);
    let (transposed_a, transposed_b) = (flag("transA"), flag("transB"));
    let (mut a, mut b) = (cx.float(0)?, cx.float(1)?);
    a = cx.wide(&a)?;
    let elem = a.elem;
    // Old files give images to it.
    if a.rank() > 2 && cx.opset() < 11 {
        let dims = vec![a.dims[0], a.dims[1..].iter().product()];
        a = reshaped(cx, &a, dims)?;
    }
    for (dev, place) in [(&mut a, 0), (&mut b, 1)] {
        if dev.rank() != 2 {
            return invalid(format!("expected matrices, got {:?} as input {place}", dev.dims));
        }
    }
    let ((left, lies_a), (right, lies_b)) = (matrices(cx, &a)?, matrices(cx, &b)?);
    let rows = a.dims[usize::from(transposed_a)];
    let columns = b.dims[usize::from(!transposed_b)];
    let dims = vec![rows, columns];
    let (transpose_a, transpose_b) = (transposed_a ^ lies_a, transposed_b ^ lies_b);
    let mut product =
        ops::MatMul { transpose_a, transpose_b, bias: false, activation: ops::Activation::None };
    let addend = match cx.optional(2) {
        Some(_) if beta != 0.0 => Some(cx.float(2)?),
        _ => None,
    };
    if let Some(addend) = &addend
        && alpha == 1.0
        && beta == 1.0
        && addend.count() == columns
        && addend.dims.last() == Some(&columns)
    {
        let bias = cx.reshape(addend.value, &[columns])?;
        product.bias = true;
        let value = cx.push(product, &[left, right, bias])?;
        return Ok(vec![cx.made(value, dims, elem)]);
    }
    let value = cx.push(product, &[left, right])?;
    let mut y = Dev { value, axes: Dev::plain(2), dims, elem };
    if alpha != 1.0 {
        y = cx.affine(&y, alpha, 0.0)?;
    }
    if let Some(mut addend) = addend {
        if beta != 1.0 {
            addend = cx.affine(&addend, beta, 0.0)?;
        }
        y = cx.binary(BinaryKind::Add, &y, &addend)?;
    }
    Ok(vec![Item::Device(y)])
}
