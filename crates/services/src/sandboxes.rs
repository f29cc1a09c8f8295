//! `containerd.services.sandbox.v1`: the store of records, and the controllers.

use std::sync::Arc;
use std::time::Duration;

use stowd_api::convert::sandboxes as convert;
use stowd_api::services::sandbox::v1 as api;
use stowd_api::status;
use stowd_core::filters::Filters;
use stowd_core::sandboxes::{self, Controller, Detail, Sandbox, Store};
use tonic::{Request, Status};

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

/// Serves the controllers of sandboxes.
pub struct Controllers(pub Arc<dyn sandboxes::Controllers>);

impl Controllers {
    fn named(&self, name: &str) -> Result<Arc<dyn Controller>, Status> {
        self.0.controller(name).map_err(status::to_grpc)
    }
}

#[tonic::async_trait]
impl api::controller_server::Controller for Controllers {
    async fn create(
        &self,
        request: Request<api::ControllerCreateRequest>,
    ) -> Answer<api::ControllerCreateResponse> {
        let (scope, request) = scoped(request)?;
        let controller = self.named(&request.sandboxer)?;
        let sandbox_id = request.sandbox_id.clone();
        let made = finish(async move {
            let (sandbox, create) = convert::created(request)?;
            controller.create(&scope, sandbox, create).await
        });
        answer(made.await, |()| api::ControllerCreateResponse { sandbox_id })
    }

    async fn start(
        &self,
        request: Request<api::ControllerStartRequest>,
    ) -> Answer<api::ControllerStartResponse> {
        let (scope, request) = scoped(request)?;
        let controller = self.named(&request.sandboxer)?;
        let id = request.sandbox_id.clone();
        let started = finish(async move { controller.start(&scope, &request.sandbox_id).await });
        answer(started.await, |instance| convert::started(id, instance))
    }

    async fn platform(
        &self,
        request: Request<api::ControllerPlatformRequest>,
    ) -> Answer<api::ControllerPlatformResponse> {
        let (scope, request) = scoped(request)?;
        let controller = self.named(&request.sandboxer)?;
        answer(controller.platform(&scope, &request.sandbox_id).await, |platform| {
            api::ControllerPlatformResponse { platform: Some(platform.into()) }
        })
    }

    async fn stop(
        &self,
        request: Request<api::ControllerStopRequest>,
    ) -> Answer<api::ControllerStopResponse> {
        let (scope, request) = scoped(request)?;
        let controller = self.named(&request.sandboxer)?;
        let timeout = Duration::from_secs(request.timeout_secs.into());
        let stopped =
            finish(async move { controller.stop(&scope, &request.sandbox_id, timeout).await });
        answer(stopped.await, |()| api::ControllerStopResponse {})
    }

    async fn wait(
        &self,
        request: Request<api::ControllerWaitRequest>,
    ) -> Answer<api::ControllerWaitResponse> {
        let (scope, request) = scoped(request)?;
        let controller = self.named(&request.sandboxer)?;
        answer(controller.wait(&scope, &request.sandbox_id).await, Into::into)
    }

    async fn status(
        &self,
        request: Request<api::ControllerStatusRequest>,
    ) -> Answer<api::ControllerStatusResponse> {
        let (scope, request) = scoped(request)?;
        let controller = self.named(&request.sandboxer)?;
        let detail = if request.verbose { Detail::Verbose } else { Detail::Plain };
        answer(controller.status(&scope, &request.sandbox_id, detail).await, |status| {
            convert::status(request.sandbox_id, status)
        })
    }

    async fn shutdown(
        &self,
        request: Request<api::ControllerShutdownRequest>,
    ) -> Answer<api::ControllerShutdownResponse> {
        let (scope, request) = scoped(request)?;
        let controller = self.named(&request.sandboxer)?;
        let ended = finish(async move { controller.shutdown(&scope, &request.sandbox_id).await });
        answer(ended.await, |()| api::ControllerShutdownResponse {})
    }

    async fn metrics(
        &self,
        request: Request<api::ControllerMetricsRequest>,
    ) -> Answer<api::ControllerMetricsResponse> {
        let (scope, request) = scoped(request)?;
        let controller = self.named(&request.sandboxer)?;
        answer(controller.metrics(&scope, &request.sandbox_id).await, |metric| {
            api::ControllerMetricsResponse { metrics: Some(metric.into()) }
        })
    }

    async fn update(
        &self,
        request: Request<api::ControllerUpdateRequest>,
    ) -> Answer<api::ControllerUpdateResponse> {
        let (scope, request) = scoped(request)?;
        let controller = self.named(&request.sandboxer)?;
        let updated = finish(async move {
            let mut sandbox: Sandbox = required(request.sandbox, "sandbox")?.try_into()?;
            sandbox.id = request.sandbox_id;
            controller.update(&scope, sandbox, &request.fields).await
        });
        answer(updated.await, |()| api::ControllerUpdateResponse {})
    }
}
