//! An async client over any stream.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;

use super::{ClientConnection, KeyValue};
use crate::rpc::Status;
use crate::status::{self, Code};

type Answer = Result<Bytes, Status>;

/// A client: any number of calls at once over one connection. Clones share the connection; it is
/// closed when the last of them is dropped.
///
/// A call that is dropped or runs out of time is forgotten here, but the server still works on it.
/// When the connection ends, all calls fail with `Unavailable` and [`closed`](Self::closed)
/// returns.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use stowd_api::task::v3::{ConnectRequest, ConnectResponse, task_names};
/// use stowd_api::ttrpc::Client;
///
/// let client = Client::new(tokio::net::UnixStream::connect("/run/containerd/s/1a2b").await?)
///     .with_metadata("containerd-namespace-ttrpc", "default");
/// let request = ConnectRequest { id: "c".into() };
/// let shim: ConnectResponse = client
///     .call(task_names::SERVICE, task_names::CONNECT, &request, Some(Duration::from_secs(5)))
///     .await
///     .map_err(|status| stowd_api::status::from_ttrpc(&status))?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<Connection>,
    metadata: Vec<KeyValue>,
}

#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is output.
    output: Notify,
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    codec: ClientConnection,
    waiting: BTreeMap<u32, oneshot::Sender<Answer>>,
    closed: bool,
}

impl Client {
    /// Makes a client of a connected stream. Must be called within a tokio runtime, which then
    /// reads and writes the stream.
    pub fn new<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            output: Notify::new(),
            closed: watch::Sender::new(false),
        });
        let tasks = [
            tokio::spawn(end(shared.clone(), read(shared.clone(), reader))).abort_handle(),
            tokio::spawn(end(shared.clone(), write(shared.clone(), writer))).abort_handle(),
        ];
        Self { connection: Arc::new(Connection { shared, tasks }), metadata: Vec::new() }
    }

    /// Returns a client of the same connection that sends this with every call, too.
    #[must_use]
    pub fn with_metadata(&self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let mut client = self.clone();
        client.metadata.push(KeyValue { key: key.into(), value: value.into() });
        client
    }

    /// Calls a method and waits for its answer, at most as long as `timeout`, which the server is
    /// told as well.
    ///
    /// # Errors
    /// The server's status; `DeadlineExceeded`, or `Unavailable` when the connection is closed.
    pub async fn call<R: Message + Default>(
        &self,
        service: &str,
        method: &str,
        request: &impl Message,
        timeout: Option<Duration>,
    ) -> Result<R, Status> {
        let payload = request.encode_to_vec().into();
        let answer = self.call_encoded(service, method, payload, timeout).await?;
        R::decode(answer).map_err(|error| {
            status::new(Code::Internal, format!("{service}/{method}: bad answer: {error}"))
        })
    }

    /// As [`call`](Self::call), with messages that are encoded already.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_encoded(
        &self,
        service: &str,
        method: &str,
        payload: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Bytes, Status> {
        let shared = &self.connection.shared;
        let (sender, receiver) = oneshot::channel();
        let stream = {
            let mut state = shared.lock();
            if state.closed {
                return Err(closed());
            }
            let metadata = self.metadata.clone();
            let stream = state.codec.call_encoded(service, method, payload, timeout, metadata)?;
            state.waiting.insert(stream, sender);
            stream
        };
        // Also when this future is dropped, the answer has no one left to wait for it.
        let _forget = Forget { shared, stream };
        shared.output.notify_one();
        let answer = match timeout {
            None => receiver.await,
            Some(timeout) => match tokio::time::timeout(timeout, receiver).await {
                Ok(answer) => answer,
                Err(_) => {
                    let message = format!("{service}/{method}: context deadline exceeded");
                    return Err(status::new(Code::DeadlineExceeded, message));
                }
            },
        };
        answer.unwrap_or_else(|_| Err(closed()))
    }

    /// Waits until the connection is closed, by either end.
    pub async fn closed(&self) {
        let mut closed = self.connection.shared.closed.subscribe();
        // The sender lives as long as this client does.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Says whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        *self.connection.shared.closed.borrow()
    }

    /// Closes the connection for all clones.
    pub fn close(&self) {
        self.connection.shared.close();
        for task in &self.connection.tasks {
            task.abort();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        // Dropping the senders fails all calls.
        state.waiting.clear();
        drop(state);
        self.closed.send_replace(true);
    }
}

struct Forget<'a> {
    shared: &'a Shared,
    stream: u32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.waiting.remove(&self.stream).is_some() {
            state.codec.forget(self.stream);
        }
    }
}

async fn end(shared: Arc<Shared>, work: impl Future<Output = io::Result<()>>) {
    // However one direction ended, the connection is of no use any more.
    let _ = work.await;
    shared.close();
    // Wakes the other direction, which sees that it is over.
    shared.output.notify_one();
}

async fn read<S: AsyncRead>(shared: Arc<Shared>, mut reader: ReadHalf<S>) -> io::Result<()> {
    let mut buffer = bytes::BytesMut::with_capacity(4096);
    while reader.read_buf(&mut buffer).await? > 0 {
        let mut state = shared.lock();
        if state.closed {
            break;
        }
        state.codec.received(&buffer);
        buffer.clear();
        while let Some((stream, answer)) = state.codec.next() {
            if let Some(waiting) = state.waiting.remove(&stream) {
                // A receiver that is gone has been forgotten in the same moment.
                let _ = waiting.send(answer);
            }
        }
    }
    Ok(())
}

async fn write<S: AsyncWrite>(shared: Arc<Shared>, mut writer: WriteHalf<S>) -> io::Result<()> {
    loop {
        let mut output = {
            let mut state = shared.lock();
            if state.closed {
                return Ok(());
            }
            state.codec.take_output()
        };
        if output.is_empty() {
            shared.output.notified().await;
            continue;
        }
        writer.write_all_buf(&mut output).await?;
        writer.flush().await?;
    }
}

fn closed() -> Status {
    status::new(Code::Unavailable, "ttrpc: closed")
}
