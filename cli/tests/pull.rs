//! `striate pull` from a server on this machine, and pulled models by name.

#![cfg(feature = "pull")]
// Helpers of tests are outside what clippy.toml takes for tests.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../hub/tests/common/mod.rs"]
mod server;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{INHERITED, Run, Scene, isolated, json, keys, program, run_with};
use server::{Reply, Server, content, sha256};

/// A scene, a server that has its network, and a table whose only line names it.
struct Pulls {
    scene: Scene,
    server: Server,
    bytes: Vec<u8>,
}

impl Pulls {
    /// The server has the file and supports ranges.
    fn new() -> Pulls {
        Pulls::with(|request, _, bytes| Reply::ranged(request, bytes, Some("\"v1\"")))
    }

    fn with(
        answer: impl Fn(&server::Request, usize, &[u8]) -> Reply + Send + Sync + 'static,
    ) -> Pulls {
        let scene = Scene::new();
        let bytes = std::fs::read(scene.path("tiny.safetensors")).unwrap();
        let body = bytes.clone();
        let server = Server::new(move |request, before| answer(request, before, &body));
        let url = server.url("files/x.safetensors");
        let (size, digest) = (bytes.len(), sha256(&bytes));
        scene.write(
            "table.tsv",
            &format!(
                "thing_net\tthing.safetensors\t{url}\t{size}\tsha256:{digest}\tMIT\tours\t-\n"
            ),
        );
        Pulls { scene, server, bytes }
    }

    fn striate(&self, args: &[&str]) -> Run {
        self.striate_with(args, &[])
    }

    fn striate_with(&self, args: &[&str], more: &[(&str, &str)]) -> Run {
        let variables = [&[("STRIATE_WEIGHTS", "table.tsv")], more].concat();
        run_with(args, self.scene.folder.path(), &variables)
    }

    /// A program with the folder, the cache and the table of this scene.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let folder = self.scene.folder.path();
        let mut command = Command::new(program);
        isolated(&mut command, folder).env("STRIATE_WEIGHTS", "table.tsv");
        command
    }

    /// Starts `striate` without waiting for it.
    fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(assert_cmd::cargo::cargo_bin!("striate"));
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A file in the cache, which `XDG_CACHE_HOME` moves on Linux only; tests for all systems set
    /// `STRIATE_CACHE`.
    fn cached(&self, name: &str) -> PathBuf {
        self.scene.path("cache").join("striate/models").join(name)
    }
}

#[test]
fn the_environment_of_the_tests_is_not_that_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let program = program(folder.path());
    let variable = |name: &str| program.get_envs().find(|(key, _)| *key == name).unwrap().1;
    for name in INHERITED {
        assert_eq!(variable(name), None, "{name}");
    }
    assert_eq!(variable("HOME"), Some(folder.path().as_os_str()));
}

#[test]
#[cfg(target_os = "linux")]
fn a_pulled_model_is_known_by_its_name() {
    let pulls = Pulls::new();
    let classify = ["classify", "--model", "thing-net", "--device", "cpu", "a.png"];
    // Not yet, and nothing is asked.
    let size = format!("{:.1} kB, MIT", pulls.bytes.len() as f64 / 1000.0);
    pulls.striate(&classify).failed(&[
        "thing-net",
        "not here yet",
        "striate pull thing-net",
        &size,
    ]);
    assert_eq!(pulls.server.asked().len(), 0);

    let run = pulls.striate(&["pull", "Thing_Net"]);
    let note = format!("note: fetching thing_net ({size}) from {}", pulls.server.url("files/x"));
    assert!(run.stderr.starts_with(&note), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "no bar where there is no terminal: {}", run.stderr);
    let path = pulls.cached("thing.safetensors");
    assert_eq!(run.done(), format!("{}\n", path.display()));
    assert!(std::fs::read(&path).unwrap() == pulls.bytes);

    let expected = ["classify", "--model", "tiny.safetensors", "--device", "cpu", "a.png"];
    // The first line says how long it took.
    let ranks =
        |args| pulls.striate(args).done().lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(ranks(&classify), ranks(&expected));
    for command in [
        &["inspect", "thing_net"][..],
        &["convert", "thing_net", "out.sqlite3"],
        &["export", "thing_net", "out.onnx"],
        &["encode", "--model", "thing_net", "--output", "out.safetensors", "a.png"],
        &["visualize", "thing_net", "-o", "out.png"],
    ] {
        pulls.striate(command).done();
    }
    assert_eq!(pulls.server.asked().len(), 1);
}

