//! A process's streams: from the paths and URIs of a request to descriptors.
//!
//! Output to a file, a logger or a fifo is handed to the process itself, so that nothing is copied,
//! and nothing is lost if the shim is killed. For a fifo the shim keeps a reading end of its own:
//! a client that goes away does not break the process; it blocks when the fifo is full, until a
//! client comes back. For the same reason the shim keeps a writing end of the fifo of standard
//! input until `CloseIO`: without it, the input would end with the first client.
//!
//! There is one thing that a fifo handed over cannot do: end for its reader when the process is
//! deleted while a descendant of it still holds it. Where descendants can outlive the process (an
//! `exec`, or an init without a pid namespace of its own) the output goes through a pipe, and the
//! shim copies. Terminals are always copied.

use std::fs::{DirBuilder, File};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use stowd_oci_runtime::Stdio;

use crate::copier::{Copies, Progress};
use crate::failure::{Result, failed};
use crate::logger;
use crate::poller::Poller;

/// Where a client wants a process's streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Whether a process's descendants can outlive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descendants {
    /// They end with it.
    End,
    /// They may go on.
    Remain,
}

/// Streams that are open, before the process is there.
#[derive(Debug)]
pub(crate) struct Opened {
    /// For the runtime.
    pub(crate) stdio: Stdio,
    /// For the shim.
    pub(crate) streams: Streams,
    /// What is to be copied once the process is there.
    pipes: Vec<(OwnedFd, OwnedFd)>,
    /// For a terminal: where its input comes from and where its output goes.
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
}

/// What the shim holds of a process's streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Keeps standard input from ending.
    stdin_keeper: Option<OwnedFd>,
    /// Keep output from breaking.
    keepers: Vec<OwnedFd>,
    /// The keepers are writing ends.
    left: bool,
    outputs: Vec<u32>,
    input: Option<u32>,
    /// The terminal's master.
    console: Option<OwnedFd>,
    logger: Option<Pid>,
}

/// What is left in a process's fifos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Nothing,
    /// Output that someone is there to read.
    Awaiting,
    /// Output, and nobody who could read it now.
    Forsaken,
}

impl Places {
    /// Opens them.
    pub(crate) fn open(
        &self,
        id: &str,
        namespace: &str,
        descendants: Descendants,
    ) -> Result<Opened> {
        let mut streams = Streams::default();
        let stdin = match &*self.stdin {
            "" => None,
            path => Some(open_input(path, &mut streams)?),
        };
        if let Some(uri) = binary(&self.stdout).or_else(|| binary(&self.stderr)) {
            let logger = logger::start(uri, id, namespace).map_err(no_streams)?;
            streams.logger = Some(logger.pid);
            streams.keepers.extend(logger.readers);
            let (stdout, stderr) = (Some(logger.stdout), Some(logger.stderr));
            return Ok(self.gather(stdin, stdout, stderr, streams, Vec::new()));
        }
        let mut pipes = Vec::new();
        let way = if self.terminal { Way::Copied } else { descendants.way() };
        let mut output = |place: &str| -> Result<Option<OwnedFd>> {
            if place.is_empty() {
                return Ok(None);
            }
            let (writer, fifo) = open_output(place, &mut streams)?;
            if self.terminal || !fifo || way == Way::Direct {
                return Ok(Some(writer));
            }
            let (from, to) = pipe_with(PipeFlags::CLOEXEC).map_err(no_streams)?;
            pipes.push((from, writer));
            Ok(Some(to))
        };
        let stdout = output(&self.stdout)?;
        // A terminal has one output; clients name no other, or one that nobody reads.
        let stderr = if self.terminal { None } else { output(&self.stderr)? };
        Ok(self.gather(stdin, stdout, stderr, streams, pipes))
    }

