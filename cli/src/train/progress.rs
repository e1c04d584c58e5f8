//! Watching a training: a line while it goes on, a row for each epoch.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use striate::train::parallel::ExchangeReport;
use striate::train::{
    EpochReport, Observer, Outcome, Result as TrainResult, RunStart, Session, StepEvent,
    TrainOptions,
};

use super::EpochLine;
use crate::args::Format;
use crate::error::{Error, Result};
use crate::output::{Output, bytes};

/// Redraws a second: enough for the eye.
const REDRAWS_PER_SECOND: u8 = 8;

/// How much of the shown loss and rate comes from the latest mini-batch.
const SMOOTHING: f64 = 0.05;

/// Tells people and programs how a training goes.
pub(super) struct Watch<'a> {
    output: &'a mut Output,
    files: Vec<Box<dyn Observer>>,
    bar: ProgressBar,
    /// Smoothed: loss, miss rate, seconds a sample.
    loss: Smooth,
    misses: Smooth,
    seconds: Smooth,
    /// Failing to print ends a training as any error does, but is told as what it is.
    failed: Option<Error>,
    heads_shown: bool,
    /// Whether standard output is for the rows.
    prints: bool,
    testing: Option<Instant>,
    max_epoch: u64,
    /// What was exchanged with other ranks in this epoch, in so many steps.
    exchanged: Option<(ExchangeReport, u32)>,
}

#[derive(Default)]
struct Smooth(Option<f64>);

impl Smooth {
    fn add(&mut self, value: f64) -> f64 {
        let next = self.0.map_or(value, |old| old + SMOOTHING * (value - old));
        self.0 = Some(next);
        next
    }
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        output: &'a mut Output,
        session: &Session,
        options: &TrainOptions,
        files: Vec<Box<dyn Observer>>,
        prints: bool,
    ) -> Self {
        let per_epoch = session.per_epoch();
        let all = options.max_epoch.saturating_mul(per_epoch);
        let all = options.max_iterations.map_or(all, |max| max.min(all));
        let target = match !output.quiet() && std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(all), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {msg}, {eta} left") {
            bar.set_style(style);
        }
        let at = session.position();
        bar.set_position(at.epoch * per_epoch + at.iteration);
        bar.reset_eta();
        Watch {
            output,
            files,
            bar,
            loss: Smooth::default(),
            misses: Smooth::default(),
            seconds: Smooth::default(),
            failed: None,
            heads_shown: false,
            prints,
            testing: None,
            max_epoch: options.max_epoch,
            exchanged: None,
        }
    }

    /// What the training says, or why it could not be told.
    pub(super) fn end(self, outcome: TrainResult<Outcome>) -> Result<Outcome> {
        self.bar.finish_and_clear();
        match self.failed {
            // Elsewhere a reader that has gone has seen enough, but a training is not done.
            Some(Error::Closed) => Err(Error::message(
                "whoever read standard output has gone, so the training stopped; the same command \
                 resumes it from what was saved",
            )),
            Some(error) => Err(error),
            None => Ok(outcome?),
        }
    }

    fn print(&mut self, report: &EpochReport, time: Duration) -> Result<()> {
        let seconds = time.as_secs_f64();
        let exchanged = self.exchanged.take();
        if let Some((sum, steps)) = &exchanged {
            log::info!("{}", exchanged_a_step(sum, *steps));
        }
        if !self.prints {
            return Ok(());
        }
        let (output, first) = (&mut *self.output, !self.heads_shown);
        self.heads_shown = true;
        self.bar.suspend(|| {
            if output.format() == Format::Json {
                output.json(&EpochLine::new(report, seconds, exchanged.map(|(sum, _)| sum)))?;
            } else {
                if first {
                    output.line(
                        "epoch  iterations     loss  error %  test loss  test error %  top-5 %  \
                         seconds",
                    )?;
                }
                let test = |value: fn(&striate::train::EvaluationReport) -> f64, digits| {
                    report.test.as_ref().map_or("-".into(), |t| format!("{:.digits$}", value(t)))
                };
                output.line(&format!(
                    "{:>5}  {:>10}  {:>7.4}  {:>7.2}  {:>9}  {:>12}  {:>7}  {seconds:>7.1}",
                    report.epoch,
                    report.iterations,
                    report.loss,
                    report.miss_rate * 100.0,
                    test(|t| t.loss, 4),
                    test(|t| t.miss_rate() * 100.0, 2),
                    test(|t| t.miss_rate_top5() * 100.0, 2),
                ))?;
            }
            output.flush()
        })
    }
}

impl Observer for Watch<'_> {
    fn begin(&mut self, start: &RunStart<'_>) -> TrainResult<()> {
        self.files.begin(start)
    }

    fn step(&mut self, step: &StepEvent) -> TrainResult<()> {
        self.testing = None;
        if let Some(exchange) = &step.exchange {
            let (sum, steps) = self.exchanged.get_or_insert_default();
            *sum = sum.and(exchange);
            *steps += 1;
        }
        let report = step.report;
        if report.samples > 0 {
            let samples = report.samples as f64;
            let loss = self.loss.add(report.loss());
            let misses = self.misses.add(report.misses as f64 / samples);
            let seconds = self.seconds.add(step.time.as_secs_f64() / samples);
            self.bar.set_message(format!(
                "epoch {} of {}, {} of {}: loss {loss:.4}, error {:.1} %, {:.1} images/s",
                step.position.epoch,
                self.max_epoch,
                step.position.iteration + 1,
                step.per_epoch,
                misses * 100.0,
                1.0 / seconds.max(1e-9)
            ));
        }
        self.bar.set_position(step.iterations);
        self.files.step(step)
    }

    fn testing(&mut self, done: usize, all: usize) -> TrainResult<()> {
        let started = *self.testing.get_or_insert_with(Instant::now);
        let rate = done as f64 / started.elapsed().as_secs_f64().max(1e-9);
        self.bar.set_message(format!("testing: {done} of {all}, {rate:.0} images/s"));
        self.files.testing(done, all)
    }

    fn epoch(&mut self, report: &EpochReport, time: Duration) -> TrainResult<()> {
        self.testing = None;
        if let Err(error) = self.print(report, time) {
            self.failed = Some(error);
            // `end` tells the error itself.
            return Err(striate::train::Error::Observer { message: "cannot print".into() });
        }
        self.files.epoch(report, time)
    }

    fn skipped(&mut self, reason: &str) -> TrainResult<()> {
        let output = &*self.output;
        self.bar.suspend(|| output.warning(&format!("left out: {reason}")));
        self.files.skipped(reason)
    }

    fn warning(&mut self, text: &str) -> TrainResult<()> {
        let output = &*self.output;
        self.bar.suspend(|| output.warning(text));
        self.files.warning(text)
    }

    fn saving(&mut self, file: &Path) -> TrainResult<()> {
        self.files.saving(file)
    }

    fn saved(&mut self, file: &Path) -> TrainResult<()> {
        log::info!("saved {}", file.display());
        self.files.saved(file)
    }
}

/// What the first rank sent in a step, and how long it took, for people.
fn exchanged_a_step(sum: &ExchangeReport, steps: u32) -> String {
    let steps = steps.max(1);
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(steps);
    format!(
        "a step sends {} in {:.1} ms, of which computation waits {:.1} ms",
        bytes(sum.traffic.bytes / u64::from(steps)),
        milliseconds(sum.traffic.time),
        milliseconds(sum.exposed)
    )
}
