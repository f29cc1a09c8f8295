//! [`content::Store`](stowd_core::content::Store) over gRPC.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use stowd_api::convert::time::time;
use stowd_api::convert::{field_mask, required, signed, unsigned};
use stowd_api::services::content::v1::{
    self, WriteAction, WriteContentRequest, WriteContentResponse, content_client::ContentClient,
};
use stowd_core::content::{Blob, Commit, Info, IngestStatus, Store, Writer, WriterOptions};
use stowd_core::filters::Filters;
use stowd_core::{Chunks, Digest, Error, Namespace, Result, Scope};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::call::{all, chunks, client, failed, scoped};

/// The most data in one write request. Less than a message may hold: more would only cost memory.
const PIECE: usize = 4 << 20;

/// A daemon's content store.
///
/// Differences to a local one: [`Writer::truncate`] can only cut to nothing, and
/// [`Blob::read_at`] is a call each, so read in large pieces.
#[derive(Clone, Debug)]
pub struct Content {
    client: ContentClient<Channel>,
    closing: Closing,
}

/// Ingests whose writer was dropped here while the daemon may still hold them. They are free when
/// their channel has no sender any more.
type Closing = Arc<Mutex<BTreeMap<(Namespace, String), watch::Receiver<()>>>>;

#[derive(Debug)]
struct RemoteBlob {
    client: ContentClient<Channel>,
    scope: Scope,
    digest: Digest,
    size: u64,
}

#[derive(Debug)]
struct RemoteWriter {
    requests: Option<mpsc::Sender<WriteContentRequest>>,
    answers: Option<Streaming<WriteContentResponse>>,
    status: IngestStatus,
    digest: Option<Digest>,
    namespace: Namespace,
    closing: Closing,
}

impl Content {
    /// Makes the content store at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self { client: client!(ContentClient<Channel>, channel), closing: Closing::default() }
    }

    /// Opens a blob whose size the caller knows from a descriptor; saves the question for it. That
    /// the blob is there shows at the first read.
    pub fn open_sized(&self, scope: &Scope, digest: &Digest, size: u64) -> Arc<dyn Blob> {
        let (client, scope, digest) = (self.client(), scope.clone(), digest.clone());
        Arc::new(RemoteBlob { client, scope, digest, size })
    }

    fn client(&self) -> ContentClient<Channel> {
        self.client.clone()
    }
}

#[async_trait]
impl Store for Content {
    async fn open(&self, scope: &Scope, digest: &Digest) -> Result<Arc<dyn Blob>> {
        let size = self.info(scope, digest).await?.size;
        Ok(self.open_sized(scope, digest, size))
    }

    async fn info(&self, scope: &Scope, digest: &Digest) -> Result<Info> {
        let request = v1::InfoRequest { digest: digest.to_string() };
        let answer = self.client().info(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().info, "info")?.try_into()
    }

    async fn update(&self, scope: &Scope, info: Info, fieldpaths: &[String]) -> Result<Info> {
        let request =
            v1::UpdateRequest { info: Some(info.into()), update_mask: field_mask(fieldpaths) };
        let answer = self.client().update(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().info, "info")?.try_into()
    }

    async fn list(&self, scope: &Scope, filters: Filters) -> Result<Chunks<Info>> {
        let request = v1::ListContentRequest { filters: filters.texts() };
        let answer = self.client().list(scoped(scope, request)?).await.map_err(failed)?;
        Ok(chunks(answer.into_inner(), |answer: v1::ListContentResponse| all(answer.info)))
    }

