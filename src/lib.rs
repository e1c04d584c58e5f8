//! Striate.
