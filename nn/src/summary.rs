//! A network as a table.

use serde::Serialize;

use crate::shapes::dims;
use crate::{LayerKind, LayerShape, NetworkSpec, Result};

/// What a network consists of, for people (its `Display` is a table) and for programs (serde).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// The network's name; may be empty.
    pub name: String,
    /// Rows, cols and channels of its input.
    pub input: [usize; 3],
    /// Rows and cols of the whole image.
    pub image: [usize; 2],
    /// Its layers.
    pub layers: Vec<LayerSummary>,
    /// Weights and biases of all layers.
    pub parameters: u64,
    /// Weights of all layers.
    pub weights: u64,
    /// Multiplications with an addition, for one image.
    pub macs: u64,
    /// Arithmetic of convolutions and full-connect layers for one image: two for each product.
    pub flops: u64,
    /// Bytes of all weights and biases.
    pub bytes: u64,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LayerSummary {
    /// The layer, counted from 0.
    pub layer: usize,
    /// Its name; empty where it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What kind of layer it is.
    pub kind: LayerKind,
    /// The layers that it sees, by name; empty where that is the layer before alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// Its parameters in short: `11x11/4 pad 1`.
    pub detail: String,
    /// Rows, cols and channels of its input.
    pub input: [usize; 3],
    /// Rows, cols and channels of its output.
    pub output: [usize; 3],
    /// Weights and biases.
    pub parameters: u64,
    /// Multiplications with an addition, for one image.
    pub macs: u64,
    /// Bytes of weights and biases.
    pub bytes: u64,
}

/// Bytes of a parameter where nothing else is known: single precision.
const BYTES_PER_PARAMETER: u64 = 4;

impl Summary {
    pub(crate) fn new(spec: &NetworkSpec, shapes: &[LayerShape]) -> Self {
        let bytes = shapes.iter().map(|s| s.parameter_count().saturating_mul(BYTES_PER_PARAMETER));
        Self::with_bytes(spec, shapes, bytes)
    }

    /// The summary where the bytes of each layer's weights are known.
    pub(crate) fn with_bytes(
        spec: &NetworkSpec,
        shapes: &[LayerShape],
        bytes: impl Iterator<Item = u64>,
    ) -> Self {
        let layers: Vec<LayerSummary> = spec
            .nodes
            .iter()
            .zip(shapes)
            .zip(bytes)
            .map(|((node, shape), bytes)| LayerSummary {
                layer: shape.layer,
                name: node.name.clone(),
                kind: shape.kind,
                detail: node.layer.detail(),
                from: from(spec, shape),
                input: shape.input,
                output: shape.output,
                parameters: shape.parameter_count(),
                macs: shape.macs,
                bytes,
            })
            .collect();
        // Each term is bounded (`MAX_ELEMENTS`), their number is not: a total may only saturate.
        let total =
            |of: fn(&LayerSummary) -> u64| layers.iter().map(of).fold(0u64, u64::saturating_add);
        let macs = total(|layer| layer.macs);
        Summary {
            name: spec.name.clone(),
            input: spec.input,
            image: spec.image,
            parameters: total(|layer| layer.parameters),
            weights: shapes.iter().map(LayerShape::weights).fold(0, u64::saturating_add),
            macs,
            flops: macs.saturating_mul(2),
            bytes: total(|layer| layer.bytes),
            layers,
        }
    }
}

impl NetworkSpec {
    /// A table of the layers: shapes, parameters, products, and bytes in single precision.
    ///
    /// # Errors
    /// As [`shapes`](NetworkSpec::shapes): where the layers do not fit each other.
    pub fn summary(&self) -> Result<Summary> {
        Ok(Summary::new(self, &self.shapes()?))
    }
}

