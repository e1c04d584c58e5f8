//! The book: its commands run, its links lead somewhere, its reference is that of the program.
//!
//! The Rust of the book is tested with the documentation of the facade (`src/book.rs`).

// Without some features, or where there is no bash, fewer tests are there; and helpers of tests are outside
// what clippy.toml takes for tests.
#![allow(dead_code, clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Blocks of the book by their info string. A block that is added changes a number here, so that none is
/// left out of the tests unseen.
const BLOCKS: &[(&str, usize)] = &[
    ("json", 2),
    ("python", 3),
    ("rust", 26),
    ("rust,ignore", 2),
    ("rust,no_run", 2),
    ("sh", 61),
    ("sh,gpu", 4),
    ("sh,install", 2),
    ("sh,long", 7),
    ("sh,network", 7),
    ("text", 47),
    ("text,exact", 21),
];

/// Blocks that are not run: they need the network, a graphics card, more time or another engine, or install
/// something.
const NOT_RUN: &[&str] = &["sh,network", "sh,gpu", "sh,long", "sh,install", "rust,ignore"];

/// What the test replaces: in a clone the program may be run by cargo.
const BY_CARGO: &str = "cargo run --release -- ";

fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../book/src")
}

/// The chapters by name, the summary aside.
fn chapters() -> Vec<(String, String)> {
    let mut chapters: Vec<_> = std::fs::read_dir(book())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .filter(|(name, _)| name != "SUMMARY.md")
        .collect();
    chapters.sort();
    chapters
}

/// A fenced block.
struct Block {
    /// What stands after the opening fence.
    info: String,
    /// The line of the opening fence, from 1.
    line: usize,
    text: String,
}

/// The blocks of a chapter, and its text without them.
fn split(chapter: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut open: Option<Block> = None;
    for (line, text) in chapter.lines().enumerate() {
        match (text.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                open = Some(Block { info: info.to_owned(), line: line + 1, text: String::new() });
            }
            (Some(end), Some(_)) => {
                assert_eq!(end, "", "line {}: the fence before is open", line + 1);
                blocks.extend(open.take());
            }
            (None, Some(block)) => writeln!(block.text, "{text}").unwrap(),
            (None, None) => writeln!(prose, "{text}").unwrap(),
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    (blocks, prose)
}

#[test]
fn every_block_is_counted() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, chapter) in chapters() {
        for block in split(&chapter).0 {
            *counts.entry(block.info).or_default() += 1;
        }
    }
    let expected: BTreeMap<String, usize> =
        BLOCKS.iter().map(|&(info, count)| (info.to_owned(), count)).collect();
    assert_eq!(counts, expected, "the numbers in BLOCKS are not those of the book");
    for info in counts.keys() {
        let known = ["sh", "rust", "rust,no_run", "json", "text", "text,exact", "python"];
        assert!(known.contains(&&**info) || NOT_RUN.contains(&&**info), "```{info}: what is it?");
    }
}

#[test]
fn every_chapter_is_in_the_summary_and_its_rust_is_compiled() {
    let summary = std::fs::read_to_string(book().join("SUMMARY.md")).unwrap();
    let tested = include_str!("../../src/book.rs");
    for (name, chapter) in chapters() {
        assert!(summary.contains(&format!("]({name})")), "SUMMARY.md does not list {name}");
        let has_rust =
            split(&chapter).0.iter().any(|block| ["rust", "rust,no_run"].contains(&&*block.info));
        let is_tested = tested.contains(&format!("\"{name}\";"));
        assert!(is_tested || !has_rust, "the Rust of {name} is missing in src/book.rs");
    }
}

