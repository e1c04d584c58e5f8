//! `striate train`.

mod files;
mod follow;
mod learning;
mod progress;
mod spec;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use serde::Serialize;
use striate::image::Dataset;
use striate::image::augment::Recipe;
use striate::tensor::Device;
use striate::train::parallel::{ExchangeReport, Launch, Parallel, Ranks};
use striate::train::{
    EpochReport, Observer, Outcome, Session, SessionData, SessionOptions, TrainOptions,
};

use crate::args::{Format, Global, positive};
use crate::error::{Error, Result};
use crate::inputs::{self, is_stdin};
use crate::model;
use crate::output::Output;
use crate::outputs::is_stdout;
use crate::ranks::{Rank, RankArgs, first_cause};
use crate::text;

use crate::progress::Progress;
use learning::LearnArgs;
use progress::Watch;

/// Options of `striate train`.
#[derive(Debug, Args)]
#[command(after_help = "\
The working file is a model file that also holds the state of the training: safetensors, which holds
any network, or ccv's form where its name ends in .sqlite3, for networks of ccv's layers. It is
replaced as a whole at the end of each epoch, every --checkpoint-every mini-batches, and when ctrl-C
is pressed: the same command resumes it, and ends with the same weights, bit for bit, as if nothing
had happened. Rates, schedule and length may change on the way; seed, mini-batch, optimizer, recipe
and samples may not. A working file that holds a network but no training gives the weights to begin
with. Beside it, NAME.best.safetensors gets the network with the lowest error rate on the test
samples: m.best.safetensors for m.safetensors, m.lr001.best.safetensors for m.lr001. Files of
--metrics and --tensorboard follow the working file: what a killed run wrote after its last save is
cut off.

Over several devices (--devices) or processes (mpirun) the mini-batch stays as large as --mini-batch
says; each device computes a part of it. The first process alone reads and writes the working file;
all must find the samples. The same command with other devices resumes it. A device or process
that is lost ends all within seconds; the last checkpoint is whole.

