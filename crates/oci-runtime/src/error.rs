//! Why an operation on a container failed.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on a container failed.
///
/// `Display` gives what runc prints after `runc create failed: ` (or `exec failed: `), so a shim
/// answers `OCI runtime create failed: runc create failed: {error}`, which clients search for
/// fragments such as `executable file not found`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No container of that id under this root.
    #[error("container does not exist")]
    NotFound {
        /// The id.
        id: String,
    },
    /// A container of that id is there already.
    #[error("container with given ID already exists")]
    AlreadyExists {
        /// The id.
        id: String,
    },
    /// The id has characters that it must not have.
    #[error("invalid container ID format: {id:?}")]
    InvalidId {
        /// The id.
        id: String,
    },
    /// The configuration or a request makes no sense.
    #[error("{0}")]
    InvalidSpec(String),
    /// The container's process has gone.
    #[error("container not running")]
    NotRunning {
        /// The id.
        id: String,
    },
    /// The container is in a state in which this cannot be done.
    #[error("{0}")]
    WrongState(String),
    /// Asked for something that this runtime does not do.
    #[error("{0} is not supported")]
    Unimplemented(String),
    /// The init process, or an `exec`, could not be set up or started.
    #[error("unable to start container process: {0}")]
    Start(StartError),
    /// A hook failed.
    #[error(
        "unable to start container process: error during container init: error running {point} hook #{index}: {reason}"
    )]
    Hook {
        /// When it ran: `createRuntime` and so on.
        point: &'static str,
        /// Which one, from 0.
        index: usize,
        /// What went wrong.
        reason: String,
    },
    /// A cgroup could not be made, changed or read.
    #[error("{act}: {}", cgroup_text(source))]
    Cgroup {
        /// What was done.
        act: &'static str,
        /// What went wrong.
        source: stowd_cgroups::Error,
    },
    /// A file of the runtime could not be read or written.
    #[error("{act} {}: {}", path.display(), io_text(source))]
    File {
        /// What was done: `read`, `write`, `mkdir`.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Another system call of the calling process failed.
    #[error("{act}: {}", errno_text(*source))]
    System {
        /// What was done.
        act: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
}

/// Why a container's process could not be set up or started, as it reported itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// The finished text.
    pub(crate) text: String,
    /// The kernel's answer, if there was one.
    pub(crate) errno: Option<Errno>,
    /// Whether `process.args[0]` is what could not be found or run.
    pub(crate) program: bool,
}

/// What kind of failure an [`Error`] is, for callers that map it to a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The container does not exist.
    NotFound,
    /// The container exists already.
    AlreadyExists,
    /// The request is wrong.
    InvalidArgument,
    /// The container is in the wrong state.
    FailedPrecondition,
    /// Not done by this runtime.
    Unimplemented,
    /// Everything else; runc's callers see code `Unknown`.
    Unknown,
}

impl StartError {
    /// Of the init process: what went wrong while it set itself up.
    pub(crate) fn in_init(text: String) -> StartError {
        StartError {
            text: format!("error during container init: {text}"),
            errno: None,
            program: false,
        }
    }
}

impl Error {
    /// The kind, for a status code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound { .. } => ErrorKind::NotFound,
            Error::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Error::InvalidId { .. } | Error::InvalidSpec(_) => ErrorKind::InvalidArgument,
            Error::NotRunning { .. } | Error::WrongState(_) => ErrorKind::FailedPrecondition,
            Error::Unimplemented(_) => ErrorKind::Unimplemented,
            _ => ErrorKind::Unknown,
        }
    }

    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Start(start) => start.errno,
            Error::Cgroup { source, .. } => source.errno(),
            Error::File { source, .. } => Errno::from_io_error(source),
            Error::System { source, .. } => Some(*source),
            _ => None,
        }
    }

    /// Whether the program that was to run is what could not be found or run (shells and docker
    /// turn that into exit codes 127 and 126).
    pub fn is_program(&self) -> bool {
        matches!(self, Error::Start(start) if start.program)
    }

    pub(crate) fn file(act: &'static str, path: &Path, source: impl Into<std::io::Error>) -> Error {
        Error::File { act, path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn system(act: &'static str) -> impl FnOnce(Errno) -> Error {
        move |source| Error::System { act, source }
    }

    pub(crate) fn cgroup(act: &'static str) -> impl FnOnce(stowd_cgroups::Error) -> Error {
        move |source| Error::Cgroup { act, source }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for StartError {}

/// The kernel's error in Go's words, which clients search for: `no such file or directory`.
pub(crate) fn errno_text(errno: Errno) -> String {
    io_text(&std::io::Error::from(errno))
}

/// A cgroup's error with the kernel's answer, which it keeps apart, in runc's words.
fn cgroup_text(error: &stowd_cgroups::Error) -> String {
    match (error, error.errno()) {
        (stowd_cgroups::Error::Write { path, value, source }, _) => {
            format!("failed to write {value:?}: write {}: {}", path.display(), errno_text(*source))
        }
        (_, Some(errno)) => format!("{error}: {}", errno_text(errno)),
        (_, None) => error.to_string(),
    }
}

/// Says what went wrong with a file in Go's words, as clients know them: `no such file or directory`.
pub fn io_text(error: &std::io::Error) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.find(" (os error") {
        text.truncate(at);
        text = text.to_lowercase();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_like_gos() {
        assert_eq!(errno_text(Errno::NOENT), "no such file or directory");
        assert_eq!(errno_text(Errno::ACCESS), "permission denied");
        assert_eq!(errno_text(Errno::NOEXEC), "exec format error");
        let error = Error::file("open", Path::new("/x"), Errno::ISDIR);
        assert_eq!(error.to_string(), "open /x: is a directory");
        let source = stowd_cgroups::Error::Write {
            path: "/x".into(),
            value: "99".into(),
            source: Errno::RANGE,
        };
        let words = "act: failed to write \"99\": write /x: numerical result out of range";
        assert_eq!(Error::Cgroup { act: "act", source }.to_string(), words);
    }
}
