//! Striate's importers crate.
