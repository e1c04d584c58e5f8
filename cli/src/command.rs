//! The command line: the commands. Each command's own options stand in its file.

use clap::{Parser, Subcommand};

use crate::args::Global;
#[cfg(feature = "plot")]
use crate::plot;
#[cfg(feature = "pull")]
use crate::pull;
use crate::{
    bench, classify, completions, convert, draw, encode, export, inspect, man, plan, prepare,
    quantize, run, train, tune, validate, visualize,
};

const EXAMPLES: &str = "\
Examples:
  striate classify samples/cat.png                      what is on this photo? (embedded model)
  striate classify --model vgg-d.sqlite3 photo.jpg      five likeliest classes of a photo
  striate classify --model vgg-d.sqlite3 --format json --list photos.txt > ranks.jsonl
  striate pull mobilenet_v2                             fetch published weights by name
  striate inspect vgg-d.sqlite3                         layers, shapes, parameters
  striate convert vgg-d.sqlite3 vgg-d.safetensors --dtype f16
  striate export resnet18.safetensors resnet18.onnx     for other programs
  striate bench vgg-d --layers                          where the time goes
  striate plan --model vgg-d --devices 4..64 --link 100GbE --flops 4.5T   would it pay?
  striate tune vgg-d                                    choose the GPU's kernels by measuring

Model files are recognised by their content: ccv's .sqlite3, and .safetensors.
Exit codes: 0 done, 1 failed (the reason is on stderr, after `error:`), 2 wrong usage (a command
line that is wrong whatever the files hold).
Text files (lists, labels, truth, results, JSON) are UTF-8, or UTF-16 with a byte order mark. Empty
lines are skipped, and no character begins a comment. Control characters in names are printed as
escapes (`\\u{1b}`); JSON keeps every name whole.
`striate help COMMAND` tells more about a command.";

/// Convolutional networks on whatever CPU or GPU is there: classify photos, inspect, convert and
/// time models.
#[derive(Debug, Parser)]
#[command(name = "striate", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Rank the classes of photos.
    Classify(classify::ClassifyArgs),
    /// Run an ONNX model on tensors, and save what comes out.
    Run(run::RunArgs),
    /// Run the raw network on a tensor, and save what a layer puts out.
    Encode(encode::EncodeArgs),
    /// Show what a model file holds: layers, shapes, parameters, metadata.
    Inspect(inspect::InspectArgs),
    /// Convert a model file between formats and precisions.
    Convert(convert::ConvertArgs),
    /// Make a model compute with integers of 8 bits, and tell what that costs.
    Quantize(quantize::QuantizeArgs),
    /// Write a model as an ONNX file, for other programs.
    Export(export::ExportArgs),
    /// Train a network, or resume its training.
    Train(Box<train::TrainArgs>),
    /// Predict what training on many devices would take: step times, bytes sent, the best way.
    Plan(Box<plan::PlanArgs>),
    /// Resize a set of labelled images once, for training.
    Prepare(prepare::PrepareArgs),
    /// Compute top-1 and top-5 error rates of classification results.
    Validate(validate::ValidateArgs),
    /// Paint the ranks of a classification over its picture.
    Draw(draw::DrawArgs),
    /// Show what a network has learnt: filters, activations, where it looks.
    Visualize(visualize::VisualizeArgs),
    /// Draw the loss and the error rates of trainings.
    #[cfg(feature = "plot")]
    Plot(plot::PlotArgs),
    /// Fetch published weights by name: torchvision's, timm's and ccv's.
    #[cfg(feature = "pull")]
    Pull(pull::PullArgs),
    /// Time ops and networks, and compare with what the machine can do.
    Bench(bench::BenchArgs),
    /// Measure which kernels are the fastest on your GPU, and use them from then on.
    Tune(tune::TuneArgs),
    /// List the devices of this machine.
    Devices,
    /// Print a completion script for a shell.
    Completions(completions::CompletionsArgs),
    /// Write manual pages for `man`, one for each command.
    Man(man::ManArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
