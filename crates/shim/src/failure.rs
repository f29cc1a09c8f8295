//! What a call answers when it cannot do what it was asked: containerd's codes and words.

use std::fmt::Display;

use stowd_api::rpc::Status;
use stowd_api::status::{self, Code};
use stowd_oci_runtime::{Error, ErrorKind};

/// The result of a call.
pub(crate) type Result<T, E = Status> = std::result::Result<T, E>;

/// Of something that is not there.
pub(crate) fn not_found(message: impl Display) -> Status {
    status::new(Code::NotFound, format!("{message}: not found"))
}

/// Of something that is there already.
pub(crate) fn already_exists(message: impl Display) -> Status {
    status::new(Code::AlreadyExists, format!("{message}: already exists"))
}

/// Of something that cannot be done in the state that things are in.
pub(crate) fn precondition(message: impl Display) -> Status {
    status::new(Code::FailedPrecondition, format!("{message}: failed precondition"))
}

/// Of something that was asked wrongly.
pub(crate) fn invalid(message: impl Display) -> Status {
    status::new(Code::InvalidArgument, format!("{message}: invalid argument"))
}

/// Of something that this shim does not do.
pub(crate) fn unimplemented(message: impl Display) -> Status {
    status::new(Code::Unimplemented, format!("{message}: not implemented"))
}

/// Of anything else. Clients search these texts, so they end as they are.
pub(crate) fn failed(message: impl Display) -> Status {
    status::new(Code::Unknown, message.to_string())
}

/// Of the runtime. `act` is containerd's beginning of the text.
///
/// Whatever the kind, the code is `Unknown`, as of a runtime that is a program of its own and says
/// only words.
pub(crate) fn runtime(act: &str, error: &Error) -> Status {
    failed(format_args!("{act}: {error}"))
}

/// Of sending a signal.
pub(crate) fn kill(error: &Error) -> Status {
    match error.kind() {
        ErrorKind::FailedPrecondition => not_found("process already finished"),
        ErrorKind::NotFound => not_found("no such container"),
        _ => match error.errno() {
            Some(rustix::io::Errno::SRCH) => not_found("process already finished"),
            _ => failed(format_args!("unknown error after kill: {error}")),
        },
    }
}
