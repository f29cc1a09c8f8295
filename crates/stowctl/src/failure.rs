//! How a command ends that did not do what it was asked for.

use std::process::ExitCode;

use clap::error::ErrorKind;
use stowd_core::Error;

use crate::cli::Grammar;
use crate::printer::Printer;

/// The exit status after an error; containers' own statuses are passed on as they are.
const FAILED: u8 = 1;
/// The exit status where there is no such command, as ctr has it.
const NO_SUCH_COMMAND: u8 = 3;

/// Why a command ends with a status other than 0.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error, to be printed.
    Error(Error),
    /// A container's process ended with this status, which becomes the program's.
    Exit(u8),
}

/// What a command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Errors of a command that goes on after one: the first is what it ends with, the others are
/// printed as they come.
#[derive(Debug, Default)]
pub(crate) struct Worst(Option<Error>);

impl Worst {
    pub(crate) fn add(&mut self, printer: &Printer, error: Error) {
        match self.0 {
            None => self.0 = Some(error),
            Some(_) => printer.note(error),
        }
    }
}

impl From<Worst> for Outcome {
    fn from(worst: Worst) -> Self {
        worst.0.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Prints why, and returns the program's exit status.
pub(crate) fn report(grammar: Grammar, printer: &Printer, failure: Failure) -> ExitCode {
    match failure {
        Failure::Error(error) => {
            printer.note(format_args!("{}: {error}", grammar.name()));
            if let Some(hint) = error.hint_text() {
                printer.note(format_args!("hint: {hint}"));
            }
            ExitCode::from(FAILED)
        }
        Failure::Exit(status) => ExitCode::from(status),
    }
}

/// Prints what clap has to say about the command line: usage errors, help, the version.
pub(crate) fn print_usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when this fails.
    let _ = error.print();
    ExitCode::from(match error.kind() {
        ErrorKind::InvalidSubcommand => NO_SUCH_COMMAND,
        _ if error.use_stderr() => FAILED,
        _ => 0,
    })
}
