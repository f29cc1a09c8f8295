//! The command line: all of `ctr`'s commands and flags, its tables column for column, and what
//! people miss in it.
//!
//! The program has three names and a grammar for each. Those of `ctr` and `stowctl` differ in one
//! command. Started as `ctr`, `run` is ctr's: `run IMAGE ID [COMMAND…]`, on an image that is there,
//! and the container stays. Started as `stowctl`, it is `run IMAGE [COMMAND…]`: pulls what is
//! missing, picks an id, attaches, removes afterwards. Everything else is the same under both names.
//! Started as `containerd-stress`, the program is `stowctl stress`.
//!
//! One file is one command: a `struct` that clap fills, and its `run`. Data goes to standard output
//! and everything else to standard error, both through the `printer`; with
//! `--json` each table is an array of objects instead. A command ends with a `failure`,
//! which is an error to print or the exit status of a container.
//!
//! Deliberately absent: anything that a Rust program would want, too. That is in `stowd-client`.

mod arguments;
mod attached;
mod cli;
mod commands;
mod context;
mod failure;
mod labels;
mod printer;
mod progress;
mod registry;
mod signals;
mod table;
mod tabs;
mod terminal;
mod times;
mod units;

use std::ffi::OsString;
use std::process::ExitCode;

pub use cli::{Grammar, command};

/// Runs the program on its arguments, the name that it was started by first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let grammar = Grammar::of(arguments.first());
    let (global, command) = match cli::parse(grammar, arguments) {
        Ok(parsed) => parsed,
        // Help and version are such errors as well, with status 0.
        Err(error) => return failure::print_usage(&error),
    };
    let printer = printer::Printer::new(&global);
    // One thread: the work is the daemon's, and starting threads costs more than most commands do.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = stowd_core::Error::io("start the runtime", &error);
            return failure::report(grammar, &printer, error.into());
        }
    };
    let context = context::Context::new(grammar, global, printer);
    let outcome = runtime.block_on(context.within_timeout(command.run(&context)));
    // A thread that waits for the terminal's input would hold the end up.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure::report(grammar, &context.printer, failure),
    }
}
