//! The command line of Striate. See `striate --help`.

mod args;
mod bench;
mod cases;
mod classify;
mod command;
mod completions;
mod convert;
mod device;
mod devices;
mod draw;
mod encode;
mod error;
mod export;
mod inputs;
mod inspect;
mod labels;
mod man;
mod model;
mod onnx;
mod output;
mod outputs;
mod plan;
#[cfg(feature = "plot")]
mod plot;
mod prepare;
mod progress;
#[cfg(feature = "pull")]
mod pull;
mod quantize;
mod ranks;
mod results;
mod run;
mod tensors;
mod text;
mod train;
mod tune;
mod validate;
mod visualize;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use command::{Cli, Command};
use error::{Error, Result};
use output::Output;

fn main() -> ExitCode {
    quiet_graphics_loader();
    let cli = Cli::try_parse().unwrap_or_else(|error| error::refuse(&error));
    output::start_log(&cli.global);
    let mut output = Output::new(&cli.global);
    let done = run(&cli, &mut output).and_then(|()| output.flush());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error, &output),
    }
}

/// Keeps Mesa's device chooser, a Vulkan layer, out: it asks for a desktop session and complains on
/// stderr where there is none, and devices are chosen by `--device` here.
fn quiet_graphics_loader() {
    const CHOOSER_OFF: &str = "NODEVICE_SELECT";
    if std::env::var_os(CHOOSER_OFF).is_none() {
        // SAFETY: no other thread has been started that could read the environment.
        unsafe { std::env::set_var(CHOOSER_OFF, "1") };
    }
}

fn run(cli: &Cli, output: &mut Output) -> Result<()> {
    let global = &cli.global;
    global.check(matches!(cli.command, Command::Classify(_)))?;
    match &cli.command {
        Command::Classify(args) => classify::run(args, global, output),
        Command::Run(args) => run::run(args, global, output),
        Command::Encode(args) => encode::run(args, global, output),
        Command::Inspect(args) => inspect::run(args, output),
        Command::Convert(args) => convert::run(args, global, output),
        Command::Quantize(args) => quantize::run(args, global, output),
        Command::Export(args) => export::run(args, global, output),
        // What a file of options says is no wrong usage.
        Command::Train(args) if args.has_options_file() => train::run(args, global, output),
        Command::Train(args) => {
            train::run(args, global, output).map_err(Error::of_training_options)
        }
        Command::Plan(args) => plan::run(args, global, output),
        Command::Prepare(args) => prepare::run(args, global, output),
        Command::Validate(args) => validate::run(args, output),
        Command::Draw(args) => draw::run(args, output),
        Command::Visualize(args) => visualize::run(args, global, output),
        #[cfg(feature = "plot")]
        Command::Plot(args) => plot::run(args, output),
        #[cfg(feature = "pull")]
        Command::Pull(args) => pull::run(args, global, output),
        Command::Bench(args) => bench::run(args, global, output),
        Command::Tune(args) => tune::run(args, global, output),
        Command::Devices => devices::run(global, output),
        Command::Completions(args) => completions::run(args, Cli::command(), output),
        Command::Man(args) => man::run(args, Cli::command(), output),
    }
}
