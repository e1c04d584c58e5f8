//! Whether every operator of a file is there: said at once for the whole file.

use std::collections::BTreeMap;

use super::compile::{called, has_rule, is_standard};
use super::custom::CustomNodes;
use super::proto::NodeProto;
use super::read::File;
use crate::{Error, Result};

/// The versions of the standard operators that are known: others are read all the same, with a warning.
pub(crate) const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// The nodes that are named of each operator.
const NAMED: usize = 3;

/// Refuses a file with operators that are not there, all of them in one message.
pub(crate) fn check(file: &File, custom: &CustomNodes) -> Result<()> {
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    file.graph.nodes.iter().for_each(|node| collect(node, custom, &mut missing, 0));
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

/// An operator with its domain, where that is not the standard's.
pub(crate) fn operator(node: &NodeProto) -> String {
    match is_standard(node) {
        true => node.op_type.clone(),
        false => format!("{}.{}", node.domain, node.op_type),
    }
}

fn collect(
    node: &NodeProto,
    custom: &CustomNodes,
    missing: &mut BTreeMap<String, Vec<String>>,
    depth: usize,
) {
    if !has_rule(node) && custom.find(node).is_none() {
        // The operator is named already.
        let name = called(node);
        let name = name.split(" (").next().unwrap_or_default().to_owned();
        missing.entry(operator(node)).or_default().push(name);
        return;
    }
    if depth < 100 {
        for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_deref()) {
            graph.node.iter().for_each(|node| collect(node, custom, missing, depth + 1));
        }
    }
}
