//! `containerd.services.events.v1`, and what shims call: `containerd.services.events.ttrpc.v1`.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use stowd_api::rpc;
use stowd_api::services::events::ttrpc::v1 as ttrpc_api;
use stowd_api::services::events::v1 as api;
use stowd_api::ttrpc::{self, Call};
use stowd_api::types;
use stowd_api::{Message as _, status};
use stowd_core::events::{Envelope, Exchange};
use stowd_core::filters::Filters;
use stowd_core::{Error, Result};
use tonic::Request;

use crate::request::{Answer, Sent, answer, required, scoped};

/// Serves the exchange over gRPC.
pub struct Service(pub Arc<dyn Exchange>);

/// Takes events from shims over ttrpc, and hands each on to the function inside.
pub struct Ttrpc<F>(pub F);

#[tonic::async_trait]
impl api::events_server::Events for Service {
    async fn publish(&self, request: Request<api::PublishRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let published = async {
            let event = required(request.event, "event")?.into();
            self.0.publish(&scope.namespace, &request.topic, event).await
        };
        answer(published.await, |()| ())
    }

    async fn forward(&self, request: Request<api::ForwardRequest>) -> Answer<()> {
        let forwarded = async { self.0.forward(envelope(request.into_inner().envelope)?).await };
        answer(forwarded.await, |()| ())
    }

    type SubscribeStream = Sent<types::Envelope>;

    async fn subscribe(
        &self,
        request: Request<api::SubscribeRequest>,
    ) -> Answer<Self::SubscribeStream> {
        let filters = Filters::parse(&request.into_inner().filters);
        let subscribed = async { self.0.subscribe(filters?).await };
        answer(subscribed.await, |events| -> Self::SubscribeStream {
            Box::pin(events.map(|event| event.map(Into::into).map_err(status::to_grpc)))
        })
    }
}

#[async_trait]
impl<F, R> ttrpc::Service for Ttrpc<F>
where
    F: Fn(Envelope) -> R + Send + Sync + 'static,
    R: Future<Output = Result<()>> + Send,
{
    async fn call(&self, call: Call) -> Result<Bytes, rpc::Status> {
        use stowd_api::services::events::ttrpc::v1::events_names as names;
        if (&*call.service, &*call.method) != (names::SERVICE, names::FORWARD) {
            return Err(status::unimplemented(&call.service, &call.method));
        }
        let request = ttrpc_api::ForwardRequest::decode(call.payload).map_err(|error| {
            status::to_ttrpc(&Error::invalid(format_args!("forward request: {error}")))
        })?;
        let forwarded = async { (self.0)(envelope(request.envelope)?).await };
        forwarded.await.map_err(|error| status::to_ttrpc(&error))?;
        Ok(Bytes::new())
    }
}

fn envelope(message: Option<types::Envelope>) -> Result<Envelope> {
    required(message, "envelope")?.try_into()
}
