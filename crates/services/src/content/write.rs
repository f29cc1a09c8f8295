//! One write session: the client sends actions, each is answered with where the ingest stands.
//!
//! The session holds the ingest from its first message to its end. An offset must be where the
//! ingest ends, except that 0 starts it anew; a commit ends the session.

use stowd_api::services::content::v1 as api;
use stowd_api::services::content::v1::WriteAction;
use stowd_api::status::to_grpc;
use stowd_core::content::{Commit, IngestStatus, Store, Writer, WriterOptions};
use stowd_core::{Digest, Error, Result, Scope};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::request::digest;

type Responses = mpsc::Sender<Result<api::WriteContentResponse, Status>>;

/// Works through one session.
pub(super) async fn session(
    store: &dyn Store,
    scope: &Scope,
    mut requests: Streaming<api::WriteContentRequest>,
    responses: &Responses,
) -> Result<(), Status> {
    let Some(first) = requests.message().await? else { return Ok(()) };
    let reference = first.r#ref.clone();
    if reference.is_empty() {
        return Err(to_grpc(Error::invalid("first message must have a reference")));
    }
    let mut promise = Promise::default();
    promise.update(&first).map_err(to_grpc)?;
    let options = WriterOptions {
        reference: reference.clone(),
        total: promise.total,
        expected: promise.expected.clone(),
    };
    let mut writer = store.writer(scope, options).await.map_err(to_grpc)?;
    let mut request = first;
    loop {
        if promise.update(&request).map_err(to_grpc)?
            && let Some(expected) = &promise.expected
            && store.info(scope, expected).await.is_ok()
        {
            drop(writer);
            store.abort(scope, &reference).await.map_err(to_grpc)?;
            let exists = format_args!("blob with expected digest {expected} exists");
            return Err(to_grpc(Error::already_exists(exists)));
        }
        let action = request.action();
        let response = act(&mut *writer, request, &promise).await.map_err(to_grpc)?;
        if responses.send(Ok(response)).await.is_err() || action == WriteAction::Commit {
            return Ok(());
        }
        request = match requests.message().await? {
            Some(next) => next,
            None => return Ok(()),
        };
    }
}

/// What the client has said so far of the whole.
#[derive(Default)]
struct Promise {
    total: Option<u64>,
    expected: Option<Digest>,
}

impl Promise {
    /// Takes what a message says; the latest counts. Says whether it named a digest.
    fn update(&mut self, request: &api::WriteContentRequest) -> Result<bool> {
        if let Some(total) = u64::try_from(request.total).ok().filter(|&total| total > 0) {
            self.total = Some(total);
        }
        if request.expected.is_empty() {
            return Ok(false);
        }
        self.expected = Some(digest(&request.expected)?);
        Ok(true)
    }
}

async fn act(
    writer: &mut dyn Writer,
    request: api::WriteContentRequest,
    promise: &Promise,
) -> Result<api::WriteContentResponse> {
    let action = request.action();
    let before = writer.status();
    if action == WriteAction::Stat {
        let digest = writer.digest();
        return Ok(api::WriteContentResponse {
            started_at: Some(before.started.into()),
            updated_at: Some(before.updated.into()),
            total: promise.total.unwrap_or(0).cast_signed(),
            ..response(action, &before, digest)
        });
    }
    let end = before.offset;
    match u64::try_from(request.offset) {
        Ok(0) if end > 0 => writer.truncate(0).await?,
        Ok(offset) if offset > 0 && offset != end => {
            return Err(Error::out_of_range(format_args!(
                "write @{offset} must occur at current offset {end}"
            )));
        }
        _ => {}
    }
    if !request.data.is_empty() {
        writer.write(request.data).await?;
    }
    let after = writer.status();
    if action == WriteAction::Write {
        // Clients that commit what turns out to exist know its digest from here alone.
        return Ok(response(action, &after, writer.digest()));
    }
    let commit =
        Commit { size: promise.total, expected: promise.expected.clone(), labels: request.labels };
    let digest = writer.commit(commit).await?;
    Ok(response(action, &after, Some(digest)))
}

fn response(
    action: WriteAction,
    status: &IngestStatus,
    digest: Option<Digest>,
) -> api::WriteContentResponse {
    api::WriteContentResponse {
        action: action.into(),
        offset: status.offset.cast_signed(),
        digest: digest.map(String::from).unwrap_or_default(),
        ..Default::default()
    }
}
