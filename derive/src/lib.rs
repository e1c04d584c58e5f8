//! `#[derive(Module)]`: see `striate_nn::Module`, where it is documented and exported.

mod expand;
mod path;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct a module: see the trait of the same name in `striate_nn`.
#[proc_macro_derive(Module, attributes(module))]
pub fn module(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::module(&input).unwrap_or_else(|error| error.into_compile_error()).into()
}
