//! `striate quantize`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use striate::image::source::pictures_in;
use striate::image::{Dataset, Image, Limits, Protocol};
use striate::importers::{ReadOptions, WriteOptions};
use striate::nn::Calibration;
use striate::{Classifier, DeviceByName, importers, tensor::Device};

use crate::args::{Format, Global, ReadArgs, number, positive};
use crate::error::{Error, Result};
use crate::inputs;
use crate::model;
use crate::output::{Output, bytes};
use crate::outputs::{Files, has_extension};
use crate::progress::Progress;

/// Options of `striate quantize`.
#[derive(Debug, Args)]
#[command(after_help = "\
The photos should be like those that will be classified; a hundred are enough, and labels are
not needed. They tell in which range the numbers before each layer lie; within it, inputs are
rounded to 256 levels. Weights are rounded to integers of -127 to 127, with a scale for each
output channel. Batch norms become part of the convolutions before them. Convolutions in groups,
depthwise ones among them, stay in f32.

OUT is used as any model is. CPUs compute with its integers, and give the same bits at every
instruction level; GPUs compute in f32, with the rounded weights. It cannot be trained. OUT is
written beside its place and then renamed: it is whole or untouched.

Then both networks classify the photos, and what the rounding costs is told: how often both say
the same, how far probabilities are off, and where PHOTOS is a folder of classes or a list with
labels, how many each has wrong. Calibrate with some photos and judge with others to be strict:
the figures are of the photos that were calibrated with, unless --judge names others.

Examples:
  striate quantize resnet50.safetensors photos/ -o resnet50-int8.safetensors
  striate quantize resnet50.safetensors train/ -o resnet50-int8.safetensors --judge test/
  striate classify --model resnet50-int8.safetensors photo.jpg")]
pub(crate) struct QuantizeArgs {
    /// The model file to read, a classifier: ccv's .sqlite3, .safetensors, .onnx, or a state dict (.pth,
    /// .safetensors); `-` is standard input.
    model: PathBuf,
    /// Pictures, or a folder of them; or a folder with a folder of pictures for each class; or a list of
    /// labelled pictures (.txt).
    #[arg(required = true)]
    photos: Vec<PathBuf>,
    /// The model file to write (.safetensors).
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Compare the networks on these instead: a folder with a folder for each class, or a list.
    #[arg(long, value_name = "PHOTOS")]
    judge: Option<PathBuf>,
    /// The share of the numbers before a layer that its range holds, in percent: those beyond are clipped,
    /// for the sake of all others.
    #[arg(long, value_name = "P", default_value_t = 99.99, value_parser = percent)]
    percentile: f64,
    #[command(flatten)]
    read: ReadArgs,
    /// Refuse pictures of more pixels.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels,
        value_parser = positive::<u64>())]
    max_pixels: u64,
}

fn percent(text: &str) -> std::result::Result<f64, String> {
    number(text, 90.0..=100.0, "a number from 90 to 100")
}

/// What was written and what it costs, as one line of JSON. Scripts depend on the names.
#[derive(Serialize)]
struct Report {
    file: String,
    bytes_before: Option<u64>,
    bytes: u64,
    /// Layers that compute with integers.
    layers: usize,
    calibrated: usize,
    images: usize,
    /// Pictures of which both networks say the same.
    agreements: usize,
    mean_difference: f64,
    max_difference: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    top1_misses_before: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top1_misses: Option<usize>,
}

/// Pictures: of files, or of a set that has their classes.
struct Photos {
    paths: Vec<PathBuf>,
    set: Option<Dataset>,
}

impl Photos {
    fn open(paths: &[PathBuf]) -> Result<Self> {
        match paths {
            [one] if one.is_dir() || has_extension(one, "txt") => match inputs::samples(one) {
                Ok(set) => {
                    let paths = (0..set.len()).map(|index| PathBuf::from(set.name(index)));
                    Ok(Photos { paths: paths.collect(), set: Some(set) })
                }
                // A folder without classes may be one of photos.
                Err(error) => match one.is_dir().then(|| pictures_in(one)).transpose()? {
                    Some(paths) if has_all(one, &paths) => Ok(Photos { paths, set: None }),
                    _ => Err(error),
                },
            },
            _ => Ok(Photos { paths: paths.to_vec(), set: None }),
        }
    }

    fn load(&self, index: usize, limits: &Limits) -> Result<Image> {
        Ok(match &self.set {
            Some(set) => set.load(index, limits)?,
            None => striate::image::open_with(&self.paths[index], limits)?,
        })
    }

    fn label(&self, index: usize) -> Option<usize> {
        self.set.as_ref()?.labels().get(index).map(|&label| label as usize)
    }
}

/// Whether there are pictures, all in the folder itself.
fn has_all(folder: &Path, pictures: &[PathBuf]) -> bool {
    !pictures.is_empty() && pictures.iter().all(|path| path.parent() == Some(folder))
}

