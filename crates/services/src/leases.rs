//! `containerd.services.leases.v1`.

use std::sync::Arc;

use stowd_api::services::leases::v1 as api;
use stowd_core::filters::Filters;
use stowd_core::images::Collect;
use stowd_core::leases::{Resource, Store};
use tonic::Request;

use crate::request::{Answer, answer, finish, required, scoped};

/// Serves the store of leases.
pub struct Service(pub Arc<dyn Store>);

#[tonic::async_trait]
impl api::leases_server::Leases for Service {
    async fn create(&self, request: Request<api::CreateRequest>) -> Answer<api::CreateResponse> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let created =
            finish(async move { store.create(&scope, &request.id, request.labels).await });
        answer(created.await, |lease| api::CreateResponse { lease: Some(lease.into()) })
    }

    async fn delete(&self, request: Request<api::DeleteRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let collect = if request.sync { Collect::BeforeReturn } else { Collect::Later };
        let deleted = finish(async move { store.delete(&scope, &request.id, collect).await });
        answer(deleted.await, |()| ())
    }

    async fn list(&self, request: Request<api::ListRequest>) -> Answer<api::ListResponse> {
        let (scope, request) = scoped(request)?;
        let listed = async { self.0.list(&scope, &Filters::parse(&request.filters)?).await };
        answer(listed.await, |leases| api::ListResponse {
            leases: leases.into_iter().map(Into::into).collect(),
        })
    }

    async fn add_resource(&self, request: Request<api::AddResourceRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let added = finish(async move {
            let resource = required(request.resource, "resource")?.into();
            store.add_resource(&scope, &request.id, resource).await
        });
        answer(added.await, |()| ())
    }

    async fn delete_resource(&self, request: Request<api::DeleteResourceRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let deleted = finish(async move {
            let resource: Resource = required(request.resource, "resource")?.into();
            store.delete_resource(&scope, &request.id, resource).await
        });
        answer(deleted.await, |()| ())
    }

    async fn list_resources(
        &self,
        request: Request<api::ListResourcesRequest>,
    ) -> Answer<api::ListResourcesResponse> {
        let (scope, request) = scoped(request)?;
        answer(self.0.resources(&scope, &request.id).await, |list| api::ListResourcesResponse {
            resources: list.into_iter().map(Into::into).collect(),
        })
    }
}
