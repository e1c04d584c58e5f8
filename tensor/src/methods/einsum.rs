//! Sums of products by Einstein's convention.

use crate::ops::MatMul;
use crate::{Error, Result, Shape, Tensor};

impl Tensor {
    /// Sums of products of tensors, as a text says: `"bik,bkj->bij"` names the axes of each operand and of
    /// the result by letters, and sums over those that the result has not. Without `->` the result has the
    /// letters that stand once, in the order of the alphabet. `...` stands for any further axes, which
    /// broadcast. A letter that stands twice in one operand takes its diagonal. As in numpy.
    ///
    /// More than two operands are joined from the left, each pair by one matrix product.
    ///
    /// ```
    /// # use striate_tensor::{Device, Reference, Tensor};
    /// # fn main() -> striate_tensor::Result<()> {
    /// # let device = Device::new(Reference::new());
    /// let x = Tensor::arange(0.0, 6.0, 1.0, &device)?.reshape([2, 3])?;
    /// let squares = Tensor::einsum("ij,ij->i", &[&x, &x])?;
    /// assert_eq!(squares.to_vec::<f32>()?, [5.0, 50.0]);
    /// assert_eq!(Tensor::einsum("ij->ji", &[&x])?.dims(), [3, 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where the text does not fit the operands, a letter stands for two extents, types are no floats, or
    /// the device fails.
    pub fn einsum(equation: &str, operands: &[&Tensor]) -> Result<Tensor> {
        let Equation { inputs, output } = Equation::new(equation, operands)?;
        let mut terms = Vec::with_capacity(operands.len());
        for (&tensor, labels) in operands.iter().zip(inputs) {
            terms.push(Term { tensor: tensor.clone(), labels }.with_diagonals()?);
        }
        let terms = broadcast(terms)?;
        let mut terms = terms.into_iter();
        let Some(mut whole) = terms.next() else {
            return Err(Error::Operands { op: "einsum", expected: "1 or more".into(), got: 0 });
        };
        while let Some(next) = terms.next() {
            let later = |label: &Label| terms.as_slice().iter().any(|t| t.labels.contains(label));
            whole = whole.product(next, |label| output.contains(label) || later(label))?;
        }
        whole.sum_except(|label| output.contains(label))?.ordered(&output)
    }
}

/// What an axis is called: a letter, or a place among the axes of `...`, counted from the back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Further(usize),
    Letter(char),
}

/// The labels of each operand and of the result.
struct Equation {
    inputs: Vec<Vec<Label>>,
    output: Vec<Label>,
}

impl Equation {
    fn new(equation: &str, operands: &[&Tensor]) -> Result<Self> {
        let refuse = |expected: String| Error::parameter("einsum", "equation", expected, equation);
        let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let texts: Vec<&str> = left.split(',').collect();
        if texts.len() != operands.len() {
            return Err(refuse(format!(
                "labels of {} operands, separated by commas",
                operands.len()
            )));
        }
        let mut inputs = Vec::with_capacity(texts.len());
        for (text, operand) in texts.iter().zip(operands) {
            let rank = operand.dims().len();
            let letters = letters(text).ok_or_else(|| refuse("letters, and `...` once".into()))?;
            let named = letters.iter().flatten().count();
            let further = match (letters.contains(&None), rank.checked_sub(named)) {
                (true, Some(further)) => further,
                (false, Some(0)) => 0,
                _ => {
                    let shape = operand.shape();
                    return Err(refuse(format!(
                        "`{text}` to have a letter for each axis of {shape}"
                    )));
                }
            };
            inputs.push(labels(&letters, further));
        }
        let all = || inputs.iter().flatten().copied();
        let further = (0..).take_while(|&place| all().any(|l| l == Label::Further(place))).count();
        let output = match right {
            Some(text) => {
                let letters =
                    letters(text).ok_or_else(|| refuse("letters, and `...` once".into()))?;
                let output = labels(&letters, further);
                let count = |label: &Label| output.iter().filter(|other| *other == label).count();
                if let Some(Label::Letter(c)) =
                    output.iter().find(|label| count(label) > 1 || all().all(|l| l != **label))
                {
                    return Err(refuse(format!("`{c}` once in the result, and in an operand")));
                }
                output
            }
            None => {
                let count = |label: Label| all().filter(|&other| other == label).count();
                let mut once: Vec<Label> = all()
                    .filter(|&label| matches!(label, Label::Letter(_)) && count(label) == 1)
                    .collect();
                once.sort_unstable();
                let mut output = labels(&[None], further);
                output.extend(once);
                output
            }
        };
        Ok(Equation { inputs, output })
    }
}

/// The letters of an operand, and none for `...`; none at all where the text has something else.
fn letters(text: &str) -> Option<Vec<Option<char>>> {
    let mut letters = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("...") {
            if letters.contains(&None) {
                return None;
            }
            (rest, _) = (behind, letters.push(None));
        } else if c.is_alphabetic() {
            (rest, _) = (&rest[c.len_utf8()..], letters.push(Some(c)));
        } else {
            return None;
        }
    }
    Some(letters)
}

/// The labels of these letters, where `...` stands for so many axes.
fn labels(letters: &[Option<char>], further: usize) -> Vec<Label> {
    let mut labels = Vec::new();
    for letter in letters {
        match letter {
            Some(letter) => labels.push(Label::Letter(*letter)),
            None => labels.extend((0..further).rev().map(Label::Further)),
        }
    }
    labels
}

