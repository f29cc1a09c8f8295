//! [`transfer::Transfer`] over gRPC: the daemon does the work, the
//! archive's bytes, credentials and progress go over named streams.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::future::{self, BoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use stowd_api::convert::transfer::{export_stream, registry};
use stowd_api::services::transfer::v1::transfer_client::TransferClient;
use stowd_api::services::transfer::v1::{TransferOptions, TransferRequest};
use stowd_api::types::transfer as wire;
use stowd_api::{Any, Message, Name};
use stowd_core::progress::{Progress, Sink};
use stowd_core::streaming::Stream;
use stowd_core::transfer::{self, Credentials, Destination, RegistryRef, Secret, Source};
use stowd_core::{Error, Result, Scope};
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;

use crate::call::{client, failed, scoped};
use crate::streaming::{RemoteStream, Streaming};

/// The most data in one message of a stream.
const PIECE: usize = 1 << 20;
/// How much the daemon may send ahead of the archive's writer.
const WINDOW: i32 = 8 << 20;
/// What an archive ends with (POSIX pax, two blocks of zeros).
const ARCHIVE_END: [u8; 1024] = [0; 1024];
/// How long nothing may come of an archive that looks complete after its transfer is over.
const QUIET: Duration = Duration::from_millis(200);
/// The same for one that does not.
const STALLED: Duration = Duration::from_secs(30);

/// A daemon's transfers.
#[derive(Clone, Debug)]
pub struct Transfer {
    client: TransferClient<Channel>,
    streaming: Streaming,
}

/// What runs beside a transfer and ends with it.
struct Beside {
    /// Whether the call is over.
    over: watch::Receiver<bool>,
    /// Must have ended before the transfer counts as done: an archive's last bytes.
    needed: Vec<BoxFuture<'static, Result<()>>>,
    /// Serves as long as the transfer lasts.
    serving: Vec<BoxFuture<'static, Result<()>>>,
}

impl Transfer {
    /// Makes the transfers at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self {
            client: client!(TransferClient<Channel>, channel.clone()),
            streaming: Streaming::new(channel),
        }
    }

    async fn source(&self, scope: &Scope, source: Source, beside: &mut Beside) -> Result<Any> {
        match source {
            Source::Registry(reference) => self.registry(scope, reference, beside).await,
            Source::Archive(reader) => {
                let (id, stream) = self.stream(scope, "import").await?;
                beside.serving.push(Box::pin(send_archive(reader, stream)));
                Ok(Any::pack(&wire::ImageImportStream { stream: id, ..Default::default() }))
            }
            Source::Images(mut names) => Ok(Any::pack(&match names.len() {
                1 => wire::ImageStore { name: names.remove(0), ..Default::default() },
                _ => wire::ImageStore {
                    extra_references: names
                        .into_iter()
                        .map(|name| wire::ImageReference { name, ..Default::default() })
                        .collect(),
                    ..Default::default()
                },
            })),
        }
    }

    async fn destination(
        &self,
        scope: &Scope,
        destination: Destination,
        beside: &mut Beside,
    ) -> Result<Any> {
        match destination {
            Destination::Registry(reference) => self.registry(scope, reference, beside).await,
            Destination::Images(store) => Ok(Any::pack(&wire::ImageStore::from(store))),
            Destination::Archive(writer, export) => {
                let (id, stream) = self.stream(scope, "export").await?;
                let over = beside.over.clone();
                beside.needed.push(Box::pin(receive_archive(writer, stream, over)));
                Ok(Any::pack(&export_stream(export, &id)))
            }
        }
    }

    async fn registry(
        &self,
        scope: &Scope,
        reference: RegistryRef,
        beside: &mut Beside,
    ) -> Result<Any> {
        if reference.skip_verify {
            return Err(Error::not_implemented(
                "transfer over gRPC without a check of the registry's certificate",
            )
            .hint("write skip_verify = true into the registry's hosts.toml"));
        }
        let Some(credentials) = reference.credentials.clone() else {
            return Ok(Any::pack(&registry(&reference, "")));
        };
        let (id, stream) = self.stream(scope, "auth").await?;
        beside.serving.push(Box::pin(answer_for_credentials(credentials, stream)));
        Ok(Any::pack(&registry(&reference, &id)))
    }

    async fn stream(&self, scope: &Scope, what: &str) -> Result<(String, RemoteStream)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let id = format!("{what}-{}-{now}-{count}", std::process::id());
        let stream = self.streaming.open(scope, &id).await?;
        Ok((id, stream))
    }
}

#[async_trait]
impl transfer::Transfer for Transfer {
    async fn transfer(
        &self,
        scope: &Scope,
        source: Source,
        destination: Destination,
        progress: Arc<dyn Sink>,
    ) -> Result<()> {
        let (end, over) = watch::channel(false);
        let mut beside = Beside { over, needed: Vec::new(), serving: Vec::new() };
        let source = self.source(scope, source, &mut beside).await?;
        let destination = self.destination(scope, destination, &mut beside).await?;
        let (id, reports) = self.stream(scope, "progress").await?;
        beside.needed.push(Box::pin(report(reports, progress)));
        let request = TransferRequest {
            source: Some(source),
            destination: Some(destination),
            options: Some(TransferOptions { progress_stream: id }),
        };
        let mut client = self.client.clone();
        let request = scoped(scope, request)?;
        let call = async move {
            let answer = client.transfer(request).await.map_err(failed);
            end.send_replace(true);
            answer
        };
        let mut serving: FuturesUnordered<_> = beside.serving.into_iter().collect();
        let serve = async {
            while let Some(served) = serving.next().await {
                served?;
            }
            // What is left to do is the daemon's.
            future::pending::<Result<()>>().await
        };
        let work = future::try_join(call, future::try_join_all(beside.needed));
        tokio::select! {
            done = work => done.map(|_| ()),
            Err(error) = serve => Err(error),
        }
    }
}

