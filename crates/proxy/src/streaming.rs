//! Named streams to a daemon: the client's half of [`stowd_core::streaming`].

use async_trait::async_trait;
use stowd_api::Any as WireAny;
use stowd_api::services::streaming::v1::StreamInit;
use stowd_api::services::streaming::v1::streaming_client::StreamingClient;
use stowd_core::streaming::Stream;
use stowd_core::{Any, Error, Result, Scope};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::call::{client, failed, scoped};

/// How many messages may wait to be sent.
const QUEUE: usize = 4;

/// Opens streams to a daemon.
#[derive(Clone, Debug)]
pub struct Streaming {
    client: StreamingClient<Channel>,
}

/// The client's end of a stream. To drop it is to cancel it: what was sent and not yet read by the
/// daemon may be lost. To end it in order, close it and receive until nothing more comes.
#[derive(Debug)]
pub struct RemoteStream {
    requests: Mutex<Option<mpsc::Sender<WireAny>>>,
    answers: Mutex<tonic::Streaming<WireAny>>,
}

impl Streaming {
    /// Makes streams to the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self { client: client!(StreamingClient<Channel>, channel) }
    }

    /// Opens a stream. When this returns, the daemon knows it, and another call can name it.
    ///
    /// # Errors
    /// `AlreadyExists` when the id is in use.
    pub async fn open(&self, scope: &Scope, id: &str) -> Result<RemoteStream> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let first = WireAny::pack(&StreamInit { id: id.to_owned() });
        // The queue has room, and its receiver is here.
        let _ = requests.send(first).await;
        let request = scoped(scope, ReceiverStream::new(queue))?;
        let mut answers = self.client.clone().stream(request).await.map_err(failed)?.into_inner();
        match answers.message().await.map_err(failed)? {
            Some(_) => Ok(RemoteStream {
                requests: Mutex::new(Some(requests)),
                answers: Mutex::new(answers),
            }),
            None => Err(Error::unavailable(format_args!("stream {id:?} ended at once"))),
        }
    }
}

#[async_trait]
impl Stream for RemoteStream {
    async fn send(&self, message: Any) -> Result<()> {
        let requests = self.requests.lock().await.clone();
        let ended = || Error::failed_precondition("stream has ended");
        requests.ok_or_else(ended)?.send(message.into()).await.map_err(|_| ended())
    }

    async fn receive(&self) -> Result<Option<Any>> {
        let message = self.answers.lock().await.message().await.map_err(failed)?;
        Ok(message.map(Any::from))
    }

    async fn close(&self) -> Result<()> {
        self.requests.lock().await.take();
        Ok(())
    }
}
