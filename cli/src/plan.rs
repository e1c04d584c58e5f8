//! `striate plan`.

mod quantity;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use striate::nn::{Method, NetworkSpec};
use striate::train::parallel::Parallel;
use striate::train::plan::{Link, Machine, Plan, Prediction};
use striate::train::{Clip, TrainOptions};

use crate::args::{Format, Global};
use crate::error::{Error, Result};
use crate::model;
use crate::output::{self, Output, bytes, grouped};
use crate::train::Scheme;
use quantity::{Devices, counts, duration, prefixed, rate, size};

/// Options of `striate plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is computed: a step is played through on paper, as the devices of `striate train` do it.
Bytes are those that a device of a real training sends, with a shard of the mini-batch on each.
Times are a bound, of devices that are as fast as one alone and do not disturb each other: ccv's
0.909 s of MattNet on four cards are 0.85 s here.

  step          all of it: computation and what of communication it does not hide (exposed)
  sent          by a device to all others
  memory        of a device: weights, momenta, gradients, activations; without workspaces
  speedup       samples a second, beside one device with as many samples as each has
  efficiency    the speedup, divided by the devices
  best          the faster scheme that fits --memory

Without --batch or --mini-batch, each row has its best batch: of 1, 2, 4 … 1024 samples a device
that fit --memory, the fewest that reach 99 % of the best throughput. (Without
--bandwidth the arithmetic of a few samples is as fast as that of many: only communication asks
for more.)

--flops is what a device reaches in training, not what its data sheet promises: about what
`striate bench MODEL --pass step` says of one that is there. --one-device says it by a step that
was measured.

Links, by device and direction:
  1GbE      0.118 GB/s, 50 us   TCP         PCIe3x16  12 GB/s, 10 us    copies through the host
  10GbE     1.18 GB/s, 25 us    TCP         PCIe4x16  24 GB/s, 10 us    the same
  25GbE     2.95 GB/s, 20 us    TCP         NVLink    240 GB/s, 5 us    third generation
  100GbE    11.5 GB/s, 5 us     RDMA        or one's own: 3.5GB/s,12us

Examples:
  striate plan --model vgg-d --devices 4..1024 --link 100GbE --flops 4.5T --batch 32
  striate plan --model vgg-d --devices 8 --link NVLink --flops 9T --bandwidth 900G --memory 16G
  striate plan --model mattnet --devices 1,2,4 --link PCIe3x16 --one-device 0.845s --batch 128
  striate plan --model my-network.json --devices 2..16 --link 10GbE --flops 500G --mini-batch 256 \\
      --format json")]
pub(crate) struct PlanArgs {
    /// The network: the name of one that is known, a JSON specification, or a model file whose
    /// layers are meant.
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Numbers of devices: `8`, `1,2,3`, or `4..1024`, which doubles from 4 as far as 1024.
    #[arg(long, value_name = "N|A..B|N,N", value_parser = counts)]
    devices: Devices,
    /// What connects each device with the others: a name (below), or BANDWIDTHGB/s[,LATENCYus].
    #[arg(long, value_name = "LINK")]
    link: Link,
    /// Arithmetic operations a second that a device reaches: `4.5T`, `500G`.
    #[arg(long, value_name = "RATE", value_parser = rate, required_unless_present = "one_device")]
    flops: Option<f64>,
    /// In place of --flops: what a step of --batch samples takes on one device, `0.845s` or `291ms`.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration,
        requires = "batch",
        conflicts_with_all = ["flops", "bandwidth"]
    )]
    one_device: Option<f64>,
    /// Samples of each device [default: the best].
    #[arg(long, value_name = "N", conflicts_with = "mini_batch")]
    batch: Option<u64>,
    /// Samples of all devices together.
    #[arg(long, value_name = "N")]
    mini_batch: Option<u64>,
    /// How the training is spread over devices [default: both, and which is better].
    #[arg(long, value_enum)]
    parallel: Option<Scheme>,
    /// Hybrid: pieces in which activations travel [default: as many as devices].
    #[arg(long, value_name = "N")]
    pieces: Option<u64>,
    /// The optimizer, whose state counts among the memory; a plain name as `striate train` has it
    /// [default: sgd].
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Method::NAMES))]
    optimizer: Option<String>,
    /// Count an average of the weights among the memory.
    #[arg(long)]
    ema: bool,
    /// Count all gradients at once among the memory, as a bound of their norm needs them.
    #[arg(long)]
    clip_norm: bool,
    /// Bytes a second of a device's memory, `900G`: no op takes less than reading and writing
    /// [default: without end].
    #[arg(long, value_name = "RATE", value_parser = rate)]
    bandwidth: Option<f64>,
    /// Bytes of a device's memory, `16G`: what does not fit is never the best.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
}

