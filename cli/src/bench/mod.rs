//! `striate bench`.

mod against;
mod clock;
mod history;
mod measure;
mod models;
mod ops;
mod report;
mod roofline;
mod trace;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use striate::models::Model;
use striate::nn::NetworkSpec;
use striate::tensor::ops::Algorithm;
use striate::tensor::{DType, Device, DeviceInfo};

use crate::args::{ComputeArgs, FileArgs, Format, Global, Precision, batch};
use crate::cases::{self, OpCase};
use crate::error::{Error, Result};
use crate::inputs;
use crate::model::Unweighted;
use crate::output::{self, Output};
use crate::outputs::Files;

use against::Against;
use clock::Clock;
use history::History;
use report::Report;
use roofline::Roofline;
use trace::Trace;

/// Options of `striate bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
A case is an op at the shape of a layer of a classic network, such as conv2d/vgg-d/4_2: the second
convolution after the third pooling. Models by name and specifications get fresh weights. The
roofline (what the machine can do at most: multiply-adds a second, bytes read from memory a
second) is measured in the same run; the share is that of the time which it allows. What fits
into a cache can beat it, and so can Winograd's convolutions: products are counted as the
definition has them.
A GPU's times are those of its own clock, from the beginning to the end of each shader, where it has
one, else wall time; `clock` in JSON says which, and wall time is told beside it.
The algorithm is that which the device chooses for the op or layer. Winograd's transformed weights
are kept (near) or, where they are large, made anew in each pass (far); of a GPU the names are those
of `striate tune`.

A file for --against holds objects of JSON, one a line or in an array. One for any engine has
  name, min_ms, median_ms   a case or a model, and the milliseconds that it takes
  engine                    whose they are [default: an earlier run of striate]
  pass, batch, threads      of what [default: forward, 1, any number]
  device, dtype             told where they are not ours
so that what `striate bench --format json` writes is such a file. Two more kinds are read, in
seconds:
  kind \"speed\"  model, engine, threads; of one image one.min and one.median, of `batch` many.min and
                many.median [batch: 16 of alexnet and mattnet, 8 of vgg_d]
  kind \"train\"  model, threads, min and median of a step, engine, format and lrn
                [engine: torch; batch: 32 of alexnet, 16 of mattnet, 4 of vgg_d]
Of several for one case the last counts. Other objects are skipped. A ratio is our time by theirs:
below 1, ours is shorter. The engine with the shortest minimum comes last. In JSON a case has them
as `against`: engine, min_ms, median_ms, ratio_min, ratio_median.

A trace shows one more run of each model: the pass, its layers (of a forward pass; each from the end
of the one before, so that they add up to the pass), and its ops, with their operands, GFLOP/s and
algorithm. A GPU is waited for after each op then, so that such a pass takes longer. What the CPU
computes in one pass over memory, such as MobileNet's blocks, runs op by op in it, too.

Examples:
  striate bench vgg-d --layers              where the time of a network goes
  striate bench conv2d                      all convolutions of AlexNet, MattNet and VGG-D
  striate bench conv2d/vgg-d/4_2 matmul --batch 8 --threads 1
  striate bench vgg-d.sqlite3 --dtype f16 --repeat 20 --format json
  striate bench alexnet --pass step --batch 32
  striate bench alexnet vgg-d --against peers.json
  striate bench resnet50 --history times.jsonl
  striate bench my-network.json --layers    a network of one's own, before it is trained
  striate bench resnet50 --trace resnet50.json
  striate bench conv2d/mobilenet_v2         the convolutions of any network
  striate bench --list                      names of models, and of the usual cases")]
