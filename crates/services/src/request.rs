//! What every service does with a request.

use std::future::Future;
use std::pin::Pin;

use futures_core::Stream;
use futures_util::StreamExt as _;
pub(crate) use stowd_api::convert::{field_paths, required};
use stowd_api::{scope, status};
use stowd_core::{Chunks, Digest, Error, Result, Scope};
use tonic::{Request, Response, Status};

/// What a unary method returns.
pub(crate) type Answer<T> = Result<Response<T>, Status>;

/// What a server-streaming method sends.
pub(crate) type Sent<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

/// Takes a request apart into its scope and its message.
pub(crate) fn scoped<T>(request: Request<T>) -> Result<(Scope, T), Status> {
    let scope = scope::from_grpc(request.metadata()).map_err(status::to_grpc)?;
    Ok((scope, request.into_inner()))
}

/// Turns a contract's answer into a method's answer.
pub(crate) fn answer<T, R>(result: Result<T>, make: impl FnOnce(T) -> R) -> Answer<R> {
    result.map(|value| Response::new(make(value))).map_err(status::to_grpc)
}

/// Runs a call to its end even when its client goes away in the middle, so that what it changes is
/// changed whole or not at all.
pub(crate) async fn finish<T: Send + 'static>(
    call: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(call).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(Error::internal("the call panicked; see the log")),
        Err(_) => Err(Error::unavailable("the daemon is stopping")),
    }
}

/// Parses a digest as services do.
pub(crate) fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|error: Error| error.context(format_args!("{text:?}")))
}

/// Sends a list chunk by chunk.
pub(crate) fn chunked<T, M>(
    list: Result<Chunks<T>>,
    make: impl Fn(Vec<T>) -> M + Send + 'static,
) -> Answer<Sent<M>>
where
    T: 'static,
    M: 'static,
{
    answer(list, |chunks| -> Sent<M> {
        Box::pin(chunks.map(move |chunk| chunk.map(&make).map_err(status::to_grpc)))
    })
}
