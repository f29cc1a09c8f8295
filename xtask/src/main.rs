//! The workspace's own chores, run as `cargo xtask <chore>`.
//!
//! `tidy` checks what rustc and clippy cannot see: the arrows between crates, the size and place of
//! files, and the documents every reader looks for first. It builds nothing and takes well under a
//! second, so it runs first in CI. `man` writes the manual pages.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

mod tidy;

const USAGE: &str = "\
usage: cargo xtask CHORE

chores:
  tidy    check crate arrows, file sizes, documents and where raw kernel calls live
  arrows  print the allowed arrows between crates, floor by floor
  man DIR write the manual pages of stowctl, ctr and containerd-stress into a folder
";

fn main() -> ExitCode {
    let chore = std::env::args().nth(1).unwrap_or_default();
    let outcome = match chore.as_str() {
        "tidy" => check(),
        "arrows" => print(&tidy::arrows::table()).map(|()| ExitCode::SUCCESS),
        "man" => match std::env::args_os().nth(2) {
            Some(folder) => write_manual(&folder),
            None => complain(USAGE).map(|()| ExitCode::from(2)),
        },
        _ => complain(USAGE).map(|()| ExitCode::from(2)),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to report a failing standard error to.
            let _ = complain(&format!("xtask: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn check() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let (findings, looked_at) = tidy::run(root)?;
    if findings.is_empty() {
        print(&format!("tidy: {looked_at} files in order\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    for finding in &findings {
        complain(&format!("{finding}\n"))?;
    }
    let things = if findings.len() == 1 { "thing" } else { "things" };
    complain(&format!("tidy: {} {things} to mend in {looked_at} files\n", findings.len()))?;
    Ok(ExitCode::FAILURE)
}

/// Has stowctl write them, so that the other chores need not build it.
fn write_manual(folder: &OsStr) -> anyhow::Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let made = Command::new(cargo)
        .args(["run", "--quiet", "--package", "stowctl", "--example", "man", "--"])
        .arg(folder)
        .status()?;
    Ok(if made.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn complain(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stderr().write_all(text.as_bytes())?)
}