/// Runs the commands of a chapter in order, in one folder that looks like a clone of the repository.
fn run_chapter(name: &str) {
    let text = std::fs::read_to_string(book().join(name)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for part in ["samples", "examples"] {
        copy(&book().join("../..").join(part), &folder.path().join(part));
    }
    let (blocks, _) = split(&text);
    let mut script = String::from("set -euo pipefail\n");
    for block in blocks.iter().filter(|block| block.info == "sh") {
        let commands = block.text.replace(BY_CARGO, "striate ");
        let mark = mark(name, block.line);
        // Both streams go into one file, in which a mark stands before what each block prints.
        write!(script, "echo '{mark}'\n{commands}").unwrap();
    }
    let output = run_script(&script, folder.path());
    let mut printed = "";
    for block in &blocks {
        match &*block.info {
            "sh" => {
                let after = output.split_once(&format!("{}\n", mark(name, block.line))).unwrap().1;
                printed = after.split_once("\n=== ").map_or(after, |(own, _)| own);
            }
            "text,exact" => {
                for line in block.text.lines().filter(|line| !["", "…"].contains(&line.trim())) {
                    let is_there = printed.lines().any(|other| other.trim_end() == line);
                    assert!(is_there, "{name}:{}: not printed: {line}\n{printed}", block.line);
                }
            }
            _ => {}
        }
    }
}

fn mark(name: &str, line: usize) -> String {
    format!("=== book/src/{name}:{line}")
}

/// What bash prints, on both streams.
fn run_script(script: &str, folder: &Path) -> String {
    let program = assert_cmd::cargo::cargo_bin("striate");
    let earlier = std::env::var_os("PATH").unwrap_or_default();
    let folders = [program.parent().unwrap().to_owned()];
    let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&earlier)));
    let printed = tempfile::NamedTempFile::new().unwrap();
    // Two handles that append do not write over each other.
    let append = || std::fs::OpenOptions::new().append(true).open(printed.path()).unwrap();
    let status = common::isolated(&mut Command::new("bash"), folder)
        .arg("-c")
        .arg(script)
        .env("PATH", path.unwrap())
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .stdout(append())
        .stderr(append())
        .status()
        .unwrap();
    let text = std::fs::read_to_string(printed.path()).unwrap();
    assert!(status.success(), "{status}, after:\n{text}");
    text
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// A test for each chapter with commands; `every_chapter_with_commands_runs` finds one that is missing.
macro_rules! run {
    ($($test:ident $file:literal;)*) => {
        $(#[cfg(all(unix, feature = "embedded-photos", feature = "plot", feature = "pull"))]
        #[test]
        fn $test() {
            run_chapter($file);
        })*

        const RUN: &[&str] = &[$($file),*];
    };
}

run! {
    the_tour_runs "tour.md";
    classify_runs "classify.md";
    compose_runs "compose.md";
    import_and_export_run "import-export.md";
    gpu_runs "gpu.md";
    training_runs "training.md";
    performance_runs "performance.md";
    numerics_run "numerics.md";
}

#[test]
fn every_chapter_with_commands_runs() {
    for (name, chapter) in chapters() {
        let has_commands = split(&chapter).0.iter().any(|block| block.info == "sh");
        assert_eq!(has_commands, RUN.contains(&&*name), "{name}");
    }
}

/// As mdBook and GitHub make anchors of headings.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

/// All links, each with the file that it stands in, the summary included.
fn links() -> Vec<(String, String)> {
    let summary = std::fs::read_to_string(book().join("SUMMARY.md")).unwrap();
    let mut links = Vec::new();
    for (name, chapter) in chapters().into_iter().chain([("SUMMARY.md".to_owned(), summary)]) {
        let prose = split(&chapter).1;
        for link in prose.split("](").skip(1).map(|after| after.split_once(')').unwrap().0) {
            links.push((name.clone(), link.to_owned()));
        }
    }
    links
}

/// The address of the repository, where the manifest of the workspace has one.
fn repository(manifest: &str) -> Option<&str> {
    let mut lines = manifest.lines();
    lines.find_map(|line| line.strip_prefix("repository = \"")?.strip_suffix('"'))
}

/// The file of the repository that a link out of the book leads to. mdBook does not rewrite such links, so
/// that relative ones are dead in the rendered book: they may stand only while there is no address to
/// write in their place.
fn leaves<'a>(link: &'a str, repository: Option<&str>) -> Result<Option<&'a str>, String> {
    match (link.strip_prefix("../"), repository) {
        (Some(path), Some(repository)) => {
            let path = path.trim_start_matches("../");
            Err(format!("write {repository}/blob/main/{path} for {link}"))
        }
        (Some(path), None) => Ok(Some(path.trim_start_matches("../"))),
        (None, Some(repository)) => {
            Ok(link.strip_prefix(repository).and_then(|rest| rest.strip_prefix("/blob/main/")))
        }
        (None, None) => Ok(None),
    }
}

