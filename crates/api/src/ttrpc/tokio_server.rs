//! An async server over any stream.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Call, Incoming, ServerConnection};
use crate::rpc::Status;
use crate::status::{self, Code};

/// How many calls of one connection are worked on at a time. While there are so many, no more is
/// read from it.
const MAX_CALLS: usize = 256;

/// What a server does.
#[async_trait::async_trait]
pub trait Service: Send + Sync + 'static {
    /// Answers a unary call with an encoded message.
    ///
    /// # Errors
    /// The status to send; for a service or method that is not there
    /// [`crate::status::unimplemented`].
    async fn call(&self, call: Call) -> Result<Bytes, Status>;
}

/// In which order a connection's calls are worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// All at once: a call that waits holds up no other.
    Concurrent,
    /// One after the other, so that what one client sends takes effect in its order even if it does
    /// not wait for answers.
    InOrder,
}

/// Serves one connection until its client closes it. When that happens, or when this future is
/// dropped, calls that are still worked on are dropped.
///
/// ```no_run
/// # async fn example(service: std::sync::Arc<dyn stowd_api::ttrpc::Service>) -> std::io::Result<()> {
/// use stowd_api::ttrpc::{Dispatch, serve};
/// let listener = tokio::net::UnixListener::bind("containerd.sock.ttrpc")?;
/// loop {
///     let (stream, _) = listener.accept().await?;
///     tokio::spawn(serve(stream, service.clone(), Dispatch::InOrder));
/// }
/// # }
/// ```
///
/// # Errors
/// When reading or writing fails.
pub async fn serve<S>(stream: S, service: Arc<dyn Service>, dispatch: Dispatch) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (answers, mut answered) = mpsc::channel::<(u32, Result<Bytes, Status>)>(MAX_CALLS);
    let limit = match dispatch {
        Dispatch::Concurrent => MAX_CALLS,
        Dispatch::InOrder => 1,
    };
    let mut connection = ServerConnection::new();
    let mut calls = JoinSet::new();
    let mut buffer = bytes::BytesMut::with_capacity(4096);
    loop {
        while calls.len() < limit {
            match connection.next() {
                None => break,
                Some(Incoming::Call(call)) if call.flags.0 != 0 => {
                    let message = format!("method {}: streaming over ttrpc", call.method);
                    connection.refuse(call.stream, status::new(Code::Unimplemented, message));
                }
                Some(Incoming::Call(call)) => {
                    let (service, answers) = (service.clone(), answers.clone());
                    calls.spawn(async move {
                        let stream = call.stream;
                        let answer = limited(service, call).await;
                        // The receiver is gone only when the connection is.
                        let _ = answers.send((stream, answer)).await;
                    });
                }
                // Streams are refused above, so no data can belong to one.
                Some(Incoming::Data { .. }) => {}
            }
        }
        let mut output = connection.take_output();
        if !output.is_empty() {
            writer.write_all_buf(&mut output).await?;
            writer.flush().await?;
        }
        tokio::select! {
            Some((stream, answer)) = answered.recv() => {
                match answer {
                    Ok(payload) => connection.reply_encoded(stream, payload),
                    Err(status) => connection.refuse(stream, status),
                }
            }
            Some(done) = calls.join_next(), if !calls.is_empty() => drop(done),
            count = reader.read_buf(&mut buffer), if calls.len() < limit => {
                if count? == 0 {
                    return Ok(());
                }
                connection.received(&buffer);
                buffer.clear();
            }
        }
    }
}

async fn limited(service: Arc<dyn Service>, call: Call) -> Result<Bytes, Status> {
    let Some(timeout) = call.timeout else { return service.call(call).await };
    let name = format!("{}/{}", call.service, call.method);
    tokio::time::timeout(timeout, service.call(call)).await.unwrap_or_else(|_| {
        Err(status::new(Code::DeadlineExceeded, format!("{name}: context deadline exceeded")))
    })
}
