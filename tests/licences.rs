//! What others wrote and is built in has a licence that `deny.toml` allows.

#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

use std::process::Command;

/// The strings of `allow = [ … ]` under `[licenses]`.
fn allowed() -> Vec<&'static str> {
    let text = include_str!("../deny.toml");
    let list = text.split_once("[licenses]\nallow = [").unwrap().1.split_once(']').unwrap().0;
    list.split('"').skip(1).step_by(2).collect()
}

/// Whether a choice is left: an expression such as `(MIT OR Apache-2.0) AND Unicode-3.0`, or `MIT/Apache-2.0`.
fn permits(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.trim();
    let parts = |word: &str| -> Vec<String> {
        let (mut depth, mut parts) = (0, vec![String::new()]);
        for token in expression
            .replace('(', " ( ")
            .replace(')', " ) ")
            .replace('/', " OR ")
            .split_whitespace()
        {
            depth += i32::from(token == "(") - i32::from(token == ")");
            match parts.last_mut() {
                Some(_) if depth == 0 && token == word => parts.push(String::new()),
                Some(last) => *last += &format!("{token} "),
                None => {}
            }
        }
        parts
    };
    let all = parts("AND");
    if all.len() > 1 {
        return all.iter().all(|part| permits(part, allowed));
    }
    let any = parts("OR");
    if any.len() > 1 {
        return any.iter().any(|part| permits(part, allowed));
    }
    let one = any[0].trim();
    match one.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => permits(inner, allowed),
        None => allowed.contains(&one),
    }
}

#[test]
fn expressions_are_understood() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
    for yes in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "(MIT OR GPL-3.0) AND ISC",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(permits(yes, &allowed), "{yes}");
    }
    for no in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR GPL-3.0) AND GPL-3.0", "Apache-2.0"] {
        assert!(!permits(no, &allowed), "{no}");
    }
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let host = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let host = String::from_utf8(host).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // Without the network: what this machine's build needs is there.
    let run = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--offline",
            "--locked",
            "--filter-platform",
            host,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "{} packages", packages.len());
    let allowed = allowed();
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !permits(package["license"].as_str().unwrap_or(""), &allowed))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "not among those that deny.toml allows: {refused:#?}");
}
