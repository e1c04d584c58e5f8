//! Element by element on the host.

use super::walk::broadcast_places;
use super::{Host, Rule, made};
use crate::onnx::array::Array;
use crate::onnx::compile::item::{Step, broadcast, invalid, unsupported};
use crate::onnx::elem::Elem;

pub(super) fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "BitShift" | "BitwiseAnd" | "BitwiseOr"
        | "BitwiseXor" | "PRelu" => binary,
        "Max" | "Min" | "Sum" | "Mean" => variadic,
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => compare,
        "And" | "Or" | "Xor" => logic,
        "Not" => |host| of_ints(host, Elem::Bool, |x| i64::from(x == 0)),
        "BitwiseNot" => |host| of_ints(host, host.input(0)?.elem, |x| !x),
        "Where" => choose,
        "Cast" | "CastLike" => cast,
        "Clip" => clip,
        "IsNaN" => |host| test(host, f64::is_nan),
        "IsInf" => is_inf,
        "Abs" | "Neg" | "Sign" => whole,
        _ => return function(op),
    })
}

/// Functions of floats.
fn function(op: &str) -> Option<Rule> {
    Some(match op {
        "Sqrt" => |host| of_floats(host, f64::sqrt),
        "Exp" => |host| of_floats(host, f64::exp),
        "Log" => |host| of_floats(host, f64::ln),
        "Floor" => |host| of_floats(host, f64::floor),
        "Ceil" => |host| of_floats(host, f64::ceil),
        "Round" => |host| of_floats(host, f64::round_ties_even),
        "Reciprocal" => |host| of_floats(host, f64::recip),
        "Relu" => |host| of_floats(host, |x| if x < 0.0 { 0.0 } else { x }),
        "Tanh" => |host| of_floats(host, f64::tanh),
        "Sigmoid" => |host| of_floats(host, |x| 1.0 / (1.0 + (-x).exp())),
        "Sin" => |host| of_floats(host, f64::sin),
        "Cos" => |host| of_floats(host, f64::cos),
        "Tan" => |host| of_floats(host, f64::tan),
        "Asin" => |host| of_floats(host, f64::asin),
        "Acos" => |host| of_floats(host, f64::acos),
        "Atan" => |host| of_floats(host, f64::atan),
        "Sinh" => |host| of_floats(host, f64::sinh),
        "Cosh" => |host| of_floats(host, f64::cosh),
        "Asinh" => |host| of_floats(host, f64::asinh),
        "Acosh" => |host| of_floats(host, f64::acosh),
        "Atanh" => |host| of_floats(host, f64::atanh),
        _ => return None,
    })
}

fn of_floats(host: &Host<'_>, f: impl Fn(f64) -> f64) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    if !x.elem.is_float() {
        return invalid(format!("expected floats, got {}", x.elem));
    }
    let values = x.floats().iter().map(|&x| f(x)).collect();
    Ok(vec![Array::of_floats(x.elem, x.dims.clone(), values)])
}

fn of_ints(host: &Host<'_>, elem: Elem, f: impl Fn(i64) -> i64) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    if x.elem.is_float() {
        return invalid(format!("expected integers or truth values, got {}", x.elem));
    }
    let values = x.ints().iter().map(|&x| f(x)).collect();
    Ok(vec![Array::of_ints(elem, x.dims.clone(), values)])
}

fn whole(host: &Host<'_>) -> Step<Vec<Array>> {
    let op = &*host.attributes.node.op_type;
    let elem = host.input(0)?.elem;
    if elem.is_float() {
        return of_floats(host, |x| match op {
            "Abs" => x.abs(),
            "Neg" => -x,
            _ if x == 0.0 || x.is_nan() => x,
            _ => x.signum(),
        });
    }
    of_ints(host, elem, |x| match op {
        "Abs" => x.wrapping_abs(),
        "Neg" => x.wrapping_neg(),
        _ => x.signum(),
    })
}

fn test(host: &Host<'_>, f: impl Fn(f64) -> bool) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let values = x.floats().iter().map(|&x| i64::from(f(x))).collect();
    Ok(vec![Array::of_ints(Elem::Bool, x.dims.clone(), values)])
}

fn is_inf(host: &Host<'_>) -> Step<Vec<Array>> {
    let (above, below) = (
        host.attributes.flag("detect_positive", true),
        host.attributes.flag("detect_negative", true),
    );
    test(host, |x| (above && x == f64::INFINITY) || (below && x == f64::NEG_INFINITY))
}

/// The shape that two operands broadcast to, and both element by element.
type Pairs<T> = (Vec<usize>, Vec<(T, T)>);

