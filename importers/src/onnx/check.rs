//! Whether every operator of a file is there: said at once for the whole file.

use std::collections::BTreeMap;

use super::compile::{called, is_standard};
use super::proto::NodeProto;
use super::read::File;
use super::{device, host};
use crate::{Error, Result};

/// The versions of the standard operators that are known: others are read all the same, with a warning.
pub(crate) const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// The nodes that are named of each operator.
const NAMED: usize = 3;

/// Refuses a file with operators that are not there, all of them in one message.
pub(crate) fn check(file: &File) -> Result<()> {
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    file.graph.nodes.iter().for_each(|node| collect(node, &mut missing, 0));
    if missing.is_empty() {
        if !OPSETS.contains(&file.opset) {
            log::warn!(
                "{}: operators of opset {}; {} to {} are known here",
                file.name,
                file.opset,
                OPSETS.start(),
                OPSETS.end()
            );
        }
        return Ok(());
    }
    let described = missing.iter().map(|(operator, nodes)| {
        let named = nodes[..nodes.len().min(NAMED)].join(", ");
        match nodes.len() {
            1 => format!("{operator} ({named})"),
            n if n <= NAMED => format!("{operator} ({n} times: {named})"),
            n => format!("{operator} ({n} times: {named}, …)"),
        }
    });
    Err(Error::Operators {
        file: file.name.clone(),
        opset: file.opset,
        operators: described.collect::<Vec<_>>().join("; "),
    })
}

fn collect(node: &NodeProto, missing: &mut BTreeMap<String, Vec<String>>, depth: usize) {
    let op = &*node.op_type;
    let has_rule = || device::rule(op).is_some() || host::rule(op).is_some();
    let is_there = is_standard(node) && (matches!(op, "Constant" | "If") || has_rule());
    if !is_there {
        let operator = match is_standard(node) {
            true => op.to_owned(),
            false => format!("{}.{op}", node.domain),
        };
        // The operator is named already.
        let name = called(node);
        let name = name.split(" (").next().unwrap_or_default().to_owned();
        missing.entry(operator).or_default().push(name);
        return;
    }
    if depth < 100 {
        for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_deref()) {
            graph.node.iter().for_each(|node| collect(node, missing, depth + 1));
        }
    }
}
