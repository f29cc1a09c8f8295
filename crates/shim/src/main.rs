//! The shim's program: see the library.

use std::io::Write as _;
use std::process::ExitCode;

use stowd_shim::{Arguments, run};

fn main() -> ExitCode {
    let done = Arguments::parse(std::env::args().skip(1)).and_then(|arguments| run(&arguments));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when this fails.
            let _ = writeln!(std::io::stderr(), "stowd-shim: {error}");
            ExitCode::FAILURE
        }
    }
}
