//! Errors on the wire: the one place that turns [`Error`]s into statuses and back.
//!
//! containerd's Go clients make an error of a status in `errdefs`: the gRPC code gives the class,
//! and the message, less the class's own words at its end, the text. So what is sent is what
//! [`Error`]'s `Display` prints (`image "x": not found`); the two classes without a code of their
//! own, conflict and not modified, travel as `FailedPrecondition` and are known by those words
//! alone. Clients print what follows from this as containerd's.
//!
//! Further errors that belong to the first ([`to_grpc_joined`]) travel as `google.rpc.Status` in
//! the details (`grpc-status-details-bin`); Go clients unwrap them with `errors.Join`. As with
//! containerd, an error that stands alone carries no details: whatever is in them that is not an
//! error would be printed as an error. A hint therefore goes into a trailer of its own,
//! [`HINT_HEADER`], which only stowd's clients look for.

use stowd_core::{Error, ErrorKind};

use crate::rpc::Status;

/// Trailer with an error's hint, for stowd's own clients.
pub const HINT_HEADER: &str = "stowd-hint-bin";

/// gRPC's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// No error.
    Ok = 0,
    /// The caller gave up.
    Cancelled = 1,
    /// Nothing better is known.
    Unknown = 2,
    /// The request is wrong in itself.
    InvalidArgument = 3,
    /// Time ran out.
    DeadlineExceeded = 4,
    /// The object does not exist.
    NotFound = 5,
    /// The object exists.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// Something is full.
    ResourceExhausted = 8,
    /// The object's state forbids it.
    FailedPrecondition = 9,
    /// Given up, for instance because of another call.
    Aborted = 10,
    /// Outside the object.
    OutOfRange = 11,
    /// No such service, method or ability.
    Unimplemented = 12,
    /// The server is at fault.
    Internal = 13,
    /// Not reachable now.
    Unavailable = 14,
    /// Stored data is damaged.
    DataLoss = 15,
    /// Credentials are missing.
    Unauthenticated = 16,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}

impl std::error::Error for Status {}

/// Makes a status without details.
pub fn new(code: Code, message: impl Into<String>) -> Status {
    Status { code: code as i32, message: message.into(), details: Vec::new() }
}

/// Makes the status for a method that a ttrpc server does not have.
pub fn unimplemented(service: &str, method: &str) -> Status {
    new(Code::Unimplemented, format!("service {service} method {method}"))
}

/// Turns an error into a ttrpc status. Its hint is left behind.
pub fn to_ttrpc(error: &Error) -> Status {
    new(code(error.kind()), error.to_string())
}

/// Turns a ttrpc status into an error.
pub fn from_ttrpc(status: &Status) -> Error {
    let mut error = made(status.code, &status.message);
    for detail in &status.details {
        if let Ok(Some(status)) = detail.unpack::<Status>() {
            let message = format!("{error}\n{}", from_ttrpc(&status));
            error = Error::new(error.kind(), message);
        }
    }
    error
}

/// How many bytes of a message, of a status in the details and of a hint go into headers. Clients
/// need not take more than 16 KiB of these in all (hyper does not), and a byte may become three in a
/// message, four of three in the others.
#[cfg(feature = "grpc")]
const LONGEST_MESSAGE: usize = 2 << 10;
#[cfg(feature = "grpc")]
const LONGEST_DETAILS: usize = 4 << 10;
#[cfg(feature = "grpc")]
const LONGEST_HINT: usize = 1 << 10;

/// Turns an error into a gRPC status.
#[cfg(feature = "grpc")]
pub fn to_grpc(error: Error) -> tonic::Status {
    to_grpc_joined(error, &[])
}

/// Turns an error, and others that belong to it, into a gRPC status.
#[cfg(feature = "grpc")]
pub fn to_grpc_joined(error: Error, others: &[Error]) -> tonic::Status {
    use prost::Message;
    use tonic::metadata::{MetadataMap, MetadataValue};

    let short = |error: &Error| {
        let mut status = to_ttrpc(error);
        shorten(&mut status.message, LONGEST_MESSAGE);
        status
    };
    let mut status = short(&error);
    status.details = others.iter().map(|other| crate::Any::pack(&short(other))).collect();
    let details = match status.details.is_empty() || status.encoded_len() > LONGEST_DETAILS {
        true => bytes::Bytes::new(),
        // The header carries the whole status once more.
        false => status.encode_to_vec().into(),
    };
    let mut trailers = MetadataMap::new();
    if let Some(hint) = error.hint_text() {
        let mut hint = hint.to_owned();
        shorten(&mut hint, LONGEST_HINT);
        trailers.insert_bin(HINT_HEADER, MetadataValue::from_bytes(hint.as_bytes()));
    }
    let code = tonic::Code::from_i32(status.code);
    tonic::Status::with_details_and_metadata(code, status.message, details, trailers)
}

/// Takes out of the middle of a text what is too long for a header: what was asked stands at the
/// beginning, and the cause at the end.
#[cfg(feature = "grpc")]
fn shorten(text: &mut String, longest: usize) {
    const GAP: &str = " … ";
    if text.len() <= longest {
        return;
    }
    let half = (longest - GAP.len()) / 2;
    let from = (0..=half).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
    let to = (text.len() - half..).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    text.replace_range(from..to, GAP);
}

