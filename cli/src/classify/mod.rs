//! `striate classify`.

mod hint;
mod identity;
mod pictures;
mod pipeline;
mod record;
mod report;
mod results;
mod rounds;
mod sink;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use striate::image::{Limits, Protocol, list};
use striate::importers::ModelFile;
use striate::train::parallel::{Exchange, Launch};
use striate::{Classifier, Ranks};

use crate::args::{
    ComputeArgs, Format, Global, Precision, ReadArgs, ViewArgs, positive, protocol_parser,
};
use crate::error::{Error, Result, chain};
use crate::inputs::{self, is_stdin};
use crate::labels::Labels;
use crate::model;
use crate::output::Output;
use crate::outputs::{Destination, Files, is_stdout, target_of};
use crate::progress::Progress;
use crate::ranks::{Rank, RankArgs, first_cause};
use crate::text;

use hint::Hints;
use identity::Pending;
use pictures::Pictures;
use pipeline::{Decoded, decode_ahead};
use record::Record;
use report::{Printed, Report};
use results::Form;
use rounds::Rounds;
use sink::Sink;

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
Without --model the embedded EfficientNet-Lite0 is used, which tells ImageNet's 1,000 kinds of
things apart. `--model digits` is another embedded one, for handwritten digits.

A model knows how its pictures are resized, cut and scaled, and that is what is done; -v tells it.
ONNX models and state dicts of others do not say it: they are taken as torchvision and timm trained
them, and --mean, --std, --range, --bgr, --size, --resize and --filter say otherwise. `striate
convert` with the first four keeps them in the file.

An ONNX model that takes one image and gives a number for each class is run as it is where some of
its operators are no layers: -v tells it. It classifies by protocols that do not scan pictures.

