//! Ops in a few words.

use std::fmt::Write as _;

use striate_tensor::{Op, TensorType, ops};

use crate::NodeOp;

/// An op with its key parameters: `conv2d 3x3/2 pad 1 groups 32 +bias +relu`. The types are those of its
/// operands.
pub(super) fn describe(op: &NodeOp, inputs: &[TensorType]) -> String {
    let mut text = op.name().to_owned();
    let words = match op {
        NodeOp::Reshape(_) => String::new(),
        NodeOp::Dropout { rate, images, .. } => {
            format!(" {rate}{}", if *images { " images" } else { "" })
        }
        NodeOp::Op(op) => parameters(op, inputs),
    };
    text.push_str(&words);
    text
}

/// What is applied to the results of an op.
fn activation(activation: ops::Activation) -> String {
    match activation {
        ops::Activation::None => String::new(),
        ops::Activation::Clamp { min, max } => format!(" +clamp {min} to {max}"),
        activation => format!(" +{}", activation.name()),
    }
}

fn parameters(op: &Op, inputs: &[TensorType]) -> String {
    match op {
        Op::Conv2d(conv) => {
            let kernel = match inputs.get(1).map(|weights| weights.shape.dims()) {
                Some(&[_, rows, cols, _]) => [rows, cols],
                _ => [0, 0],
            };
            let mut text = window(kernel, conv.stride, conv.padding);
            text.push_str(&spread(conv.dilation, conv.groups));
            text + &flags(&[("bias", conv.bias), ("residual", conv.residual)])
                + &activation(conv.activation)
        }
        Op::ConvTranspose2d(conv) => {
            let kernel = match inputs.get(1).map(|weights| weights.shape.dims()) {
                Some(&[_, rows, cols, _]) => [rows, cols],
                _ => [0, 0],
            };
            let mut text = window(kernel, conv.stride, conv.padding);
            if conv.output_padding != [0, 0] {
                let _ = write!(text, " output pad {}", pair(conv.output_padding));
            }
            text + &spread(conv.dilation, conv.groups) + &flags(&[("bias", conv.bias)])
        }
        Op::MatMul(product) => {
            let transposed = [("a", product.transpose_a), ("b", product.transpose_b)];
            let transposed =
                transposed.iter().filter(|(_, is)| *is).map(|(name, _)| format!(" {name}ᵀ"));
            let transposed: String = transposed.collect();
            transposed + &flags(&[("bias", product.bias)]) + &activation(product.activation)
        }
        Op::MaxPool2d(pool) => pooling(pool),
        Op::AvgPool2d(ops::AvgPool2d(pool)) => pooling(pool),
        Op::Resize(resize) => format!(" {}", pair(resize.output)),
        Op::BatchNorm(norm) => {
            flags(&[("batch", norm.batch), ("residual", norm.residual)])
                + &activation(norm.activation)
        }
        Op::GroupNorm(norm) => match norm.pixelwise {
            true if norm.groups == 1 => " of each pixel".into(),
            true => format!(" groups {} of each pixel", norm.groups),
            false => format!(" groups {}", norm.groups),
        },
        Op::Permute(permute) => format!(" {:?}", permute.order),
        Op::Concatenate(concatenate) => format!(" axis {}", concatenate.axis),
        Op::Softmax(softmax) => format!(" axis {}", softmax.axis),
        Op::Cast(cast) => format!(" {}", cast.dtype),
        Op::Lrn(lrn) => format!(" size {}", lrn.size),
        Op::Reduce(reduce) => format!(" axes {:?}", reduce.axes.iter().collect::<Vec<_>>()),
        Op::Slice(slice) => {
            let ranges = slice.ranges.iter().map(|r| format!("{}..{}", r.start, r.end));
            format!(" {}", ranges.collect::<Vec<_>>().join(", "))
        }
        Op::Unary(unary) => match unary.kind {
            ops::UnaryKind::Clamp { min, max } => format!(" {min}..{max}"),
            kind => match &kind.parameters()[..] {
                [] => String::new(),
                numbers => {
                    let numbers: Vec<String> =
                        numbers.iter().map(|(_, number)| number.to_string()).collect();
                    format!(" {}", numbers.join(", "))
                }
            },
        },
        _ => String::new(),
    }
}

/// ` dilation 2 groups 32`, without what is as usual.
fn spread(dilation: [usize; 2], groups: usize) -> String {
    let mut text = String::new();
    if dilation != [1, 1] {
        let _ = write!(text, " dilation {}", pair(dilation));
    }
    if groups != 1 {
        let _ = write!(text, " groups {groups}");
    }
    text
}

fn pooling(pool: &ops::Pool2d) -> String {
    let mut text = window(pool.size, pool.stride, pool.padding);
    if pool.extra != [0, 0] {
        let _ = write!(text, " extra {}", pair(pool.extra));
    }
    text
}

/// ` 3x3/2 pad 1`: what is as usual is left out, and what is equal in both axes stands once.
fn window([rows, cols]: [usize; 2], stride: [usize; 2], padding: [[usize; 2]; 2]) -> String {
    let mut text = format!(" {rows}x{cols}");
    if stride != [1, 1] {
        let _ = write!(text, "/{}", pair(stride));
    }
    let _ = match padding {
        [[0, 0], [0, 0]] => Ok(()),
        [[top, bottom], [left, right]] if top == bottom && left == right => {
            write!(text, " pad {}", pair([top, left]))
        }
        [[top, bottom], [left, right]] => write!(text, " pad {top},{bottom}x{left},{right}"),
    };
    text
}

/// A number for both axes where they are equal: `2`, `2x1`.
fn pair([rows, cols]: [usize; 2]) -> String {
    if rows == cols { rows.to_string() } else { format!("{rows}x{cols}") }
}

/// ` +bias +relu`
fn flags(flags: &[(&str, bool)]) -> String {
    flags.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| format!(" +{name}")).collect()
}
