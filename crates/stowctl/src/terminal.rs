//! The terminal that this program runs on, and its standard streams as a container's.

mod descriptor;
mod input;
mod output;

use std::os::fd::OwnedFd;
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use stowd_client::{Io, Streams};
use stowd_core::{Error, Result};

pub(crate) use output::Broken;

/// The terminal of standard input in raw mode: keys go to the container as they are pressed, and
/// it alone echoes. Dropping it brings back what was before.
#[derive(Debug)]
pub(crate) struct Raw(());

/// What the terminal was like before, for whoever has to bring that back: the drop, or a panic.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

impl Raw {
    /// Makes the terminal raw.
    ///
    /// # Errors
    /// `FailedPrecondition` when standard input is no terminal.
    pub(crate) fn enter() -> Result<Self> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Err(Error::failed_precondition("standard input is not a terminal")
                .hint("leave --tty out, or start this from a terminal"));
        }
        let failed = |errno: rustix::io::Errno| Error::io("set up the terminal", &errno.into());
        let before = tcgetattr(stdin).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        let own = rustix::io::dup(stdin).map_err(failed)?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((own, before));
        restore_on_panic();
        tcsetattr(stdin, OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((terminal, before)) = before {
        // The terminal may be gone, and then nobody misses it.
        let _ = tcsetattr(terminal, OptionalActions::Drain, &before);
    }
}

/// A release build ends at a panic without dropping anything.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            next(info);
        }));
    });
}

/// Returns the terminal's width and height in characters, where there is a terminal.
pub(crate) fn size() -> Option<(u32, u32)> {
    let size = tcgetwinsize(rustix::stdio::stdin())
        .or_else(|_| tcgetwinsize(rustix::stdio::stdout()))
        .ok()?;
    Some((size.ws_col.into(), size.ws_row.into()))
}

/// Connects a process with this program's standard streams, for both directions; and tells of
/// output that nobody reads.
pub(crate) fn streams() -> (Streams, Broken) {
    let broken = Broken::default();
    let streams = Streams {
        stdin: input::Input::stdin().map(|input| Box::new(input) as _),
        stdout: output::Output::stdout(&broken).map(|output| Box::new(output) as _),
        stderr: output::Output::stderr(&broken).map(|output| Box::new(output) as _),
        ..Streams::default()
    };
    (streams, broken)
}

/// Makes the fifos for a process that nobody is connected with yet; one may attach to it.
pub(crate) fn unconnected() -> Streams {
    Streams::default()
}

/// Where a new process's streams lead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) null: bool,
    pub(crate) log: Option<String>,
    pub(crate) terminal: bool,
    pub(crate) fifos: Option<std::path::PathBuf>,
    pub(crate) connected: bool,
}

impl Choice {
    /// Makes them.
    pub(crate) fn io(&self) -> Result<(Io, Broken)> {
        if self.null && self.terminal {
            return Err(Error::invalid("tty and null-io cannot be used together"));
        }
        if self.log.is_some() && self.terminal {
            return Err(Error::invalid("can't use log-uri with tty"));
        }
        if self.null {
            return Ok((Io::Null, Broken::default()));
        }
        if let Some(uri) = &self.log {
            return Ok((Io::Log(log_uri(uri)?), Broken::default()));
        }
        let (mut streams, broken) =
            if self.connected { streams() } else { (unconnected(), Broken::default()) };
        streams.terminal = self.terminal;
        if let Some(folder) = &self.fifos {
            streams.fifo_root.clone_from(folder);
        }
        Ok((Io::Streams(streams), broken))
    }
}

fn log_uri(text: &str) -> Result<String> {
    let known = ["file://", "binary://", "fifo://"];
    if known.iter().any(|scheme| text.starts_with(scheme)) {
        return Ok(text.to_owned());
    }
    // As ctr: a path means a file.
    if text.starts_with('/') {
        return Ok(format!("file://{text}"));
    }
    Err(Error::invalid(format_args!("log URI {text:?}"))
        .hint("write file:///PATH, binary:///PROGRAM?KEY=VALUE or fifo:///PATH"))
}