Output:
  table  the ranks of each image with bars, for people
  json   an object a line: {\"image\", \"classes\": [{\"id\", \"label\", \"confidence\"}],
         \"milliseconds\"}, ids from 0; {\"image\", \"error\"} where an image cannot be read
  ccv    `id confidence id confidence …`, ids from 1; then `elapsed time Nms`. With --list all
         classes and no time. A line `error: …` where an image cannot be read.
The milliseconds are those from the decoded picture to the ranks.
An image that cannot be read does not stop the others; the exit code is 1 then.

Over several devices (--devices) or processes (mpirun) the images are dealt out in blocks of eight;
results come in the order of the list all the same.

With --output FILE a run that was stopped or killed is resumed by the same command, also on other
devices: FILE keeps its whole results, the others are added. Which run they belong to stands beside
it, in FILE.run: the model by its content, the images, the protocol, --dtype, --precision, --top,
--labels, --format, --draw and --max-pixels. Another run is refused, and told what differs; remove
FILE to start anew, or to try again what could not be read. Into a pipe or a device (a FIFO,
/dev/stdout) results are written as they come, and nothing is resumed.

`-` is standard input for one of the images, the list and the model, and standard output for
--output and --draw. A file that is really called `-` is `./-`. No output may be a file that is
read.

Examples:
  striate classify samples/cat.png
  striate classify --model digits samples/digit-7.png
  striate classify --model vgg-d.sqlite3 --top 3 --draw ranks.png photo.jpg
  striate classify --model vgg-d.sqlite3 --draw 'ranks/{}.png' *.jpg
  striate classify --model vgg16.safetensors --labels imagenet-sorted --protocol centre photo.jpg
  striate classify --model vgg-d.sqlite3 --list photos.txt --format json > ranks.jsonl
  curl -s https://example.org/photo.jpg | striate classify --model vgg-d.sqlite3 -
  find photos -name '*.jpg' | striate classify --model vgg-d.sqlite3 --list - --format json
  mpirun -n 4 striate classify --model vgg-d.sqlite3 --list photos.txt --format json -o r.jsonl")]
pub(crate) struct ClassifyArgs {
    /// The images: JPEG, PNG, WebP, BMP, GIF or TIFF; `-` is standard input.
    #[arg(value_name = "IMAGE", required_unless_present = "list")]
    images: Vec<PathBuf>,
    /// A text file of image paths, one a line; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    list: Option<PathBuf>,
    /// The model file, .sqlite3, .safetensors, .onnx or .pth; `-` is standard input. `photos` and `digits`
    /// are embedded [default: photos].
    #[arg(short, long, value_name = "MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    view: ViewArgs,
    /// How an image is cut into the views whose confidences are averaged [default: what the model says:
    /// what its makers tested, and ccv-cpu for ccv's own files].
    #[arg(short, long, value_parser = protocol_parser())]
    protocol: Option<Protocol>,
    /// How many classes to print [default: 5; all with --list and --format ccv].
    #[arg(short = 'k', long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Names of the classes: a file with one a line, `imagenet` (ccv's order) or
    /// `imagenet-sorted` (torchvision's) [default: the model's own, else ImageNet's for 1000].
    #[arg(short, long, value_name = "LABELS")]
    labels: Option<Labels>,
    /// Paint the ranks over the image into this PNG file; `-` is standard output. For several
    /// images a folder (an existing one, or a name that ends in /), which gets NAME.png for each,
    /// or a name with {} for the NAME.
    #[arg(short, long, value_name = "OUT.png")]
    draw: Option<PathBuf>,
    /// Refuse images of more pixels.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels,
        value_parser = positive::<u64>())]
    max_pixels: u64,
    /// Hold the weights in this precision [default: as they are stored].
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Write results into this file, a line an image (with --format json or ccv); `-` is standard
    /// output. Where it holds the first results of the same run already, resume after them.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    ranks: RankArgs,
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

    /// Images that go through the network together, where they are small enough.
    fn block(&self) -> usize {
        if self.list.is_some() { LIST_BATCH } else { 1 }
    }

    /// Refuses standard input where there is more than one thing to read from it, or more than one
    /// process to read it.
    fn check_stdin(&self) -> Result<()> {
        let mut files = Files::default();
        self.reads(&self.images, &mut files);
        files.check()?;
        let named = [&self.list, &self.model].into_iter().flatten().chain(&self.images);
        match Launch::from_environment() {
            Some(launch) if launch.size > 1 && named.into_iter().any(|path| is_stdin(path)) => {
                Err(Error::Usage(
                    "'-' is standard input, which one of several processes has: name a file".into(),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Refuses to write over anything that is read.
    fn check_files(&self, images: &[PathBuf], pictures: &Pictures) -> Result<()> {
        let mut files = Files::default();
        self.reads(images, &mut files);
        let results = self.output.as_deref().unwrap_or(Path::new("-"));
        let record = Record::path(&target_of(results));
        if pictures.to_stdout() && is_stdout(results) {
            return Err(Error::Usage(
                "'--draw -' writes the picture to standard output: name a file for the results \
                 with '--output FILE --format json'"
                    .into(),
            ));
        }
        files.writes_all("--draw", pictures.paths());
        match &self.output {
            Some(_) => files.writes("--output", results),
            None => files.writes("standard output", results),
        }
        if !is_stdout(results) {
            files.writes("--output", &*record);
        }
        files.check()
    }

    fn reads<'a>(&'a self, images: &'a [PathBuf], files: &mut Files<'a>) {
        files.reads("list", self.list.as_deref());
        files.reads("model", self.model.as_deref());
        if let Some(Labels::File(path)) = &self.labels {
            files.reads("labels", &**path);
        }
        files.reads_all("picture", images);
    }
}

/// The images of a list; `-` is standard input. In a list `-` is a file of that name.
fn read_list(list: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = list::paths(&text::read(list, "the list of pictures")?)?;
    for path in paths.iter_mut().filter(|path| is_stdin(path)) {
        *path = Path::new(".").join(&*path);
    }
    Ok(paths)
}

/// Classifies all images, and tells the ranks as they come, in their order.
pub(crate) fn run(args: &ClassifyArgs, global: &Global, output: &mut Output) -> Result<()> {
    let format = output.format();
    if args.output.is_some() && format == Format::Table {
        return Err(Error::Usage(
            "'--output' takes a line an image: '--format json' or '--format ccv'".into(),
        ));
    }
    args.check_stdin()?;
    let paths = match &args.list {
        Some(file) => read_list(file)?,
        None => args.images.clone(),
    };
    let labels = args.labels.as_ref().map(Labels::read).transpose()?;
    let pictures = Pictures::plan(args.draw.as_deref(), &paths, args.list.is_some())?;
    args.check_files(&paths, &pictures)?;
    pictures.prepare()?;
    let model = inputs::model_or_usual(args.model.as_deref(), &args.read)?;
    let report = Report::new(args.top(format), args.list.is_some(), format);
    let work = Work { args, model: &model, paths: &paths, labels, pictures, report };

    let mut ranks = args.ranks.start(global, false)?;
    if ranks.is_empty() {
        return work.lead(None, global, output);
    }
    let first = ranks.remove(0);
    if first.exchange.rank() > 0 {
        return work.follow(&first, global);
    }
    std::thread::scope(|scope| {
        let work = &work;
        let run = |rank: Rank| scope.spawn(move || work.follow(&rank, global));
        let others: Vec<_> = ranks.into_iter().map(run).collect();
        let mut results = vec![work.lead(Some(&first), global, output)];
        // Nobody waits for a rank that has gone.
        drop(first);
        for other in others {
            let panicked = |_| Err(Error::message("a thread that classifies panicked"));
            results.push(other.join().unwrap_or_else(panicked));
        }
        first_cause(results)
    })
}

/// What all ranks work on.
struct Work<'a> {
    args: &'a ClassifyArgs,
    model: &'a ModelFile,
    paths: &'a [PathBuf],
    labels: Option<Vec<String>>,
    pictures: Pictures,
    report: Report,
}

impl Work<'_> {
    /// Classifies this rank's share, and tells what all found.
    fn lead(&self, rank: Option<&Rank>, global: &Global, output: &mut Output) -> Result<()> {
        let result = self.lead_on(rank, global, output);
        if let (Err(error), Some(rank)) = (&result, rank) {
            rank.exchange.abandon(&chain(error));
        }
        let Outcome { begin, failed } = result?;
        match failed {
            0 => Ok(()),
            // The only one has said what was wrong with it.
            1 if self.paths.len() == 1 && begin == 0 => Err(Error::AlreadyPrinted),
            _ => Err(Error::Some { failed, all: self.paths.len() }),
        }
    }

    fn lead_on(
        &self,
        rank: Option<&Rank>,
        global: &Global,
        output: &mut Output,
    ) -> Result<Outcome> {
        let all = self.paths.len();
        let mut sink = self.sink(output.format())?;
        let (begin, mut failed) = sink.begin();
        if begin > 0 {
            let file = self.args.output.as_deref().unwrap_or(Path::new("-")).display();
            output.note(&match begin == all {
                true => format!("{file} is complete: all {all} images are done already"),
                false => format!("{begin} of {all} images are done already"),
            });
        }
        if let Some(rank) = rank {
            rank.exchange.broadcast_bytes(begin.to_string().into_bytes(), 0).wait()?;
        }
        let mut progress = Progress::new(all, output.quiet());
        progress.advance(begin);
        // Of the block in which the last run was stopped.
        let mut told_before = begin % self.args.block();
        let tell = |told: Vec<Printed>| {
            for one in told {
                if told_before > 0 {
                    told_before -= 1;
                    continue;
                }
                progress.suspend(|| {
                    if let Some(error) = &one.error {
                        output.error(error);
                    }
                    sink.add(&one.text, output)?;
                    if let Some(hint) = &one.hint {
                        output.note(hint);
                    }
                    match &one.painted {
                        Some(path) => output.done(&format!("  painted {path}")),
                        None => Ok(()),
                    }
                })?;
                failed += usize::from(one.error.is_some());
                progress.advance(1);
            }
            sink.flush()
        };
        self.classify(rank, global, begin, tell)?;
        Ok(Outcome { begin, failed })
    }

    /// Where the results go.
    fn sink(&self, format: Format) -> Result<Sink> {
        let Some(path) = self.args.output.as_deref() else { return Ok(Sink::Stdout) };
        let form = Form::new(format, self.args.list.is_some());
        Sink::open(path, form, self.paths, || {
            Pending::start(self.args, self.model, self.paths, self.labels.as_deref(), format)
        })
    }

    /// Classifies this rank's share, which another one tells.
    fn follow(&self, rank: &Rank, global: &Global) -> Result<()> {
        let follow = || {
            let begin = rank.exchange.broadcast_bytes(Vec::new(), 0).wait()?;
            let begin = String::from_utf8_lossy(&begin).parse().unwrap_or(0);
            self.classify(Some(rank), global, begin, |_| Ok(()))
        };
        follow().inspect_err(|error| rank.exchange.abandon(&chain(error)))
    }

    /// Goes through the images, in blocks that the ranks take in turn, from the block of number
    /// `begin` on.
    fn classify(
        &self,
        rank: Option<&Rank>,
        global: &Global,
        begin: usize,
        mut tell: impl FnMut(Vec<Printed>) -> Result<()>,
    ) -> Result<()> {
        let (own, size) = rank.map_or((0, 1), |r| (r.exchange.rank(), r.exchange.size()));
        if begin == self.paths.len() {
            return Ok(());
        }
        // From the beginning of a block: the same images together give the same bits.
        let begin = begin - begin % self.args.block();
        let rounds = Rounds::new(begin, self.paths.len(), self.args.block(), size);
        // The first images are decoded while the model is read.
        let limits = Limits { max_pixels: self.args.max_pixels, ..Limits::default() };
        let paths = rounds.of(own).flatten().map(|i| self.paths[i].clone()).collect();
        let decoded = decode_ahead(paths, limits)?;

        let device = match rank {
            Some(rank) => rank.device(global)?,
            None => global.device()?,
        };
        let args = self.args;
        let model = model::load_any(self.model, args.dtype.map(Into::into), &device)?;
        let model = args.compute.applied_to_any(model)?;
        let mut classifier = args.view.classifier(model)?;
        if let Some(protocol) = args.protocol {
            classifier = classifier.protocol(protocol);
        }
        log::info!("protocol {}", classifier.protocol_in_words());
        if let (Some(labels), Some(names)) = (&args.labels, &self.labels) {
            classifier = classifier.labels(names.clone()).map_err(|e| labels.error(e))?;
        }
        let knows_photos = cfg!(feature = "embedded-photos");
        let hints = (args.model.is_none() && knows_photos).then(Hints::default);
        let job = Job { work: self, classifier, hints };
        let mut decoded = decoded.into_iter();
        for block in rounds.of(own) {
            let mut told = Vec::with_capacity(block.len());
            let mut waiting = Vec::new();
            for number in block {
                let Some(image) = decoded.next() else { break };
                waiting.push((number, image));
                let pixels: usize = waiting.iter().map(|(_, image)| image.pixels()).sum();
                if pixels > BATCH_PIXELS {
                    told.append(&mut job.classify(&mut waiting)?);
                }
            }
            told.append(&mut job.classify(&mut waiting)?);
            match rank {
                None => tell(told)?,
                Some(rank) => tell(gather(&rank.exchange, &told)?)?,
            }
        }
        Ok(())
    }
}

/// What all ranks found of their blocks of a round, in the order of the list.
fn gather(exchange: &Exchange, own: &[Printed]) -> Result<Vec<Printed>> {
    let damaged = |e| Error::because("what another rank found cannot be read", e);
    let own = serde_json::to_vec(own).map_err(damaged)?;
    let all = exchange.gather_bytes(&own).wait()?;
    let parts =
        all.iter().map(|part| serde_json::from_slice::<Vec<Printed>>(part).map_err(damaged));
    Ok(parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// How a run went.
struct Outcome {
    /// Images that were done before it.
    begin: usize,
    /// Images that could not be classified, before it or by it.
    failed: usize,
}

/// What is the same for all images of a rank.
struct Job<'a> {
    work: &'a Work<'a>,
    classifier: Classifier,
    /// Where nobody has chosen a model.
    hints: Option<Hints>,
}

impl Job<'_> {
    /// Classifies images with their numbers together, and empties the list.
    fn classify(&self, batch: &mut Vec<(usize, Decoded)>) -> Result<Vec<Printed>> {
        let images: Vec<_> = batch.iter().filter_map(|(_, one)| one.image.as_ref().ok()).collect();
        let started = Instant::now();
        let together = self.classifier.classify_batch(&images);
        let elapsed = started.elapsed() / images.len().max(1) as u32;
        let mut together = together.map(Vec::into_iter);
        let report = &self.work.report;
        let mut told = Vec::with_capacity(batch.len());
        for (number, one) in batch.drain(..) {
            let mut elapsed = elapsed;
            let ranks = match (&one.image, &mut together) {
                (Err(error), _) => Err(chain(error)),
                (Ok(_), Ok(all)) => all.next().ok_or_else(|| "no result".to_owned()),
                // One of the batch is at fault: each on its own says which.
                (Ok(image), Err(_)) => {
                    let started = Instant::now();
                    let ranks = self.classifier.classify(image).map_err(|e| self.told(&e));
                    elapsed = started.elapsed();
                    ranks
                }
            };
            let mut one_told = match &ranks {
                Ok(ranks) => report.ranks(number, &one.path, ranks, elapsed)?,
                Err(error) => report.error(&one.path, error)?,
            };
            if let (Ok(ranks), Ok(image)) = (&ranks, &one.image) {
                self.paint(image, ranks, number, &mut one_told)?;
                one_told.hint = self.hints.as_ref().and_then(|hints| hints.of(&one.path, image));
            }
            told.push(one_told);
        }
        Ok(told)
    }

    /// What is wrong with a picture; where the model is at fault, with its file.
    fn told(&self, error: &striate::Error) -> String {
        match (error, &self.work.args.model) {
            (striate::Error::NoConfidences { .. }, Some(model)) => {
                format!("{}: {}", inputs::shown(model), chain(error))
            }
            _ => chain(error),
        }
    }

    fn paint(
        &self,
        image: &striate::image::Image,
        ranks: &Ranks,
        number: usize,
        told: &mut Printed,
    ) -> Result<()> {
        let Work { pictures, report, .. } = self.work;
        let Some(path) = pictures.path(number) else { return Ok(()) };
        let ranks: Vec<(String, f32)> = ranks
            .top(report.painted())
            .into_iter()
            .map(|class| (report::name(&class), class.confidence))
            .collect();
        crate::draw::paint(image, &ranks, &Destination::of(path)?)?;
        told.painted = (!is_stdout(path)).then(|| path.display().to_string());
        Ok(())
    }
}
