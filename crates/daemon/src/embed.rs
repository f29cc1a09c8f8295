//! An engine that works for the process it is in.

use hyper_util::rt::TokioIo;
use stowd_core::{Error, Result};
use stowd_proxy::Connection;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::{Engine, Stop};

/// How much a call's message may be ahead of its reader, in bytes.
const PIPE: usize = 1 << 20;

/// An engine at work, without a socket for clients.
///
/// When this is dropped it stops by itself, some time soon; [`stop`](Self::stop) waits for that.
/// Containers go on, and are there again in the next engine on the same root and state.
#[derive(Debug)]
pub struct Embedded {
    connection: Connection,
    stop: Stop,
    serving: JoinHandle<Result<()>>,
}

impl Engine {
    /// Puts the engine to work for this process alone: its calls go through memory.
    ///
    /// What runs containers listens for the shims' events on [`Config::ttrpc`](crate::Config::ttrpc)
    /// still, since shims are processes of their own.
    ///
    /// # Errors
    /// When that socket cannot be listened on.
    pub async fn embed(self) -> Result<Embedded> {
        let shims = self.meet_shims().await?;
        let (channel, calls) = in_memory();
        let stop = Stop::new();
        let stopped = stop.clone();
        let serving = tokio::spawn(async move {
            let calls = UnboundedReceiverStream::new(calls).map(std::io::Result::Ok);
            let served = self.answer(calls, &stopped).await;
            self.leave(shims).await;
            served
        });
        Ok(Embedded { connection: Connection::over(channel), stop, serving })
    }
}

impl Embedded {
    /// Returns a connection, as to a daemon; the crate `stowd-client` makes its objects over it.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Lets calls finish for a moment, and closes the stores.
    ///
    /// # Errors
    /// When serving had failed before.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.pull();
        let ended = (&mut self.serving).await;
        ended.map_err(|error| Error::internal(format_args!("the engine failed: {error}")))?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop.pull();
    }
}

/// Makes a channel, and the other ends of the connections that it makes.
fn in_memory() -> (Channel, mpsc::UnboundedReceiver<DuplexStream>) {
    let (connections, calls) = mpsc::unbounded_channel();
    let connector = tower::service_fn(move |_| {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let sent = connections.send(theirs);
        std::future::ready(match sent {
            Ok(()) => Ok(TokioIo::new(ours)),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
        })
    });
    // The address is only what the requests say; nobody looks it up.
    (Endpoint::from_static("http://in.memory").connect_with_connector_lazy(connector), calls)
}
