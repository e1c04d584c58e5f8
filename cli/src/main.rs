//! The command line of Striate.

fn main() {}
