//! A case as a row of a table or a line of JSON.

use serde::Serialize;
use striate::tensor::{DType, DeviceInfo};

use super::Pass;
use super::against::{Against, Compared, Ours};
use super::clock::{Clock, Traffic};
use super::history::History;
use super::measure::Times;
use super::roofline::Roofline;
use crate::args::Format;
use crate::error::Result;
use crate::output::{self, Output};

/// Characters of the column of names at least.
const NAME_CHARS: usize = 24;

/// Characters of the column of algorithms: `Winograd F(4×4, 3×3), near`.
const ALGORITHM_CHARS: usize = 26;

/// Characters that the longest name of a layer adds to that of its network.
const LAYER_CHARS: usize = "/00:full-connect".len();

/// What a case is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject<'a> {
    Op,
    Layer,
    /// A whole network, and the name that it has by itself: a case is named by its file, if any.
    Network(&'a str),
}

/// What was timed.
pub(super) struct Case<'a> {
    pub(super) name: &'a str,
    pub(super) subject: Subject<'a>,
    /// More about it, for people.
    pub(super) detail: &'a str,
    /// How the device computes it, where it has several ways.
    pub(super) algorithm: Option<&'a str>,
    pub(super) pass: Pass,
    pub(super) batch: usize,
    /// The precision of the weights, where there are weights of one precision.
    pub(super) dtype: Option<DType>,
    pub(super) times: &'a Times,
    pub(super) flops: f64,
    pub(super) bytes: f64,
    /// The seconds that the roofline allows.
    pub(super) ideal: f64,
    pub(super) peak_bytes: Option<u64>,
    /// What a run asks of a graphics processor.
    pub(super) traffic: Option<Traffic>,
}

/// A case as one line of JSON. Scripts depend on the names up to `peak_bytes`.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    pass: &'static str,
    device: &'a str,
    batch: usize,
    threads: usize,
    repeats: usize,
    median_ms: f64,
    min_ms: f64,
    gflops: f64,
    peak_bytes: Option<u64>,
    dtype: Option<&'static str>,
    algorithm: Option<&'a str>,
    gbytes_per_s: f64,
    roofline_share: f64,
    roofline_gflops: f64,
    roofline_gbytes_per_s: f64,
    clock: &'static str,
    wall_median_ms: f64,
    submissions: Option<u64>,
    dispatches: Option<u64>,
    waits: Option<u64>,
    allocations: Option<u64>,
    bytes_uploaded: Option<u64>,
    bytes_bound: Option<u64>,
    bytes_moved: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<&'a [Compared]>,
}

/// How cases are told.
pub(super) struct Report {
    format: Format,
    name_chars: usize,
    /// Ops or layers are told, which have algorithms.
    parts: bool,
    device: String,
    threads: usize,
    clock: &'static str,
    roofline: Option<Roofline>,
    against: Option<Against>,
    history: Option<History>,
}

