//! [`events::Exchange`](stowd_core::events::Exchange) over gRPC.

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, future, stream};
use stowd_api::services::events::v1::{self, events_client::EventsClient};
use stowd_api::services::version::v1::version_client::VersionClient;
use stowd_core::events::{Envelope, Envelopes, Event, Exchange};
use stowd_core::filters::Filters;
use stowd_core::{Namespace, Result, Scope};
use tonic::transport::Channel;

use crate::call::{client, failed, scoped};

/// A daemon's events.
#[derive(Clone, Debug)]
pub struct Events {
    client: EventsClient<Channel>,
    version: VersionClient<Channel>,
}

impl Events {
    /// Makes the exchange at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self {
            client: client!(EventsClient<Channel>, channel.clone()),
            version: client!(VersionClient<Channel>, channel),
        }
    }
}

#[async_trait]
impl Exchange for Events {
    async fn publish(&self, namespace: &Namespace, topic: &str, event: Event) -> Result<()> {
        let request = v1::PublishRequest { topic: topic.to_owned(), event: Some(event.into()) };
        let request = scoped(&Scope::new(namespace.clone()), request)?;
        self.client.clone().publish(request).await.map_err(failed)?;
        Ok(())
    }

    async fn forward(&self, envelope: Envelope) -> Result<()> {
        let request = v1::ForwardRequest { envelope: Some(envelope.into()) };
        self.client.clone().forward(request).await.map_err(failed)?;
        Ok(())
    }

    /// stowd confirms a subscription at once. containerd says nothing before the first event; there
    /// the answer to a call sent after the subscription has to do as a sign that it was read.
    async fn subscribe(&self, filters: Filters) -> Result<Envelopes> {
        let (mut client, mut version) = (self.client.clone(), self.version.clone());
        let request = v1::SubscribeRequest { filters: filters.texts() };
        let call = Box::pin(async move { client.subscribe(request).await });
        let sign = Box::pin(version.version(()));
        let envelope = |message| Envelope::try_from(message);
        let events = match future::select(call, sign).await {
            future::Either::Left((answer, _)) => {
                let events = answer.map_err(failed)?.into_inner();
                return Ok(Box::pin(events.map(move |e| e.map_err(failed).and_then(envelope))));
            }
            future::Either::Right((sign, call)) => {
                sign.map_err(failed)?;
                stream::once(call).map_ok(tonic::Response::into_inner).try_flatten()
            }
        };
        Ok(Box::pin(events.map(move |event| event.map_err(failed).and_then(envelope))))
    }
}
