//! `striate tune`.

use std::num::NonZeroUsize;

use clap::Args;

use crate::args::{Global, Precision, batch};
use crate::error::Result;
use crate::output::Output;

/// Options of `striate tune`.
#[derive(Debug, Args)]
#[command(after_help = "\
A graphics processor computes a convolution or a matrix product by one of several kernels. Which one
is best for a shape is estimated from a table; `tune` measures it on yours, and keeps the winners in
a file of your cache folder, which every later command reads. They hold for this adapter, driver and
version of striate: after a change of one of them the table decides again, until you tune again.
Deleting the file does no harm.

A shape is that of a layer at a batch: tune with the --batch that you compute with. Results may
differ in their last bits from one kernel to another, as sums are taken in another order.

Each case is kept as soon as it is measured. After an interruption (Ctrl-C) the same command
resumes; known cases are measured again only with --force.

Examples:
  striate tune                              AlexNet, MattNet and VGG-D, at batch 1
  striate tune vgg-d.sqlite3 --batch 8      the layers of a model file, in its precision
  striate tune conv2d/vgg-d/4_2 --force     one layer, again
  striate tune alexnet --device gpu:1 --format json")]
pub(crate) struct TuneArgs {
    /// What to tune for: models by name, model files, JSON specifications (.json), ops (`conv2d`), cases
    /// (`conv2d/vgg-d/4_2`; see 'striate bench --list') [default: alexnet, mattnet, vgg-d].
    #[arg(value_name = "OP|MODEL|FILE")]
    targets: Vec<String>,
    /// Images at once.
    #[arg(long, default_value = "1", value_name = "N", value_parser = batch)]
    batch: NonZeroUsize,
    /// The precision of the weights [default: f32; of a file as they are stored].
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Measure known cases again.
    #[arg(long)]
    force: bool,
}

#[cfg(not(feature = "gpu"))]
pub(crate) fn run(_: &TuneArgs, _: &Global, _: &mut Output) -> Result<()> {
    Err(crate::error::Error::message("this build is without the feature `gpu`: nothing to tune"))
}

/// Measures, tells each case as it is done, and all of them at the end.
#[cfg(feature = "gpu")]
pub(crate) fn run(args: &TuneArgs, global: &Global, output: &mut Output) -> Result<()> {
    gpu::run(args, global, output)
}

#[cfg(feature = "gpu")]
mod gpu {
    use std::path::Path;

    use serde::Serialize;
    use striate::ops_wgsl::{Candidate, Clock, Options, TuneCase, Tuned, Wgpu};
    use striate::tensor::{Backend, DType, Op};

    use super::TuneArgs;
    use crate::args::{Format, Global};
    use crate::cases::{self, OpCase, USUAL_MODELS};
    use crate::error::{Error, Result};
    use crate::inputs;
    use crate::model::Unweighted;
    use crate::output::{self, Output};
    use crate::progress::Progress;

