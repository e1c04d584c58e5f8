//! How far a long job is.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A job that is done sooner needs no bar.
const PATIENCE: Duration = Duration::from_secs(2);

/// Redraws a second: enough for the eye.
const REDRAWS_PER_SECOND: u8 = 8;

/// A bar on stderr for a job of known length. It shows after two seconds, and never where stderr is
/// no terminal or `-q` is given.
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
    wanted: bool,
    shown: bool,
}

impl Progress {
    /// A bar for so many steps.
    pub(crate) fn new(steps: usize, quiet: bool) -> Self {
        let style = "{bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left";
        Progress::styled(Some(steps as u64), style, quiet)
    }

    /// A bar for a download of `total` bytes, if that is known, of which `done` are already there.
    #[cfg(feature = "pull")]
    pub(crate) fn of_bytes(total: Option<u64>, done: u64, quiet: bool) -> Self {
        let style = match total {
            Some(_) => {
                "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left"
            }
            None => "{spinner} {decimal_bytes}, {decimal_bytes_per_sec}",
        };
        let progress = Progress::styled(total, style, quiet);
        progress.bar.set_position(done);
        // Bytes that were already there must not count towards the rate.
        progress.bar.reset_eta();
        progress
    }

    fn styled(steps: Option<u64>, style: &str, quiet: bool) -> Self {
        let is_long = steps.is_none_or(|steps| steps > 1);
        let wanted = !quiet && is_long && std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(steps, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Progress { bar, started: Instant::now(), wanted, shown: false }
    }

    /// So many steps are done.
    pub(crate) fn advance(&mut self, steps: usize) {
        self.show_when_due();
        self.bar.inc(steps as u64);
    }

    /// Sets how many steps are done in all.
    #[cfg(feature = "pull")]
    pub(crate) fn reach(&mut self, steps: u64) {
        self.show_when_due();
        self.bar.set_position(steps);
    }

    fn show_when_due(&mut self) {
        if self.wanted && !self.shown && self.started.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
            self.shown = true;
        }
    }

    /// Does what prints, with the bar out of the way.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        if self.shown { self.bar.suspend(print) } else { print() }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