pub(crate) struct BenchArgs {
    /// What to time: ops (`conv2d`), cases (`conv2d/vgg-d`, `conv2d/vgg-d/4_2`), models by name,
    /// model files, JSON specifications (.json) [default: all ops].
    #[arg(value_name = "OP|MODEL|FILE")]
    targets: Vec<String>,
    /// What of it.
    #[arg(long, value_enum, default_value_t = Pass::Forward)]
    pass: Pass,
    /// Images at once.
    #[arg(long, default_value = "1", value_name = "N", value_parser = batch)]
    batch: NonZeroUsize,
    /// How often each case runs [default: at least 5 times, and for a second].
    #[arg(long, value_name = "N")]
    repeat: Option<NonZeroUsize>,
    /// Time the layers of models one by one.
    #[arg(long, requires = "targets")]
    layers: bool,
    /// Compute the convolutions of models as they are defined, without Winograd's faster form.
    #[arg(long, requires = "targets")]
    direct: bool,
    /// Hold the weights in this precision [default: f32; of a file as they are stored].
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(flatten)]
    files: FileArgs,
    /// Print the names of what can be timed, and time nothing.
    #[arg(long, conflicts_with = "targets")]
    list: bool,
    /// Set the times beside those in this file: of other engines, or of an earlier run.
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    against: Option<PathBuf>,
    /// Keep the times in this file (lines of JSON), and set them beside the last ones of this machine
    /// there.
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    history: Option<PathBuf>,
    /// What the history calls this build [default: the commit that is checked out here, else the
    /// version].
    #[arg(long, value_name = "NAME", requires = "history")]
    label: Option<String>,
    /// Run each model once more, and write when its layers and ops ran into this file, for Perfetto or
    /// Chrome.
    #[arg(long, value_name = "OUT.json", requires = "targets")]
    trace: Option<PathBuf>,
}

/// What of a network is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pass {
    /// From the input to the logits.
    Forward,
    /// A step of training: forward with dropout, loss, backward, update by momentum.
    Step,
}

impl Pass {
    fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Step => "step",
        }
    }
}

/// What is to be timed.
enum Target {
    Op(OpCase),
    Model(&'static Model),
    /// The path of a specification as it was given, which is the case's name, and what is in it.
    Specification(String, Box<NetworkSpec>),
    /// As above, of a model file.
    File(String),
}

impl Target {
    fn name(&self) -> &str {
        match self {
            Target::Op(case) => &case.name,
            Target::Model(model) => model.name,
            Target::Specification(name, _) | Target::File(name) => name,
        }
    }
}

/// What all cases of a run share.
struct Bench<'a> {
    device: Device,
    info: DeviceInfo,
    clock: Clock,
    seed: u64,
    batch: usize,
    repeat: Option<usize>,
    dtype: Option<DType>,
    compute: ComputeArgs,
    /// What of files is read.
    files: FileArgs,
    layers: bool,
    /// How convolutions are computed.
    algorithm: Algorithm,
    pass: Pass,
    roofline: Roofline,
    report: Report,
    trace: Option<Trace>,
    output: &'a mut Output,
}

/// Times, and tells each case as it is done.
pub(crate) fn run(args: &BenchArgs, global: &Global, output: &mut Output) -> Result<()> {
    if args.list {
        return list(output);
    }
    let batch = args.batch.get();
    let targets = targets(args)?;
    if args.pass == Pass::Step {
        check_step(args, &targets)?;
    }
    if let Some(op) = targets.iter().find(|target| matches!(target, Target::Op(_)))
        && args.compute.is_half()
    {
        let text = format!("'--precision' is for models, and '{}' is an op: --dtype", op.name());
        return Err(Error::Usage(text));
    }
    let trace = trace(args, &targets)?;
    let against = args.against.as_deref().map(Against::read).transpose()?;
    let opened = global.open(true)?;
    let clock = Clock::of(&opened);
    let device = match &trace {
        Some(trace) => trace.device(opened.device),
        None => opened.device,
    };
    let info = device.info();
    let threads = roofline::threads(&info);
    let roofline = roofline::measure(&device, threads, &clock)?;
    let names = targets.iter().map(Target::name);
    let ops = targets.iter().any(|target| matches!(target, Target::Op(_)));
    let mut report = Report::new(output.format(), names, ops, args.layers, against);
    if let Some(path) = &args.history {
        report.with_history(History::open(path, args.label.as_deref(), &info, threads)?)?;
    }
    let mut bench = Bench {
        device,
        info,
        clock,
        seed: global.seed.unwrap_or(1),
        batch,
        repeat: args.repeat.map(NonZeroUsize::get),
        dtype: args.dtype.map(Into::into),
        compute: args.compute,
        files: args.files.clone(),
        layers: args.layers,
        algorithm: if args.direct { Algorithm::Direct } else { Algorithm::Auto },
        pass: args.pass,
        roofline,
        report,
        trace,
        output,
    };
    bench.report.begin(&bench.info, threads, &bench.clock, &bench.roofline, bench.output)?;
    for target in targets {
        match target {
            Target::Op(case) => ops::time(&mut bench, &case)?,
            Target::Model(model) => models::time_fresh(&mut bench, model.name, &model.spec())?,
            Target::Specification(name, spec) => models::time_fresh(&mut bench, &name, &spec)?,
            Target::File(name) => models::time_file(&mut bench, &name)?,
        }
    }
    bench.report.end(bench.output)?;
    bench.trace.map_or(Ok(()), |trace| trace.write())
}

