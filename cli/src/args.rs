//! What the command lines of several commands share: the global options, forms, precisions, and how numbers
//! and names are parsed.

mod pictures;

use std::num::NonZeroUsize;
use std::ops::RangeBounds;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, ValueEnum};
use striate::image::Protocol;
use striate::importers::AnyModel;
use striate::nn::Network;
use striate::tensor::DType;

use crate::error::{Error, Result};

pub(crate) use pictures::{FileArgs, ReadArgs, ViewArgs};

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where to compute: `auto` (the best GPU, else the CPU), `cpu`, `gpu`, `gpu:N` (by number, see
    /// `striate devices`) or `gpu:NAME` (the one whose name contains NAME).
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: String,
    /// The form of what is printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Threads of the CPU, at most 1024 [default: as many as it runs at once, or
    /// RAYON_NUM_THREADS]. Results are the same bits for any number.
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// The seed of everything random [default: 1].
    #[arg(long, global = true, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Print results and errors only: no notes, warnings or progress.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more about what is done (`info:`); twice for more (`debug:`). RUST_LOG chooses by module.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    /// Refuses wrong usage that parsing does not see. ccv's form is for the command that classifies.
    pub(crate) fn check(&self, classifies: bool) -> Result<()> {
        if self.format == Format::Ccv && !classifies {
            return Err(Error::Usage("'--format ccv' is for 'striate classify' only".into()));
        }
        if let (None, Ok(text)) = (self.threads, std::env::var("RAYON_NUM_THREADS"))
            && text.parse::<usize>().is_ok_and(|count| count > MAX_THREADS)
        {
            return Err(Error::Usage(format!(
                "invalid value '{text}' of RAYON_NUM_THREADS: expected at most {MAX_THREADS} threads"
            )));
        }
        check_device("--device", &self.device)
    }
}

/// More threads than any machine runs at once: starting them, and memory for each, would take long
/// before anything is computed.
const MAX_THREADS: usize = 1024;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let count = text.parse::<NonZeroUsize>().ok().filter(|count| count.get() <= MAX_THREADS);
    count.ok_or_else(|| format!("expected a number of threads from 1 to {MAX_THREADS}"))
}

/// The most images at once: a trainer takes no larger mini-batch.
const MAX_BATCH: usize = 1 << 20;

/// Parses a number of images at once.
pub(crate) fn batch(text: &str) -> Result<NonZeroUsize, String> {
    let count = text.parse::<NonZeroUsize>().ok().filter(|count| count.get() <= MAX_BATCH);
    count.ok_or_else(|| format!("expected a number of images from 1 to {MAX_BATCH}"))
}

/// Parses a whole number of 1 or more.
pub(crate) fn positive<T: FromStr + Default + PartialEq + Clone + Send + Sync + 'static>()
-> impl TypedValueParser<Value = T> {
    let number = |text: &str| text.parse().ok().filter(|number| *number != T::default());
    clap::builder::NonEmptyStringValueParser::new().try_map(move |text: String| {
        number(&text).ok_or_else(|| "expected a whole number of 1 or more".to_owned())
    })
}

/// Parses a number that is finite, in a range: `0.0..` or `0.0..1.0`.
pub(crate) fn number<T>(text: &str, range: impl RangeBounds<T>, expected: &str) -> Result<T, String>
where
    T: FromStr + PartialOrd + Copy + Into<f64>,
{
    let number = text.parse::<T>().ok();
    let number = number.filter(|number| (*number).into().is_finite() && range.contains(number));
    number.ok_or_else(|| format!("expected {expected}"))
}

/// Refuses a name that no device can have.
pub(crate) fn check_device(option: &str, name: &str) -> Result<()> {
    let known = matches!(name, "auto" | "cpu" | "gpu")
        || name.strip_prefix("gpu:").is_some_and(|which| !which.trim().is_empty());
    match known {
        true => Ok(()),
        false => Err(Error::Usage(format!(
            "invalid value '{name}' for '{option}': expected auto, cpu, gpu, gpu:N or gpu:NAME"
        ))),
    }
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: one JSON object a line.
    Json,
    /// What ccv's classifier prints (`classify` only): `id confidence id confidence …`, ids from 1.
    Ccv,
}

/// Precisions that weights and activations can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Precision {
    /// Single precision, 4 bytes a number.
    F32,
    /// Half precision, 2 bytes a number.
    F16,
}

/// The precision of a run.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ComputeArgs {
    /// Keep activations in this precision between layers, and read weights in it. f16 takes half the
    /// memory; its outputs are within a hundredth of the largest one of those of f32.
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t = Precision::F32)]
    pub(crate) precision: Precision,
}

impl ComputeArgs {
    /// A network that computes so.
    pub(crate) fn applied(&self, network: Network) -> Result<Network> {
        Ok(network.with_precision(self.precision.into())?)
    }

    /// A model that classifies, and computes so.
    pub(crate) fn applied_to_any(&self, model: AnyModel) -> Result<AnyModel> {
        Ok(match model {
            AnyModel::Network(network) => self.applied(network)?.into(),
            AnyModel::Onnx(model) => model.with_precision(self.precision.into())?.into(),
        })
    }

    /// Whether activations are kept in f16.
    pub(crate) fn is_half(&self) -> bool {
        self.precision == Precision::F16
    }
}

impl From<Precision> for DType {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
        }
    }
}

/// Parses a crop protocol; help and completions list all of them.
pub(crate) fn protocol_parser() -> impl TypedValueParser<Value = Protocol> {
    let values = Protocol::all()
        .map(|protocol| PossibleValue::new(protocol.name()).help(protocol.description()));
    PossibleValuesParser::new(values).try_map(|name| name.parse::<Protocol>())
}
