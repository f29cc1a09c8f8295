//! The one error type of all contracts.
//!
//! An [`Error`] says what failed in words and carries a [`ErrorKind`] that a program can act on.
//! The kinds are those of containerd's `errdefs`, which in turn are gRPC's codes plus a few finer
//! ones; `api::status` is the only place that turns them into codes and back.

use std::fmt;

/// What every contract returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure that a caller can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nothing better is known.
    Unknown,
    /// The request can never work as it stands, whatever the state of the system.
    InvalidArgument,
    /// The object named does not exist in this namespace.
    NotFound,
    /// An object of that name exists.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// A disk, a quota or a table is full.
    ResourceExhausted,
    /// The object exists but its state forbids the call now.
    FailedPrecondition,
    /// The object changed while the call worked on it. Reported as a failed precondition.
    Conflict,
    /// Nothing had to be changed. Reported as a failed precondition.
    NotModified,
    /// The operation was given up, for instance by a competing one.
    Aborted,
    /// An offset or range lies outside the object.
    OutOfRange,
    /// This stowd cannot do that (yet).
    NotImplemented,
    /// stowd itself is at fault.
    Internal,
    /// A part is not reachable now; the same call may work later.
    Unavailable,
    /// Stored data is not what it was.
    DataLoss,
    /// Credentials are missing or wrong.
    Unauthenticated,
    /// The caller went away.
    Canceled,
    /// The time allowed ran out.
    DeadlineExceeded,
}

impl ErrorKind {
    /// Returns the words that containerd appends to messages of this kind; clients search for them.
    pub fn text(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::InvalidArgument => "invalid argument",
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::PermissionDenied => "permission denied",
            Self::ResourceExhausted => "resource exhausted",
            Self::FailedPrecondition => "failed precondition",
            Self::Conflict => "conflict",
            Self::NotModified => "not modified",
            Self::Aborted => "aborted",
            Self::OutOfRange => "out of range",
            Self::NotImplemented => "not implemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DataLoss => "data loss",
            Self::Unauthenticated => "unauthenticated",
            Self::Canceled => "context canceled",
            Self::DeadlineExceeded => "context deadline exceeded",
        }
    }

    /// All kinds, for tables and tests.
    pub const ALL: [Self; 18] = [
        Self::Unknown,
        Self::InvalidArgument,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Conflict,
        Self::NotModified,
        Self::Aborted,
        Self::OutOfRange,
        Self::NotImplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
        Self::Canceled,
        Self::DeadlineExceeded,
    ];
}

/// A failure: its kind, what failed, and perhaps what to do about it.
///
/// `Display` prints the message followed by the kind's words (`image "x": not found`), as
/// containerd does and as clients expect; kinds `Unknown` and `Internal` add nothing, nor does one
/// whose words the message ends with (`task x not found`). The message is lowercase, without a final period, and names the object.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident,)*) => {
        impl Error {
            $($(#[$doc])*
            pub fn $name(message: impl fmt::Display) -> Self {
                Self::new(ErrorKind::$kind, message)
            })*
        }
    };
}

constructors! {
    /// Makes an error of kind [`ErrorKind::Unknown`].
    unknown => Unknown,
    /// Makes an error of kind [`ErrorKind::InvalidArgument`].
    invalid => InvalidArgument,
    /// Makes an error of kind [`ErrorKind::NotFound`]; the message names the object only.
    not_found => NotFound,
    /// Makes an error of kind [`ErrorKind::AlreadyExists`]; the message names the object only.
    already_exists => AlreadyExists,
    /// Makes an error of kind [`ErrorKind::PermissionDenied`].
    permission_denied => PermissionDenied,
    /// Makes an error of kind [`ErrorKind::FailedPrecondition`].
    failed_precondition => FailedPrecondition,
    /// Makes an error of kind [`ErrorKind::Aborted`].
    aborted => Aborted,
    /// Makes an error of kind [`ErrorKind::OutOfRange`].
    out_of_range => OutOfRange,
    /// Makes an error of kind [`ErrorKind::NotImplemented`].
    not_implemented => NotImplemented,
    /// Makes an error of kind [`ErrorKind::Internal`].
    internal => Internal,
    /// Makes an error of kind [`ErrorKind::Unavailable`].
    unavailable => Unavailable,
    /// Makes an error of kind [`ErrorKind::DataLoss`].
    data_loss => DataLoss,
    /// Makes an error of kind [`ErrorKind::Unauthenticated`].
    unauthenticated => Unauthenticated,
    /// Makes an error of kind [`ErrorKind::Canceled`].
    canceled => Canceled,
    /// Makes an error of kind [`ErrorKind::DeadlineExceeded`].
    deadline_exceeded => DeadlineExceeded,
}

