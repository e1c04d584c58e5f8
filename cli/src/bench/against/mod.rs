//! Figures of other engines, or of an earlier run, beside ours.

mod read;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Pass;
use super::report::{Case, Subject};
use crate::error::{Error, Result};

/// Names that are told of cases without a figure.
const TOLD: usize = 5;

/// A case as some engine measured it: also a line of `striate bench --format json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Figure {
    /// None of an earlier run of ours.
    engine: Option<String>,
    /// A case, a model or a file, by the name that it has here or there.
    name: String,
    #[serde(default = "forward")]
    pass: Pass,
    #[serde(default = "one")]
    batch: usize,
    /// None where it goes for any number.
    threads: Option<usize>,
    device: Option<String>,
    dtype: Option<String>,
    min_ms: f64,
    median_ms: f64,
}

fn forward() -> Pass {
    Pass::Forward
}

fn one() -> usize {
    1
}

impl Figure {
    /// Whether both are of the same case by the same engine.
    fn is_again(&self, other: &Figure) -> bool {
        let times = |figure: &Figure| Figure { min_ms: 0.0, median_ms: 0.0, ..figure.clone() };
        times(self) == times(other)
    }
}

/// A figure beside ours.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Compared {
    pub(super) engine: String,
    pub(super) min_ms: f64,
    pub(super) median_ms: f64,
    /// Ours, as a multiple of the other's.
    pub(super) ratio_min: f64,
    pub(super) ratio_median: f64,
}

/// What a case is compared by.
pub(super) struct Ours<'a> {
    pub(super) case: &'a Case<'a>,
    pub(super) device: &'a str,
    pub(super) threads: usize,
    pub(super) min_ms: f64,
    pub(super) median_ms: f64,
}

/// The figures of a file, and those of earlier builds.
#[derive(Debug, Default)]
pub(super) struct Against {
    /// None where there are earlier builds alone.
    path: Option<String>,
    figures: Vec<Figure>,
    cases: usize,
    /// Names of cases that the file has nothing for.
    without: Vec<String>,
}

impl Against {
    /// Reads a file. What is no measurement is passed over.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let read::Figures { figures, skipped } = read::read(path)?;
        if skipped > 0 {
            log::warn!(
                "{name}: records skipped, which are no kind of timing known here: {skipped}"
            );
        }
        let mut latest: Vec<Figure> = Vec::new();
        for figure in figures {
            latest.retain(|earlier| !earlier.is_again(&figure));
            latest.push(figure);
        }
        Ok(Against { path: Some(name), figures: latest, ..Against::default() })
    }

    /// Adds what earlier builds took, from the oldest: of each case the last one counts.
    pub(super) fn add_builds(&mut self, lines: &[(String, Value)]) -> Result<()> {
        let mut latest: Vec<(String, Figure)> = Vec::new();
        for (build, line) in lines {
            let wrong = |error| Error::message(format!("the history's build {build}: {error}"));
            let mut figure = Figure::deserialize(line).map_err(wrong)?;
            figure.engine = None;
            latest.retain(|(_, earlier)| !earlier.is_again(&figure));
            latest.push((build.clone(), figure));
        }
        let named = |(build, figure)| Figure { engine: Some(format!("striate {build}")), ..figure };
        self.figures.extend(latest.into_iter().map(named));
        Ok(())
    }

    /// The figures for a case, the best one last.
    pub(super) fn of(&mut self, ours: &Ours<'_>) -> Vec<Compared> {
        let case = ours.case;
        let same = |figure: &&Figure| {
            is_named(case, &figure.name)
                && (figure.pass, figure.batch) == (case.pass, case.batch)
                && figure.threads.is_none_or(|threads| threads == ours.threads)
        };
        let compared = |figure: &Figure| Compared {
            engine: label(figure, ours),
            min_ms: figure.min_ms,
            median_ms: figure.median_ms,
            ratio_min: ratio(ours.min_ms, figure.min_ms),
            ratio_median: ratio(ours.median_ms, figure.median_ms),
        };
        let mut all: Vec<Compared> = self.figures.iter().filter(same).map(compared).collect();
        all.sort_by(|a, b| b.min_ms.total_cmp(&a.min_ms));
        // Layers are a detail of their network: engines seldom tell of them.
        if case.subject != Subject::Layer {
            self.cases += 1;
            if all.is_empty() {
                self.without.push(case.name.to_owned());
            }
        }
        all
    }

    /// What there was nothing for, if anything.
    pub(super) fn missing(&self) -> Option<String> {
        let path = self.path.as_deref()?;
        let (told, more) = self.without.split_at(self.without.len().min(TOLD));
        let more = match more.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        (!told.is_empty()).then(|| {
            format!(
                "{path} has nothing for {} of {} cases by pass, batch and threads: {}{more}",
                self.without.len(),
                self.cases,
                told.join(", ")
            )
        })
    }
}

/// Whether a case goes by a name. Models are known elsewhere with underscores, or capitals.
fn is_named(case: &Case<'_>, name: &str) -> bool {
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    match case.subject {
        Subject::Network(own) => {
            case.name == name || [own, case.name].iter().any(|own| plain(own) == plain(name))
        }
        Subject::Op | Subject::Layer => case.name == name,
    }
}

/// The engine's name, with what it was asked for where we were asked for something else.
fn label(figure: &Figure, ours: &Ours<'_>) -> String {
    let mut label = figure.engine.clone().unwrap_or_else(|| "striate".into());
    let (device, dtype) = (Some(ours.device), ours.case.dtype.map(|dtype| dtype.name()));
    for (its, own) in [(&figure.device, device), (&figure.dtype, dtype)] {
        if let Some(its) = its.as_deref().filter(|its| Some(*its) != own) {
            label.push(' ');
            label.push_str(its);
        }
    }
    // It is printed as it is.
    label.retain(|c| !c.is_control());
    label
}

/// To four decimals: what follows is noise.
fn ratio(ours: f64, other: f64) -> f64 {
    (ours / other * 1e4).round() / 1e4
}