/// A tensor whose axes have labels.
struct Term {
    tensor: Tensor,
    labels: Vec<Label>,
}

impl Term {
    /// With each label once: of two axes of one label the diagonal.
    fn with_diagonals(mut self) -> Result<Self> {
        while let Some((first, second)) = twice(&self.labels) {
            let others = (0..self.labels.len()).filter(|&axis| axis != first && axis != second);
            let others: Vec<usize> = others.collect();
            let (a, b) = (self.tensor.dims()[first], self.tensor.dims()[second]);
            if a != b {
                return Err(extents(self.labels[first], a, b));
            }
            let order = [&others[..], &[first, second]].concat();
            let tensor = self.tensor.permute(&order)?.diagonal()?;
            let kept = others.iter().chain([&first]).map(|&axis| self.labels[axis]).collect();
            self = Term { tensor, labels: kept };
        }
        Ok(self)
    }

    /// Summed over the axes that are not kept.
    fn sum_except(self, kept: impl Fn(&Label) -> bool) -> Result<Self> {
        let gone = (0..self.labels.len()).filter(|&axis| !kept(&self.labels[axis]));
        let gone: Vec<usize> = gone.collect();
        if gone.is_empty() {
            return Ok(self);
        }
        let tensor = self.tensor.sum(&gone)?;
        Ok(Term { tensor, labels: self.labels.into_iter().filter(|label| kept(label)).collect() })
    }

    /// With its axes in the order of `labels`, which are the same ones.
    fn ordered(&self, labels: &[Label]) -> Result<Tensor> {
        let order: Vec<usize> = labels
            .iter()
            .filter_map(|label| self.labels.iter().position(|own| own == label))
            .collect();
        if order.iter().enumerate().all(|(i, &axis)| i == axis) {
            return Ok(self.tensor.clone());
        }
        self.tensor.permute(&order)
    }

    /// The extent of the axis of a label.
    fn extent(&self, label: Label) -> usize {
        let axis = self.labels.iter().position(|own| *own == label);
        axis.map_or(1, |axis| self.tensor.dims()[axis])
    }

    /// The sums of products of two terms over the labels that are not kept, by one matrix product.
    fn product(self, other: Term, kept: impl Fn(&Label) -> bool) -> Result<Term> {
        let a = self.sum_except(|label| kept(label) || other.labels.contains(label))?;
        let b = other.sum_except(|label| kept(label) || a.labels.contains(label))?;
        let [shared, rows]: [Vec<Label>; 2] =
            [true, false].map(|both| only(&a.labels, |label| b.labels.contains(label) == both));
        let columns = only(&b.labels, |label| !a.labels.contains(label));
        let [batch, summed] =
            [true, false].map(|keeps| only(&shared, |label| kept(label) == keeps));
        let count = |labels: &[Label], of: &Term| -> usize {
            labels.iter().map(|&label| of.extent(label)).product()
        };
        let [n, k] = [count(&batch, &a), count(&summed, &a)];
        let left = a.ordered(&[&batch[..], &rows, &summed].concat())?;
        let left = left.reshape([n, count(&rows, &a), k])?;
        let right = b.ordered(&[&batch[..], &summed, &columns].concat())?;
        let right = right.reshape([n, k, count(&columns, &b)])?;
        let product = left.matmul_with(&right, None, MatMul::default())?;
        let mut dims: Vec<usize> = batch.iter().chain(&rows).map(|&l| a.extent(l)).collect();
        dims.extend(columns.iter().map(|&label| b.extent(label)));
        let tensor = product.reshape(Shape::new(&dims)?)?;
        Ok(Term { tensor, labels: [batch, rows, columns].concat() })
    }
}

fn only(labels: &[Label], wanted: impl Fn(&Label) -> bool) -> Vec<Label> {
    labels.iter().filter(|label| wanted(label)).copied().collect()
}

/// The first two axes of one label.
fn twice(labels: &[Label]) -> Option<(usize, usize)> {
    labels.iter().enumerate().find_map(|(first, label)| {
        let second = labels[first + 1..].iter().position(|other| other == label)?;
        Some((first, first + 1 + second))
    })
}

/// Every axis at the extent that its label has: axes of extent 1 are repeated.
fn broadcast(mut terms: Vec<Term>) -> Result<Vec<Term>> {
    let mut known: Vec<(Label, usize)> = Vec::new();
    for term in &terms {
        for (&label, &extent) in term.labels.iter().zip(term.tensor.dims()) {
            match known.iter_mut().find(|(other, _)| *other == label) {
                None => known.push((label, extent)),
                Some((_, own)) if *own == 1 => *own = extent,
                Some((_, own)) if *own != extent && extent != 1 => {
                    return Err(extents(label, *own, extent));
                }
                Some(_) => {}
            }
        }
    }
    for term in &mut terms {
        let whole = |label: &Label| known.iter().find(|(own, _)| own == label).map_or(1, |k| k.1);
        let dims: Vec<usize> = term.labels.iter().map(whole).collect();
        term.tensor = term.tensor.expand(dims)?;
    }
    Ok(terms)
}

fn extents(label: Label, a: usize, b: usize) -> Error {
    let name = match label {
        Label::Letter(letter) => letter.to_string(),
        Label::Further(_) => "...".into(),
    };
    let got = format!("{a} and {b}");
    Error::Shape { op: "einsum", expected: format!("one extent of `{name}`"), got: got.into() }
}
