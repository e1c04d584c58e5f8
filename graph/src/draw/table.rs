//! Graphs as tables.

use std::fmt;

use striate_tensor::{Cost, Op, TensorType};

use super::describe::describe;
use crate::graph::{Graph, NodeOp, Value};
use crate::{Plan, Source};

/// A graph as rows, one a node, and what they come to.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The inputs, by name.
    pub inputs: Vec<(String, TensorType)>,
    /// A row for each node, in the order in which they run.
    pub rows: Vec<Row>,
    /// The sum over all rows. Nodes that are [fixed](Row::is_fixed) are left out: they are computed
    /// once, not in each run.
    pub total: Cost,
    /// Multiplications with an addition, alike.
    pub total_macs: u64,
    /// Bytes of activations when they are most: [`Plan::peak_bytes`].
    pub peak_bytes: u64,
}

/// What a node does, reads and takes.
#[derive(Clone, Debug)]
pub struct Row {
    /// The node's name.
    pub name: String,
    /// The op with its key parameters: `conv2d 3x3/2 pad 1 +bias +relu`.
    pub op: String,
    /// What the node was made from: see [`Node::origin`](crate::Node::origin).
    pub origin: Option<usize>,
    /// The names of what it reads.
    pub from: Vec<String>,
    /// The type of its output.
    pub output: TensorType,
    /// Arithmetic and memory traffic.
    pub cost: Cost,
    /// Multiplications with an addition, of convolutions and products; none of other ops.
    pub macs: Option<u64>,
    /// Whether it depends on parameters, buffers and constants alone: see
    /// [`Plan::prepare`](crate::Plan::prepare).
    pub is_fixed: bool,
    /// The names of the activations that are freed after it.
    pub freed: Vec<String>,
}

impl Graph {
    /// The graph as a table. To print it, [`Display`](fmt::Display) lays it out in columns.
    ///
    /// ```
    /// use striate_graph::{Graph, ParameterId};
    /// use striate_tensor::{Shape, TensorType, ops};
    ///
    /// # fn main() -> striate_graph::Result<()> {
    /// let mut graph = Graph::new();
    /// let x = graph.input("x", TensorType::f32(Shape::new(&[1, 8, 8, 3])?));
    /// let weights = graph.parameter(ParameterId(0), TensorType::f32(Shape::new(&[4, 3, 3, 3])?));
    /// let conv = ops::Conv2d { activation: ops::Activation::Relu, ..ops::Conv2d::default() };
    /// let y = graph.push("conv1", conv, &[x, weights])?;
    /// graph.output("y", y);
    ///
    /// let table = graph.table();
    /// assert_eq!(table.rows[0].op, "conv2d 3x3 +relu");
    /// assert_eq!(table.rows[0].from, ["x", "parameter 0"]);
    /// assert_eq!(table.rows[0].macs, Some(6 * 6 * 4 * 27));
    /// println!("{table}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn table(&self) -> Table {
        self.table_with(|_| None)
    }

    /// As [`table`](Graph::table), with names of the caller's for values: of parameters, say.
    pub fn table_with(&self, names: impl Fn(Value) -> Option<String>) -> Table {
        let name = |value: Value| names(value).unwrap_or_else(|| super::name(self, value));
        let plan = Plan::new(self.clone());
        let is_activation = |value: &Value| match self.source(*value) {
            Source::Input(_) => true,
            Source::Node(place) => !plan.is_fixed(*place),
            _ => false,
        };
        let rows: Vec<Row> = (self.nodes().iter().enumerate())
            .map(|(place, node)| {
                let cost = self.cost(node);
                let freed = plan.freed_after(place).iter().copied();
                Row {
                    name: name(node.output),
                    op: describe(&node.op, &self.input_types(node)),
                    origin: node.origin,
                    from: node.inputs.iter().map(|&input| name(input)).collect(),
                    output: *self.ty(node.output),
                    cost,
                    macs: macs(&node.op, cost),
                    is_fixed: plan.is_fixed(place),
                    freed: freed.filter(is_activation).map(name).collect(),
                }
            })
            .collect();
        let mut total = Cost::default();
        let mut total_macs = 0u64;
        for row in rows.iter().filter(|row| !row.is_fixed) {
            total.flops = total.flops.saturating_add(row.cost.flops);
            total.bytes_read = total.bytes_read.saturating_add(row.cost.bytes_read);
            total.bytes_written = total.bytes_written.saturating_add(row.cost.bytes_written);
            total_macs = total_macs.saturating_add(row.macs.unwrap_or(0));
        }
        let inputs = self.inputs().iter().map(|(_, value)| (name(*value), *self.ty(*value)));
        Table { inputs: inputs.collect(), rows, total, total_macs, peak_bytes: plan.peak_bytes() }
    }
}

fn macs(op: &NodeOp, cost: Cost) -> Option<u64> {
    matches!(op, NodeOp::Op(Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::MatMul(_)))
        .then_some(cost.flops / 2)
}

/// Columns that are as wide as what is in them; numbers stand at the right.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEAD: [&str; 7] = ["node", "op", "from", "output", "work", "written", "freed after"];
        const AT_RIGHT: [usize; 2] = [4, 5];
        let mut lines: Vec<[String; 7]> = vec![HEAD.map(str::to_owned)];
        for (name, ty) in &self.inputs {
            let empty = String::new;
            let (input, ty) = ("input".to_owned(), ty.to_string());
            lines.push([name.clone(), input, empty(), ty, empty(), empty(), empty()]);
        }
        for row in &self.rows {
            let work = match row.macs {
                Some(macs) => format!("{}MAC", short(macs)),
                None if row.cost.flops == 0 => "-".to_owned(),
                None => format!("{}flop", short(row.cost.flops)),
            };
            let written = match row.is_fixed {
                true => "once".to_owned(),
                false => format!("{}B", short(row.cost.bytes_written)),
            };
            let (from, freed) = (row.from.join(", "), row.freed.join(", "));
            let (op, output) = (row.op.clone(), row.output.to_string());
            lines.push([row.name.clone(), op, from, output, work, written, freed]);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<usize> = (0..HEAD.len()).map(|column| width(column).unwrap_or(0)).collect();
        for line in &lines {
            let mut text = String::new();
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let gap = " ".repeat(width - cell.chars().count());
                let cell = match AT_RIGHT.contains(&column) {
                    true => format!("{gap}{cell}  "),
                    false => format!("{cell}{gap}  "),
                };
                text.push_str(&cell);
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        let (macs, flops) = (short(self.total_macs), short(self.total.flops));
        let (written, peak) = (short(self.total.bytes_written), short(self.peak_bytes));
        write!(f, "{macs}MAC ({flops}flop in all), {written}B written, {peak}B at the peak")
    }
}

/// A count and the start of its unit: `118.4 M`, `27 `. A thousand is 1000.
fn short(count: u64) -> String {
    const UNITS: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    let mut number = count as f64;
    let mut unit = None;
    // 999.95 would be shown as 1000.0.
    for next in UNITS {
        if number < 999.95 || count < 1000 {
            break;
        }
        number /= 1000.0;
        unit = Some(next);
    }
    match unit {
        None => format!("{count} "),
        Some(unit) => format!("{number:.1} {unit}"),
    }
}
