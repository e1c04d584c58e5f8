//! Graphs as Graphviz draws them.

use std::fmt::Write as _;

use super::describe::describe;
use crate::graph::{Graph, Source, Value};

impl Graph {
    /// The graph in the language of Graphviz, for `dot -Tsvg`: a box a node with name, op and output
    /// shape, and an arrow from each value to where it is read. Parameters, buffers and constants are
    /// named in the boxes that read them, and not drawn.
    pub fn to_dot(&self) -> String {
        self.to_dot_with(|_| None)
    }

    /// As [`to_dot`](Graph::to_dot), with names of the caller's for values: of parameters, say.
    pub fn to_dot_with(&self, names: impl Fn(Value) -> Option<String>) -> String {
        let name = |value: Value| names(value).unwrap_or_else(|| super::name(self, value));
        let is_drawn =
            |value: &Value| matches!(self.source(*value), Source::Input(_) | Source::Node(_));
        let mut text = String::from("digraph {\n  node [shape=box, fontname=sans];\n");
        // Writing to a string does not fail.
        for (_, value) in self.inputs() {
            let label = [name(*value), self.ty(*value).to_string()];
            let (id, label) = (value.index(), lines(&label));
            let _ = writeln!(text, "  v{id} [shape=oval, label={label}];");
        }
        for node in self.nodes() {
            let (id, ty) = (node.output.index(), self.ty(node.output));
            let mut label = vec![
                name(node.output),
                describe(&node.op, &self.input_types(node)),
                ty.to_string(),
            ];
            let quiet = node.inputs.iter().copied().filter(|input| !is_drawn(input));
            let quiet: Vec<String> = quiet.map(name).collect();
            if !quiet.is_empty() {
                label.insert(2, quiet.join(", "));
            }
            let _ = writeln!(text, "  v{id} [label={}];", lines(&label));
            for input in node.inputs.iter().filter(|input| is_drawn(input)) {
                let _ = writeln!(text, "  v{} -> v{id};", input.index());
            }
        }
        for (i, (output, value)) in self.outputs().iter().enumerate() {
            let _ = writeln!(text, "  o{i} [shape=oval, label={}];", quoted(output));
            match is_drawn(value) {
                true => writeln!(text, "  v{} -> o{i};", value.index()),
                false => {
                    let label = quoted(&name(*value));
                    writeln!(text, "  p{i} [shape=oval, label={label}];\n  p{i} -> o{i};")
                }
            }
            .unwrap_or_default();
        }
        text.push_str("}\n");
        text
    }
}

/// A label of a few lines.
fn lines(lines: &[String]) -> String {
    quoted(&lines.join("\n"))
}

/// A string of Graphviz: in it, quotation marks and backslashes are escaped and lines end with `\n`.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
