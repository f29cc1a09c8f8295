//! Bytes over a stream of messages: `Data` one way, `WindowUpdate` the other, which grants the
//! sender so many more bytes.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::{Buf as _, Bytes};
use stowd_api::Any;
use stowd_api::types::transfer::{Data, WindowUpdate};
use stowd_core::streaming::Stream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// Bytes that the other side may be ahead of the reader.
const WINDOW: i32 = 4 << 20;

/// The longest message that is sent. Half a window of containerd's clients.
const CHUNK: usize = 32 << 10;

/// What a stream has sent but the reader has not read, in messages.
const QUEUE: usize = 64;

/// Reads what a client sends. For threads that may block.
pub(super) fn reader(stream: Arc<dyn Stream>) -> impl Read + Send {
    let (sender, chunks) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let received = receive(&*stream, &sender).await;
        if let Err(error) = received {
            let _ = sender.send(Err(io::Error::other(error))).await;
        }
        let _ = stream.close().await;
    });
    Download { chunks, current: Bytes::new() }
}

/// Sends what is written to a client. For threads that may block.
pub(super) fn writer(stream: Arc<dyn Stream>) -> (impl Write + Send, Upload) {
    let (sender, chunks) = mpsc::channel(QUEUE);
    let pump = tokio::spawn(async move {
        let granted = Arc::new(Granted::default());
        let listener = tokio::spawn(listen(stream.clone(), granted.clone()));
        send(&*stream, chunks, &granted).await;
        let _ = stream.close().await;
        listener.abort();
    });
    (Outgoing(sender), Upload(pump))
}

/// A client that is still being sent to.
pub(super) struct Upload(JoinHandle<()>);

impl Upload {
    /// Returns when all that was written has been sent, or the client has gone.
    pub(super) async fn finished(self) {
        let _ = self.0.await;
    }
}

struct Download {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let len = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

struct Outgoing(mpsc::Sender<Bytes>);

impl Write for Outgoing {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = data.len().min(CHUNK);
        let chunk = Bytes::copy_from_slice(&data[..len]);
        self.0.blocking_send(chunk).map_err(|_| {
            io::Error::new(io::ErrorKind::BrokenPipe, "the client has ended the stream")
        })?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that the other side has granted and we have not sent.
#[derive(Default)]
struct Granted {
    bytes: AtomicI64,
    more: Notify,
}

async fn receive(
    stream: &dyn Stream,
    chunks: &mpsc::Sender<io::Result<Bytes>>,
) -> stowd_core::Result<()> {
    let mut window = 0_i64;
    loop {
        if window < i64::from(WINDOW) / 2 {
            let grant = Any::pack(&WindowUpdate { update: WINDOW });
            // A client that has sent everything may be gone: what it sent still counts.
            let _ = stream.send(grant.into()).await;
            window += i64::from(WINDOW);
        }
        let Some(message) = stream.receive().await? else { return Ok(()) };
        let data: Option<Data> = Any::from(message).unpack().map_err(|error| {
            stowd_core::Error::invalid(format_args!("a damaged message in the stream: {error}"))
        })?;
        let Some(Data { data }) = data else { continue };
        window -= i64::try_from(data.len()).unwrap_or(i64::MAX);
        if chunks.send(Ok(data)).await.is_err() {
            return Ok(());
        }
    }
}

async fn send(stream: &dyn Stream, mut chunks: mpsc::Receiver<Bytes>, granted: &Granted) {
    while let Some(mut chunk) = chunks.recv().await {
        while !chunk.is_empty() {
            let granted_now = granted.bytes.load(Ordering::Acquire);
            if granted_now <= 0 {
                if granted_now == i64::MIN {
                    return;
                }
                granted.more.notified().await;
                continue;
            }
            let len = chunk.len().min(usize::try_from(granted_now).unwrap_or(usize::MAX));
            let data = Any::pack(&Data { data: chunk.split_to(len) });
            if stream.send(data.into()).await.is_err() {
                return;
            }
            granted.bytes.fetch_sub(i64::try_from(len).unwrap_or(i64::MAX), Ordering::AcqRel);
        }
    }
}

/// Takes grants until the client ends the stream, and then says so by a grant of [`i64::MIN`].
async fn listen(stream: Arc<dyn Stream>, granted: Arc<Granted>) {
    while let Ok(Some(message)) = stream.receive().await {
        if let Ok(Some(WindowUpdate { update })) = Any::from(message).unpack() {
            granted.bytes.fetch_add(i64::from(update), Ordering::AcqRel);
            granted.more.notify_one();
        }
    }
    granted.bytes.store(i64::MIN, Ordering::Release);
    granted.more.notify_one();
}
