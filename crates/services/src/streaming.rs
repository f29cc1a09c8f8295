//! `containerd.services.streaming.v1`: a client's bidirectional call becomes a named stream.

use std::sync::Arc;

use futures_util::StreamExt as _;
use stowd_api::services::streaming::v1 as api;
use stowd_api::{Any, status};
use stowd_core::streaming::{Stream, Streams};
use stowd_core::{Error, Result};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::request::{Answer, Sent, scoped};

/// Messages that may wait for a slow client, each way.
const QUEUE: usize = 16;

/// Serves the manager of streams.
pub struct Service(pub Arc<dyn Streams>);

/// One call, as a stream.
struct Call {
    incoming: Mutex<Streaming<Any>>,
    outgoing: std::sync::Mutex<Option<mpsc::Sender<Result<Any, Status>>>>,
}

#[tonic::async_trait]
impl api::streaming_server::Streaming for Service {
    type StreamStream = Sent<Any>;

    async fn stream(&self, request: Request<Streaming<Any>>) -> Answer<Self::StreamStream> {
        let (scope, mut incoming) = scoped(request)?;
        let (outgoing, sent) = mpsc::channel(QUEUE);
        let (alive, gone) = oneshot::channel::<()>();
        let streams = self.0.clone();
        // The first message may come after the client has seen our headers: answer at once.
        tokio::spawn(async move {
            let opened = async {
                let id = first(&mut incoming).await?;
                let call = Call {
                    incoming: Mutex::new(incoming),
                    outgoing: std::sync::Mutex::new(Some(outgoing.clone())),
                };
                streams.register(&scope, &id, Arc::new(call)).await.map_err(status::to_grpc)?;
                Ok::<_, Status>(id)
            };
            let id = match opened.await {
                Ok(id) => id,
                Err(status) => {
                    let _ = outgoing.send(Err(status)).await;
                    return;
                }
            };
            // Tells the client that the name is known now.
            let ready = Any { type_url: "google.protobuf.Empty".to_owned(), ..Any::default() };
            if outgoing.send(Ok(ready)).await.is_err() {
                streams.forget(&scope, &id).await;
                return;
            }
            // From now on only the stream holds a sender: closing it ends the call.
            drop(outgoing);
            let _ = gone.await;
            streams.forget(&scope, &id).await;
        });
        // Whatever way the call ends, tonic drops what it sends from, and `alive` with it.
        Ok(Response::new(Box::pin(ReceiverStream::new(sent).inspect(move |_| {
            let _ = &alive;
        }))))
    }
}

async fn first(incoming: &mut Streaming<Any>) -> Result<String, Status> {
    let bad = |why: &str| status::to_grpc(Error::invalid(format_args!("stream: {why}")));
    let first = incoming.message().await?.ok_or_else(|| bad("ended before its first message"))?;
    match first.unpack::<api::StreamInit>() {
        Ok(Some(init)) if !init.id.is_empty() => Ok(init.id),
        _ => Err(bad("the first message must be a StreamInit with an id")),
    }
}

impl Call {
    fn sender(&self) -> Option<mpsc::Sender<Result<Any, Status>>> {
        // The option is whole at every moment, whoever panics.
        self.outgoing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

#[tonic::async_trait]
impl Stream for Call {
    async fn send(&self, message: stowd_core::Any) -> Result<()> {
        let gone = || Error::canceled("the client has ended the stream");
        let sender = self.sender().ok_or_else(gone)?;
        sender.send(Ok(message.into())).await.map_err(|_| gone())
    }

    async fn receive(&self) -> Result<Option<stowd_core::Any>> {
        let message = self.incoming.lock().await.message().await;
        message.map(|message| message.map(Into::into)).map_err(|s| status::from_grpc(&s))
    }

    async fn close(&self) -> Result<()> {
        self.outgoing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        Ok(())
    }
}
