//! `striate prepare`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::Args;
use serde::Serialize;
use striate::image::ilsvrc::Devkit;
use striate::image::prepare::{self, PrepareOptions, PrepareReport};
use striate::image::{Dataset, Limits};

use crate::args::{Format, Global, positive};
use crate::error::{Error, Result};
use crate::inputs;
use crate::output::{Output, grouped};
use crate::outputs::Files;
use crate::progress::Progress;

/// Options of `striate prepare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Writes a folder of JPEG files with a list of them, NAME.txt, that `striate train` takes, and the
names of the classes beside it, NAME.labels. If it is interrupted, the same command resumes:
finished pictures are kept, and pictures of another set with the same names are refused. Images that
cannot be read are named, counted and left out of the list; the exit code is 0 all the same, unless
there is no other. The folder to write is not in the one that is read.

Examples:
  striate prepare photos/ --output prepared                a folder of classes
  striate prepare train.txt --output prepared --name train a list of `<class label> <path>`
  striate prepare --devkit ILSVRC2012_devkit_t12 imagenet/ --output prepared
          ImageNet: imagenet/train/n01440764/*.JPEG and imagenet/val/*.JPEG; writes train.txt and
          val.txt, with the classes in the devkit's order")]
pub(crate) struct PrepareArgs {
    /// A list of `<class label> <path>` (labels from 1; `-` is standard input) or a folder of classes; with --devkit, the
    /// folder that holds `train` and `val`.
    input: PathBuf,
    /// The folder to write, made where it is not there; not in the folder that is read.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The name of the list [default: the input's].
    #[arg(long, value_name = "NAME", conflicts_with = "devkit", value_parser = list_name)]
    name: Option<String>,
    /// The shorter side of the pictures, in pixels, 1 to 4096.
    #[arg(long, value_name = "N", default_value_t = PrepareOptions::default().size as u16,
        value_parser = clap::value_parser!(u16).range(1..=4096))]
    size: u16,
    /// Quality of the JPEG files, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = PrepareOptions::default().quality,
        value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// The extracted ILSVRC devkit: its meta.mat and the validation ground truth make the lists.
    #[arg(long, value_name = "DIR")]
    devkit: Option<PathBuf>,
    /// Write the lists of the pictures as they are, and resize nothing.
    #[arg(long)]
    lists_only: bool,
    /// Refuse images of more pixels.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels,
        value_parser = positive::<u64>())]
    max_pixels: u64,
}

/// Refuses a name that would put the list elsewhere, or that the names of its pictures clash with.
fn list_name(name: &str) -> Result<String, String> {
    match name.is_empty() || name.contains(['/', '\\', '.']) {
        true => Err("expected a plain name, without folders and dots".into()),
        false => Ok(name.into()),
    }
}

/// What was prepared, as one line of JSON.
#[derive(Serialize)]
struct Report {
    list: String,
    images: usize,
    written: usize,
    kept: usize,
    skipped: Vec<Broken>,
}

#[derive(Serialize)]
struct Broken {
    image: String,
    error: String,
}

/// Prepares each set, and tells what came of it.
pub(crate) fn run(args: &PrepareArgs, global: &Global, output: &mut Output) -> Result<()> {
    let sets = sets(args)?;
    for (name, dataset) in &sets {
        check_files(args, name, dataset)?;
    }
    for (name, dataset) in sets {
        let report = if args.lists_only {
            list_only(args, &name, &dataset)?
        } else {
            resized(args, global, &name, &dataset, output.quiet())?
        };
        tell(&report, output)?;
    }
    Ok(())
}

/// Refuses to write over anything that is read.
fn check_files(args: &PrepareArgs, name: &str, dataset: &Dataset) -> Result<()> {
    let [list, names] = ["txt", "labels"].map(|end| args.output.join(format!("{name}.{end}")));
    let names_of_input = args.input.with_extension("labels");
    let mut files = Files::default();
    if args.input.is_file() {
        files.reads("list", &*args.input);
        files.reads("class names", names_of_input.is_file().then_some(&*names_of_input));
    }
    files.writes("--output", &*list);
    files.writes("--output", &*names);
    files.check()?;
    if args.lists_only {
        return Ok(());
    }
    prepare::check_places(dataset, &args.output, name).map_err(|error| match error {
        striate::image::Error::AmongInputs { .. } => Error::Usage(error.to_string()),
        _ => error.into(),
    })
}

/// The sets to prepare, by the names of their lists.
fn sets(args: &PrepareArgs) -> Result<Vec<(String, Dataset)>> {
    let Some(devkit) = &args.devkit else {
        // Standard input and pipes have no name to take over.
        let named = Some(&args.input).filter(|input| input.is_file() || input.is_dir());
        let stem = named.and_then(|input| input.file_stem());
        let stem = stem.map(|stem| stem.to_string_lossy().replace('.', "-"));
        let name = args.name.clone().or(stem).unwrap_or_else(|| "list".to_owned());
        return Ok(vec![(name, inputs::samples(&args.input)?)]);
    };
    let devkit = Devkit::open(devkit)?;
    let mut sets = Vec::new();
    let folder = |name: &str| Some(args.input.join(name)).filter(|path| path.is_dir());
    if let Some(folder) = folder("train") {
        sets.push(("train".to_owned(), devkit.training_set(folder)?));
    }
    if let Some(folder) = folder("val") {
        sets.push(("val".to_owned(), devkit.validation_set(folder)?));
    }
    if sets.is_empty() {
        let input = args.input.display();
        return Err(Error::message(format!(
            "{input}: expected the folders `train` (n01440764/*.JPEG) or `val` (*.JPEG) in it"
        )));
    }
    Ok(sets)
}

fn resized(
    args: &PrepareArgs,
    global: &Global,
    name: &str,
    dataset: &Dataset,
    quiet: bool,
) -> Result<PrepareReport> {
    let options = PrepareOptions {
        size: usize::from(args.size),
        quality: args.quality,
        threads: global.threads.map(std::num::NonZeroUsize::get),
        limits: Limits { max_pixels: args.max_pixels, ..Limits::default() },
    };
    let bar = Mutex::new(Progress::new(dataset.len(), quiet));
    let advance = |done| {
        if let Ok(mut bar) = bar.lock() {
            bar.advance(done);
        }
    };
    Ok(prepare::prepare(dataset, &args.output, name, &options, &advance)?)
}

/// The list alone, with absolute paths, for it may lie anywhere.
fn list_only(args: &PrepareArgs, name: &str, dataset: &Dataset) -> Result<PrepareReport> {
    let folder = &args.output;
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::because(format!("cannot create the folder {}", folder.display()), e))?;
    let list = folder.join(format!("{name}.txt"));
    let absolute = |index: usize| {
        let path = PathBuf::from(dataset.name(index));
        std::path::absolute(&path)
            .map(|path| (path, dataset.labels()[index]))
            .map_err(|e| Error::because(format!("cannot find {}", path.display()), e))
    };
    let entries = (0..dataset.len()).map(absolute).collect::<Result<Vec<_>>>()?;
    prepare::write_list(&list, &entries, dataset.class_names())?;
    Ok(PrepareReport { list, written: 0, kept: entries.len(), skipped: Vec::new() })
}

fn tell(report: &PrepareReport, output: &mut Output) -> Result<()> {
    for skipped in &report.skipped {
        output.warning(&format!("left out: {skipped}"));
    }
    let list = Path::new(&report.list).display().to_string();
    let images = report.written + report.kept;
    if output.format() == Format::Json {
        let broken = |skipped: &striate::image::Skipped| Broken {
            image: skipped.name.clone(),
            error: skipped.to_string(),
        };
        return output.json(&Report {
            list,
            images,
            written: report.written,
            kept: report.kept,
            skipped: report.skipped.iter().map(broken).collect(),
        });
    }
    let [images, written, skipped] =
        [images, report.written, report.skipped.len()].map(|count| grouped(count as u64));
    output.done(&format!("{list}: {images} images ({written} written now), {skipped} left out"))
}
