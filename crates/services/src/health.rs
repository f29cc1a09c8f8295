//! `grpc.health.v1`: the daemon serves as soon as it listens, and until it stops.

use stowd_api::health::v1 as api;
use stowd_api::health::v1::health_check_response::ServingStatus;
use tonic::{Request, Response, Status};

use crate::request::{Answer, Sent};

/// Answers that the daemon serves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Service;

#[tonic::async_trait]
impl api::health_server::Health for Service {
    async fn check(
        &self,
        request: Request<api::HealthCheckRequest>,
    ) -> Answer<api::HealthCheckResponse> {
        known(&request.get_ref().service)?;
        Ok(Response::new(serving()))
    }

    type WatchStream = Sent<api::HealthCheckResponse>;

    async fn watch(&self, request: Request<api::HealthCheckRequest>) -> Answer<Self::WatchStream> {
        known(&request.get_ref().service)?;
        // The state never changes while the connection lives: one answer, then silence.
        let first = tokio_stream::once(Ok(serving()));
        Ok(Response::new(Box::pin(futures_util::StreamExt::chain(first, tokio_stream::pending()))))
    }
}

fn serving() -> api::HealthCheckResponse {
    api::HealthCheckResponse { status: ServingStatus::Serving.into() }
}

fn known(service: &str) -> Result<(), Status> {
    if service.is_empty() { Ok(()) } else { Err(Status::not_found("unknown service")) }
}