/// The names of what a layer sees, where that is not the layer before alone.
fn from(spec: &NetworkSpec, shape: &LayerShape) -> Vec<String> {
    if shape.from == [shape.layer.checked_sub(1)] {
        return Vec::new();
    }
    let name = |source: &Option<usize>| {
        source.map_or_else(|| crate::spec::INPUT.to_owned(), |source| spec.node_name(source))
    };
    shape.from.iter().map(name).collect()
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |n: u64| if n == 0 { String::new() } else { grouped(n) };
        let is_named = self.layers.iter().any(|layer| !layer.name.is_empty());
        let is_chain = self.layers.iter().all(|layer| layer.from.is_empty());
        // Columns that would say nothing are left out.
        let shown = |cells: [String; 9]| -> Vec<String> {
            let place = |(column, cell)| match column {
                1 if !is_named => None,
                4 if is_chain => None,
                _ => Some(cell),
            };
            cells.into_iter().enumerate().filter_map(place).collect()
        };
        let heads = ["layer", "name", "kind", "", "from", "output", "parameters", "MACs", "bytes"];
        let heads = shown(heads.map(String::from));
        let text = 1..heads.len() - 3;
        let mut rows = vec![heads];
        rows.extend(self.layers.iter().map(|layer| {
            shown([
                layer.layer.to_string(),
                layer.name.clone(),
                layer.kind.to_string(),
                layer.detail.clone(),
                layer.from.join(", "),
                dims(&layer.output),
                number(layer.parameters),
                number(layer.macs),
                number(layer.bytes),
            ])
        }));
        let empty = String::new;
        let (parameters, macs) = (number(self.parameters), number(self.macs));
        rows.push(shown([
            empty(),
            if is_named { "total".into() } else { empty() },
            if is_named { empty() } else { "total".into() },
            empty(),
            empty(),
            empty(),
            parameters,
            macs,
            number(self.bytes),
        ]));
        let widths: Vec<usize> = (0..rows[0].len())
            .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
            .collect();
        let name = if self.name.is_empty() { "network" } else { &self.name };
        writeln!(f, "{name}: input {}, image {}", dims(&self.input), dims(&self.image))?;
        for row in &rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| match text.contains(&column) {
                    true => format!("{cell:<width$}"),
                    false => format!("{cell:>width$}"),
                })
                .collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// `12,345,678`
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conv2d, lrn, pool};

    #[test]
    fn groups_digits_by_threes() {
        let texts = [0, 12, 999, 1000, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "12", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn is_a_table_that_lines_up() {
        let spec = NetworkSpec::new([9, 9, 3])
            .with_name("small")
            .conv(conv2d(4, 3).padding(1).relu())
            .lrn(lrn(5).groups(2))
            .max_pool(pool(3).stride(2))
            .full_connect(10);
        let text = spec.summary().unwrap().to_string();
        let expected = "\
small: input 9x9x3, image 9x9
layer  kind                      output  parameters   MACs  bytes
    0  conv          3x3/1 pad 1 relu  9x9x4          112  8,748    448
    1  lrn           5 groups 2   9x9x4
    2  max-pool      3x3/2        4x4x4
    3  full-connect  linear       1x1x10         650    640  2,600
       total                                     762  9,388  3,048
";
        // Column widths follow from the contents, so only blanks are free to differ.
        let words = |text: &str| -> Vec<Vec<String>> {
            text.lines().map(|l| l.split_whitespace().map(String::from).collect()).collect()
        };
        assert_eq!(words(&text), words(expected));
        let end_of = |line: &str, word: &str| line.find(word).map(|at| at + word.len());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(end_of(lines[1], "bytes"), end_of(lines[2], "448"));
        assert_eq!(end_of(lines[1], "parameters"), end_of(lines[6], "762"));
    }

    #[test]
    fn serialises_in_kebab_case() {
        let spec = NetworkSpec::new([1, 1, 2]).full_connect(3);
        let json = serde_json::to_value(spec.summary().unwrap()).unwrap();
        assert_eq!(json["layers"][0]["kind"], "full-connect");
        assert_eq!(json["layers"][0]["output"], serde_json::json!([1, 1, 3]));
        assert_eq!(json["parameters"], 9);
        assert_eq!(json["flops"], 12);
    }
}
