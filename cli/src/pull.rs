//! `striate pull`, and models by the names of what was pulled.

use std::path::{Component, Path, PathBuf};

use clap::Args;
use serde::Serialize;
use striate::hub::{self, PullOptions, Weights};
use striate::importers::ModelFile;

use crate::args::{Format, Global};
use crate::error::{Error, Result, chain};
use crate::output::{self, Output};
use crate::progress::Progress;

/// Options of `striate pull`.
#[derive(Debug, Args)]
#[command(after_help = "\
A file is fetched once, checked against its pinned digest, and kept in the cache folder. After that,
its name works where a command reads a model, without the network. After a lost connection or ctrl-C
the next pull resumes the download.

`pull` prints the path of each file. `inspect`, `convert`, `export`, `bench` and `tune` know
networks by name as well: to them `resnet18` is that network with fresh weights, so give them the
path. A name of weights alone, such as `resnet18.a1_in1k`, means the pulled file there, too.

`.v2` after a network's name is torchvision's second set of weights; other tags are timm's. Most
publishers give only eight digits of the digest, which detect damage but no forgery: fetch these
files from their publisher (https), or from a mirror that you trust.

Environment:
  STRIATE_CACHE       the folder that holds models/ [default: striate in your cache folder]
  STRIATE_PULL_FROM   a mirror: the URL of a folder to fetch from, instead of the publishers
  STRIATE_WEIGHTS     your own table, in the format of hub/assets/weights.tsv
  HTTPS_PROXY, NO_PROXY and similar variables are respected.

Examples:
  striate pull mobilenet_v2
  striate classify --model mobilenet_v2 photo.jpg
  striate pull resnet50.v2 convnext_tiny     several, one after another
  striate pull --list                        names, sizes, licences, and which are in the cache
  striate pull --force resnet18              check the cached file, too
  striate export $(striate pull resnet18) resnet18.onnx
  STRIATE_PULL_FROM=https://mirror.example/weights striate pull vgg16")]
pub(crate) struct PullArgs {
    /// The weights to pull.
    #[arg(value_name = "NAME", required_unless_present = "list")]
    names: Vec<String>,
    /// List what can be pulled.
    #[arg(long, conflicts_with_all = ["names", "force"])]
    list: bool,
    /// Check the digest of a cached file, and fetch it again if it is wrong.
    #[arg(long)]
    force: bool,
}

/// Weights that can be pulled, as a line of JSON.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    file: &'a str,
    urls: &'a [String],
    bytes: Option<u64>,
    /// Whether `bytes` is exact.
    bytes_exact: bool,
    digest: String,
    licence: &'a str,
    notes: &'a str,
    /// The JSON file written beside it.
    config: Option<serde_json::Value>,
    /// The cached file.
    path: Option<String>,
}

/// A pulled file, as a line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    path: String,
    bytes: u64,
    /// Whether any of it was downloaded now.
    fetched: bool,
    licence: &'a str,
}

/// Lists weights, or fetches them and prints their paths.
pub(crate) fn run(args: &PullArgs, global: &Global, output: &mut Output) -> Result<()> {
    if args.list {
        return list(output);
    }
    // All names are checked before the first download.
    let weights = args.names.iter().map(|name| known(name)).collect::<Result<Vec<_>>>()?;
    let options = PullOptions::from_env().force(args.force);
    for weights in weights {
        let (path, fetched) = fetch(weights, &options, global.quiet, output)?;
        if output.format() == Format::Json {
            let size = std::fs::metadata(&path).map(|metadata| metadata.len());
            let path = path.display().to_string();
            let bytes =
                size.map_err(|e| Error::because(format!("cannot look up the file {path}"), e))?;
            let (name, licence) = (weights.name.as_str(), weights.licence.as_str());
            output.json(&Report { name, path, bytes, fetched, licence })?;
        } else {
            output.line(&path.display().to_string())?;
        }
        // The next download may take long.
        output.flush()?;
    }
    Ok(())
}

