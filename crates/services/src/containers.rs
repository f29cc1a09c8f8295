//! `containerd.services.containers.v1`.

use std::sync::Arc;

use futures_util::StreamExt as _;
use stowd_api::services::containers::v1 as api;
use stowd_core::containers::Store;
use stowd_core::filters::Filters;
use tonic::Request;

use crate::request::{Answer, Sent, answer, field_paths, finish, required, scoped};

/// Serves the store of containers.
pub struct Service(pub Arc<dyn Store>);

#[tonic::async_trait]
impl api::containers_server::Containers for Service {
    async fn get(
        &self,
        request: Request<api::GetContainerRequest>,
    ) -> Answer<api::GetContainerResponse> {
        let (scope, request) = scoped(request)?;
        answer(self.0.get(&scope, &request.id).await, |container| api::GetContainerResponse {
            container: Some(container.into()),
        })
    }

    async fn list(
        &self,
        request: Request<api::ListContainersRequest>,
    ) -> Answer<api::ListContainersResponse> {
        let (scope, request) = scoped(request)?;
        let listed = async { self.0.list(&scope, &Filters::parse(&request.filters)?).await };
        answer(listed.await, |containers| api::ListContainersResponse {
            containers: containers.into_iter().map(Into::into).collect(),
        })
    }

    type ListStreamStream = Sent<api::ListContainerMessage>;

    async fn list_stream(
        &self,
        request: Request<api::ListContainersRequest>,
    ) -> Answer<Self::ListStreamStream> {
        let (scope, request) = scoped(request)?;
        let listed = async { self.0.list(&scope, &Filters::parse(&request.filters)?).await };
        answer(listed.await, |containers| -> Self::ListStreamStream {
            let messages = containers
                .into_iter()
                .map(|container| api::ListContainerMessage { container: Some(container.into()) });
            Box::pin(tokio_stream::iter(messages).map(Ok))
        })
    }

    async fn create(
        &self,
        request: Request<api::CreateContainerRequest>,
    ) -> Answer<api::CreateContainerResponse> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let created = finish(async move {
            let container = required(request.container, "container")?.try_into()?;
            store.create(&scope, container).await
        });
        answer(created.await, |container| api::CreateContainerResponse {
            container: Some(container.into()),
        })
    }

    async fn update(
        &self,
        request: Request<api::UpdateContainerRequest>,
    ) -> Answer<api::UpdateContainerResponse> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let updated = finish(async move {
            let container = required(request.container, "container")?.try_into()?;
            store.update(&scope, container, &field_paths(request.update_mask)).await
        });
        answer(updated.await, |container| api::UpdateContainerResponse {
            container: Some(container.into()),
        })
    }

    async fn delete(&self, request: Request<api::DeleteContainerRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let deleted = finish(async move { store.delete(&scope, &request.id).await });
        answer(deleted.await, |()| ())
    }
}