    fn gather(
        &self,
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
        streams: Streams,
        pipes: Vec<(OwnedFd, OwnedFd)>,
    ) -> Opened {
        match self.terminal {
            true => Opened { stdio: Stdio::Terminal, streams, pipes, input: stdin, output: stdout },
            false => {
                let stdio = Stdio::Fds { stdin, stdout, stderr };
                Opened { stdio, streams, pipes, input: None, output: None }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    Copied,
}

impl Descendants {
    fn way(self) -> Way {
        match self {
            Descendants::End => Way::Direct,
            Descendants::Remain => Way::Copied,
        }
    }
}

impl Opened {
    /// Takes the runtime's part out.
    pub(crate) fn take_stdio(&mut self) -> Stdio {
        std::mem::take(&mut self.stdio)
    }

    /// Starts copying, now that the process is there.
    pub(crate) fn connect(
        mut self,
        console: Option<OwnedFd>,
        poller: &Poller,
        copies: &mut Copies,
    ) -> Result<Streams> {
        let failed = |error| failed(format_args!("failed to start io pipe copy: {error}"));
        for (from, to) in self.pipes {
            self.streams.outputs.push(copies.start(poller, from, to).map_err(failed)?);
        }
        if let Some(console) = console {
            let copy = |console: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(console, 3);
            if let Some(output) = self.output {
                let master = copy(&console).map_err(failed)?;
                self.streams.outputs.push(copies.start(poller, master, output).map_err(failed)?);
            }
            if let Some(input) = self.input {
                let master = copy(&console).map_err(failed)?;
                self.streams.input = Some(copies.start(poller, input, master).map_err(failed)?);
            }
            self.streams.console = Some(console);
        }
        Ok(self.streams)
    }
}

impl Streams {
    /// Copies what has been written so far. Says whether that is all, so that the process can be
    /// deleted without losing anything.
    pub(crate) fn drain(&mut self, poller: &Poller, copies: &mut Copies) -> Progress {
        let mut progress = Progress::Over;
        for number in &self.outputs {
            match copies.turn(poller, *number) {
                Progress::Busy => progress = Progress::Busy,
                Progress::Idle if progress == Progress::Over => progress = Progress::Idle,
                _ => {}
            }
        }
        progress
    }

    /// Holds the fifos by writing ends from now on: that keeps what lies in them, and shows whether
    /// anyone else is there to read it.
    pub(crate) fn leave_to_readers(&mut self) {
        // What is still being copied must not meet a fifo without a reading end.
        if self.logger.is_some() || !self.outputs.is_empty() {
            return;
        }
        self.left = true;
        for keeper in &mut self.keepers {
            let path = format!("/proc/self/fd/{}", keeper.as_raw_fd());
            if let Ok(writer) = open(&path, OFlags::WRONLY) {
                *keeper = writer.into();
            }
        }
    }

    /// Looks for output that lies in a fifo. Who reads it shows after [`Self::leave_to_readers`].
    pub(crate) fn unread(&self) -> Unread {
        let mut unread = Unread::Nothing;
        for fifo in &self.keepers {
            if !rustix::io::ioctl_fionread(fifo).is_ok_and(|size| size > 0) {
                continue;
            }
            let mut asked = [PollFd::new(fifo, PollFlags::empty())];
            // A writing end is in error when there is no reading end (pipe(7)).
            let looked = rustix::event::poll(&mut asked, Some(&Timespec::default()));
            if self.left && looked.is_ok() && !asked[0].revents().contains(PollFlags::ERR) {
                return Unread::Awaiting;
            }
            unread = Unread::Forsaken;
        }
        unread
    }

    /// Lets standard input end when the last client closes it.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin_keeper = None;
    }

    /// Sets the terminal's size, if there is a terminal.
    pub(crate) fn resize(&self, width: u16, height: u16) -> rustix::io::Result<()> {
        let Some(console) = &self.console else { return Ok(()) };
        let size =
            rustix::termios::Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(console, size)
    }

    /// Whether this is the pid of the logger.
    pub(crate) fn is_logger(&self, pid: Pid) -> bool {
        self.logger == Some(pid)
    }

    /// Empties what a logger that has gone no longer reads, so that the process does not block.
    pub(crate) fn without_logger(&mut self, poller: &Poller, copies: &mut Copies) {
        self.logger = None;
        for reader in self.keepers.drain(..) {
            if let Ok(null) = File::options().write(true).open("/dev/null")
                && let Ok(number) = copies.start(poller, reader, null.into())
            {
                // Not an output that anybody waits for, but to be ended with the process.
                self.outputs.push(number);
            }
        }
    }

    /// Closes everything.
    pub(crate) fn close(&mut self, poller: &Poller, copies: &mut Copies) {
        for number in self.outputs.drain(..).chain(self.input.take()) {
            copies.end(poller, number);
        }
        *self = Streams::default();
    }
}

fn binary(place: &str) -> Option<&str> {
    place.starts_with("binary://").then_some(place)
}

/// Opens standard input, and keeps a writing end.
fn open_input(place: &str, streams: &mut Streams) -> Result<OwnedFd> {
    let path = place.strip_prefix("fifo://").unwrap_or(place);
    let wrong = |error| failed(format_args!("failed to open stdin fifo {path}: {error}"));
    // Non-blocking, or it would wait for a writer; the process is to find it as usual.
    let reader = open(path, OFlags::RDONLY).map_err(wrong)?;
    if is_fifo(&reader).map_err(wrong)? {
        streams.stdin_keeper = Some(open(path, OFlags::WRONLY).map_err(wrong)?.into());
    }
    blocking(reader).map_err(wrong)
}

/// Says in containerd's words that a process cannot have what was asked for.
fn no_streams(error: impl std::fmt::Display) -> stowd_api::rpc::Status {
    failed(format_args!("failed to create init process I/O: {error}"))
}

/// Opens an output; says whether it is a fifo, of which a reading end is kept.
fn open_output(place: &str, streams: &mut Streams) -> Result<(OwnedFd, bool)> {
    if let Some(path) = place.strip_prefix("file://") {
        let path = path.split('?').next().unwrap_or(path);
        return open_file(Path::new(path))
            .map(|file| (file.into(), false))
            .map_err(|error| failed(format_args!("failed to open {path}: {error}")));
    }
    let path = place.strip_prefix("fifo://").unwrap_or(place);
    if let Some((scheme, _)) = path.split_once("://") {
        return Err(no_streams(format_args!("unknown STDIO scheme {scheme}")));
    }
    let wrong =
        |error| failed(format_args!("containerd-shim: opening file {path:?} failed: {error}"));
    let metadata = std::fs::metadata(path).map_err(wrong)?;
    if metadata.file_type().is_fifo() {
        let reader = open(path, OFlags::RDONLY).map_err(wrong)?;
        let writer = open(path, OFlags::WRONLY).map_err(wrong)?;
        streams.keepers.push(reader.into());
        return Ok((blocking(writer).map_err(wrong)?, true));
    }
    let file = File::options().append(true).open(path).map_err(wrong)?;
    Ok((file.into(), false))
}

fn open(path: &str, access: OFlags) -> std::io::Result<File> {
    let mut options = File::options();
    match access {
        OFlags::WRONLY => options.write(true),
        _ => options.read(true),
    };
    options.custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
}

fn open_file(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    File::options().append(true).create(true).mode(0o644).open(path)
}

fn is_fifo(file: &File) -> std::io::Result<bool> {
    Ok(file.metadata()?.file_type().is_fifo())
}

fn blocking(file: File) -> std::io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&file, false)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn a_fifo_tells_whether_someone_is_there_to_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        let path = path.to_str().unwrap();
        let keeper = open(path, OFlags::RDONLY).unwrap();
        let mut writer = open(path, OFlags::WRONLY).unwrap();
        let mut streams = Streams { keepers: vec![keeper.into()], ..Streams::default() };
        assert_eq!(streams.unread(), Unread::Nothing);
        writer.write_all(b"last words").unwrap();
        drop(writer);
        assert_eq!(streams.unread(), Unread::Forsaken);
        streams.leave_to_readers();
        assert_eq!(streams.unread(), Unread::Forsaken);
        let mut reader = open(path, OFlags::RDONLY).unwrap();
        assert_eq!(streams.unread(), Unread::Awaiting);
        let mut words = [0; 10];
        reader.read_exact(&mut words).unwrap();
        assert_eq!(&words, b"last words");
        assert_eq!(streams.unread(), Unread::Nothing);
    }
}