#[test]
fn links_out_of_the_book_lead_into_the_repository() {
    let manifest = include_str!("../../Cargo.toml");
    let mut found = 0;
    for (name, link) in links() {
        let left = leaves(&link, repository(manifest));
        let Some(path) = left.unwrap_or_else(|wrong| panic!("{name}: {wrong}")) else { continue };
        let path = path.split_once('#').map_or(path, |(path, _)| path);
        found += 1;
        assert!(book().join("../..").join(path).exists(), "{name}: {link} does not exist");
    }
    assert!(found > 20, "only {found} links were found");
}

#[test]
fn links_out_of_the_book_are_absolute_once_the_repository_has_an_address() {
    let address = repository("[package]\nrepository = \"https://host.example/us/striate\"\n");
    let file = "https://host.example/us/striate/blob/main/README.md#speed";
    assert_eq!(leaves(file, address), Ok(Some("README.md#speed")));
    assert_eq!(leaves("cli.md", address), Ok(None));
    assert_eq!(leaves("https://ui.perfetto.dev", address), Ok(None));
    let wrong = leaves("../../README.md#speed", address).unwrap_err();
    assert_eq!(wrong, format!("write {file} for ../../README.md#speed"));
    assert_eq!(leaves("../../README.md#speed", None), Ok(Some("README.md#speed")));
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for (name, link) in links() {
        if !link.starts_with("https://") {
            count += 1;
            let (file, part) = link.split_once('#').unwrap_or((&link, ""));
            let path = if file.is_empty() { book().join(&name) } else { book().join(file) };
            assert!(path.exists(), "{name}: {link} does not exist");
            if !part.is_empty() {
                let target = split(&std::fs::read_to_string(&path).unwrap()).1;
                let mut headings = target.lines().filter(|line| line.starts_with('#'));
                let found = headings.any(|line| anchor(line.trim_start_matches('#')) == part);
                assert!(found, "{name}: no heading in {file} for #{part}");
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
}

/// The reference of the command line, from what the program prints.
#[cfg(all(feature = "gpu", feature = "plot", feature = "pull"))]
fn reference() -> String {
    let help = |args: &[&str]| common::run_with(args, &book(), &[("COLUMNS", "100")]).done();
    let whole = help(&["help"]);
    let names: Vec<&str> = whole
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|name| whole.contains(&format!("\n  {name} ")) && *name != "help")
        .collect();
    let mut text = String::from(
        "# The command line\n\n\
         This chapter is what `striate help` and `striate help COMMAND` print. The options that all commands \
         share stand under\n`striate` alone.\n\n\
         A test compares it with the program. After a change of a help text, write it anew:\n\n\
         ```sh,long\nSTRIATE_WRITE_BOOK=1 cargo test -p striate-cli --test book reference\n```\n",
    );
    write!(text, "\n## striate\n\n```text\n{}\n```\n", trimmed(&whole)).unwrap();
    for name in names {
        let own = without_global_options(&help(&["help", name]));
        write!(text, "\n## striate {name}\n\n```text\n{}\n```\n", trimmed(&own)).unwrap();
    }
    text
}

/// Without spaces at the ends of lines.
#[cfg(all(feature = "gpu", feature = "plot", feature = "pull"))]
fn trimmed(text: &str) -> String {
    text.trim_end().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The section of options that all commands share ends at the next line that is not indented.
#[cfg(all(feature = "gpu", feature = "plot", feature = "pull"))]
fn without_global_options(help: &str) -> String {
    let (before, section) = help.split_once("Global options:\n").unwrap();
    let is_outside = |line: &&str| !line.is_empty() && !line.starts_with(' ');
    let after = section.lines().skip_while(|line| !is_outside(line));
    format!("{before}{}", after.collect::<Vec<_>>().join("\n"))
}

#[cfg(all(feature = "gpu", feature = "plot", feature = "pull"))]
#[test]
fn the_reference_is_what_the_program_prints() {
    let path = book().join("cli.md");
    let text = reference();
    if std::env::var_os("STRIATE_WRITE_BOOK").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    let first = stored.lines().zip(text.lines()).find(|(stored, new)| stored != new);
    assert!(
        stored == text,
        "book/src/cli.md is not what the program prints: {first:?}. \
         STRIATE_WRITE_BOOK=1 writes it anew"
    );
}
