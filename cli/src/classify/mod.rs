//! `striate classify`.

mod pictures;
mod pipeline;
mod report;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use striate::image::{Limits, Protocol, list};
use striate::{Classifier, Ranks};

use crate::args::{Format, Global, Precision, protocol_parser};
use crate::error::{Error, Result, chain};
use crate::labels::Labels;
use crate::model;
use crate::output::Output;
use crate::progress::Progress;

use pictures::Pictures;
use pipeline::{Decoded, decode_ahead};
use report::Report;

/// Ranks that are printed where nothing else is asked.
const DEFAULT_TOP: usize = 5;

/// Images of a list whose views go through the full-connect layers together.
const LIST_BATCH: usize = 8;

/// A batch takes no further image once it has so many pixels: decoded images are held until it is
/// done.
const BATCH_PIXELS: usize = 32_000_000;

/// Options of `striate classify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --model an embedded model is used that knows handwritten digits only.

Output:
  table  the ranks of each image with bars, for people
  json   an object a line: {\"image\", \"classes\": [{\"id\", \"label\", \"confidence\"}],
         \"milliseconds\"}, ids from 0; {\"image\", \"error\"} where an image cannot be read
  ccv    `id confidence id confidence …`, ids from 1; then `elapsed time Nms`. With --list all
         classes and no time. A line `error: …` where an image cannot be read.
The milliseconds are those from the decoded picture to the ranks.
An image that cannot be read does not stop the others; the exit code is 1 then.

Examples:
  striate classify samples/digit-7.png
  striate classify --model vgg-d.sqlite3 --top 3 --draw ranks.png photo.jpg
  striate classify --model vgg-d.sqlite3 --draw 'ranks/{}.png' *.jpg
  striate classify --model vgg16.safetensors --labels imagenet-sorted --protocol centre photo.jpg
  striate classify --model vgg-d.sqlite3 --list photos.txt --format json > ranks.jsonl")]
pub(crate) struct ClassifyArgs {
    /// The images: JPEG, PNG, WebP, BMP, GIF or TIFF.
    #[arg(value_name = "IMAGE", required_unless_present = "list")]
    images: Vec<PathBuf>,
    /// A text file of image paths, one a line.
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    list: Option<PathBuf>,
    /// The model file, ccv's .sqlite3 or .safetensors [default: the embedded one].
    #[arg(short, long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// How an image is cut into the views whose confidences are averaged [default: what the model
    /// recommends, else ccv-cpu].
    #[arg(short, long, value_parser = protocol_parser())]
    protocol: Option<Protocol>,
    /// How many classes to print [default: 5; all with --list and --format ccv].
    #[arg(short = 'k', long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Names of the classes: a file with one a line, `imagenet` (ccv's order) or
    /// `imagenet-sorted` (torchvision's) [default: the model's own, else ImageNet's for 1000].
    #[arg(short, long, value_name = "LABELS")]
    labels: Option<Labels>,
    /// Paint the ranks over the image into this PNG file. For several images a folder (an existing
    /// one, or a name that ends in /), which gets NAME.png for each, or a name with {} for the
    /// NAME.
    #[arg(short, long, value_name = "OUT.png")]
    draw: Option<PathBuf>,
    /// Refuse images of more pixels.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels)]
    max_pixels: u64,
    /// Hold the weights in this precision [default: as they are stored].
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
}

impl ClassifyArgs {
    /// How many classes of each image are printed.
    fn top(&self, format: Format) -> usize {
        match self.top {
            Some(top) => top as usize,
            None if self.list.is_some() && format == Format::Ccv => usize::MAX,
            None => DEFAULT_TOP,
        }
    }
}

/// Classifies all images, and tells the ranks as they come.
pub(crate) fn run(args: &ClassifyArgs, global: &Global, output: &mut Output) -> Result<()> {
    let paths = match &args.list {
        Some(file) => list::read(file)?,
        None => args.images.clone(),
    };
    let labels = args.labels.as_ref().map(Labels::read).transpose()?;
    let pictures = Pictures::new(args.draw.as_deref(), &paths, args.list.is_some())?;

    // The first images are decoded while the model is read.
    let limits = Limits { max_pixels: args.max_pixels, ..Limits::default() };
    let decoded = decode_ahead(paths.clone(), limits)?;

    let device = global.device()?;
    let network = model::load(args.model.as_deref(), args.dtype.map(Into::into), &device)?;
    let mut classifier = Classifier::new(network)?;
    if let Some(protocol) = args.protocol {
        classifier = classifier.protocol(protocol);
    }
    if let Some(labels) = labels {
        classifier = classifier.labels(labels)?;
    }

    let mut job = Job {
        classifier,
        report: Report::new(args.top(output.format()), args.list.is_some()),
        progress: Progress::new(paths.len(), output.quiet()),
        pictures,
        failed: 0,
    };
    let batch = if args.list.is_some() { LIST_BATCH } else { 1 };
    let mut waiting = Vec::with_capacity(batch);
    for image in decoded {
        waiting.push(image);
        let pixels: usize = waiting.iter().map(Decoded::pixels).sum();
        if waiting.len() == batch || pixels > BATCH_PIXELS {
            job.classify(&mut waiting, output)?;
        }
    }
    job.classify(&mut waiting, output)?;
    let failed = job.failed;
    drop(job);

    if args.model.is_none() && failed < paths.len() {
        output.note(striate::DEFAULT_MODEL_NOTE);
    }
    match failed {
        0 => Ok(()),
        // The only one has said what was wrong with it.
        1 if paths.len() == 1 => Err(Error::Told),
        _ => Err(Error::Some { failed, all: paths.len() }),
    }
}

/// What goes on through all images.
struct Job {
    classifier: Classifier,
    report: Report,
    progress: Progress,
    pictures: Pictures,
    failed: usize,
}

impl Job {
    /// Classifies and tells of a batch, in its order, and empties it.
    fn classify(&mut self, batch: &mut Vec<Decoded>, output: &mut Output) -> Result<()> {
        let images: Vec<_> = batch.iter().filter_map(|one| one.image.as_ref().ok()).collect();
        let started = Instant::now();
        let together = self.classifier.classify_batch(&images);
        let elapsed = started.elapsed() / images.len().max(1) as u32;
        let mut together = together.map(Vec::into_iter);
        for (one, number) in batch.drain(..).zip(self.report.told..) {
            let mut elapsed = elapsed;
            let ranks = match (&one.image, &mut together) {
                (Err(error), _) => Err(chain(error)),
                (Ok(_), Ok(all)) => all.next().ok_or_else(|| "no result".to_owned()),
                // One of the batch is at fault: each on its own says which.
                (Ok(image), Err(_)) => {
                    let started = Instant::now();
                    let ranks = self.classifier.classify(image).map_err(|e| chain(&e));
                    elapsed = started.elapsed();
                    ranks
                }
            };
            self.progress.suspend(|| match &ranks {
                Ok(ranks) => self.report.ranks(&one.path, ranks, elapsed, output),
                Err(error) => self.report.error(&one.path, error, output),
            })?;
            match (&ranks, &one.image) {
                (Ok(ranks), Ok(image)) => self.paint(image, ranks, number, output)?,
                _ => self.failed += 1,
            }
            self.report.told += 1;
            self.progress.advance(1);
        }
        Ok(())
    }

    fn paint(
        &self,
        image: &striate::image::Image,
        ranks: &Ranks,
        number: usize,
        output: &mut Output,
    ) -> Result<()> {
        let Some(path) = self.pictures.path(number) else { return Ok(()) };
        let ranks: Vec<(String, f32)> = ranks
            .top(self.report.painted())
            .into_iter()
            .map(|class| (report::name(&class), class.confidence))
            .collect();
        crate::draw::paint(image, &ranks, path)?;
        self.progress.suspend(|| output.done(&format!("  painted {}", path.display())))
    }
}