/// Two operands, element by element of the shape that they broadcast to.
fn pairs<T: Copy>((a, x): (&Array, &[T]), (b, y): (&Array, &[T])) -> Step<Pairs<T>> {
    let dims = broadcast(&[&a.dims, &b.dims])?;
    made(&dims)?;
    let places = broadcast_places(&a.dims, &dims).into_iter().zip(broadcast_places(&b.dims, &dims));
    let pairs = places.filter_map(|(i, j)| Some((*x.get(i)?, *y.get(j)?))).collect();
    Ok((dims, pairs))
}

fn float_pairs(a: &Array, b: &Array) -> Step<Pairs<f64>> {
    pairs((a, &a.floats()), (b, &b.floats()))
}

fn int_pairs(a: &Array, b: &Array) -> Step<Pairs<i64>> {
    pairs((a, &a.ints()), (b, &b.ints()))
}

fn binary(host: &Host<'_>) -> Step<Vec<Array>> {
    let (a, b) = (host.input(0)?, host.input(1)?);
    let op = &*host.attributes.node.op_type;
    if a.elem.is_float() || (op == "Pow" && b.elem.is_float()) {
        let (dims, pairs) = float_pairs(a, b)?;
        let of = |(x, y): (f64, f64)| match op {
            "Add" => x + y,
            "Sub" => x - y,
            "Mul" => x * y,
            "Div" => x / y,
            "Pow" => x.powf(y),
            "PRelu" if x < 0.0 => x * y,
            "PRelu" => x,
            // The sign of what is divided, as C's.
            _ => x % y,
        };
        let values: Vec<f64> = pairs.into_iter().map(of).collect();
        return Ok(vec![match a.elem.is_float() {
            true => Array::of_floats(a.elem, dims, values),
            false => Array::of_ints(a.elem, dims, values.iter().map(|&x| x as i64).collect()),
        }]);
    }
    let left = host.attributes.text("direction", "LEFT") == "LEFT";
    let c_modulo = host.attributes.flag("fmod", false);
    let (dims, pairs) = int_pairs(a, b)?;
    if matches!(op, "Div" | "Mod") && pairs.iter().any(|(_, y)| *y == 0) {
        return invalid("expected divisors that are not 0");
    }
    let of = |(x, y): (i64, i64)| match op {
        "Add" => x.wrapping_add(y),
        "Sub" => x.wrapping_sub(y),
        "Mul" => x.wrapping_mul(y),
        "Div" if a.elem == Elem::U64 => (x as u64 / y as u64) as i64,
        "Div" => x.wrapping_div(y),
        "Mod" if a.elem == Elem::U64 => (x as u64 % y as u64) as i64,
        "Mod" if c_modulo => x.wrapping_rem(y),
        // The sign of the divisor.
        "Mod" => match x.wrapping_rem(y) {
            rest if rest != 0 && (rest < 0) != (y < 0) => rest + y,
            rest => rest,
        },
        "Pow" => x.wrapping_pow(u32::try_from(y).unwrap_or(0)),
        "BitwiseAnd" => x & y,
        "BitwiseOr" => x | y,
        "BitwiseXor" => x ^ y,
        "BitShift" if y >= 64 => 0,
        "BitShift" if left => x << y,
        "BitShift" => ((x as u64) >> y) as i64,
        _ if x < 0 => x.wrapping_mul(y),
        _ => x,
    };
    Ok(vec![Array::of_ints(a.elem, dims, pairs.into_iter().map(of).collect())])
}

fn variadic(host: &Host<'_>) -> Step<Vec<Array>> {
    let op = &*host.attributes.node.op_type;
    let mut y = host.input(0)?.clone();
    let unsigned = y.elem == Elem::U64;
    for place in 1..host.inputs.len() {
        let next = host.input(place)?;
        y = match y.elem.is_float() {
            true => {
                let (dims, pairs) = float_pairs(&y, next)?;
                let of = |(a, b): (f64, f64)| match op {
                    "Max" if a.is_nan() || b.is_nan() => f64::NAN,
                    "Min" if a.is_nan() || b.is_nan() => f64::NAN,
                    "Max" => a.max(b),
                    "Min" => a.min(b),
                    _ => a + b,
                };
                Array::of_floats(y.elem, dims, pairs.into_iter().map(of).collect())
            }
            false => {
                let (dims, pairs) = int_pairs(&y, next)?;
                let of = |(a, b): (i64, i64)| match op {
                    "Max" if unsigned => (a as u64).max(b as u64) as i64,
                    "Min" if unsigned => (a as u64).min(b as u64) as i64,
                    "Max" => a.max(b),
                    "Min" => a.min(b),
                    _ => a.wrapping_add(b),
                };
                Array::of_ints(y.elem, dims, pairs.into_iter().map(of).collect())
            }
        };
    }
    if op == "Mean" {
        let count = host.inputs.len() as f64;
        let values = y.floats().iter().map(|x| x / count).collect();
        y = Array::of_floats(y.elem, y.dims.clone(), values);
    }
    Ok(vec![y])
}