#[test]
fn what_is_here_is_not_fetched_again() {
    let pulls = Pulls::new();
    let cache = pulls.scene.path("mine");
    let variables = [("STRIATE_CACHE", cache.to_str().unwrap())];
    let path = cache.join("models/thing.safetensors").display().to_string();
    for fetched in [true, false] {
        let run = pulls.striate_with(&["pull", "thing_net", "--format", "json", "-q"], &variables);
        assert_eq!(run.stderr, "");
        let stdout = run.done();
        assert_eq!(keys(&stdout), ["name", "path", "bytes", "fetched", "licence"]);
        let line = &json(&stdout)[0];
        assert_eq!(
            (line["name"].as_str(), line["path"].as_str()),
            (Some("thing_net"), Some(&*path))
        );
        assert_eq!(
            (&line["fetched"], &line["bytes"]),
            (&fetched.into(), &pulls.bytes.len().into())
        );
    }
    // Damaged, of the right size: only a check finds it.
    let mut damaged = pulls.bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    pulls.striate_with(&["pull", "thing_net"], &variables).done();
    assert!(std::fs::read(&path).unwrap() == damaged);
    let run = pulls.striate_with(&["pull", "--force", "thing_net"], &variables);
    assert!(run.stderr.contains("damaged"), "{}", run.stderr);
    assert!(std::fs::read(&path).unwrap() == pulls.bytes);
    assert_eq!(pulls.server.asked().len(), 2);
}

#[test]
fn what_can_be_pulled_is_listed() {
    let pulls = Pulls::new();
    let cache = pulls.scene.path("mine");
    let variables = [("STRIATE_CACHE", cache.to_str().unwrap())];
    pulls.striate_with(&["pull", "thing_net"], &variables).done();
    let table = pulls.striate_with(&["pull", "--list"], &variables).done();
    let row = |name: &str| {
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        row.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("mobilenet_v2"), ["mobilenet_v2", "14.2", "MB", "BSD-3-Clause"]);
    assert_eq!(row("thing_net")[3..], ["MIT", "yes"]);
    assert_eq!(row("image-net-2012")[1..], ["-", "CC-BY-4.0"]);

    let stdout = pulls.striate_with(&["pull", "--list", "--format", "json"], &variables).done();
    let first = stdout.lines().next().unwrap();
    let expected = "name file urls bytes bytes_exact digest licence notes config path";
    assert_eq!(keys(first).join(" "), expected);
    let rows = json(&stdout);
    assert_eq!(rows.len(), table.lines().count() - 1);
    let own = rows.iter().find(|row| row["name"] == "thing_net").unwrap();
    assert!(own["path"].as_str().unwrap().ends_with("thing.safetensors"), "{own}");
    let other = rows.iter().find(|row| row["name"] == "resnet18").unwrap();
    assert!(other["path"].is_null() && other["bytes_exact"] == true, "{other}");
    // timm's lines, and those that torchvision resizes otherwise, say so in JSON that can be read.
    let timm = rows.iter().find(|row| row["name"] == "regnety_032.ra_in1k").unwrap();
    assert_eq!(timm["config"]["pretrained_cfg"]["crop_pct"], 0.95);
    let with_config = rows.iter().filter(|row| row["config"]["architecture"].is_string()).count();
    let timms = rows.iter().filter(|row| row["notes"].as_str().unwrap().contains("timm"));
    assert!(with_config > 50 && timms.count() > 50, "{with_config}");
    assert_eq!(pulls.server.asked().len(), 1);
}

#[test]
fn names_that_nobody_knows() {
    let pulls = Pulls::new();
    let run = pulls.striate(&["pull", "thing_net", "resnet5"]).wrong_usage();
    for part in ["'resnet5'", "resnet50", "striate pull --list"] {
        assert!(run.stderr.contains(part), "no `{part}` in {}", run.stderr);
    }
    // Not even the first was asked for.
    assert_eq!(pulls.server.asked().len(), 0);
    for args in [&["pull"][..], &["pull", "--list", "thing_net"], &["pull", "--list", "--force"]] {
        pulls.striate(args).wrong_usage();
    }
    let model = |name| pulls.striate(&["classify", "--model", name, "--device", "cpu", "a.png"]);
    model("thing_met").failed(&["thing_met", "No such file", "`striate pull` knows thing_net"]);
    let run = model("quite.sqlite3").failed(&["quite.sqlite3", "No such file"]);
    assert!(!run.stderr.contains("striate pull"), "{}", run.stderr);
    // What is a path is no name.
    let run = model("./thing_net").failed(&["./thing_net", "No such file"]);
    assert!(!run.stderr.contains("striate pull"), "{}", run.stderr);
}

#[test]
fn a_file_comes_before_a_name() {
    let pulls = Pulls::new();
    std::fs::copy(pulls.scene.path("tiny.sqlite3"), pulls.scene.path("thing_net")).unwrap();
    pulls.striate(&["classify", "--model", "thing_net", "--device", "cpu", "a.png"]).done();
    assert_eq!(pulls.server.asked().len(), 0);
}

#[test]
fn a_table_that_is_none_is_told() {
    let pulls = Pulls::new();
    pulls.scene.write("bad.tsv", "# mine\nnet\tnet.pth\thttps://a.b/net.pth\n");
    for (file, parts) in
        [("bad.tsv", ["bad.tsv: line 2", "8 columns"]), ("none.tsv", ["none.tsv", "cannot read"])]
    {
        let variables = [("STRIATE_WEIGHTS", file)];
        run_with(&["pull", "--list"], pulls.scene.folder.path(), &variables).failed(&parts);
    }
}

