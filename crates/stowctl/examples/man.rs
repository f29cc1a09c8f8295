//! Writes a manual page for each command, under each of the program's names, into a folder:
//! `cargo xtask man FOLDER`.

use std::process::ExitCode;

use stowctl::{Grammar, command};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else { return ExitCode::from(2) };
    let written = std::fs::create_dir_all(&folder).and_then(|()| {
        Grammar::ALL.into_iter().try_for_each(|grammar| {
            // The pages' names begin with the program's.
            clap_mangen::generate_to(command(grammar).disable_help_subcommand(true), &folder)
        })
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            // Nobody is left to tell when this fails.
            let _ = writeln!(std::io::stderr(), "write to {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}