    async fn delete(&self, scope: &Scope, digest: &Digest) -> Result<()> {
        let request = v1::DeleteContentRequest { digest: digest.to_string() };
        self.client().delete(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn writer(&self, scope: &Scope, options: WriterOptions) -> Result<Box<dyn Writer>> {
        let key = (scope.namespace.clone(), options.reference.clone());
        let closing = lock(&self.closing).get(&key).cloned();
        if let Some(mut closing) = closing {
            // Nothing is ever sent: this waits for the sender to go away.
            let _ = closing.changed().await;
        }
        let (requests, queue) = mpsc::channel(1);
        let mut writer = RemoteWriter {
            requests: Some(requests),
            answers: None,
            status: IngestStatus {
                reference: options.reference.clone(),
                offset: 0,
                total: 0,
                expected: options.expected.clone(),
                started: std::time::UNIX_EPOCH,
                updated: std::time::UNIX_EPOCH,
            },
            digest: None,
            namespace: scope.namespace.clone(),
            closing: self.closing.clone(),
        };
        let first = WriteContentRequest {
            action: WriteAction::Stat.into(),
            r#ref: options.reference,
            total: options.total.map_or(0, signed),
            expected: options.expected.map(String::from).unwrap_or_default(),
            ..Default::default()
        };
        // The daemon says nothing at all before it has the first request.
        writer.send(first).await?;
        let request = scoped(scope, ReceiverStream::new(queue))?;
        let answers = self.client().write(request).await.map_err(failed)?;
        writer.answers = Some(answers.into_inner());
        writer.receive().await?;
        Ok(Box::new(writer))
    }

    async fn status(&self, scope: &Scope, reference: &str) -> Result<IngestStatus> {
        let request = v1::StatusRequest { r#ref: reference.to_owned() };
        let answer = self.client().status(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().status, "status")?.try_into()
    }

    async fn statuses(&self, scope: &Scope, filters: &Filters) -> Result<Vec<IngestStatus>> {
        let request = v1::ListStatusesRequest { filters: filters.texts() };
        let answer = self.client().list_statuses(scoped(scope, request)?).await.map_err(failed)?;
        all(answer.into_inner().statuses)
    }

    async fn abort(&self, scope: &Scope, reference: &str) -> Result<()> {
        let request = v1::AbortRequest { r#ref: reference.to_owned() };
        self.client().abort(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }
}

#[async_trait]
impl Blob for RemoteBlob {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        // Asking for more than there is would be an error, and for nothing would mean everything.
        let size = self.size.saturating_sub(offset).min(len as u64);
        if size == 0 {
            return Ok(Bytes::new());
        }
        let digest = self.digest.to_string();
        let request = v1::ReadContentRequest { digest, offset: signed(offset), size: signed(size) };
        let answer = self.client.clone().read(scoped(&self.scope, request)?).await;
        let mut pieces = answer.map_err(failed)?.into_inner();
        let first = pieces.message().await.map_err(failed)?.unwrap_or_default().data;
        if first.len() as u64 >= size {
            return Ok(first);
        }
        let mut data = BytesMut::with_capacity(usize::try_from(size).unwrap_or(len));
        data.extend_from_slice(&first);
        while let Some(piece) = pieces.try_next().await.map_err(failed)? {
            data.extend_from_slice(&piece.data);
        }
        if (data.len() as u64) < size {
            let digest = &self.digest;
            return Err(Error::data_loss(format_args!(
                "read of {digest} at {offset}: {} bytes instead of {size}",
                data.len()
            )));
        }
        Ok(data.freeze())
    }
}

impl RemoteWriter {
    async fn send(&mut self, request: WriteContentRequest) -> Result<()> {
        let Some(requests) = &self.requests else {
            return Err(Error::failed_precondition("writer is closed"));
        };
        // The queue is gone once the call has failed; the answers say why.
        let _ = requests.send(request).await;
        Ok(())
    }

    async fn receive(&mut self) -> Result<WriteContentResponse> {
        let Some(answers) = &mut self.answers else {
            return Err(Error::failed_precondition("writer is closed"));
        };
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Err(Error::unavailable("the daemon ended the write")),
            Err(status) => {
                // The call is over, and with it the daemon's hold of the ingest.
                self.answers = None;
                self.requests = None;
                return Err(failed(status));
            }
        };
        self.status.offset = unsigned(answer.offset, "offset")?;
        if !answer.digest.is_empty() {
            self.digest = Some(answer.digest.parse()?);
        }
        // Only answers to STAT have these.
        if answer.action() == WriteAction::Stat {
            self.status.total = unsigned(answer.total, "total")?;
            self.status.started = time(answer.started_at)?;
            self.status.updated = time(answer.updated_at)?;
        }
        Ok(answer)
    }

    async fn request(&mut self, request: WriteContentRequest) -> Result<WriteContentResponse> {
        self.send(request).await?;
        self.receive().await
    }
}

#[async_trait]
impl Writer for RemoteWriter {
    fn status(&self) -> IngestStatus {
        self.status.clone()
    }

    fn digest(&self) -> Option<Digest> {
        self.digest.clone()
    }

    async fn write(&mut self, mut data: Bytes) -> Result<()> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            let (offset, length) = (self.status.offset, piece.len() as u64);
            let request = WriteContentRequest {
                action: WriteAction::Write.into(),
                offset: signed(offset),
                data: piece,
                ..Default::default()
            };
            // Only answers to STAT and COMMIT tell it.
            self.digest = None;
            self.request(request).await?;
            if self.status.offset != offset + length {
                let written = self.status.offset.saturating_sub(offset);
                return Err(Error::data_loss(format_args!(
                    "short write to ingest {:?}: {written} of {length} bytes",
                    self.status.reference
                )));
            }
        }
        Ok(())
    }

    async fn truncate(&mut self, size: u64) -> Result<()> {
        if size == self.status.offset {
            return Ok(());
        }
        if size > 0 {
            return Err(Error::not_implemented(format_args!(
                "cut ingest {:?} to {size} bytes: over gRPC it can only be started over",
                self.status.reference
            )));
        }
        // A write at 0 starts over.
        let action = WriteAction::Write.into();
        self.request(WriteContentRequest { action, ..Default::default() }).await?;
        self.digest = None;
        Ok(())
    }

    async fn commit(&mut self, commit: Commit) -> Result<Digest> {
        let request = WriteContentRequest {
            action: WriteAction::Commit.into(),
            total: commit.size.map_or(0, signed),
            offset: signed(self.status.offset),
            expected: commit.expected.map(String::from).unwrap_or_default(),
            labels: commit.labels,
            ..Default::default()
        };
        let answer = self.request(request).await?;
        answer.digest.parse()
    }
}

impl Drop for RemoteWriter {
    /// Ends the call properly, so that the daemon keeps what was written, and remembers the ingest
    /// until the daemon has let go of it.
    fn drop(&mut self) {
        self.requests = None;
        let Some(mut answers) = self.answers.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let key = (self.namespace.clone(), self.status.reference.clone());
        let (held, closed) = watch::channel(());
        lock(&self.closing).insert(key.clone(), closed.clone());
        let closing = self.closing.clone();
        runtime.spawn(async move {
            // Whatever comes now comes too late; what counts is that it ends.
            while let Ok(Some(_)) = answers.message().await {}
            let mut closing = lock(&closing);
            if closing.get(&key).is_some_and(|other| other.same_channel(&closed)) {
                closing.remove(&key);
            }
            drop(held);
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while it holds the lock; if it did, the map would still be whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
