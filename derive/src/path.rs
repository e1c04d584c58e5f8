//! Where the crate that derives finds `striate_nn`.

use syn::Path;

/// The path of `striate_nn`: on its own, or out of the facade where the deriving crate depends on
/// `striate` alone.
pub(crate) fn striate_nn() -> Path {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .and_then(|dir| std::fs::read_to_string(std::path::Path::new(&dir).join("Cargo.toml")).ok())
        .unwrap_or_default();
    let depends_on = |name: &str| manifest.lines().any(|line| names(line, name));
    let is_facade = std::env::var("CARGO_PKG_NAME").is_ok_and(|package| package == "striate");
    if !is_facade && !depends_on("striate-nn") && depends_on("striate") {
        syn::parse_quote!(::striate::nn)
    } else {
        syn::parse_quote!(::striate_nn)
    }
}

/// Whether a line of a manifest begins a dependency on this package: `name = ..`, `name.workspace = ..`,
/// or a table `[dependencies.name]`.
fn names(line: &str, package: &str) -> bool {
    let line = line.trim();
    let key = match line.strip_prefix('[') {
        Some(table) => table.trim_end_matches(']').rsplit('.').next().unwrap_or_default(),
        None => line.split(['=', '.']).next().unwrap_or_default(),
    };
    key.trim().trim_matches('"') == package
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn dependencies_are_recognised() {
        for line in [
            "striate = \"0.1\"",
            "striate={ path = \"..\" }",
            "striate.workspace = true",
            "  \"striate\" = \"0.1\"",
            "[dependencies.striate]",
            "[target.'cfg(unix)'.dependencies.striate]",
        ] {
            assert!(names(line, "striate"), "{line}");
        }
        for line in
            ["striate-nn = \"0.1\"", "name = \"striate\"", "# striate = 1", "[striate-nn]", ""]
        {
            assert!(!names(line, "striate"), "{line}");
        }
    }
}