/// A prediction as a line of JSON.
#[derive(Serialize)]
struct Row<'a> {
    model: &'a str,
    parallel: Parallel,
    devices: u64,
    batch: u64,
    mini_batch: u64,
    link: &'a str,
    flops: f64,
    step_ms: f64,
    computation_ms: f64,
    exposed_ms: f64,
    collectives_ms: f64,
    sent_bytes: u64,
    messages: u64,
    images_per_second: f64,
    speedup: f64,
    efficiency: f64,
    memory_bytes: u64,
    fits: bool,
    best: bool,
}

/// Prints what training would take.
pub(crate) fn run(args: &PlanArgs, global: &Global, output: &mut Output) -> Result<()> {
    let (spec, _) = model::spec(&args.model)?;
    let plan = args.plan(&spec)?;
    // All rows before the first is printed: wrong usage has nothing on stdout.
    let rows = args.devices.0.iter().map(|&devices| args.rows(&plan, devices, output));
    let rows = rows.collect::<Result<Vec<_>>>()?.concat();
    if global.format == Format::Table {
        facts(&plan, &args.model, output)?;
        return table(&rows, output);
    }
    for (step, best) in &rows {
        output.json(&Row {
            model: &args.model,
            parallel: step.parallel,
            devices: step.ranks,
            batch: step.batch,
            mini_batch: step.mini_batch,
            link: &plan.link().name,
            flops: plan.machine().flops,
            step_ms: step.step * 1e3,
            computation_ms: step.computation * 1e3,
            exposed_ms: step.exposed * 1e3,
            collectives_ms: step.collectives * 1e3,
            sent_bytes: step.bytes,
            messages: step.messages,
            images_per_second: step.samples_per_second(),
            speedup: step.speedup,
            efficiency: step.efficiency(),
            memory_bytes: step.memory,
            fits: step.fits,
            best: *best,
        })?;
    }
    Ok(())
}

impl PlanArgs {
    fn plan(&self, spec: &NetworkSpec) -> Result<Plan> {
        let machine = match (self.one_device, self.batch, self.flops) {
            (Some(seconds), Some(batch), _) => Machine::measured(spec, batch, seconds),
            (.., Some(flops)) => Machine::new(flops),
            _ => return Err(Error::Usage("expected --flops, or --one-device and --batch".into())),
        };
        let mut machine = machine.map_err(usage)?;
        if let Some(bandwidth) = self.bandwidth {
            machine = machine.with_bandwidth(bandwidth).map_err(usage)?;
        }
        if let Some(memory) = self.memory {
            machine = machine.with_memory(memory);
        }
        let method = self.optimizer.as_deref().and_then(Method::by_name).unwrap_or_default();
        let options = TrainOptions {
            ema: self.ema.then_some(0.0),
            clip: self.clip_norm.then_some(Clip::Norm { most: 1.0 }),
            ..TrainOptions::default().with_optimizer(method)
        };
        let plan = Plan::new(spec, machine, self.link.clone()).map_err(usage)?;
        let plan = plan.with_options(&options);
        match self.pieces {
            Some(pieces) => plan.with_pieces(pieces).map_err(usage),
            None => Ok(plan),
        }
    }

