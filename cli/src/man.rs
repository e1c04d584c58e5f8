//! `striate man`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use striate::image::output::write_whole;

use crate::error::{Error, Result};
use crate::output::Output;

/// Options of `striate man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  striate man --output ~/.local/share/man/man1     then: man striate-train")]
pub(crate) struct ManArgs {
    /// The folder to write `striate.1`, `striate-classify.1` and the others into; made if it is not there.
    #[arg(long, short, value_name = "FOLDER")]
    output: PathBuf,
}

/// Writes a manual page for the program and one for each command.
pub(crate) fn run(args: &ManArgs, command: Command, output: &mut Output) -> Result<()> {
    let folder = &args.output;
    fs::create_dir_all(folder)
        .map_err(|e| Error::because(format!("{}: cannot make the folder", folder.display()), e))?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write_page(&command, folder)?;
    let mut pages = 1;
    for command in command.get_subcommands() {
        write_page(command, folder)?;
        pages += 1;
    }
    output.done(&format!("wrote {pages} manual pages into {}", folder.display()))
}

/// Writes the page of one command, named as `man` looks for it.
fn write_page(command: &Command, folder: &Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = folder.join(format!("{name}.1"));
    // By way of memory: a page is written whole or not at all.
    let mut page = Vec::new();
    Man::new(command.clone())
        .manual("Striate")
        .source(concat!("striate ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .map_err(|e| Error::because(format!("{}: cannot be written", path.display()), e))?;
    Ok(write_whole(path, &page)?)
}
