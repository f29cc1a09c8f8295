//! `containerd.services.mounts.v1`.

use std::sync::Arc;

use futures_util::StreamExt as _;
use stowd_api::services::mounts::v1 as api;
use stowd_api::status;
use stowd_core::Error;
use stowd_core::mounts::{Extent, Manager, Options};
use tonic::{Request, Status};

use crate::request::{Answer, Sent, answer, finish, scoped};

/// Serves the manager of mounts.
pub struct Service(pub Arc<dyn Manager>);

#[tonic::async_trait]
impl api::mounts_server::Mounts for Service {
    async fn activate(
        &self,
        request: Request<api::ActivateRequest>,
    ) -> Answer<api::ActivateResponse> {
        let (scope, request) = scoped(request)?;
        let manager = self.0.clone();
        let activated = finish(async move {
            let mounts = request.mounts.into_iter().map(Into::into).collect();
            let extent = if request.temporary { Extent::All } else { Extent::Needed };
            let options = Options { labels: request.labels, extent, allowed: Vec::new() };
            manager.activate(&scope, &request.name, mounts, options).await
        });
        answer(activated.await, |info| api::ActivateResponse { info: Some(info.into()) })
    }

    async fn deactivate(&self, request: Request<api::DeactivateRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let manager = self.0.clone();
        let undone = finish(async move { manager.deactivate(&scope, &request.name).await });
        answer(undone.await, |()| ())
    }

    async fn info(&self, request: Request<api::InfoRequest>) -> Answer<api::InfoResponse> {
        let (scope, request) = scoped(request)?;
        let got = self.0.info(&scope, &request.name).await;
        answer(got, |info| api::InfoResponse { info: Some(info.into()) })
    }

    async fn update(&self, _: Request<api::UpdateRequest>) -> Answer<api::UpdateResponse> {
        // The service has the method, and no containerd does anything behind it.
        Err(status::to_grpc(Error::not_implemented("update of an activation")))
    }

    type ListStream = Sent<api::ListMessage>;

    /// The request's filters are not looked at, as in containerd.
    async fn list(&self, request: Request<api::ListRequest>) -> Answer<Self::ListStream> {
        let (scope, _) = scoped(request)?;
        answer(self.0.list(&scope).await, |chunks| -> Self::ListStream {
            Box::pin(chunks.flat_map(|chunk| {
                let messages: Vec<Result<_, Status>> = match chunk {
                    Ok(all) => all
                        .into_iter()
                        .map(|info| Ok(api::ListMessage { info: Some(info.into()) }))
                        .collect(),
                    Err(error) => vec![Err(status::to_grpc(error))],
                };
                futures_util::stream::iter(messages)
            }))
        })
    }
}