/// Calibrates, compares, writes, and tells.
pub(crate) fn run(args: &QuantizeArgs, global: &Global, output: &mut Output) -> Result<()> {
    let file = args.output.display().to_string();
    if !has_extension(&args.output, "safetensors") {
        return Err(Error::Usage(format!("'{file}' must end in .safetensors")));
    }
    let photos = Photos::open(&args.photos)?;
    let judged = args.judge.clone().map(|path| Photos::open(&[path])).transpose()?;
    let judged = judged.as_ref().unwrap_or(&photos);
    let mut files = Files::default();
    files.reads("model", &*args.model);
    files.reads_all("picture", &photos.paths);
    files.writes("--output", &*args.output);
    files.check()?;
    let limits = Limits { max_pixels: args.max_pixels, ..Limits::default() };

    // What computes with integers is a CPU.
    let device = Device::by_name("cpu", &global.device_options())?;
    let model = args.read.applied(model::file(&args.model)?)?;
    let network = model.read(&device, &ReadOptions::default())?.fold_batch_norms()?;
    let before = Classifier::new(network.clone())?;
    if before.current_protocol() != Protocol::Tested {
        log::info!("calibrating with the views of the protocol {}", before.protocol_in_words());
    }
    let mut calibration = Calibration::new(&network, args.percentile / 100.0)?;
    let mut progress = Progress::new(photos.paths.len() + judged.paths.len(), output.quiet());
    for index in 0..photos.paths.len() {
        let image = photos.load(index, &limits)?;
        let seen = before.calibrate(&image, &mut calibration);
        seen.map_err(|error| inputs::about_picture(&photos.paths[index], error))?;
        progress.advance(1);
    }
    let levels = calibration.finish();
    let layers = levels.len();
    if layers == 0 {
        return Err(Error::message(format!(
            "{}: no convolution or full-connect layer that can be computed with integers",
            model.name()
        )));
    }
    let quantized = network.with_levels(levels)?;
    let after = Classifier::new(quantized.clone())?.protocol(before.current_protocol());
    let mut report = Report {
        bytes_before: std::fs::metadata(&args.model).ok().map(|metadata| metadata.len()),
        bytes: 0,
        file,
        layers,
        calibrated: photos.paths.len(),
        images: judged.paths.len(),
        agreements: 0,
        mean_difference: 0.0,
        max_difference: 0.0,
        top1_misses_before: None,
        top1_misses: None,
    };
    let classes = before.classes();
    if let Some(set) = &judged.set {
        set.check_classes(classes)?;
    }
    for (index, path) in judged.paths.iter().enumerate() {
        let image = judged.load(index, &limits)?;
        let [a, b] = [&before, &after].map(|classifier| classifier.classify(&image));
        let about = |error| inputs::about_picture(path, error);
        let (a, b) = (a.map_err(about)?, b.map_err(about)?);
        let differences = a.confidences().iter().zip(b.confidences()).map(|(a, b)| (a - b).abs());
        let (sum, largest) = differences.fold((0.0f64, 0.0f32), |(sum, largest), difference| {
            (sum + f64::from(difference), largest.max(difference))
        });
        report.mean_difference += sum / (classes * judged.paths.len()) as f64;
        report.max_difference = report.max_difference.max(largest);
        let [a, b] = [a, b].map(|ranks| ranks.top(1).first().map(|first| first.id));
        report.agreements += usize::from(a == b);
        if let Some(label) = judged.label(index) {
            let count = |misses: &mut Option<usize>, first: Option<usize>| {
                *misses = Some(misses.unwrap_or(0) + usize::from(first != Some(label)));
            };
            count(&mut report.top1_misses_before, a);
            count(&mut report.top1_misses, b);
        }
        progress.advance(1);
    }
    drop(progress);
    // Last, so that there is no file where anything went wrong.
    importers::write(&args.output, &quantized, &WriteOptions::default())?;
    report.bytes = importers::inspect(&args.output)?.bytes;
    tell(&report, output)
}

fn tell(report: &Report, output: &mut Output) -> Result<()> {
    if output.format() == Format::Json {
        return output.json(report);
    }
    let Report { file, layers, calibrated, images, agreements, .. } = report;
    let was = report.bytes_before.map_or_else(String::new, |size| format!(", was {}", bytes(size)));
    output.done(&format!(
        "wrote {file}: {layers} layers with integers of 8 bits, calibrated with {calibrated} photos, {}{was}",
        bytes(report.bytes),
    ))?;
    output.line(&format!("the same class as in f32 first: {agreements} of {images} photos"))?;
    output.line(&format!(
        "probabilities are off by {:.5} on average, {:.3} at most",
        report.mean_difference, report.max_difference
    ))?;
    match (report.top1_misses_before, report.top1_misses) {
        (Some(before), Some(after)) => {
            output.line(&format!("wrong: {after} of {images} photos; in f32 {before}"))
        }
        _ => Ok(()),
    }
}
