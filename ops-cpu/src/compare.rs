//! Element by element: two numbers to a truth value.

use striate_tensor::ops::{Compare, CompareKind};
use striate_tensor::{DType, Operand, Result, TensorType};

use crate::buffer::elements;
use crate::context::Context;
use crate::elementwise::{Broadcast, Zip, zip, zip_floats};
use crate::memory::Memory;

pub(crate) fn compare(
    cx: &Context,
    op: &Compare,
    inputs: &[Operand<'_>],
    output: &TensorType,
) -> Result<Memory> {
    let unsigned = inputs[0].ty.dtype == DType::U32;
    macro_rules! by {
        ($holds:tt) => {
            if unsigned {
                let [a, b] = [&inputs[0], &inputs[1]];
                let a = Broadcast::new(elements::<u32>(a)?, &a.ty.shape, &output.shape);
                let b = Broadcast::new(elements::<u32>(b)?, &b.ty.shape, &output.shape);
                zip(cx, [a, b], output, |a, b, to| {
                    cx.level.run(Zip { a, b, to, f: |a, b| u32::from(a $holds b) })
                })
            } else {
                zip_floats(cx, inputs, output, |a, b, to| {
                    cx.level.run(Zip { a, b, to, f: |a, b| u32::from(a $holds b) })
                })
            }
        };
    }
    match op.kind {
        CompareKind::Eq => by!(==),
        CompareKind::Ne => by!(!=),
        CompareKind::Lt => by!(<),
        CompareKind::Le => by!(<=),
        CompareKind::Gt => by!(>),
        CompareKind::Ge => by!(>=),
    }
}
