//! Striate's data crate.
