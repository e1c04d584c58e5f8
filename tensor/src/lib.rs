//! Striate's tensor crate.
