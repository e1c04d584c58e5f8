//! Tensors as people read them, in numpy's form.

use crate::{HostValues, Tensor};

/// Tensors of more elements are shown by their edges.
const MOST_SHOWN: usize = 1000;
/// Entries at each end of an axis that is not shown whole.
const EDGE: usize = 3;
/// Columns of a line.
const LINE: usize = 75;
/// Digits behind the point, at most.
const DIGITS: usize = 8;

/// The numbers in brackets, as numpy prints them: columns are aligned, and of more than 1,000 elements the
/// first and last three entries of each axis are shown. Where the device cannot give them, the error
/// stands in their place.
///
/// ```
/// # use striate_tensor::{Device, Reference, Tensor};
/// # fn main() -> striate_tensor::Result<()> {
/// # let device = Device::new(Reference::new());
/// let x = Tensor::from_vec(vec![1.0f32, -2.5, 0.25, 4.0], [2, 2], &device)?;
/// assert_eq!(x.to_string(), "[[ 1.   -2.5 ]\n [ 0.25  4.  ]]");
/// # Ok(())
/// # }
/// ```
impl std::fmt::Display for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = match self.to_host() {
            Ok(host) => host,
            Err(error) => return write!(f, "<{error}>"),
        };
        let dims = self.dims();
        let edges = self.ty().count() > MOST_SHOWN;
        let mut shown = Vec::new();
        places(dims, edges, 0, &mut shown);
        let words = match host.values() {
            HostValues::F32(values) => floats(shown.iter().map(|&place| values[place])),
            HostValues::F16(values) => floats(shown.iter().map(|&place| values[place].to_f32())),
            HostValues::F64(values) => floats(shown.iter().map(|&place| values[place])),
            HostValues::U32(values) => integers(values, &shown),
            HostValues::I64(values) => integers(values, &shown),
            HostValues::I32(values) => integers(values, &shown),
            HostValues::I8(values) => integers(values, &shown),
            HostValues::U8(values) => integers(values, &shown),
            HostValues::Bool(values) => {
                let word = |&place: &usize| if values[place] != 0 { "True" } else { "False" };
                aligned(shown.iter().map(|place| word(place).to_owned()).collect())
            }
        };
        let mut words = words.into_iter();
        f.write_str(&block(dims, edges, " ", LINE, &mut words))
    }
}

/// Which entries of an axis are shown, and whether some between are left out.
fn entries(extent: usize, edges: bool) -> (Vec<usize>, bool) {
    if edges && extent > 2 * EDGE {
        ((0..EDGE).chain(extent - EDGE..extent).collect(), true)
    } else {
        ((0..extent).collect(), false)
    }
}

/// The places of the elements that are shown, in order.
fn places(dims: &[usize], edges: bool, first: usize, shown: &mut Vec<usize>) {
    let Some((&extent, rest)) = dims.split_first() else {
        shown.push(first);
        return;
    };
    let step: usize = rest.iter().product();
    for entry in entries(extent, edges).0 {
        places(rest, edges, first + entry * step, shown);
    }
}

/// A tensor of these extents in brackets; lines after the first begin with `indent`.
fn block(
    dims: &[usize],
    edges: bool,
    indent: &str,
    width: usize,
    words: &mut impl Iterator<Item = String>,
) -> String {
    let Some((&extent, rest)) = dims.split_first() else {
        return words.next().unwrap_or_default();
    };
    let (shown, cut) = entries(extent, edges);
    if dims.contains(&0) {
        return "[]".into();
    }
    let mut items = Vec::with_capacity(shown.len() + 1);
    for place in 0..shown.len() {
        if cut && place == EDGE {
            items.push("...".to_owned());
        }
        items.push(block(rest, edges, &format!("{indent} "), width.saturating_sub(1), words));
    }
    let mut text = String::new();
    if rest.is_empty() {
        let mut line = indent.to_owned();
        let last = items.len().saturating_sub(1);
        for (i, item) in items.iter().enumerate() {
            // The closing bracket needs a column.
            let wraps = line.len() + item.len() > width.saturating_sub(1);
            if wraps && line.len() > indent.len() {
                text.push_str(line.trim_end());
                text.push('\n');
                line = indent.to_owned();
            }
            line.push_str(item);
            if i < last {
                line.push(' ');
            }
        }
        text.push_str(&line);
    } else {
        let between = "\n".repeat(rest.len());
        let lines: Vec<String> = items.iter().map(|item| format!("{indent}{item}")).collect();
        text = lines.join(&between);
    }
    format!("[{}]", text.get(indent.len()..).unwrap_or_default())
}

