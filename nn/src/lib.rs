//! Striate's nn crate.
