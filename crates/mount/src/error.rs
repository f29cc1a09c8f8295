//! Why a mount could not be made or undone.

use std::io;
use std::path::PathBuf;

use stowd_core::ErrorKind;
use thiserror::Error;

/// A mount that could not be made or undone.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MountError {
    /// The kernel refused a mount.
    #[error("mount {from:?} of type {kind:?} at {} with {data:?}", target.display())]
    Mount {
        /// The device or directory.
        from: String,
        /// The file system type.
        kind: String,
        /// Where.
        target: PathBuf,
        /// The file system's options, cut when they are many.
        data: String,
        /// The kernel's answer.
        #[source]
        error: io::Error,
    },
    /// The kernel refused to change a mount that was just made.
    #[error("change {act} of the mount at {}", target.display())]
    Change {
        /// What was to change.
        act: &'static str,
        /// Where.
        target: PathBuf,
        /// The kernel's answer.
        #[source]
        error: io::Error,
    },
    /// A mount could not be undone.
    #[error("unmount {}", target.display())]
    Unmount {
        /// Where.
        target: PathBuf,
        /// The kernel's answer.
        #[source]
        error: io::Error,
    },
    /// A directory to mount at, or a file to mount, could not be had.
    #[error("{act} {}", path.display())]
    Path {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        error: io::Error,
    },
    /// The options cannot be what the caller meant.
    #[error("mount option {option:?}: {reason}")]
    Option {
        /// The option.
        option: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Mounts that only another program can make.
    #[error("mounts of type {kind:?}")]
    Kind {
        /// The type.
        kind: String,
    },
}

/// What functions here return.
pub type Result<T> = std::result::Result<T, MountError>;

impl MountError {
    /// Returns the kind of error that clients are told.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Option { .. } => ErrorKind::InvalidArgument,
            Self::Kind { .. } => ErrorKind::NotImplemented,
            Self::Mount { error, .. } if error.raw_os_error() == Some(NODEV) => {
                ErrorKind::NotImplemented
            }
            Self::Mount { error, .. }
            | Self::Change { error, .. }
            | Self::Unmount { error, .. }
            | Self::Path { error, .. } => stowd_core::Error::io("", error).kind(),
        }
    }

    fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Mount { error, .. }
            | Self::Change { error, .. }
            | Self::Unmount { error, .. }
            | Self::Path { error, .. } => Some(error),
            Self::Option { .. } | Self::Kind { .. } => None,
        }
    }
}

const NODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();

impl From<MountError> for stowd_core::Error {
    fn from(error: MountError) -> Self {
        let kind = error.kind();
        let made = match error.io() {
            Some(source) => Self::new(kind, format_args!("{error}: {source}")),
            None => Self::new(kind, &error),
        };
        match error {
            MountError::Mount { kind: file_system, error, .. }
                if error.raw_os_error() == Some(NODEV) =>
            {
                made.hint(format_args!(
                    "this kernel has no file system {file_system:?}; a module may be missing"
                ))
            }
            _ => made,
        }
    }
}
