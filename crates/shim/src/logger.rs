//! `binary://` streams: a program of the user's that reads a process's output from descriptors 3
//! and 4, and closes (or writes to) 5 when it is ready.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, pidfd_send_signal};
use stowd_sys::exec::ExecStrings;
use stowd_sys::spawn::{Spawn, spawn};

/// How long a logger may take to become ready.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// A running logger.
#[derive(Debug)]
pub(crate) struct Logger {
    pub(crate) pid: Pid,
    /// Writing ends of what it reads as standard output and error.
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// The reading ends. While they are open the process does not break on a logger that has gone:
    /// then they are emptied.
    pub(crate) readers: [OwnedFd; 2],
}

/// A program and its arguments, from a `binary://` URI: the path, then names and values of the
/// query in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Command {
    program: PathBuf,
    arguments: Vec<String>,
}

/// Starts the logger of a URI, and waits until it is ready.
pub(crate) fn start(uri: &str, id: &str, namespace: &str) -> Result<Logger, String> {
    let command = parse(uri);
    let failed = |error: &dyn std::fmt::Display| {
        format!("failed to start binary process: fork/exec {}: {error}", command.program.display())
    };
    let c_string = |bytes: &[u8]| CString::new(bytes).map_err(|error| failed(&error));
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(&error));
    let ((out_reader, stdout), (err_reader, stderr), (ready, ready_writer)) =
        (pipe()?, pipe()?, pipe()?);
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| failed(&error))?;
    let program = c_string(command.program.as_os_str().as_bytes())?;
    let mut args = vec![program.clone()];
    for argument in &command.arguments {
        args.push(c_string(argument.as_bytes())?);
    }
    let env = vec![
        c_string(format!("CONTAINER_ID={id}").as_bytes())?,
        c_string(format!("CONTAINER_NAMESPACE={namespace}").as_bytes())?,
    ];
    let (pid, pidfd) = spawn(&Spawn {
        program: &program,
        args: &ExecStrings::new(args),
        env: &ExecStrings::new(env),
        cwd: c"/",
        fds: &[
            null.as_fd(),
            null.as_fd(),
            null.as_fd(),
            out_reader.as_fd(),
            err_reader.as_fd(),
            ready_writer.as_fd(),
        ],
    })
    .map_err(|error| failed(&stowd_oci_runtime::io_text(&error.into())))?;
    drop(ready_writer);
    let mut waiting = [PollFd::new(&ready, PollFlags::IN)];
    match poll(&mut waiting, Some(&PATIENCE)) {
        Ok(0) => {
            // It is reaped with all other children.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            return Err(failed(&"it did not become ready in 10s"));
        }
        Ok(_) => {}
        Err(error) => return Err(failed(&error)),
    }
    Ok(Logger { pid, stdout, stderr, readers: [out_reader, err_reader] })
}

fn parse(uri: &str) -> Command {
    let rest = uri.strip_prefix("binary://").unwrap_or(uri);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut arguments = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        arguments.push(unescape(name, Spaces::Plus));
        arguments.push(unescape(value, Spaces::Plus));
    }
    Command { program: Path::new(&unescape(path, Spaces::Literal)).to_owned(), arguments }
}

/// Whether `+` stands for a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spaces {
    Plus,
    Literal,
}

/// Decodes `%XX`, and leaves as it is what is no such sequence.
fn unescape(text: &str, spaces: Spaces) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        let hex = |at: usize| more.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &more[2..];
                continue;
            }
            (b'+', ..) if spaces == Spaces::Plus => bytes.push(b' '),
            _ => bytes.push(first),
        }
        rest = more;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_uris() {
        let command = parse("binary:///usr/bin/my%20logger?id=a+b&tag=%2Fx&flag");
        assert_eq!(command.program, Path::new("/usr/bin/my logger"));
        assert_eq!(command.arguments, ["id", "a b", "tag", "/x", "flag", ""]);
        assert_eq!(unescape("100%+%é", Spaces::Literal), "100%+%é");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = start("binary:///no/such/logger", "web", "ns").unwrap_err();
        assert!(error.contains("/no/such/logger"), "{error}");
    }
}
