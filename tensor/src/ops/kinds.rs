//! The kinds of an op: the functions of [`Unary`](super::Unary), the comparisons of
//! [`Compare`](super::Compare) and so on, each written once.

/// Makes an enum of kinds from its one list: the name of each, its number (what shaders know it by),
/// its parameters, and an example of each for the lists that tests and benchmarks go through.
macro_rules! kinds {
    (
        $(#[$meta:meta])*
        pub enum $kind:ident {
            $(
                $(#[$doc:meta])*
                $variant:ident
                $({ $($(#[$field_doc:meta])* $field:ident: f32 = $example:expr,)+ })?
                => $name:literal,
            )+
        }
    ) => {
        $(#[$meta])*
        pub enum $kind {
            $(
                $(#[$doc])*
                $variant $({ $($(#[$field_doc])* $field: f32,)+ })?,
            )+
        }

        impl $kind {
            /// One of each, in the order of their [numbers](Self::number); those that have
            /// parameters with usual ones.
            pub const ALL: &'static [Self] =
                &[$(Self::$variant $({ $($field: $example,)+ })?,)+];

            /// The names of [`ALL`](Self::ALL), which are the names of the ops.
            pub const NAMES: &'static [&'static str] = &[$($name,)+];

            /// The name of an op of this kind.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name,)+ }
            }

            /// Its place in [`ALL`](Self::ALL), by which shaders know it.
            pub const fn number(&self) -> u32 {
                enum Variant { $($variant,)+ }
                match self { $(Self::$variant { .. } => Variant::$variant as u32,)+ }
            }

            /// The names and the values of its parameters, in their order.
            pub fn parameters(&self) -> Vec<(&'static str, f32)> {
                match self {
                    $(Self::$variant $({ $($field,)+ })? => {
                        vec![$($((stringify!($field), *$field),)+)?]
                    })+
                }
            }
        }
    };
}

pub(super) use kinds;
