//! The plain implementation of every op: what each op means.

use crate::*;

/// The plain backend.
#[derive(Debug, Default)]
pub struct Reference;
impl Reference {
    /// A reference device.
    pub fn new() -> Self {
        Reference
    }
}
