//! What can go wrong, how it is told and how the program ends.

use std::error::Error as StdError;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use crate::output::{Output, printable, printable_lines};

/// The result of everything fallible in this program.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// The exit code of a command that failed.
const FAILED: u8 = 1;

/// The exit code of a command line that makes no sense, as clap has it.
const WRONG_USAGE: u8 = 2;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A part of the library says what. Boxed, for its errors hold much and go through every result.
    #[error(transparent)]
    Striate(Box<striate::Error>),
    /// Weights could not be pulled.
    #[cfg(feature = "pull")]
    #[error(transparent)]
    Hub(#[from] striate::hub::Error),
    /// The program itself says what.
    #[error("{0}")]
    Message(String),
    /// As above, and why.
    #[error("{message}")]
    Because {
        /// What did not work.
        message: String,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The command line makes no sense in a way that only shows after parsing it.
    #[error("{0}")]
    Usage(String),
    /// Some of many inputs failed. Each was told when it did.
    #[error("{failed} of {all} images could not be classified")]
    Some {
        /// How many failed.
        failed: usize,
        /// Of how many.
        all: usize,
    },
    /// It failed, and stderr says why already.
    #[error("failed")]
    AlreadyPrinted,
    /// Whoever read stdout has gone, as `head` does when it has seen enough.
    #[error("stdout was closed")]
    Closed,
}

impl Error {
    /// A message of the program itself.
    pub(crate) fn message(text: impl Into<String>) -> Self {
        Error::Message(text.into())
    }

    /// A message of the program with its cause.
    pub(crate) fn because(
        text: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Error::Because { message: text.into(), source: source.into() }
    }

    /// Whether the weights of a model are at fault, and not what it was given.
    pub(crate) fn is_of_the_model(&self) -> bool {
        matches!(self, Error::Striate(error) if matches!(**error, striate::Error::NoConfidences { .. }))
    }

    /// The error of a training as wrong usage, where it is about options that stand on the command
    /// line.
    pub(crate) fn of_training_options(self) -> Self {
        match &self {
            Error::Striate(error) if is_training_option(error) => Error::Usage(chain(&self)),
            _ => self,
        }
    }
}

fn is_training_option(error: &striate::Error) -> bool {
    matches!(error, striate::Error::Train(striate::train::Error::Option { .. }))
}

/// The errors of the library's parts, as the facade gathers them.
macro_rules! from_parts {
    ($($part:ty),*) => {
        $(impl From<$part> for Error {
            fn from(error: $part) -> Self { Error::Striate(Box::new(error.into())) }
        })*
    };
}

from_parts!(
    striate::Error,
    striate::tensor::Error,
    striate::nn::Error,
    striate::importers::Error,
    striate::image::Error,
    striate::train::Error
);

impl From<striate::models::Error> for Error {
    fn from(error: striate::models::Error) -> Self {
        Error::message(error.to_string())
    }
}

/// Tells what went wrong on stderr and gives the exit code.
pub(crate) fn report(error: &Error, output: &Output) -> ExitCode {
    match error {
        Error::Closed => ExitCode::SUCCESS,
        Error::AlreadyPrinted => ExitCode::from(FAILED),
        Error::Usage(_) => {
            output.error(&chain(error));
            output.note("for more information, try '--help'");
            ExitCode::from(WRONG_USAGE)
        }
        _ => {
            output.error(&chain(error));
            ExitCode::from(FAILED)
        }
    }
}

/// The message of an error and those of its sources, as one sentence: `cannot read a.png: permission
/// denied`. A source whose text is part of it already adds nothing and is left out.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = error.source();
    }
    text
}

/// Ends the program with what clap says: help, or what is wrong with the command line. It quotes
/// arguments as they are; where one holds what a terminal would act on, the text is printed escaped and
/// without colours.
pub(crate) fn refuse(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned()).collect();
    let safe = safe_usage(&text, &arguments);
    let printed = match safe == text {
        true => error.print().and_then(|()| std::io::stdout().flush()),
        false => write!(std::io::stderr(), "{safe}"),
    };
    let code = match printed {
        // Help and the version are what was asked for.
        Err(reason) if !error.use_stderr() && reason.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(std::io::stderr(), "error: cannot write to stdout: {reason}");
            i32::from(FAILED)
        }
        _ => error.exit_code(),
    };
    std::process::exit(code);
}

/// The text of clap's with what it quotes of the arguments escaped: lines of the text stay lines, and none
/// is the work of an argument.
fn safe_usage(text: &str, arguments: &[String]) -> String {
    let mut text = text.to_owned();
    for argument in arguments.iter().filter(|argument| argument.contains('\n')) {
        let value = argument.split_once('=').map_or("", |(_, value)| value);
        let parts = [argument.as_str(), value].into_iter().chain(value.split(','));
        for part in parts.chain(argument.split(',')).filter(|part| part.contains('\n')) {
            text = text.replace(part, &printable(part));
        }
    }
    printable_lines(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_makes_no_line_of_its_own() {
        let arguments = ["--top=1\nerror: forged", "x\ny", "--devices", "cpu,a\nb\u{1b}"];
        let arguments = arguments.map(str::to_owned);
        let text = "error: '1\nerror: forged', 'x\ny', 'a\nb\u{1b}'\n\nFor more\n";
        let safe = "error: '1\\nerror: forged', 'x\\ny', 'a\\nb\\u{1b}'\n\nFor more\n";
        assert_eq!(safe_usage(text, &arguments), safe);
        assert_eq!(safe_usage("a\nb\n", &["b".to_owned()]), "a\nb\n");
    }

    #[test]
    fn the_chain_tells_every_source_once() {
        let disk = || std::io::Error::other("disk on fire");
        let outer = Error::because("cannot write a.png", disk());
        assert_eq!(chain(&outer), "cannot write a.png: disk on fire");

        let error = striate::image::Error::Read { path: "a.png".into(), source: disk() };
        assert_eq!(chain(&Error::from(error)), "cannot read a.png: disk on fire");
        let error = striate::image::Error::Read { path: "a.png".into(), source: disk() };
        let outer = Error::because("cannot begin", striate::Error::from(error));
        assert_eq!(chain(&outer), "cannot begin: cannot read a.png: disk on fire");
    }

    /// As `anyhow` and others print it: a line for each source.
    fn lines(error: &dyn StdError) -> Vec<String> {
        let mut lines = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            lines.push(error.to_string());
            source = error.source();
        }
        lines
    }

    #[test]
    fn no_error_of_the_program_tells_its_source_twice() {
        let errors = [
            Error::because("cannot write a.png", std::io::Error::other("disk on fire")),
            Error::message("no result"),
            Error::Usage("wrong".into()),
            Error::Some { failed: 1, all: 2 },
            Error::AlreadyPrinted,
            Error::Closed,
            Error::from(striate::Error::Labels { classes: 3, labels: 2 }),
            Error::from(striate::models::by_name("alexnett").unwrap_err()),
        ];
        for error in errors {
            let lines = lines(&error);
            for (index, line) in lines.iter().enumerate() {
                assert!(lines[..index].iter().all(|above| !above.contains(line)), "{lines:?}");
            }
        }
    }
}
