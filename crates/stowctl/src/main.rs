//! The `stowctl` program, also installed as `ctr`. All of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stowctl::main(std::env::args_os())
}
