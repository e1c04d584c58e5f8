//! `striate completions`.

use clap::{Args, Command, ValueEnum};
use clap_complete::{Shell, generate};

use crate::error::Result;
use crate::output::Output;

/// The shells that scripts are written for and tested in.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellName {
    Bash,
    Zsh,
    Fish,
}

/// Options of `striate completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  striate completions bash > ~/.local/share/bash-completion/completions/striate
  striate completions zsh > ~/.zfunc/_striate
  striate completions fish > ~/.config/fish/completions/striate.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: ShellName,
}

/// Prints the script for this command.
pub(crate) fn run(args: &CompletionsArgs, mut command: Command, output: &mut Output) -> Result<()> {
    let shell = match args.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    // By way of memory: the generator panics where its writer fails.
    let mut script = Vec::new();
    generate(shell, &mut command, "striate", &mut script);
    output.bytes(&script)
}