/// The trace that is asked for, where it overwrites nothing that is read.
fn trace(args: &BenchArgs, targets: &[Target]) -> Result<Option<Trace>> {
    let mut files = Files::default();
    for target in targets {
        if let Target::File(path) | Target::Specification(path, _) = target {
            files.reads("the model", Path::new(path));
        }
    }
    files.reads("--against", args.against.as_deref());
    files.writes("--history", args.history.as_deref());
    files.writes("--trace", args.trace.as_deref());
    files.check()?;
    if let Some(op) = targets.iter().find(|target| matches!(target, Target::Op(_)))
        && args.trace.is_some()
    {
        let text = format!("'--trace' is for models, and '{}' is an op", op.name());
        return Err(Error::Usage(text));
    }
    args.trace.as_deref().map(Trace::new).transpose()
}

/// Refuses what there is no step of training for.
fn check_step(args: &BenchArgs, targets: &[Target]) -> Result<()> {
    if args.layers {
        return Err(Error::Usage("'--layers' is for '--pass forward'".into()));
    }
    if args.dtype == Some(Precision::F16) {
        return Err(Error::Usage("'--pass step' has f32 weights, not f16".into()));
    }
    if args.compute.is_half() {
        return Err(Error::Usage("'--precision f16' is for '--pass forward'".into()));
    }
    match targets.iter().find(|target| matches!(target, Target::Op(_))) {
        Some(op) => {
            let text = format!("'--pass step' is for models, and '{}' is an op", op.name());
            Err(Error::Usage(text))
        }
        None => Ok(()),
    }
}

/// What the arguments mean.
fn targets(args: &BenchArgs) -> Result<Vec<Target>> {
    let batch = args.batch.get();
    let dtype = args.dtype.map_or(DType::F32, Into::into);
    let mut targets = Vec::new();
    if args.targets.is_empty() {
        targets.extend(cases::usual(batch, dtype)?.into_iter().map(Target::Op));
    }
    for name in &args.targets {
        let path = Path::new(name);
        let found = cases::find(name, batch, dtype)?;
        if !found.is_empty() {
            if args.layers {
                let text = format!("'--layers' is for models, and '{name}' is an op");
                return Err(Error::Usage(text));
            }
            targets.extend(found.into_iter().map(Target::Op));
        } else if let Some(model) = striate::models::find(name) {
            targets.push(Target::Model(model));
        } else if let Some(fresh) = Unweighted::find(path)? {
            targets.push(Target::Specification(name.clone(), Box::new(fresh.spec())));
        } else if inputs::is_model(path) {
            targets.push(Target::File(name.clone()));
        } else {
            return Err(cases::unknown(name));
        }
    }
    Ok(targets)
}

/// The names of all cases and models.
fn list(output: &mut Output) -> Result<()> {
    let cases = cases::all(1, DType::F32)?;
    if output.format() == Format::Json {
        for case in &cases {
            output.json(&serde_json::json!({ "name": case.name, "operands": case.operands() }))?;
        }
        for model in striate::models::all() {
            let json = serde_json::json!({ "name": model.name, "description": model.description });
            output.json(&json)?;
        }
        return Ok(());
    }
    let mut table = output::table(&["name", "operands or description"], &[]);
    for model in striate::models::all() {
        table.add_row([model.name, model.description]);
    }
    for case in &cases {
        table.add_row([&case.name, &case.operands()]);
    }
    output.table(&table)
}