Samples are recognised by what they are:
  a text file   lines `LABEL PATH`, labels from 1, as ccv has them; what `striate prepare` writes
  a folder      a folder of pictures for each class (n01440764/*.JPEG)
  IDX           train-images-idx3-ubyte, with its labels beside it (MNIST)
  CIFAR         data_batch_1.bin, or the folder with all of them

Examples:
  striate train --spec lenet --train-list train-images-idx3-ubyte \\
      --test-list t10k-images-idx3-ubyte --working digits.sqlite3 --learn-rate 0.001 \\
      --schedule cosine --max-epoch 12
  striate train --spec mattnet --train-list train.txt --test-list test.txt \\
      --working photos.sqlite3 --recipe ccv --schedule steps:30,60,80 --checkpoint-every 500
  striate train --spec resnet18 --train-list photos --test-list held-back \\
      --working photos.safetensors --recipe alex --optimizer adamw --weight-decay 0.05 \\
      --schedule one-cycle --clip-norm 1 --ema 0.999 --max-epoch 30
  striate train --spec alexnet --train-list train.txt --working photos.sqlite3 \\
      --devices gpu:0,gpu:1 --parallel hybrid
  mpirun -n 4 striate train --spec alexnet --train-list train.txt --working photos.sqlite3 \\
      --parallel data
  striate plot photos.sqlite3 -o curve.svg
  striate classify --model photos.best.safetensors photo.jpg")]
pub(crate) struct TrainArgs {
    /// The network: the name of one that is known (`striate bench --help` lists them), a JSON
    /// specification, or a model file whose layers are meant. A named one gets as many classes as
    /// the training samples have.
    #[arg(long, value_name = "SPEC")]
    spec: String,
    /// Rows and columns of the pictures that the network sees, in place of what its specification
    /// says, such as 64 for small pictures. The size that pictures are brought to before views are cut
    /// from them changes in the same proportion.
    #[arg(long, value_name = "PIXELS", value_parser = positive::<usize>())]
    input_size: Option<usize>,
    /// The training samples; `-` is a list of them from standard input.
    #[arg(long, value_name = "FILE")]
    train_list: PathBuf,
    /// The test samples, classified after each epoch.
    #[arg(long, value_name = "FILE")]
    test_list: Option<PathBuf>,
    /// Leave out the samples of these labels, training and test samples alike: names of classes, or numbers
    /// as the samples have them, with commas. A named class is none any more.
    #[arg(long, value_name = "LABELS", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Train although a class has no training samples.
    #[arg(long)]
    allow_empty_classes: bool,
    /// The file that holds the training: made if it is not there, else resumed.
    #[arg(long, value_name = "M.safetensors")]
    working: PathBuf,
    #[command(flatten)]
    learn: LearnArgs,
    /// What is done to pictures: `ccv`, `alex`, `caffe`, `plain`, or a JSON file.
    #[arg(long, value_name = "RECIPE", default_value = "plain")]
    recipe: String,
    /// Save every so many mini-batches too, not only after each epoch: with --sgd-frequency when the
    /// weights move next.
    #[arg(long, value_name = "N", value_parser = positive::<u64>())]
    checkpoint_every: Option<u64>,
    /// Threads that read and form pictures.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Keep decoded pictures in memory up to so many megabytes.
    #[arg(long, value_name = "MB", default_value_t = 256)]
    cache: usize,
    /// Append a line of JSON for each mini-batch and epoch to this file, or write it to standard
    /// output (`-`) or a pipe. A file that holds something else, or the metrics of another training,
    /// is refused.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Write TensorBoard event files into this folder, one for each run of the training.
    #[arg(long, value_name = "FOLDER")]
    tensorboard: Option<PathBuf>,
    /// How the training is spread over devices [default: data, where there are several].
    #[arg(long, value_enum, help_heading = "Many devices")]
    parallel: Option<Scheme>,
    /// Data parallel: shards of a mini-batch, a power of two. Any number of devices up to it
    /// computes the same bits [default: 4, or what the working file says].
    #[arg(long, value_name = "N", help_heading = "Many devices", value_parser = power_of_two)]
    shards: Option<usize>,
    /// Hybrid: pieces in which activations travel, one while another is computed [default: as many
    /// as devices].
    #[arg(long, value_name = "N", help_heading = "Many devices", value_parser = positive::<usize>())]
    pieces: Option<usize>,
    #[command(flatten)]
    ranks: RankArgs,
}

/// How a training is spread over devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scheme {
    /// Each device has the whole network and a part of each mini-batch. The same bits for any
    /// number of devices of one kind.
    Data,
    /// Convolutions as with data; of the full-connect layers each device has some outputs, for
    /// all samples: their weights never travel.
    Hybrid,
}

impl From<Scheme> for Parallel {
    fn from(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Data => Parallel::Data,
            Scheme::Hybrid => Parallel::Hybrid,
        }
    }
}

fn power_of_two(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|number| number.is_power_of_two());
    number.ok_or_else(|| "expected a power of two: 1, 2, 4, …".into())
}

/// What a training begins with, as one line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
struct StartReport<'a> {
    working: String,
    resumed: bool,
    epoch: u64,
    iteration: u64,
    iterations_per_epoch: u64,
    options: &'a TrainOptions,
    recipe: &'a Recipe,
}

/// Trains to the end, or until ctrl-C.
pub(crate) fn run(args: &TrainArgs, global: &Global, output: &mut Output) -> Result<()> {
    files::check(args)?;
    let options = SessionOptions {
        train: args.learn.train_options(&args.spec, global)?,
        recipe: recipe(&args.recipe)?,
        checkpoint_every: args.checkpoint_every,
        allow_empty_classes: args.allow_empty_classes,
        workers: usize::from(args.workers),
        cache_bytes: args.cache.saturating_mul(1_000_000),
        ..SessionOptions::default()
    };
    // Before the samples and the device, which take their time: a slip in these is told at once.
    let (spec, is_named) = model::spec(&args.spec)?;
    let spec = match args.input_size {
        Some(size) => spec.with_input_size([size, size]),
        None => spec,
    };
    spec::check(&args.working, &args.spec, &spec, &options)?;
    let train = inputs::samples(&args.train_list)?;
    let test = args.test_list.as_deref().map(inputs::samples).transpose()?;
    let (train, test) = without(train, test, &args.ignore)?;
    let spec = match is_named {
        true => spec::fit(&args.spec, spec, &train, output)?,
        false => spec,
    };
    let mut options = options;
    args.learn.see(&mut options.train, train.labels(), spec.classes());
    // The first process alone writes these.
    let leads = Launch::from_environment().is_none_or(|launch| launch.rank == 0);
    let files = if leads { files::observers(args)? } else { Vec::new() };
    let mut ranks = args.ranks.start(global, args.parallel.is_some())?;
    // What is kept in memory is for all ranks of this process.
    let cache_bytes = options.cache_bytes / ranks.len().max(1);
    let options = SessionOptions { cache_bytes, ..options };
    let job = follow::Job { args, spec: &spec, train: &train, test: &test, options: &options };
    let stop = stop_on_ctrl_c()?;
    if ranks.is_empty() {
        return lead(&job, global.device()?, None, &stop, files, output);
    }
    let first = ranks.remove(0);
    if first.exchange.rank() > 0 {
        return job.follow(first, global, &stop);
    }
    // The others of this process, each on its thread; they end when this one does.
    std::thread::scope(|scope| {
        let (job, stop) = (&job, &*stop);
        let run = |rank: Rank| scope.spawn(move || job.follow(rank, global, stop));
        let others: Vec<_> = ranks.into_iter().map(run).collect();
        let own = first.device(global).map_err(|error| follow::abandon(&first, error));
        let own = own.and_then(|device| {
            let ranks = job.ranks(first);
            lead(job, device, Some(ranks), stop, files, output)
        });
        let mut results = vec![own];
        for other in others {
            let panicked = |_| Err(Error::message("a thread of the training panicked"));
            results.push(other.join().unwrap_or_else(panicked));
        }
        first_cause(results)
    })
}

/// The samples without those whose labels are ignored. Test samples may have none of these.
fn without(
    train: Dataset,
    test: Option<Dataset>,
    ignored: &[String],
) -> Result<(Dataset, Option<Dataset>)> {
    if ignored.is_empty() {
        return Ok((train, test));
    }
    let label = |text: &String| {
        train.label_of(text).ok_or_else(|| {
            let of = train.origin().display();
            Error::message(format!("'--ignore {text}': {of} has no such label"))
        })
    };
    let labels = ignored.iter().map(label).collect::<Result<Vec<u32>>>()?;
    let test = test.map(|test| {
        let labels: Vec<u32> = ignored.iter().filter_map(|text| test.label_of(text)).collect();
        test.without(&labels)
    });
    Ok((train.without(&labels)?, test.transpose()?))
}

/// Trains as the one that tells how it goes and writes files.
fn lead(
    job: &follow::Job<'_>,
    device: Device,
    ranks: Option<Ranks>,
    stop: &AtomicBool,
    files: Vec<Box<dyn Observer>>,
    output: &mut Output,
) -> Result<()> {
    let follow::Job { args, spec, train, test, options } = *job;
    let options = SessionOptions { ranks, ..options.clone() };
    let (train_options, recipe) = (options.train.clone(), options.recipe.clone());
    let mut session = {
        let looking = Mutex::new(Progress::new(train.len(), output.quiet()));
        let progress = |more: usize| {
            looking.lock().unwrap_or_else(PoisonError::into_inner).advance(more);
        };
        let (train, test) = (train.clone(), test.clone());
        Session::open(
            &args.working,
            spec,
            SessionData::new(train).test(test).progress(&progress),
            options,
            &device,
        )?
    };
    let position = session.position();
    // Metrics on standard output have it for themselves.
    let prints = !args.metrics.as_deref().is_some_and(is_stdout);
    if output.format() == Format::Json && prints {
        output.json(&StartReport {
            working: args.working.display().to_string(),
            resumed: session.is_resumed(),
            epoch: position.epoch,
            iteration: position.iteration,
            iterations_per_epoch: session.per_epoch(),
            options: &train_options,
            recipe: &recipe,
        })?;
    } else if session.is_resumed() {
        output.note(&format!(
            "resuming {} at mini-batch {} of epoch {}",
            args.working.display(),
            position.iteration,
            position.epoch
        ));
    }
    let outcome = {
        let mut watch = Watch::new(output, &session, &train_options, files, prints);
        let outcome = session.run(&mut watch, stop);
        watch.end(outcome)?
    };
    match outcome {
        Outcome::Finished if prints => output.done(&finished(&session)),
        Outcome::Finished => {
            output.note(&finished(&session));
            Ok(())
        }
        Outcome::Stopped => {
            let at = session.position();
            Err(Error::message(format!(
                "stopped at mini-batch {} of epoch {}; {} holds everything: the same command \
                 resumes it",
                at.iteration,
                at.epoch,
                args.working.display()
            )))
        }
    }
}

/// How a training ended, in a sentence that names files which are there.
fn finished(session: &Session) -> String {
    let working = session.working();
    if !session.is_saved() {
        let left = match working.exists() {
            true => "is as it was",
            false => "was not written",
        };
        return format!(
            "nothing was trained, for no mini-batch was asked for; {} {left}",
            working.display()
        );
    }
    let working = working.display();
    let (best, rate) = (session.best_file(), session.history().best().map(|rate| rate * 100.0));
    match (session.is_guessing(), rate) {
        (true, Some(rate)) => format!(
            "{working}: training ended, but the network is no better than guessing: the lowest error \
             rate on the test samples is {rate:.2} %"
        ),
        (true, None) => format!(
            "{working}: training ended, but by its loss the network is no better than guessing"
        ),
        (false, None) => format!("{working}: training finished"),
        (false, Some(rate)) if best.is_file() => format!(
            "{working}: training finished; {} has an error rate of {rate:.2} % on the test samples",
            best.display()
        ),
        (false, Some(rate)) => format!(
            "{working}: training finished; the lowest error rate on the test samples was {rate:.2} %, \
             of a network whose file is not there any more"
        ),
    }
}

impl TrainArgs {
    /// Whether some options stand in a file.
    pub(crate) fn has_options_file(&self) -> bool {
        self.learn.options.is_some()
    }
}

/// A recipe by name, or out of a file.
fn recipe(text: &str) -> Result<Recipe> {
    if Recipe::NAMES.contains(&text) {
        return Ok(Recipe::by_name(text)?);
    }
    let path = Path::new(text);
    if !is_stdin(path) && (!path.exists() || path.is_dir()) {
        let names = Recipe::NAMES.join(", ");
        let message = format!("no recipe '{text}': expected {names} or a JSON file");
        return Err(Error::Usage(message));
    }
    text::read_json(path, "recipe")
}

/// Set when ctrl-C is pressed or the process is asked to end; the second time ends it at once.
fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let handler = move || {
        if asked.swap(true, Ordering::Relaxed) {
            // The last checkpoint is whole whatever happens.
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Error::because("cannot watch for ctrl-C", e))?;
    Ok(stop)
}

/// An epoch, as one line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
struct EpochLine {
    epoch: u64,
    iterations: u64,
    samples: u64,
    skipped: u64,
    loss: f64,
    miss_rate: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_miss_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_miss_rate_top5: Option<f64>,
    seconds: f64,
    /// Of the first rank, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    exchanged_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_seconds: Option<f64>,
}

impl EpochLine {
    fn new(report: &EpochReport, seconds: f64, exchange: Option<ExchangeReport>) -> Self {
        EpochLine {
            epoch: report.epoch,
            iterations: report.iterations,
            samples: report.samples,
            skipped: report.skipped,
            loss: report.loss,
            miss_rate: report.miss_rate,
            test_loss: report.test.map(|test| test.loss),
            test_miss_rate: report.test.map(|test| test.miss_rate()),
            test_miss_rate_top5: report.test.map(|test| test.miss_rate_top5()),
            seconds,
            exchanged_bytes: exchange.map(|sum| sum.traffic.bytes),
            exchange_seconds: exchange.map(|sum| sum.traffic.time.as_secs_f64()),
            exposed_seconds: exchange.map(|sum| sum.exposed.as_secs_f64()),
        }
    }
}
