//! `containerd.services.sandbox.v1`: the store of records, and the controllers.

use std::sync::Arc;

use stowd_api::services::sandbox::v1 as api;
use stowd_core::filters::Filters;
use stowd_core::sandboxes::Store;
use tonic::Request;

use crate::request::{Answer, answer, finish, required, scoped};

/// Serves the store of sandboxes.
pub struct Service(pub Arc<dyn Store>);

#[tonic::async_trait]
impl api::store_server::Store for Service {
    async fn create(
        &self,
        request: Request<api::StoreCreateRequest>,
    ) -> Answer<api::StoreCreateResponse> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let created = finish(async move {
            let sandbox = required(request.sandbox, "sandbox")?.try_into()?;
            store.create(&scope, sandbox).await
        });
        answer(created.await, |sandbox| api::StoreCreateResponse { sandbox: Some(sandbox.into()) })
    }

    async fn update(
        &self,
        request: Request<api::StoreUpdateRequest>,
    ) -> Answer<api::StoreUpdateResponse> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let updated = finish(async move {
            let sandbox = required(request.sandbox, "sandbox")?.try_into()?;
            store.update(&scope, sandbox, &request.fields).await
        });
        answer(updated.await, |sandbox| api::StoreUpdateResponse { sandbox: Some(sandbox.into()) })
    }

    async fn delete(
        &self,
        request: Request<api::StoreDeleteRequest>,
    ) -> Answer<api::StoreDeleteResponse> {
        let (scope, request) = scoped(request)?;
        let store = self.0.clone();
        let deleted = finish(async move { store.delete(&scope, &request.sandbox_id).await });
        answer(deleted.await, |()| api::StoreDeleteResponse {})
    }

    async fn list(
        &self,
        request: Request<api::StoreListRequest>,
    ) -> Answer<api::StoreListResponse> {
        let (scope, request) = scoped(request)?;
        let listed = async { self.0.list(&scope, &Filters::parse(&request.filters)?).await };
        answer(listed.await, |sandboxes| api::StoreListResponse {
            list: sandboxes.into_iter().map(Into::into).collect(),
        })
    }

    async fn get(&self, request: Request<api::StoreGetRequest>) -> Answer<api::StoreGetResponse> {
        let (scope, request) = scoped(request)?;
        answer(self.0.get(&scope, &request.sandbox_id).await, |sandbox| api::StoreGetResponse {
            sandbox: Some(sandbox.into()),
        })
    }
}