fn known(name: &str) -> Result<&'static Weights> {
    hub::find(name)?.ok_or_else(|| {
        let error = hub::Error::Unknown { name: name.to_owned(), near: hub::near(name) };
        Error::Usage(format!("{error} (`striate pull --list` lists all)"))
    })
}

/// The path of the file, and whether any of it was downloaded now.
fn fetch(
    weights: &Weights,
    options: &PullOptions,
    quiet: bool,
    output: &Output,
) -> Result<(PathBuf, bool)> {
    let name = &weights.name;
    let mut bar: Option<Progress> = None;
    let mut fetched = false;
    let path = hub::pull_weights(weights, options, &mut |progress| match progress {
        hub::Progress::Waiting => {
            output.note(&format!("{name}: another pull is at work on it; waiting"));
        }
        hub::Progress::Fetching { url, from, total } => {
            if !fetched {
                let how = if from > 0 { "resuming" } else { "fetching" };
                output.note(&format!("{how} {name} ({}) from {url}", facts(weights)));
            }
            fetched = true;
            bar = Some(Progress::of_bytes(total, from, quiet));
        }
        hub::Progress::Received { bytes } => {
            if let Some(bar) = &mut bar {
                bar.reach(bytes);
            }
        }
        hub::Progress::Retrying { reason, pause } => {
            // The bar is removed first, since it would be drawn over the note.
            bar = None;
            let pause = pause.as_secs_f32();
            output.note(&format!("{name}: {reason}; trying again in {pause:.1} s"));
        }
        _ => bar = None,
    })?;
    Ok((path, fetched))
}

/// Size and licence: `14.2 MB, BSD-3-Clause`.
fn facts(weights: &Weights) -> String {
    match weights.size.bytes() {
        Some(bytes) => format!("{}, {}", output::bytes(bytes), weights.licence),
        None => weights.licence.clone(),
    }
}

fn list(output: &mut Output) -> Result<()> {
    let mut table = output::table(&["name", "size", "licence", "here"], &[1]);
    for weights in hub::all()? {
        let path = weights.cached()?;
        if output.format() == Format::Json {
            output.json(&Row {
                name: &weights.name,
                file: &weights.file,
                urls: &weights.urls,
                bytes: weights.size.bytes(),
                bytes_exact: matches!(weights.size, hub::Size::Exactly(_)),
                digest: weights.digest.to_string(),
                licence: &weights.licence,
                notes: &weights.notes,
                config: weights.config.as_ref().and_then(|text| serde_json::from_str(text).ok()),
                path: path.map(|path| path.display().to_string()),
            })?;
            continue;
        }
        let size = weights.size.bytes().map_or_else(|| "-".into(), output::bytes);
        let here = if path.is_some() { "yes" } else { "" };
        table.add_row([weights.name.as_str(), &size, &weights.licence, here]);
    }
    if output.format() == Format::Json {
        return Ok(());
    }
    output.table(&table)?;
    output.note(&format!("files are kept in {}", hub::cache_dir()?.display()));
    Ok(())
}

/// A model from a file or, if there is no such file, pulled weights by their name.
///
/// # Errors
/// If it cannot be read, is no model, or was not pulled yet.
pub(crate) fn model(path: &Path) -> Result<ModelFile> {
    let Some(name) = as_name(path) else { return Ok(ModelFile::open(path)?) };
    match hub::find(name)? {
        Some(weights) => match weights.cached()? {
            Some(file) => Ok(ModelFile::open(file)?),
            None => Err(Error::message(format!(
                "{name}: not here yet: `striate pull {name}` fetches it ({})",
                facts(weights)
            ))),
        },
        None => ModelFile::open(path).map_err(|error| {
            let (error, near) = (Error::from(error), hub::near(name));
            match near.is_empty() {
                true => error,
                false => Error::message(format!(
                    "{}; `striate pull` knows {}",
                    chain(&error),
                    near.join(", ")
                )),
            }
        }),
    }
}

/// The path as text, if it can be the name of weights: a single component, and no such file exists.
fn as_name(path: &Path) -> Option<&str> {
    let mut parts = path.components();
    let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    path.to_str().filter(|_| is_plain && !path.exists())
}