    /// What is possible on so many devices, and whether it is the best of that.
    fn rows(&self, plan: &Plan, devices: u64, output: &Output) -> Result<Vec<(Prediction, bool)>> {
        let schemes = match self.parallel {
            Some(scheme) => vec![scheme.into()],
            // The same on one.
            None if devices == 1 => vec![Parallel::Data],
            None => vec![Parallel::Data, Parallel::Hybrid],
        };
        let mut steps = Vec::new();
        let mut refused = Vec::new();
        for parallel in schemes {
            match plan.check(parallel, devices) {
                Ok(()) => steps.push(self.step(plan, parallel, devices).map_err(usage)?),
                Err(error) => refused.push(error.to_string()),
            }
        }
        let Some(best) = best_of(&steps) else {
            return Err(Error::Usage(refused.join("; ")));
        };
        for reason in refused {
            output.note(&format!("{devices} devices: {reason}"));
        }
        let is_best = |step: &Prediction| step.fits && step == best;
        Ok(steps.iter().map(|step| (*step, is_best(step))).collect())
    }

    fn step(
        &self,
        plan: &Plan,
        parallel: Parallel,
        devices: u64,
    ) -> striate::train::Result<Prediction> {
        match (self.batch, self.mini_batch) {
            (Some(batch), _) => plan.step(parallel, devices, devices.saturating_mul(batch)),
            (None, Some(mini_batch)) => plan.step(parallel, devices, mini_batch),
            (None, None) => plan.best_batch(parallel, devices),
        }
    }
}

/// The one that is to be preferred.
fn best_of(steps: &[Prediction]) -> Option<&Prediction> {
    steps.iter().reduce(|best, step| if step.beats(best) { step } else { best })
}

/// A plan that makes no sense is a command line that makes none.
fn usage(error: striate::train::Error) -> Error {
    match error {
        striate::train::Error::Plan { .. } => Error::Usage(error.to_string()),
        other => other.into(),
    }
}

/// What the plan is of.
fn facts(plan: &Plan, model: &str, output: &mut Output) -> Result<()> {
    let (machine, link) = (plan.machine(), plan.link());
    let mut device = format!("{}FLOP/s", prefixed(machine.flops));
    if let Some(bandwidth) = machine.bandwidth {
        device += &format!(", {}B/s of memory", prefixed(bandwidth));
    }
    if let Some(memory) = machine.memory {
        device += &format!(", {}", bytes(memory));
    }
    let (parameters, flops) = (grouped(plan.parameters()), plan.flops() / 1e9);
    output.line(&format!(
        "network  {model}: {parameters} parameters, {flops:.3} GFLOP a sample and step"
    ))?;
    output.line(&format!("device   {device}"))?;
    let (rate, latency) = (prefixed(link.bandwidth), link.latency * 1e6);
    output.line(&format!("link     {link}: {rate}B/s, {latency:.1} us"))?;
    output.line("")
}

fn table(rows: &[(Prediction, bool)], output: &mut Output) -> Result<()> {
    let heads = [
        "devices",
        "scheme",
        "batch",
        "step ms",
        "computation",
        "exposed",
        "sent MB",
        "memory",
        "images/s",
        "speedup",
        "efficiency",
        "",
    ];
    let mut table = output::table(&heads, &[0, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    let ms = |seconds: f64| format!("{:.2}", seconds * 1e3);
    for (step, best) in rows {
        let mark = match (step.fits, best) {
            (false, _) => "does not fit",
            (true, true) => "best",
            (true, false) => "",
        };
        table.add_row([
            step.ranks.to_string(),
            scheme(step.parallel).to_owned(),
            step.batch.to_string(),
            ms(step.step),
            ms(step.computation),
            ms(step.exposed),
            format!("{:.2}", step.bytes as f64 / 1e6),
            bytes(step.memory),
            format!("{:.1}", step.samples_per_second()),
            format!("{:.2}", step.speedup),
            format!("{:.1} %", step.efficiency() * 100.0),
            mark.to_owned(),
        ]);
    }
    output.table(&table)?;
    if rows.iter().all(|(step, _)| !step.fits) {
        output.note(
            "nothing fits the memory: fewer samples a device, more devices or hybrid need less",
        );
    }
    Ok(())
}

fn scheme(parallel: Parallel) -> &'static str {
    match parallel {
        Parallel::Data => "data",
        Parallel::Hybrid => "hybrid",
    }
}