/// Sends an archive in pieces, as much as the daemon's window allows.
async fn send_archive(mut reader: Box<dyn Read + Send>, stream: RemoteStream) -> Result<()> {
    let (pieces, mut queue) = mpsc::channel::<std::io::Result<Bytes>>(2);
    // Reading may block. The thread ends with the archive or when nobody takes its pieces.
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = BytesMut::zeroed(PIECE);
            let read = match reader.read(&mut piece) {
                Ok(0) => return,
                Ok(count) => {
                    piece.truncate(count);
                    Ok(piece.freeze())
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if pieces.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    let mut window = 0_usize;
    while let Some(piece) = queue.recv().await {
        let mut piece = piece.map_err(|error| Error::io("read archive", &error))?;
        while !piece.is_empty() {
            while window == 0 {
                match next::<wire::WindowUpdate>(&stream).await? {
                    Some(update) => window += usize::try_from(update.update).unwrap_or(0),
                    // The daemon wants no more; its answer says why.
                    None => return Ok(()),
                }
            }
            let part = piece.split_to(piece.len().min(window));
            window -= part.len();
            stream.send(Any::pack(&wire::Data { data: part }).into()).await?;
        }
    }
    stream.close().await?;
    // To drop the stream now would be to cancel it, with what is still under way.
    while stream.receive().await?.is_some() {}
    Ok(())
}

/// Writes an archive that the daemon sends.
///
/// containerd does not end the stream: after the call is over, the archive is complete when it looks
/// so and nothing more comes.
async fn receive_archive(
    mut writer: Box<dyn Write + Send>,
    stream: RemoteStream,
    mut over: watch::Receiver<bool>,
) -> Result<()> {
    let (pieces, mut queue) = mpsc::channel::<Bytes>(2);
    // Writing may block. The thread ends with its first error or with the last piece.
    let written = tokio::task::spawn_blocking(move || {
        while let Some(piece) = queue.blocking_recv() {
            writer.write_all(&piece)?;
        }
        writer.flush()
    });
    let mut window = 0;
    let mut tail = BytesMut::new();
    loop {
        if window < WINDOW / 2 {
            let update = WINDOW - window;
            let message = Any::pack(&wire::WindowUpdate { update });
            // The daemon may have sent all and ended; what it sent is still to be received.
            let _ = stream.send(message.into()).await;
            window = WINDOW;
        }
        let is_whole = tail[..] == ARCHIVE_END;
        let message = tokio::select! {
            message = next(&stream) => message?,
            () = quiet(&mut over, if is_whole { QUIET } else { STALLED }) => {
                if !is_whole {
                    return Err(Error::data_loss("the archive's end has not come"));
                }
                None
            }
        };
        let Some(wire::Data { data }) = message else { break };
        tail.extend_from_slice(&data[data.len().saturating_sub(ARCHIVE_END.len())..]);
        let _ = tail.split_to(tail.len().saturating_sub(ARCHIVE_END.len()));
        window -= i32::try_from(data.len()).unwrap_or(i32::MAX).min(window);
        if pieces.send(data).await.is_err() {
            // The thread has ended, with an error.
            break;
        }
    }
    drop(pieces);
    stream.close().await?;
    match written.await {
        Ok(written) => written.map_err(|error| Error::io("write archive", &error)),
        Err(error) => Err(Error::internal(format_args!("write archive: {error}"))),
    }
}

/// Ends so long after the call.
async fn quiet(over: &mut watch::Receiver<bool>, time: Duration) {
    // An error says that the call was dropped, and this with it.
    let _ = over.wait_for(|over| *over).await;
    tokio::time::sleep(time).await;
}

/// Answers the daemon's questions for credentials.
async fn answer_for_credentials(
    credentials: Arc<dyn Credentials>,
    stream: RemoteStream,
) -> Result<()> {
    while let Some(question) = next::<wire::AuthRequest>(&stream).await? {
        let secret = credentials.secret(&question.reference, &question.host).await?;
        let mut answer = wire::AuthResponse::default();
        let kind = match secret {
            None => wire::AuthType::None,
            Some(Secret::Basic { username, password }) => {
                (answer.username, answer.secret) = (username, password);
                wire::AuthType::Credentials
            }
            Some(Secret::Refresh(token)) => {
                answer.secret = token;
                wire::AuthType::Refresh
            }
            Some(Secret::Bearer(token)) => {
                answer.secret = format!("Bearer {token}");
                wire::AuthType::Header
            }
        };
        answer.set_auth_type(kind);
        stream.send(Any::pack(&answer).into()).await?;
    }
    Ok(())
}

/// Passes the daemon's reports on until it ends them.
async fn report(stream: RemoteStream, sink: Arc<dyn Sink>) -> Result<()> {
    while let Some(progress) = next::<wire::Progress>(&stream).await? {
        sink.report(Progress::try_from(progress)?);
    }
    Ok(())
}

/// Receives the next message of a type and skips others, which a later protocol may have.
async fn next<M: Message + Name + Default>(stream: &RemoteStream) -> Result<Option<M>> {
    while let Some(message) = stream.receive().await? {
        let message = Any::from(message).unpack().map_err(|error| {
            Error::internal(format_args!("{} in a stream: {error}", M::full_name()))
        })?;
        if message.is_some() {
            return Ok(message);
        }
    }
    Ok(None)
}
