//! Striate's training: epochs, schedules, checkpoints, metrics.
//!
//! * [`Trainer`]: the mathematics of a step, without data or files.
//! * [`Session`]: a whole training in a working file: interrupted at any moment, it resumes and ends
//!   with the same bits.
//! * [`TrainOptions`] and [`Schedule`]: how a network learns, as data.
//! * [`parallel`]: on many devices; [`plan`]: what that would take, on paper.
//! * [`Observer`]: what is told on the way; [`MetricsFile`] and [`TensorBoard`] write it to files that
//!   follow the checkpoint, and [`History`] is what the working file remembers.
//!
//! Gradient descent is ccv's, where no other optimizer is asked for: `v ← momentum · v − decay · rate · w +
//! (rate / samples) · gradient`, `w ← w + v`.

mod begin;
mod beside;
mod checkpoint;
mod descent;
mod error;
mod evaluate;
mod history;
mod learning;
mod lock;
mod metrics;
mod observer;
mod options;
pub mod parallel;
pub mod plan;
mod schedule;
mod session;
mod side;
mod tensorboard;
mod trainer;

pub use checkpoint::{Position, history_of, read_history};
pub use error::{Error, Result};
pub use evaluate::{EvaluationReport, evaluate};
pub use history::{EpochReport, History, Point};
pub use metrics::MetricsFile;
pub use observer::{Observer, StepEvent};
pub use options::{Clip, LayerRates, Loss, TrainOptions};
pub use schedule::{Decay, Plateau, Schedule};
pub use session::{Outcome, Session, SessionData, SessionOptions};
pub use side::RunStart;
pub use tensorboard::TensorBoard;
pub use trainer::{PendingStep, StepReport, Trainer};
