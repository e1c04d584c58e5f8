//! What the tests of the command line share: a small network, pictures, and the program itself.

// Each test file uses its own part of this; and helpers of tests are outside what clippy.toml takes
// for tests.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod bars;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use striate::image::{Image, output::write_png};
use striate::importers::{self, WriteOptions};
use striate::nn::{Metadata, Network, NetworkSpec, Seed, conv2d, full_connect, pool};
use striate::prelude::{Device, DeviceByName, Tensor};

/// Classes of the network of [`Scene`].
pub(crate) const CLASSES: usize = 6;

/// A folder with a model (both formats) and pictures.
pub(crate) struct Scene {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) network: Network,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let device = Device::cpu(Some(1)).unwrap();
        // 11 x 11 holds 9 x 9 with a difference that the scan's scale of 2 divides, as ccv wants.
        let spec = NetworkSpec::new([9, 9, 3])
            .with_name("tiny")
            .with_image([11, 11])
            .conv(conv2d(4, 3).stride(2).relu())
            .max_pool(pool(2).stride(2))
            .full_connect(full_connect(8).relu())
            .full_connect(CLASSES);
        let mean = Tensor::full([11, 11, 3], 100.0, striate::tensor::DType::F32, &device).unwrap();
        let network = spec.build(&device, Seed(3)).unwrap().with_mean(mean).unwrap();
        let scene = Scene { folder: tempfile::tempdir().unwrap(), network };
        let options = WriteOptions::default();
        importers::write(scene.path("tiny.sqlite3"), &scene.network, &options).unwrap();
        let labels = Some((0..CLASSES).map(|id| format!("thing {id}")).collect());
        let named = scene.network.clone().with_metadata(Metadata { labels, ..Metadata::default() });
        importers::write(scene.path("tiny.safetensors"), &named, &options).unwrap();
        write_png(scene.path("a.png"), &picture(20, 30, 1)).unwrap();
        write_png(scene.path("b.png"), &picture(31, 17, 2)).unwrap();
        std::fs::write(scene.path("text.png"), "this is no picture\n").unwrap();
        scene
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, to run in the folder.
    pub(crate) fn striate(&self, args: &[&str]) -> Run {
        run(args, self.folder.path())
    }

    /// A file of text in the folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }
}

/// A picture that is different everywhere.
pub(crate) fn picture(rows: usize, cols: usize, seed: usize) -> Image {
    let value = |i: usize| (i * 37 + i / 7 * seed * 11 + seed * 59) as u8;
    Image::new(rows, cols, 3, (0..rows * cols * 3).map(value).collect()).unwrap()
}

/// How the program ended.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program.
pub(crate) fn run(args: &[&str], folder: &Path) -> Run {
    run_with(args, folder, &[])
}

/// What the program would take from the environment of whoever runs the tests: another cache, mirror or table
/// of weights, and what it logs.
pub(crate) const INHERITED: [&str; 4] =
    ["RUST_LOG", "STRIATE_CACHE", "STRIATE_PULL_FROM", "STRIATE_WEIGHTS"];

/// Lets a command run in the folder, with its cache there, whatever the environment of the tests.
pub(crate) fn isolated<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    for name in INHERITED {
        command.env_remove(name);
    }
    command
        .current_dir(folder)
        .env("RAYON_NUM_THREADS", "2")
        .env("HOME", folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
}

/// The program, to run in the folder; its cache is there.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("striate"));
    isolated(&mut command, folder);
    command
}

/// Runs the program with more environment variables; its cache is in the folder.
pub(crate) fn run_with(args: &[&str], folder: &Path, variables: &[(&str, &str)]) -> Run {
    let output = program(folder)
        .envs(variables.iter().copied())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    /// It is done; gives stdout.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// It failed as the contract says, with a message that holds all of this.
    #[track_caller]
    pub(crate) fn failed(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, 1, "{}{}", self.stdout, self.stderr);
        // A note that there is no GPU may come before it.
        let message = self.stderr.lines().find(|line| !line.starts_with("note:"));
        assert!(message.is_some_and(|line| line.starts_with("error:")), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "no `{part}` in {}", self.stderr);
        }
        self
    }

    /// It refused the command line.
    #[track_caller]
    pub(crate) fn wrong_usage(self) -> Self {
        assert_eq!(self.code, 2, "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.starts_with("error:"), "{}", self.stderr);
        assert_eq!(self.stdout, "");
        self
    }
}

/// Each line of JSON.
#[track_caller]
pub(crate) fn json(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The keys of a line of JSON as they stand there, of the outermost object.
pub(crate) fn keys(line: &str) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort_by_key(|key| line.find(&format!("\"{key}\":")).unwrap());
    keys
}

/// Whether there is a GPU, software or not; with `STRIATE_REQUIRE_GPU=1` there has to be one.
pub(crate) fn has_gpu(scene: &Scene) -> bool {
    let devices = json(&scene.striate(&["devices", "--format", "json"]).done());
    let found = devices.iter().any(|device| device["name"] == "gpu:0");
    let required = std::env::var("STRIATE_REQUIRE_GPU").is_ok_and(|v| v == "1");
    assert!(found || !required, "STRIATE_REQUIRE_GPU=1, but there is no GPU");
    found
}

/// Where no driver is found, on Linux.
pub(crate) const NO_DRIVER: &[(&str, &str)] =
    &[("VK_DRIVER_FILES", "/nonexistent"), ("VK_ICD_FILENAMES", "/nonexistent")];

/// Folders of values recorded from ccv: a part of them is in this repository, all of them may lie beside
/// it (`STRIATE_REQUIRE_GOLDEN=1` makes their absence a failure).
pub(crate) fn golden() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("tests/fixtures/ccv")];
    let whole = root.join("../shared/ccv-golden");
    if whole.is_dir() {
        folders.push(whole);
    } else {
        let required = std::env::var("STRIATE_REQUIRE_GOLDEN").is_ok_and(|v| v == "1");
        assert!(!required, "STRIATE_REQUIRE_GOLDEN=1, but {} is not there", whole.display());
    }
    folders
}
