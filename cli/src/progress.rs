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
        let wanted = !quiet && steps > 1 && std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::hidden());
        let style = "{bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Progress { bar, started: Instant::now(), wanted, shown: false }
    }

    /// So many steps are done.
    pub(crate) fn advance(&mut self, steps: usize) {
        if self.wanted && !self.shown && self.started.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
            self.shown = true;
        }
        self.bar.inc(steps as u64);
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