impl Error {
    /// Makes an error of any kind. A trailing `: <kind's words>` in the message is dropped, since
    /// `Display` adds it: an error that crossed the wire reads as it did before.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        let mut message = message.to_string();
        if !matches!(kind, ErrorKind::Unknown | ErrorKind::Internal)
            && let Some(rest) = message.strip_suffix(kind.text())
        {
            let kept = rest.trim_end_matches([':', ' ']).len();
            // A message that is nothing but the kind's words, or only ends in them, stays whole.
            if rest.is_empty() || rest.ends_with(": ") {
                message.truncate(kept);
            }
        }
        Self { kind, message, hint: None }
    }

    /// Makes an error from a failed system call: `act` says what was tried, on which path.
    ///
    /// A full disk or quota becomes [`ErrorKind::ResourceExhausted`] with a hint; a missing file
    /// stays [`ErrorKind::Unknown`], since a file that stowd needs is not an object of the caller.
    pub fn io(act: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let (kind, hint) = match error.kind() {
            Io::StorageFull | Io::QuotaExceeded => (
                ErrorKind::ResourceExhausted,
                Some(
                    "free space on that file system, then try again; what was stored before is unharmed",
                ),
            ),
            Io::PermissionDenied => (ErrorKind::PermissionDenied, None),
            Io::ReadOnlyFilesystem => {
                (ErrorKind::FailedPrecondition, Some("the file system is mounted read-only"))
            }
            _ => (ErrorKind::Unknown, None),
        };
        let made = Self::new(kind, format_args!("{act}: {error}"));
        match hint {
            Some(hint) => made.hint(hint),
            None => made,
        }
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the message without the kind's words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what the user could do about it, where something is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Adds what the user could do about it; shown by command lines on a line of its own.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Puts the act that failed before the message: `act: message`.
    #[must_use]
    pub fn context(mut self, act: impl fmt::Display) -> Self {
        self.message = if self.message.is_empty() {
            act.to_string()
        } else {
            format!("{act}: {}", self.message)
        };
        self
    }

    /// Says whether the error is of this kind.
    pub fn is(&self, kind: ErrorKind) -> bool {
        self.kind == kind
    }

    /// Says whether the error is of kind [`ErrorKind::NotFound`].
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// Says whether the error is of kind [`ErrorKind::AlreadyExists`].
    pub fn is_already_exists(&self) -> bool {
        self.kind == ErrorKind::AlreadyExists
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ErrorKind::Unknown | ErrorKind::Internal => f.write_str(&self.message),
            kind if self.message.is_empty() => f.write_str(kind.text()),
            kind if self.message.ends_with(kind.text()) => f.write_str(&self.message),
            kind => write!(f, "{}: {}", self.message, kind.text()),
        }
    }
}

impl std::error::Error for Error {}

/// Adds the act that failed to a result's error.
pub trait ResultExt<T> {
    /// Puts `act` before the message of the error, if there is one.
    ///
    /// # Errors
    /// Those of the result itself.
    fn context<C: fmt::Display>(self, act: impl FnOnce() -> C) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context<C: fmt::Display>(self, act: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|error| error.context(act()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_kind_once() {
        let error = Error::not_found("image \"x\"");
        assert_eq!(error.to_string(), "image \"x\": not found");
        let again = Error::new(ErrorKind::NotFound, error.to_string());
        assert_eq!(again.to_string(), "image \"x\": not found");
        assert_eq!(again.message(), "image \"x\"");
    }

    #[test]
    fn keeps_a_message_that_only_ends_alike() {
        let error = Error::not_found("tag was not found");
        assert_eq!(error.to_string(), "tag was not found");
        assert_eq!(error.message(), "tag was not found");
        assert_eq!(Error::not_found("not found").to_string(), "not found");
    }

    #[test]
    fn context_goes_first() {
        let error = Error::unavailable("registry").context("pull");
        assert_eq!(error.to_string(), "pull: registry: unavailable");
    }

    #[test]
    fn a_full_disk_has_a_kind_and_a_hint() {
        let error = Error::io("write blob", &std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(error.hint_text().is_some());
    }
}
