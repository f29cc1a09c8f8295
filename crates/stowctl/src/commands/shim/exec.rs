//! `shim exec`.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use stowd_client::spec::Process;
use stowd_client::{Shim, ShimExec};
use stowd_core::{Error, Result};
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe;

use super::as_ctr;
use crate::context::Context;
use crate::failure::Outcome;
use crate::terminal::{self, Raw};

/// Runs a further process in a container, by its shim alone.
#[derive(Debug, clap::Args)]
pub(super) struct Exec {
    /// Path of the fifo that the process reads; it is made if it is missing
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    stdin: String,
    /// Path of the fifo for the process's output
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    stdout: String,
    /// Path of the fifo for the process's errors
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    stderr: String,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// Stay, and connect the fifos with this program's streams
    #[arg(short, long)]
    attach: bool,
    /// Further environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Working directory of the process
    #[arg(long, value_name = "PATH")]
    cwd: Option<String>,
    /// File with the process's OCI spec
    #[arg(long, value_name = "PATH")]
    spec: Option<PathBuf>,
    /// A name for the process
    #[arg(value_name = "EXEC_ID", default_value = "", hide_default_value = true)]
    exec_id: String,
}

impl Exec {
    pub(super) async fn run(self, at: &Context, shim: &Shim, id: &str) -> Outcome {
        if self.exec_id.is_empty() {
            return Err(Error::unknown("exec id must be provided").into());
        }
        let spec = self.spec()?;
        for path in [&self.stdin, &self.stdout, &self.stderr] {
            make_fifo(path)?;
        }
        // Opened before the shim opens its ends, so that neither waits for the other.
        let output = self.attach.then(|| open(&self.stdout)).transpose()?.flatten();
        let errors = self.attach && !self.tty;
        let errors = errors.then(|| open(&self.stderr)).transpose()?.flatten();
        let exec = ShimExec {
            id: id.to_owned(),
            exec_id: self.exec_id.clone(),
            spec,
            stdin: self.stdin.clone(),
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            terminal: self.tty,
        };
        shim.exec(exec).await.map_err(as_ctr)?;
        let pid = shim.start(id, &self.exec_id).await.map_err(as_ctr)?;
        at.printer.line(format_args!("exec running with pid {pid}"))?;
        if !self.attach {
            return Ok(());
        }
        let raw = if self.tty { Some(Raw::enter()?) } else { None };
        if let (true, Some((width, height))) = (self.tty, terminal::size()) {
            shim.resize(id, &self.exec_id, width, height).await.map_err(as_ctr)?;
        }
        if !self.stdin.is_empty() {
            let stdin = self.stdin.clone();
            // Ends with the program, as it may wait for a terminal for ever.
            tokio::spawn(async move {
                if let Ok(mut fifo) = pipe::OpenOptions::new().open_sender(&stdin) {
                    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut fifo).await;
                }
            });
        }
        let output = copied(output, tokio::io::stdout());
        let errors = copied(errors, tokio::io::stderr());
        let (output, errors) = tokio::join!(output, errors);
        drop(raw);
        Ok(output.and(errors)?)
    }

    /// Reads the spec, and adds what the flags say; without them it is passed on as it is.
    fn spec(&self) -> Result<Vec<u8>> {
        let path = self.spec.as_deref().unwrap_or(Path::new(""));
        let failed = |error: &std::io::Error| {
            Error::io(format_args!("open {}", path.display()), error)
                .hint("--spec names a file with an OCI process: args, cwd, user")
        };
        let text = std::fs::read(path).map_err(|error| failed(&error))?;
        if self.env.is_empty() && self.cwd.is_none() {
            return Ok(text);
        }
        let wrong = |error| Error::invalid(format_args!("{}: {error}", path.display()));
        let mut process: Process = serde_json::from_slice(&text).map_err(wrong)?;
        process.env.extend(self.env.iter().cloned());
        if let Some(cwd) = &self.cwd {
            process.cwd.clone_from(cwd);
        }
        serde_json::to_vec(&process).map_err(wrong)
    }
}

fn make_fifo(path: &str) -> Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    match rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o700), 0) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        made => made.map_err(|errno| Error::io(format_args!("make {path}"), &errno.into())),
    }
}

fn open(path: &str) -> Result<Option<pipe::Receiver>> {
    if path.is_empty() {
        return Ok(None);
    }
    let opened = pipe::OpenOptions::new().open_receiver(path);
    opened.map(Some).map_err(|error| Error::io(format_args!("open {path}"), &error))
}

/// Copies from a fifo until its last writer is gone.
async fn copied(from: Option<pipe::Receiver>, mut to: impl AsyncWrite + Unpin) -> Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    tokio::io::copy(&mut from, &mut to)
        .await
        .map(drop)
        .map_err(|error| Error::io("copy output", &error))
}
