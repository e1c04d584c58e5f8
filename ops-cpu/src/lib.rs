//! Striate's ops-cpu crate.
