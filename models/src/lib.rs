//! Striate's models crate.