fn compare(host: &Host<'_>) -> Step<Vec<Array>> {
    use std::cmp::Ordering;
    let (a, b) = (host.input(0)?, host.input(1)?);
    let op = &*host.attributes.node.op_type;
    let holds = |order: Option<Ordering>| {
        i64::from(match op {
            "Equal" => order == Some(Ordering::Equal),
            "Greater" => order == Some(Ordering::Greater),
            "GreaterOrEqual" => order.is_some_and(Ordering::is_ge),
            "Less" => order == Some(Ordering::Less),
            _ => order.is_some_and(Ordering::is_le),
        })
    };
    let (dims, values) = match (a.elem.is_float(), a.elem) {
        (true, _) => {
            let (dims, pairs) = float_pairs(a, b)?;
            (dims, pairs.iter().map(|(x, y)| holds(x.partial_cmp(y))).collect())
        }
        (_, Elem::U64) => {
            let (dims, pairs) = int_pairs(a, b)?;
            let of = |(x, y): &(i64, i64)| holds(Some((*x as u64).cmp(&(*y as u64))));
            (dims, pairs.iter().map(of).collect())
        }
        _ => {
            let (dims, pairs) = int_pairs(a, b)?;
            (dims, pairs.iter().map(|(x, y)| holds(Some(x.cmp(y)))).collect())
        }
    };
    Ok(vec![Array::of_ints(Elem::Bool, dims, values)])
}

fn logic(host: &Host<'_>) -> Step<Vec<Array>> {
    let op = &*host.attributes.node.op_type;
    let (dims, pairs) = int_pairs(host.input(0)?, host.input(1)?)?;
    let of = |(x, y): (i64, i64)| match op {
        "And" => x & y,
        "Or" => x | y,
        _ => x ^ y,
    };
    Ok(vec![Array::of_ints(Elem::Bool, dims, pairs.into_iter().map(of).collect())])
}

fn choose(host: &Host<'_>) -> Step<Vec<Array>> {
    let (condition, a, b) = (host.input(0)?, host.input(1)?, host.input(2)?);
    let dims = broadcast(&[&condition.dims, &a.dims, &b.dims])?;
    made(&dims)?;
    let spread = |array: &Array| {
        let places: Vec<Option<usize>> =
            broadcast_places(&array.dims, &dims).into_iter().map(Some).collect();
        array.pick(dims.clone(), &places)
    };
    let (condition, a, b) = (spread(condition).ints(), spread(a), spread(b));
    let pick = |yes: &bool| *yes;
    let chosen: Vec<bool> = condition.iter().map(|&x| x != 0).collect();
    Ok(vec![match a.elem.is_float() {
        true => {
            let (x, y) = (a.floats(), b.floats());
            let value = |(i, yes): (usize, &bool)| if pick(yes) { x[i] } else { y[i] };
            Array::of_floats(a.elem, dims, chosen.iter().enumerate().map(value).collect())
        }
        false => {
            let (x, y) = (a.ints(), b.ints());
            let value = |(i, yes): (usize, &bool)| if pick(yes) { x[i] } else { y[i] };
            Array::of_ints(a.elem, dims, chosen.iter().enumerate().map(value).collect())
        }
    }])
}

fn cast(host: &Host<'_>) -> Step<Vec<Array>> {
    let elem = match host.attributes.node.op_type == "CastLike" {
        true => host.input(1)?.elem,
        false => {
            let code = host.attributes.int("to", 1) as i32;
            match Elem::of_code(code) {
                Some(elem) => elem,
                None => return unsupported(format!("a cast to {}", Elem::name_of_code(code))),
            }
        }
    };
    Ok(vec![host.input(0)?.to_elem(elem)])
}

fn clip(host: &Host<'_>) -> Step<Vec<Array>> {
    let x = host.input(0)?;
    let dims = x.dims.clone();
    if x.elem.is_float() {
        let attribute = |name, default| f64::from(host.attributes.float(name, default));
        let bound = |place: usize, default: f64| {
            host.optional(place)
                .and_then(|array| array.floats().first().copied())
                .unwrap_or(default)
        };
        let min = bound(1, attribute("min", f32::NEG_INFINITY));
        let max = bound(2, attribute("max", f32::INFINITY));
        let of = |&x: &f64| if x.is_nan() { x } else { x.max(min).min(max) };
        return Ok(vec![Array::of_floats(x.elem, dims, x.floats().iter().map(of).collect())]);
    }
    let bound = |place: usize, default: i64| {
        host.optional(place).and_then(|array| array.ints().first().copied()).unwrap_or(default)
    };
    let (min, max) = (bound(1, i64::MIN), bound(2, i64::MAX));
    let of = |&x: &i64| x.max(min).min(max);
    Ok(vec![Array::of_ints(x.elem, dims, x.ints().iter().map(of).collect())])
}
