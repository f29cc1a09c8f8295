//! `containerd.services.content.v1`.

mod write;

use std::sync::Arc;

use futures_util::stream;
use stowd_api::services::content::v1 as api;
use stowd_api::status;
use stowd_core::content::{Blob, Store};
use stowd_core::filters::Filters;
use stowd_core::{Error, Result};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Streaming};

use crate::request::{
    Answer, Sent, answer, chunked, digest, field_paths, finish, required, scoped,
};

/// The length of a message of [`read`](api::content_server::Content::read): long enough that calls
/// do not count, short enough that a hundred readers do not hurt.
const CHUNK: usize = 1 << 20;

/// Serves the content store.
pub struct Service(pub Arc<dyn Store>);

#[tonic::async_trait]
impl api::content_server::Content for Service {
    async fn info(&self, request: Request<api::InfoRequest>) -> Answer<api::InfoResponse> {
        let (scope, request) = scoped(request)?;
        let got = async { self.0.info(&scope, &digest(&request.digest)?).await };
        answer(got.await, |info| api::InfoResponse { info: Some(info.into()) })
    }

    async fn update(&self, request: Request<api::UpdateRequest>) -> Answer<api::UpdateResponse> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let updated = finish(async move {
            let info = required(request.info, "info")?.try_into()?;
            store.update(&scope, info, &field_paths(request.update_mask)).await
        });
        answer(updated.await, |info| api::UpdateResponse { info: Some(info.into()) })
    }

    type ListStream = Sent<api::ListContentResponse>;

    async fn list(&self, request: Request<api::ListContentRequest>) -> Answer<Self::ListStream> {
        let (scope, request) = scoped(request)?;
        let listed = async { self.0.list(&scope, Filters::parse(&request.filters)?).await };
        chunked(listed.await, |infos| api::ListContentResponse {
            info: infos.into_iter().map(Into::into).collect(),
        })
    }

    async fn delete(&self, request: Request<api::DeleteContentRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let deleted = finish(async move { store.delete(&scope, &digest(&request.digest)?).await });
        answer(deleted.await, |()| ())
    }

    type ReadStream = Sent<api::ReadContentResponse>;

    async fn read(&self, request: Request<api::ReadContentRequest>) -> Answer<Self::ReadStream> {
        let (scope, request) = scoped(request)?;
        let opened = async {
            let blob = self.0.open(&scope, &digest(&request.digest)?).await?;
            let (from, to) = range(blob.size(), request.offset, request.size)?;
            Ok((blob, from, to))
        };
        answer(opened.await, |(blob, from, to)| -> Self::ReadStream {
            Box::pin(stream::try_unfold((blob, from, from), move |(blob, from, at)| async move {
                let chunk = read_chunk(&*blob, at, to).await.map_err(status::to_grpc)?;
                Ok(chunk.map(|data| {
                    let next = at + data.len() as u64;
                    // containerd counts from the start of what was asked for, not of the blob.
                    let offset = (at - from).cast_signed();
                    (api::ReadContentResponse { offset, data }, (blob, from, next))
                }))
            }))
        })
    }

    async fn status(&self, request: Request<api::StatusRequest>) -> Answer<api::StatusResponse> {
        let (scope, request) = scoped(request)?;
        let got = self.0.status(&scope, &request.r#ref).await.map_err(|error| {
            error.context(format_args!("could not get status for ref {:?}", request.r#ref))
        });
        answer(got, |status| api::StatusResponse { status: Some(status.into()) })
    }

    async fn list_statuses(
        &self,
        request: Request<api::ListStatusesRequest>,
    ) -> Answer<api::ListStatusesResponse> {
        let (scope, request) = scoped(request)?;
        let listed = async { self.0.statuses(&scope, &Filters::parse(&request.filters)?).await };
        answer(listed.await, |statuses| api::ListStatusesResponse {
            statuses: statuses.into_iter().map(Into::into).collect(),
        })
    }

    type WriteStream = Sent<api::WriteContentResponse>;

    async fn write(
        &self,
        request: Request<Streaming<api::WriteContentRequest>>,
    ) -> Answer<Self::WriteStream> {
        let (scope, requests) = scoped(request)?;
        let (sender, responses) = mpsc::channel(4);
        let store = self.0.clone();
        tokio::spawn(async move {
            if let Err(status) = write::session(&*store, &scope, requests, &sender).await {
                // A client that is gone no longer wants to know.
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn abort(&self, request: Request<api::AbortRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let aborted = finish(async move { store.abort(&scope, &request.r#ref).await });
        answer(aborted.await, |()| ())
    }
}

/// Returns which bytes of a blob a read means: all to the end where it says no size, or too large
/// a one.
fn range(total: u64, offset: i64, size: i64) -> Result<(u64, u64)> {
    let from = u64::try_from(offset).unwrap_or(0);
    if from > total {
        return Err(Error::out_of_range(format_args!("read past object length {total} bytes")));
    }
    let to = match u64::try_from(size) {
        Ok(size) if size > 0 => from.saturating_add(size).min(total),
        _ => total,
    };
    Ok((from, to))
}

async fn read_chunk(blob: &dyn Blob, at: u64, to: u64) -> Result<Option<bytes::Bytes>> {
    let len = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
    if len == 0 {
        return Ok(None);
    }
    let data = blob.read_at(at, len).await?;
    if data.is_empty() {
        return Err(Error::data_loss(format_args!("blob ends at {at}, before its length of {to}")));
    }
    Ok(Some(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_containerd_reads() {
        assert_eq!(range(10, 0, 0).unwrap(), (0, 10));
        assert_eq!(range(10, 4, 3).unwrap(), (4, 7));
        assert_eq!(range(10, 4, 30).unwrap(), (4, 10));
        assert_eq!(range(10, -1, -1).unwrap(), (0, 10));
        assert_eq!(range(10, 10, 1).unwrap(), (10, 10));
        assert_eq!(range(10, 2, i64::MAX).unwrap(), (2, 10));
        assert!(range(10, 11, 0).is_err());
    }
}