/// All of one width, numbers to the right.
fn aligned(words: Vec<String>) -> Vec<String> {
    let width = words.iter().map(String::len).max().unwrap_or(0);
    words.into_iter().map(|word| format!("{word:>width$}")).collect()
}

/// Whole numbers at these places.
fn integers<T: std::fmt::Display>(values: &[T], shown: &[usize]) -> Vec<String> {
    aligned(shown.iter().map(|&place| values[place].to_string()).collect())
}

/// A float whose shortest text is the one that tells it apart from its neighbours.
trait Float: Copy + Into<f64> + std::fmt::Display + std::fmt::LowerExp {}

impl Float for f32 {}
impl Float for f64 {}

/// Floats of one form: with as many digits as the longest needs, or with exponents where the largest and
/// the smallest are far apart.
fn floats<T: Float>(values: impl Iterator<Item = T>) -> Vec<String> {
    let values: Vec<T> = values.collect();
    let sizes = values.iter().map(|&v| v.into().abs()).filter(|v| v.is_finite() && *v != 0.0);
    let (least, most) = sizes.fold((f64::INFINITY, 0.0f64), |(a, b), v| (a.min(v), b.max(v)));
    let exponents = most >= 1e8 || (most > 0.0 && (least < 1e-4 || most / least > 1000.0));
    let words = if exponents { with_exponents(&values) } else { positional(&values) };
    let words: Vec<String> = words
        .into_iter()
        .zip(&values)
        .map(|(word, &value)| match value.into() {
            value if value.is_nan() => "nan".into(),
            f64::INFINITY => "inf".into(),
            f64::NEG_INFINITY => "-inf".into(),
            _ => word,
        })
        .collect();
    aligned(words)
}

/// With the fewest digits behind the point that tell numbers apart, padded to the most.
fn positional<T: Float>(values: &[T]) -> Vec<String> {
    let short = |value: &T| {
        let text = format!("{value}");
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        if part.len() <= DIGITS {
            return (whole.to_owned(), part.to_owned());
        }
        let text = format!("{value:.DIGITS$}");
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        (whole.to_owned(), part.trim_end_matches('0').to_owned())
    };
    let parts: Vec<(String, String)> = values.iter().map(short).collect();
    let finite = values.iter().zip(&parts).filter(|(value, _)| (**value).into().is_finite());
    let digits = finite.map(|(_, (_, part))| part.len()).max().unwrap_or(0);
    parts.into_iter().map(|(whole, part)| format!("{whole}.{part:<digits$}")).collect()
}

/// With one digit before the point, and two or more of the exponent.
fn with_exponents<T: Float>(values: &[T]) -> Vec<String> {
    let parts = |value: &T| {
        let short = format!("{value:e}");
        let digits = short.split_once('e').map_or(0, |(number, _)| number.len());
        let text = if digits > DIGITS + 2 { format!("{value:.DIGITS$e}") } else { short };
        let (number, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        (whole.to_owned(), part.to_owned(), exponent.parse::<i32>().unwrap_or(0))
    };
    let parts: Vec<_> = values.iter().map(parts).collect();
    let finite = values.iter().zip(&parts).filter(|(value, _)| (**value).into().is_finite());
    let digits = finite.map(|(_, (_, part, _))| part.len()).max().unwrap_or(0);
    let longest = parts.iter().map(|(_, _, exponent)| exponent.abs()).max().unwrap_or(0);
    // The sign, and two digits or more.
    let width = if longest < 100 { 3 } else { 4 };
    let show = |(whole, part, exponent): (String, String, i32)| {
        format!("{whole}.{part:0<digits$}e{exponent:+0width$}")
    };
    parts.into_iter().map(show).collect()
}
