//! Why a spec could not be built, in containerd's words where clients read them.

use std::path::PathBuf;

use stowd_core::ErrorKind;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a spec could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A user that is neither `user`, `uid`, nor either with a group.
    #[error("invalid USER value {value}{}", reason.map(|reason| format!(": {reason}")).unwrap_or_default())]
    InvalidUser {
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: Option<&'static str>,
    },
    /// The root's `/etc/passwd` does not have that user.
    #[error("no users found")]
    NoUsers,
    /// The root's `/etc/group` does not have that group.
    #[error("no groups found")]
    NoGroups,
    /// The root's `/etc/group` does not have a further group that was asked for.
    #[error("unable to find group {0}")]
    NoGroup(String),
    /// A file of the root cannot be taken as a list of users or groups.
    #[error("{path} {reason}")]
    UserFile {
        /// Its path in the root.
        path: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// The container's root cannot be read where it is; it has to be mounted first.
    #[error("rootfs of type {kind:?} cannot be read without mounting it")]
    NeedsMount {
        /// The mount's type.
        kind: String,
    },
    /// An image's config is not JSON, or not an image's config.
    #[error("invalid image config")]
    ImageConfig(#[source] serde_json::Error),
    /// A spec is not JSON, or not a spec.
    #[error(
        "decoding spec config failed, current supported OCI runtime-spec: v{}",
        crate::OCI_VERSION
    )]
    Spec(#[source] serde_json::Error),
    /// An option of the command line or of a request cannot be understood.
    #[error("{0}")]
    InvalidOption(String),
    /// A path that was to be a device is something else.
    #[error("not a device node: {0:?}")]
    NotADevice(PathBuf),
    /// The size of `/dev/shm` cannot be set, as it is not mounted.
    #[error("no /dev/shm mount specified")]
    NoShmMount,
    /// A file could not be read.
    #[error("{act} {path:?}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl Error {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::InvalidUser { .. }
            | Error::ImageConfig(_)
            | Error::Spec(_)
            | Error::InvalidOption(_)
            | Error::UserFile { .. }
            | Error::NotADevice(_) => ErrorKind::InvalidArgument,
            Error::NoUsers | Error::NoGroups | Error::NoGroup(_) => ErrorKind::NotFound,
            Error::NeedsMount { .. } => ErrorKind::NotImplemented,
            Error::NoShmMount => ErrorKind::FailedPrecondition,
            Error::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::Unknown,
            },
        }
    }

    pub(crate) fn io(
        act: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { act, path, source }
    }
}

impl From<Error> for stowd_core::Error {
    fn from(error: Error) -> stowd_core::Error {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        stowd_core::Error::new(error.kind(), text)
    }
}
