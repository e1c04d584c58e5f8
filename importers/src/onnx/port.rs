//! The inputs and outputs of a model.

use std::collections::HashMap;

use super::elem::Elem;
use super::proto::{Dimension, ValueInfo};

/// An extent of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A number.
    Fixed(usize),
    /// Open until the model runs; with the name that the file gives it, if any.
    Open(String),
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Extent::Fixed(extent) => write!(f, "{extent}"),
            Extent::Open(name) if name.is_empty() => f.write_str("?"),
            Extent::Open(name) => f.write_str(name),
        }
    }
}

/// An input or output of a model, in the file's own order of axes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Port {
    /// Its name in the file.
    pub name: String,
    /// What the file calls the type of its elements: `f32`, `i64`.
    pub element: String,
    /// Its extents; none where the file does not say how many there are.
    pub extents: Option<Vec<Extent>>,
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.element)?;
        match &self.extents {
            None => f.write_str(" of any shape"),
            Some(extents) => {
                let extents: Vec<String> = extents.iter().map(ToString::to_string).collect();
                write!(f, " [{}]", extents.join(", "))
            }
        }
    }
}

pub(super) fn elem_of(info: &ValueInfo) -> Option<Elem> {
    Elem::of_code(info.ty.as_ref()?.tensor.as_ref()?.elem_type)
}

pub(super) fn port(info: &ValueInfo) -> Port {
    let tensor = info.ty.as_ref().and_then(|ty| ty.tensor.as_ref());
    let element = match tensor {
        Some(tensor) => Elem::name_of_code(tensor.elem_type),
        None => "no tensor".into(),
    };
    let extents = tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| {
        let extent = |dim: &Dimension| match dim.value {
            Some(value) if value > 0 => Extent::Fixed(value as usize),
            Some(0) if dim.name.is_none() => Extent::Fixed(0),
            _ => Extent::Open(dim.name.clone().unwrap_or_default()),
        };
        shape.dim.iter().map(extent).collect()
    });
    Port { name: info.name.clone(), element, extents }
}

/// Whether dimensions are those that an input has; else what it has.
pub(super) fn check_extents(port: &Port, dims: &[usize]) -> std::result::Result<(), String> {
    let Some(extents) = &port.extents else { return Ok(()) };
    let fits = extents.len() == dims.len()
        && extents.iter().zip(dims).all(|(extent, &got)| match extent {
            Extent::Fixed(extent) => *extent == got,
            Extent::Open(_) => true,
        });
    // The same name is the same extent.
    let mut named: HashMap<&str, usize> = HashMap::new();
    let agrees = extents.iter().zip(dims).all(|(extent, &got)| match extent {
        Extent::Open(name) if !name.is_empty() => *named.entry(name).or_insert(got) == got,
        _ => true,
    });
    if fits && agrees { Ok(()) } else { Err(port.to_string()) }
}