/// Turns a gRPC status into an error, with its joined errors and its hint.
#[cfg(feature = "grpc")]
pub fn from_grpc(status: &tonic::Status) -> Error {
    use prost::Message;

    let bare = || new_raw(status.code() as i32, status.message());
    let whole = match status.details() {
        [] => bare(),
        // Like grpc-go, take the details only if they are of this very status.
        details => match Status::decode(details) {
            Ok(whole) if whole.code == status.code() as i32 => whole,
            _ => bare(),
        },
    };
    let error = from_ttrpc(&whole);
    let hint = status.metadata().get_bin(HINT_HEADER).and_then(|hint| hint.to_bytes().ok());
    match hint.and_then(|hint| String::from_utf8(hint.into()).ok()) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Returns the code that a kind travels as.
pub fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Unknown => Code::Unknown,
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::FailedPrecondition | ErrorKind::Conflict | ErrorKind::NotModified => {
            Code::FailedPrecondition
        }
        ErrorKind::Aborted => Code::Aborted,
        ErrorKind::OutOfRange => Code::OutOfRange,
        ErrorKind::NotImplemented => Code::Unimplemented,
        ErrorKind::Internal => Code::Internal,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DataLoss => Code::DataLoss,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Canceled => Code::Cancelled,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
    }
}

#[cfg(feature = "grpc")]
fn new_raw(code: i32, message: &str) -> Status {
    Status { code, message: message.to_owned(), details: Vec::new() }
}

fn made(code: i32, message: &str) -> Error {
    Error::new(kind(code, message), message)
}

fn kind(code: i32, message: &str) -> ErrorKind {
    let ends_in = |kind: ErrorKind| {
        message
            .strip_suffix(kind.text())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with(": "))
    };
    match code {
        1 => ErrorKind::Canceled,
        3 => ErrorKind::InvalidArgument,
        4 => ErrorKind::DeadlineExceeded,
        5 => ErrorKind::NotFound,
        6 => ErrorKind::AlreadyExists,
        7 => ErrorKind::PermissionDenied,
        8 => ErrorKind::ResourceExhausted,
        9 if ends_in(ErrorKind::Conflict) => ErrorKind::Conflict,
        9 if ends_in(ErrorKind::NotModified) => ErrorKind::NotModified,
        9 => ErrorKind::FailedPrecondition,
        10 => ErrorKind::Aborted,
        11 => ErrorKind::OutOfRange,
        12 => ErrorKind::NotImplemented,
        13 => ErrorKind::Internal,
        14 => ErrorKind::Unavailable,
        15 => ErrorKind::DataLoss,
        16 => ErrorKind::Unauthenticated,
        _ => ErrorKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire() {
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, "image \"x\"");
            let back = from_ttrpc(&to_ttrpc(&error));
            assert_eq!((back.kind(), back.message()), (kind, "image \"x\""));
            assert_eq!(back.to_string(), error.to_string());
        }
    }

    #[test]
    fn the_message_ends_in_the_words_clients_look_for() {
        let status = to_ttrpc(&Error::not_found("image \"x\""));
        assert_eq!((status.code, &*status.message), (5, "image \"x\": not found"));
        let status = to_ttrpc(&Error::new(ErrorKind::Conflict, "ingest"));
        assert_eq!((status.code, &*status.message), (9, "ingest: conflict"));
    }

    #[cfg(feature = "grpc")]
    #[test]
    fn what_is_long_fits_into_headers() {
        let long = format!("asked for {} because of this", "é".repeat(100_000));
        let error = Error::invalid(&long).hint(&long);
        let others: Vec<_> = (0..9).map(|_| Error::not_found(&long)).collect();
        let status = to_grpc_joined(error, &others);
        let message = status.message();
        assert!(message.len() <= LONGEST_MESSAGE, "{}", message.len());
        assert!(message.starts_with("asked for é"), "{message}");
        assert!(message.ends_with("because of this: invalid argument"), "{message}");
        assert!(status.details().len() <= LONGEST_DETAILS);
        let back = from_grpc(&status);
        assert_eq!(back.kind(), ErrorKind::InvalidArgument);
        assert!(back.hint_text().is_some_and(|hint| hint.len() <= LONGEST_HINT));
    }

    #[test]
    fn codes_of_the_future_are_unknown() {
        assert_eq!(from_ttrpc(&new_status(99)).kind(), ErrorKind::Unknown);
        assert_eq!(from_ttrpc(&new_status(-1)).kind(), ErrorKind::Unknown);
    }

    fn new_status(code: i32) -> Status {
        Status { code, message: "x".into(), details: Vec::new() }
    }

    #[cfg(feature = "grpc")]
    #[test]
    fn grpc_carries_hints_and_joined_errors() {
        let error = Error::new(ErrorKind::ResourceExhausted, "write").hint("größere Platte");
        let status = to_grpc_joined(error, &[Error::not_found("mount")]);
        assert_eq!(status.message(), "write: resource exhausted");
        let back = from_grpc(&status);
        assert_eq!(back.hint_text(), Some("größere Platte"));
        assert_eq!(back.kind(), ErrorKind::ResourceExhausted);
        assert!(back.message().contains("mount: not found"), "{back}");
    }

    #[cfg(feature = "grpc")]
    #[test]
    fn an_error_alone_has_no_details() {
        assert!(to_grpc(Error::not_found("x")).details().is_empty());
    }
}