impl Report {
    /// For cases of these names, with or without ops and layers. Rows come one by one while the
    /// work goes on, so that the column's width has to be known before.
    pub(super) fn new<'n>(
        format: Format,
        names: impl Iterator<Item = &'n str>,
        ops: bool,
        layers: bool,
        against: Option<Against>,
    ) -> Self {
        let longest = names.map(|name| name.chars().count()).max().unwrap_or(0);
        let name_chars = NAME_CHARS.max(longest + if layers { LAYER_CHARS } else { 0 });
        Report {
            format,
            name_chars,
            parts: ops || layers,
            device: String::new(),
            threads: 0,
            clock: "wall",
            roofline: None,
            against,
            history: None,
        }
    }

    /// Sets the times beside those of earlier builds, and keeps them.
    pub(super) fn with_history(&mut self, history: History) -> Result<()> {
        self.against.get_or_insert_default().add_builds(&history.earlier()?)?;
        self.history = Some(history);
        Ok(())
    }

    /// Tells of the machine, before any case.
    pub(super) fn begin(
        &mut self,
        info: &DeviceInfo,
        threads: usize,
        clock: &Clock,
        roofline: &Roofline,
        output: &mut Output,
    ) -> Result<()> {
        self.device.clone_from(&info.name);
        self.threads = threads;
        self.clock = clock.name();
        self.roofline = Some(*roofline);
        if self.format == Format::Json {
            return Ok(());
        }
        let properties: Vec<String> =
            info.properties.iter().take(2).map(|(name, value)| format!("{value} {name}")).collect();
        output.line(&format!("{}: {}, {}", info.name, info.description, properties.join(", ")))?;
        output.line(&format!(
            "roofline: {:.1} GFLOP/s, {:.1} GB/s",
            roofline.flops / 1e9,
            roofline.bytes / 1e9
        ))?;
        output.line(match self.clock {
            "gpu" => "clock: the GPU's own, from the beginning to the end of each shader",
            _ => "clock: wall time",
        })?;
        output.line("")?;
        let width = self.name_chars;
        output.line(&format!(
            "{:width$} {:>5} {:>7} {:>10} {:>10} {:>9} {:>8} {:>6} {:>9}{}",
            "name",
            "batch",
            "repeats",
            "median ms",
            "min ms",
            "GFLOP/s",
            "GB/s",
            "share",
            "peak",
            if self.parts { "  algorithm" } else { "" },
        ))
    }

    /// Tells of a case.
    pub(super) fn case(&mut self, case: &Case<'_>, output: &mut Output) -> Result<()> {
        let against = self.compare(case);
        self.own(case, against.as_deref(), output)?;
        match self.format {
            Format::Json => Ok(()),
            _ => self.others(against.as_deref().unwrap_or_default(), output),
        }
    }

    /// Tells at the end what could not be compared, and writes what is kept.
    pub(super) fn end(&self, output: &Output) -> Result<()> {
        if let Some(missing) = self.against.as_ref().and_then(Against::missing) {
            output.note(&missing);
        }
        self.history.as_ref().map_or(Ok(()), History::write)
    }

    /// What other engines need for a case.
    fn compare(&mut self, case: &Case<'_>) -> Option<Vec<Compared>> {
        let against = self.against.as_mut()?;
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        Some(against.of(&Ours {
            case,
            device: &self.device,
            threads: self.threads,
            min_ms: ms(case.times.min()),
            median_ms: ms(case.times.median()),
        }))
    }

    /// A row each of other engines.
    fn others(&self, others: &[Compared], output: &mut Output) -> Result<()> {
        let width = self.name_chars;
        for (index, other) in others.iter().enumerate() {
            let best = if index > 0 && index + 1 == others.len() { "  best" } else { "" };
            output.line(&format!(
                "{:width$} {:>5} {:>7} {:>10.3} {:>10.3}  ours / its: {:.2} median, {:.2} min{best}",
                format!("  {}", other.engine),
                "",
                "",
                other.median_ms,
                other.min_ms,
                other.ratio_median,
                other.ratio_min,
            ))?;
        }
        Ok(())
    }

    /// Our own times.
    fn own(
        &mut self,
        case: &Case<'_>,
        against: Option<&[Compared]>,
        output: &mut Output,
    ) -> Result<()> {
        let median = case.times.median().as_secs_f64();
        // A clock may be too coarse for what takes no time at all.
        let per_second = |work: f64| if median > 0.0 { work / median } else { 0.0 };
        let ms = |seconds: f64| (seconds * 1e7).round() / 1e4;
        let (gflops, gbytes) = (per_second(case.flops) / 1e9, per_second(case.bytes) / 1e9);
        let share = per_second(case.ideal);
        let line = Line {
            name: case.name,
            pass: case.pass.name(),
            device: &self.device,
            batch: case.batch,
            threads: self.threads,
            repeats: case.times.count(),
            median_ms: ms(median),
            min_ms: ms(case.times.min().as_secs_f64()),
            gflops: rounded(gflops),
            peak_bytes: case.peak_bytes,
            dtype: case.dtype.map(DType::name),
            algorithm: case.algorithm,
            gbytes_per_s: rounded(gbytes),
            roofline_share: rounded(share),
            roofline_gflops: self.roofline.map_or(0.0, |r| rounded(r.flops / 1e9)),
            roofline_gbytes_per_s: self.roofline.map_or(0.0, |r| rounded(r.bytes / 1e9)),
            clock: self.clock,
            wall_median_ms: ms(case.times.wall_median().as_secs_f64()),
            submissions: case.traffic.map(|traffic| traffic.submissions),
            dispatches: case.traffic.map(|traffic| traffic.dispatches),
            waits: case.traffic.map(|traffic| traffic.waits),
            allocations: case.traffic.map(|traffic| traffic.allocations),
            bytes_uploaded: case.traffic.map(|traffic| traffic.bytes_uploaded),
            bytes_bound: case.traffic.map(|traffic| traffic.bytes_bound),
            bytes_moved: case.traffic.map(|traffic| traffic.bytes_moved),
            against,
        };
        if let Some(history) = &mut self.history {
            history.keep(&line)?;
        }
        if self.format == Format::Json {
            return output.json(&line);
        }
        let width = self.name_chars;
        let row = format!(
            "{:width$} {:>5} {:>7} {:>10.3} {:>10.3} {gflops:>9.1} {gbytes:>8.2} {:>4.0} % \
             {:>9}  {}",
            case.name,
            case.batch,
            case.times.count(),
            median * 1e3,
            case.times.min().as_secs_f64() * 1e3,
            share * 100.0,
            case.peak_bytes.map(output::bytes).unwrap_or_default(),
            self.described(case),
        );
        output.line(row.trim_end())?;
        // Of an op its operands are told, and say as much.
        let (Some(traffic), true) = (case.traffic, case.detail.is_empty()) else { return Ok(()) };
        output.line(&format!(
            "{:width$} wall: {:.3} ms, submissions: {}, dispatches: {}, waits: {}, moved: {}",
            "",
            case.times.wall_median().as_secs_f64() * 1e3,
            traffic.submissions,
            traffic.dispatches,
            traffic.waits,
            output::bytes(traffic.bytes_moved),
        ))
    }

    /// The algorithm and more about a case.
    fn described(&self, case: &Case<'_>) -> String {
        match self.parts {
            true => {
                let algorithm = case.algorithm.unwrap_or_default();
                format!("{algorithm:ALGORITHM_CHARS$}  {}", case.detail)
            }
            false => case.detail.to_owned(),
        }
    }
}

/// To four decimals: what follows is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
