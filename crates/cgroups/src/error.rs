//! What can go wrong with a cgroup, named after the act that failed.

use std::path::PathBuf;

use rustix::io::Errno;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on a cgroup failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No cgroup file system is mounted where this process can see it.
    #[error("no cgroup file system is mounted (looked in /proc/self/mountinfo)")]
    NoCgroups,
    /// A controller that the request cannot do without is not mounted or not enabled.
    #[error("{need}: cgroup controller {controller} is not available")]
    NoController {
        /// The controller, such as `devices`.
        controller: String,
        /// What cannot be done without it.
        need: &'static str,
    },
    /// The spec's `linux.cgroupsPath` cannot be understood.
    #[error("{0}")]
    InvalidPath(String),
    /// A limit in the spec makes no sense or cannot be expressed on this system.
    #[error("{0}")]
    InvalidLimit(String),
    /// The systemd driver was asked for and cannot serve.
    #[error(
        "systemd cgroup driver is not available for {path:?}: {reason}; use the cgroupfs driver"
    )]
    NoSystemd {
        /// The `slice:prefix:name` asked for.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// Something else's processes are in the cgroup that a new container should get.
    #[error("container's cgroup is not empty: {count} process(es) found")]
    NotEmpty {
        /// How many.
        count: usize,
    },
    /// The cgroup that a new container should get is frozen.
    #[error("container's cgroup unexpectedly frozen")]
    Frozen,
    /// A memory limit at or below what is in use now.
    #[error("{0}")]
    LimitBelowUsage(String),
    /// The kernel lacks what was asked for.
    #[error("{0}")]
    Unsupported(String),
    /// The processes did not come to a halt in time.
    #[error("unable to freeze cgroup {path:?}: {reason}")]
    Freeze {
        /// The cgroup's directory.
        path: PathBuf,
        /// What was seen instead.
        reason: String,
    },
    /// A file of the cgroup has unexpected content.
    #[error("unable to parse {path:?}: {what}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What was found there.
        what: String,
    },
    /// The kernel refused a value.
    #[error("failed to write {value:?} to {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// Another system call on the cgroup's files failed.
    #[error("{op} {path:?}")]
    Io {
        /// The system call, such as `open` or `rmdir`.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: Errno,
    },
    /// A BPF device program could not be loaded or attached.
    #[error("device filter for {path:?}: {op}")]
    DeviceFilter {
        /// The cgroup's directory.
        path: PathBuf,
        /// The step that failed.
        op: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// The child could not move itself into the cgroup.
    #[error(transparent)]
    Join(#[from] crate::JoinError),
}

impl Error {
    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Write { source, .. }
            | Error::Io { source, .. }
            | Error::DeviceFilter { source, .. } => Some(*source),
            Error::Join(join) => Some(join.errno),
            _ => None,
        }
    }

    /// Whether the cgroup, or the file in it, is not there (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NODEV))
    }
}
