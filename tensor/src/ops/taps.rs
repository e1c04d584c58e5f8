//! Sums over an axis with weights: what resized and padded images are made of.

/// For each output along an axis the inputs that it is made of, and what each of them counts. Backends
/// apply one such list to rows, another to cols.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    /// Where the entries of each output begin; one more for the end.
    starts: Vec<usize>,
    cells: Vec<u32>,
    weights: Vec<f64>,
}

impl Taps {
    /// Of no outputs yet; so many are to come.
    pub(super) fn new(outputs: usize) -> Self {
        let mut starts = Vec::with_capacity(outputs + 1);
        starts.push(0);
        Taps { starts, cells: Vec::new(), weights: Vec::new() }
    }

    /// The next output: inputs and what each counts. Those that follow one another and are the same count
    /// together.
    pub(super) fn push(&mut self, entries: impl IntoIterator<Item = (usize, f64)>) {
        let start = self.cells.len();
        for (cell, weight) in entries {
            match (&self.cells[start..], self.weights.last_mut()) {
                ([.., last], Some(sum)) if *last as usize == cell => *sum += weight,
                _ => {
                    self.cells.push(cell as u32);
                    self.weights.push(weight);
                }
            }
        }
        self.starts.push(self.cells.len());
    }

    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The inputs of an output, in ascending order, and what each of them counts.
    pub fn of(&self, output: usize) -> (&[u32], &[f64]) {
        let range = self.starts[output]..self.starts[output + 1];
        (&self.cells[range.clone()], &self.weights[range])
    }

    /// Where the entries of each output begin in [`cells`](Taps::cells) and [`weights`](Taps::weights); one
    /// more for the end.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The inputs of all outputs.
    pub fn cells(&self) -> &[u32] {
        &self.cells
    }

    /// What each of them counts.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// For each of so many inputs the outputs that are made of it, in ascending order, and what it counts
    /// there: the gradient, without a scatter.
    #[must_use]
    pub fn transposed(&self, inputs: usize) -> Taps {
        let mut starts = vec![0; inputs + 1];
        for &cell in &self.cells {
            starts[cell as usize + 1] += 1;
        }
        for cell in 0..inputs {
            starts[cell + 1] += starts[cell];
        }
        let mut next = starts.clone();
        let (mut cells, mut weights) = (vec![0; self.cells.len()], vec![0.0; self.cells.len()]);
        for output in 0..self.outputs() {
            let (own, counts) = self.of(output);
            for (&cell, &weight) in own.iter().zip(counts) {
                let place = &mut next[cell as usize];
                (cells[*place], weights[*place]) = (output as u32, weight);
                *place += 1;
            }
        }
        Taps { starts, cells, weights }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_transposed_twice_is_the_same() {
        let mut taps = Taps::new(3);
        taps.push([(0, 0.25), (0, 0.25), (1, 0.5)]);
        taps.push([]);
        taps.push([(1, 0.1), (3, 0.9)]);
        assert_eq!(taps.of(0), (&[0, 1][..], &[0.5, 0.5][..]));
        assert_eq!(taps.of(1), (&[][..], &[][..]));
        let back = taps.transposed(5);
        assert_eq!(back.outputs(), 5);
        assert_eq!(back.of(1), (&[0, 2][..], &[0.5, 0.1][..]));
        assert_eq!(back.of(2).0, []);
        assert_eq!(back.transposed(3), taps);
    }
}