    /// A case as one line of JSON.
    #[derive(Serialize)]
    struct Line<'a> {
        name: &'a str,
        device: &'a str,
        clock: &'static str,
        /// Whether it was measured now; else the figures are those of the last time.
        measured: bool,
        default: &'a str,
        default_ms: f64,
        winner: &'a str,
        winner_ms: f64,
        /// The default's time over the winner's.
        gain: f64,
        tried: Vec<Kernel>,
    }

    #[derive(Serialize)]
    struct Kernel {
        kernel: String,
        ms: f64,
    }

    pub(super) fn run(args: &TuneArgs, global: &Global, output: &mut Output) -> Result<()> {
        if global.device == "cpu" {
            return Err(Error::Usage("'striate tune' measures a GPU, not '--device cpu'".into()));
        }
        let cases = targets(args)?;
        // A software adapter is better than none here, whose only use is to measure it.
        let device = if global.device == "auto" { "gpu" } else { &global.device };
        let choice = device.parse()?;
        let gpu = Wgpu::new(&choice, Options::default())?;
        let mut tuner = gpu.tuner()?;
        let info = gpu.info();
        let clock = match tuner.clock() {
            Clock::Gpu => "gpu",
            Clock::Wall => "wall",
        };

        let mut progress = Progress::new(cases.len(), output.quiet());
        let mut done: Vec<(OpCase, Tuned)> = Vec::new();
        for case in cases {
            let wanted = TuneCase { op: case.op.clone(), inputs: case.inputs.clone() };
            if let Some(tuned) = tuner.tune(&wanted, args.force)? {
                if output.format() == Format::Json {
                    progress.suspend(|| line(&case.name, &info.name, clock, &tuned, output))?;
                }
                done.push((case, tuned));
            }
            progress.advance(1);
        }
        drop(progress);
        if output.format() == Format::Json {
            return Ok(());
        }
        let by = match tuner.clock() {
            Clock::Gpu => "the GPU's clock",
            Clock::Wall => "the host's clock: the GPU has none",
        };
        output.line(&format!("{}: {}, timed by {by}", info.name, info.description))?;
        output.line("")?;
        table(&done, output)?;
        output.line("")?;
        let measured = done.iter().filter(|(_, tuned)| !tuned.tried.is_empty()).count();
        let known = done.len() - measured;
        let kept = match tuner.file() {
            Some(file) => format!("kept in {}", file.display()),
            None => "kept nowhere: there is no cache folder".into(),
        };
        output.done(&format!("{measured} measured, {known} known before (see --force); {kept}"))
    }

    /// Milliseconds as they are told: what follows is noise.
    fn ms(milliseconds: f64) -> f64 {
        (milliseconds * 1e4).round() / 1e4
    }

    fn gain(tuned: &Tuned) -> f64 {
        let ratio = tuned.usual.milliseconds / tuned.winner.milliseconds;
        // A clock may be too coarse for what takes no time at all.
        if ratio.is_finite() { ratio } else { 1.0 }
    }

    fn line(
        name: &str,
        device: &str,
        clock: &'static str,
        tuned: &Tuned,
        output: &mut Output,
    ) -> Result<()> {
        let kernel = |Candidate { algorithm, milliseconds }: &Candidate| Kernel {
            kernel: algorithm.clone(),
            ms: ms(*milliseconds),
        };
        output.json(&Line {
            name,
            device,
            clock,
            measured: !tuned.tried.is_empty(),
            default: &tuned.usual.algorithm,
            default_ms: ms(tuned.usual.milliseconds),
            winner: &tuned.winner.algorithm,
            winner_ms: ms(tuned.winner.milliseconds),
            gain: ms(gain(tuned)),
            tried: tuned.tried.iter().map(kernel).collect(),
        })?;
        // What is kept is told, too, if this is interrupted.
        output.flush()
    }

    fn table(done: &[(OpCase, Tuned)], output: &mut Output) -> Result<()> {
        let heads = ["case", "default", "ms", "winner", "ms", "gain", ""];
        let mut table = output::table(&heads, &[2, 4, 5]);
        for (case, tuned) in done {
            let number = |one: &Candidate| format!("{:.3}", one.milliseconds);
            table.add_row([
                case.name.as_str(),
                &tuned.usual.algorithm,
                &number(&tuned.usual),
                &tuned.winner.algorithm,
                &number(&tuned.winner),
                &format!("{:.2}x", gain(tuned)),
                if tuned.tried.is_empty() { "known" } else { "" },
            ]);
        }
        output.table(&table)
    }

    /// The convolutions and products that the arguments mean, each shape once.
    fn targets(args: &TuneArgs) -> Result<Vec<OpCase>> {
        let batch = args.batch.get();
        let dtype = args.dtype.map(DType::from);
        let names: Vec<&str> = match args.targets.is_empty() {
            true => USUAL_MODELS.into(),
            false => args.targets.iter().map(String::as_str).collect(),
        };
        let mut all: Vec<OpCase> = Vec::new();
        for name in names {
            let path = Path::new(name);
            let plain = dtype.unwrap_or(DType::F32);
            let mut found = cases::find(name, batch, plain)?;
            if let Some(case) = found.first() {
                if !found.iter().any(has_choice) {
                    return Err(Error::Usage(format!(
                        "'{name}': there is one kernel for {}; conv2d and matmul can be tuned",
                        case.op.name()
                    )));
                }
            } else if let Some(model) = striate::models::find(name) {
                cases::of_network(&model.spec(), batch, |_| plain, &mut found)?;
            } else if let Some(fresh) = Unweighted::find(path)? {
                cases::of_network(&fresh.spec(), batch, |_| plain, &mut found)?;
            } else if inputs::is_model(path) {
                let inspection = inputs::model(path)?.inspect()?;
                let stored = |layer: usize| {
                    let stored = inspection.layers.get(layer).and_then(Option::as_ref);
                    dtype.or(stored.map(|stored| stored.weight_dtype)).unwrap_or(DType::F32)
                };
                cases::of_network(&inspection.spec, batch, stored, &mut found)?;
            } else {
                return Err(cases::unknown(name));
            }
            for case in found.into_iter().filter(has_choice) {
                if !all.iter().any(|other| other.same_work(&case)) {
                    all.push(case);
                }
            }
        }
        Ok(all)
    }

    fn has_choice(case: &OpCase) -> bool {
        matches!(case.op, Op::Conv2d(_) | Op::MatMul(_))
    }
}