#[test]
fn a_mirror_is_asked_instead() {
    let pulls = Pulls::new();
    let mirror = Server::whole(&pulls.bytes);
    let variables = [("STRIATE_PULL_FROM", &*mirror.url("weights/"))];
    pulls.striate_with(&["pull", "thing_net"], &variables).done();
    assert_eq!(mirror.asked()[0].path, "/weights/thing.safetensors");
    assert_eq!(pulls.server.asked().len(), 0);
}

#[test]
fn what_goes_wrong_is_one_error() {
    let pulls = Pulls::with(|_, _, _| Reply::status(404));
    let run =
        pulls.striate(&["pull", "-q", "thing_net"]).failed(&["404", &pulls.server.url("files")]);
    assert_eq!((run.stderr.lines().count(), run.stdout.as_str()), (1, ""), "{}", run.stderr);

    let pulls = Pulls::with(|_, _, bytes| {
        let mut bytes = bytes.to_vec();
        bytes[20] ^= 1;
        Reply::whole(&bytes)
    });
    let expected = sha256(&pulls.bytes);
    pulls.striate(&["pull", "thing_net"]).failed(&[
        "digest",
        &expected,
        &pulls.server.url("files"),
    ]);
}

/// A limit on the size of files stands for a full disk: the write fails in the middle either way.
#[test]
#[cfg(target_os = "linux")]
fn what_fits_on_the_disk_is_kept() {
    let bytes = content(100_000);
    let body = bytes.clone();
    let pulls = Pulls::with(move |request, _, _| Reply::ranged(request, &body, None));
    pulls.scene.write("table.tsv", &server::line(&[pulls.server.url("net.pth")], "-", &bytes));
    let limited = |kilobytes: u32| {
        // The signal would end the program; without it the write gives an error.
        let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec \"$0\" pull net");
        let mut command = pulls.command("bash");
        command.args(["-c", &script]).arg(assert_cmd::cargo::cargo_bin!("striate"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let part = pulls.cached("net.pth.part");
    let (code, stderr) = limited(40);
    assert_eq!(code, Some(1), "{stderr}");
    for text in [part.to_str().unwrap(), "40960 bytes, which are kept", "File too large"] {
        assert!(stderr.contains(text), "no `{text}` in {stderr}");
    }
    assert!(std::fs::read(&part).unwrap() == bytes[..40_960]);
    let (code, stderr) = limited(200);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("resuming net"), "{stderr}");
    assert!(std::fs::read(pulls.cached("net.pth")).unwrap() == bytes);
    assert_eq!(pulls.server.starts(), [None, Some(40_960)]);
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_killed_is_resumed() {
    let pulls = Pulls::with(|request, before, bytes| {
        let reply = Reply::ranged(request, bytes, Some("\"v1\""));
        match before {
            0 => Reply { stall: Duration::from_secs(60), ..reply.cut(1000) },
            _ => reply,
        }
    });
    let mut child = pulls.start(&["pull", "thing_net"]);
    let part = pulls.cached("thing.safetensors.part");
    let begin = Instant::now();
    while std::fs::metadata(&part).map_or(0, |metadata| metadata.len()) < 1000 {
        assert!(begin.elapsed() < Duration::from_secs(60), "no part");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let run = pulls.striate(&["pull", "thing_net"]);
    assert!(run.stderr.starts_with("note: resuming thing_net"), "{}", run.stderr);
    run.done();
    assert!(std::fs::read(pulls.cached("thing.safetensors")).unwrap() == pulls.bytes);
    assert_eq!(pulls.server.starts(), [None, Some(1000)]);
    assert_eq!(pulls.server.asked()[1].header("if-range"), Some("\"v1\""));
}

#[test]
#[cfg(target_os = "linux")]
fn two_processes_fetch_it_once() {
    let pulls = Pulls::with(|request, _, bytes| Reply {
        pause: Duration::from_secs(3),
        ..Reply::ranged(request, bytes, None)
    });
    let children = [(); 2].map(|()| pulls.start(&["pull", "thing_net"]));
    let mut notes = String::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        let path = format!("{}\n", pulls.cached("thing.safetensors").display());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), path);
        notes += &stderr;
    }
    assert!(notes.contains("thing_net: another pull is at work on it; waiting"), "{notes}");
    assert_eq!(pulls.server.asked().len(), 1);
    assert!(std::fs::read(pulls.cached("thing.safetensors")).unwrap() == pulls.bytes);
}

#[test]
fn help_teaches() {
    let scene = Scene::new();
    let help = scene.striate(&["pull", "--help"]).done();
    for part in ["Examples:", "STRIATE_CACHE", "STRIATE_PULL_FROM", "STRIATE_WEIGHTS"] {
        assert!(help.contains(part), "no `{part}` in {help}");
    }
}
