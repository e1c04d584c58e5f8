//! The Rust of the book: each of its blocks is a test of the documentation.
//!
//! `cli/tests/book.rs` finds a chapter with Rust that is missing here.

macro_rules! chapters {
    ($($name:ident $file:literal;)*) => {$(
        #[doc = include_str!(concat!("../book/src/", $file))]
        mod $name {}
    )*};
}

chapters! {
    tour "tour.md";
    classify "classify.md";
    compose "compose.md";
    import_export "import-export.md";
    gpu "gpu.md";
    training "training.md";
    performance "performance.md";
    numerics "numerics.md";
    coming_from "coming-from.md";
    kernels "kernels.md";
}
