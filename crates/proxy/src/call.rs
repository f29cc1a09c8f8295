//! What all calls have in common.

use std::error::Error as _;
use std::fmt::Write as _;

use futures_util::StreamExt;
use stowd_api::{MAX_MESSAGE_SIZE, scope, status};
use stowd_core::{Chunks, Error, ErrorKind, Result, Scope};
use tonic::{Code, Request, Status, Streaming};

/// Makes a tonic client with containerd's limit on what it takes. What it sends is for the daemon to
/// refuse, which knows its limit and says so; a limit here would only break the connection.
macro_rules! client {
    ($client:ty, $channel:expr) => {
        <$client>::new($channel).max_decoding_message_size($crate::call::LIMIT)
    };
}
pub(crate) use client;

pub(crate) const LIMIT: usize = MAX_MESSAGE_SIZE;

/// Makes a request with the scope's headers.
pub(crate) fn scoped<T>(scope: &Scope, message: T) -> Result<Request<T>> {
    let mut request = Request::new(message);
    scope::to_grpc(scope, request.metadata_mut())?;
    Ok(request)
}

/// Turns a failed call into an error.
pub(crate) fn failed(failure: Status) -> Error {
    let Some(cause) = failure.source() else { return status::from_grpc(&failure) };
    // A status with a source was made on this end: the connection broke.
    let mut message = failure.message().to_owned();
    let mut next = Some(cause);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !message.contains(&text) {
            // Writing to a String cannot fail.
            let _ = write!(message, ": {text}");
        }
        next = cause.source();
    }
    match failure.code() {
        Code::Unknown | Code::Internal => Error::new(ErrorKind::Unavailable, message),
        _ => Error::new(status::from_grpc(&failure).kind(), message),
    }
}

/// Turns a stream of answers into a list in pieces.
pub(crate) fn chunks<M, T, F>(stream: Streaming<M>, convert: F) -> Chunks<T>
where
    M: Send + 'static,
    F: Fn(M) -> Result<Vec<T>> + Send + 'static,
{
    Box::pin(stream.map(move |answer| answer.map_err(failed).and_then(&convert)))
}

/// Converts all of a list.
pub(crate) fn all<M, T: TryFrom<M, Error = Error>>(messages: Vec<M>) -> Result<Vec<T>> {
    messages.into_iter().map(T::try_from).collect()
}
