//! `stowd-shim`, also installed as `containerd-shim-runc-v2`: the program of the library beside it.
//!
//! It has containerd's shims' command line (`start`, `delete`, `-v`, `-info`), and `serve`, by which
//! stowd's daemon starts it.

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
