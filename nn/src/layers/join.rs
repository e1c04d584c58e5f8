//! Layers that see several others: sums, products, channels side by side.

use striate_graph::Value;
use striate_tensor::ops::{Binary, BinaryKind, Concatenate};

use crate::lower::Lowering;
use crate::shapes::dims;

/// The element-wise sum or product of all inputs; a product broadcasts extents of 1.
pub(crate) fn lower_binary(
    cx: &mut Lowering<'_>,
    inputs: &[Value],
    kind: BinaryKind,
) -> crate::Result<Value> {
    let (&first, rest) = cx.several(inputs)?;
    let mut sum = first;
    for &next in rest {
        let (own, other) = (cx.per_image(sum), cx.per_image(next));
        // A factor for each channel is one pixel; nothing else may differ in silence.
        let fits = own.len() == other.len()
            && own
                .iter()
                .zip(&other)
                .all(|(&a, &b)| a == b || (kind == BinaryKind::Mul && (a == 1 || b == 1)));
        if !fits {
            let factors = if kind == BinaryKind::Mul { ", or of extents of 1" } else { "" };
            let expected = format!("inputs of one shape, as the first, {}{factors}", dims(&own));
            return Err(cx.error(expected, dims(&other)));
        }
        sum = cx.push(Binary { kind }, &[sum, next])?;
    }
    Ok(sum)
}

/// The channels of all inputs, one after another.
pub(crate) fn lower_concatenate(cx: &mut Lowering<'_>, inputs: &[Value]) -> crate::Result<Value> {
    let (&first, rest) = cx.several(inputs)?;
    let own = cx.per_image(first);
    for &next in rest {
        let other = cx.per_image(next);
        let [pixels @ .., _] = &own[..] else { continue };
        if !matches!(&other[..], [others @ .., _] if others == pixels) {
            let expected = format!("inputs of as many rows and cols as the first, {}", dims(&own));
            return Err(cx.error(expected, dims(&other)));
        }
    }
    let axis = own.len();
    cx.push(Concatenate { axis }, inputs)
}
