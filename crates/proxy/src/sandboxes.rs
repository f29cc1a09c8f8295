//! [`sandboxes::Store`] and [`sandboxes::Controller`] over gRPC.

use std::time::Duration;

use async_trait::async_trait;
use stowd_api::convert::{required, sandboxes as convert};
use stowd_api::services::sandbox::v1::{
    self, controller_client::ControllerClient, store_client::StoreClient,
};
use stowd_core::filters::Filters;
use stowd_core::sandboxes::{self, Create, Detail, Exit, Instance, Sandbox, Status, Store};
use stowd_core::tasks::Metric;
use stowd_core::{Platform, Result, Scope};
use tonic::transport::Channel;

use crate::call::{all, client, failed, scoped};

/// A daemon's sandboxes.
#[derive(Clone, Debug)]
pub struct Sandboxes {
    client: StoreClient<Channel>,
}

/// One of a daemon's sandbox controllers.
#[derive(Clone, Debug)]
pub struct Controller {
    client: ControllerClient<Channel>,
    name: String,
}

impl Sandboxes {
    /// Makes the store of sandboxes at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self { client: client!(StoreClient<Channel>, channel) }
    }

    fn client(&self) -> StoreClient<Channel> {
        self.client.clone()
    }
}

impl Controller {
    /// Makes the controller of that name at the other end of a channel.
    pub fn new(channel: Channel, name: impl Into<String>) -> Self {
        Self { client: client!(ControllerClient<Channel>, channel), name: name.into() }
    }

    fn client(&self) -> ControllerClient<Channel> {
        self.client.clone()
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

#[async_trait]
impl Store for Sandboxes {
    async fn get(&self, scope: &Scope, id: &str) -> Result<Sandbox> {
        let request = v1::StoreGetRequest { sandbox_id: id.to_owned() };
        let answer = self.client().get(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().sandbox, "sandbox")?.try_into()
    }

    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Sandbox>> {
        let request = v1::StoreListRequest { filters: filters.texts() };
        let answer = self.client().list(scoped(scope, request)?).await.map_err(failed)?;
        all(answer.into_inner().list)
    }

    async fn create(&self, scope: &Scope, sandbox: Sandbox) -> Result<Sandbox> {
        let request = v1::StoreCreateRequest { sandbox: Some(sandbox.into()) };
        let answer = self.client().create(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().sandbox, "sandbox")?.try_into()
    }

    async fn update(
        &self,
        scope: &Scope,
        sandbox: Sandbox,
        fieldpaths: &[String],
    ) -> Result<Sandbox> {
        let request =
            v1::StoreUpdateRequest { sandbox: Some(sandbox.into()), fields: fieldpaths.to_vec() };
        let answer = self.client().update(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().sandbox, "sandbox")?.try_into()
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<()> {
        let request = v1::StoreDeleteRequest { sandbox_id: id.to_owned() };
        self.client().delete(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }
}

#[async_trait]
impl sandboxes::Controller for Controller {
    async fn create(&self, scope: &Scope, sandbox: Sandbox, create: Create) -> Result<()> {
        let request = convert::create(&self.name, sandbox, create);
        self.client().create(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn start(&self, scope: &Scope, id: &str) -> Result<Instance> {
        let request =
            v1::ControllerStartRequest { sandbox_id: id.to_owned(), sandboxer: self.name() };
        let answer = self.client().start(scoped(scope, request)?).await.map_err(failed)?;
        answer.into_inner().try_into()
    }

    async fn platform(&self, scope: &Scope, id: &str) -> Result<Platform> {
        let request =
            v1::ControllerPlatformRequest { sandbox_id: id.to_owned(), sandboxer: self.name() };
        let answer = self.client().platform(scoped(scope, request)?).await.map_err(failed)?;
        Ok(answer.into_inner().platform.unwrap_or_default().into())
    }

    async fn stop(&self, scope: &Scope, id: &str, timeout: Duration) -> Result<()> {
        let request = v1::ControllerStopRequest {
            sandbox_id: id.to_owned(),
            timeout_secs: u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX),
            sandboxer: self.name(),
        };
        self.client().stop(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn wait(&self, scope: &Scope, id: &str) -> Result<Exit> {
        let request =
            v1::ControllerWaitRequest { sandbox_id: id.to_owned(), sandboxer: self.name() };
        let answer = self.client().wait(scoped(scope, request)?).await.map_err(failed)?;
        answer.into_inner().try_into()
    }

    async fn status(&self, scope: &Scope, id: &str, detail: Detail) -> Result<Status> {
        let request = v1::ControllerStatusRequest {
            sandbox_id: id.to_owned(),
            verbose: detail == Detail::Verbose,
            sandboxer: self.name(),
        };
        let answer = self.client().status(scoped(scope, request)?).await.map_err(failed)?;
        answer.into_inner().try_into()
    }

    async fn shutdown(&self, scope: &Scope, id: &str) -> Result<()> {
        let request =
            v1::ControllerShutdownRequest { sandbox_id: id.to_owned(), sandboxer: self.name() };
        self.client().shutdown(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn metrics(&self, scope: &Scope, id: &str) -> Result<Metric> {
        let request =
            v1::ControllerMetricsRequest { sandbox_id: id.to_owned(), sandboxer: self.name() };
        let answer = self.client().metrics(scoped(scope, request)?).await.map_err(failed)?;
        required(answer.into_inner().metrics, "metrics")?.try_into()
    }

    async fn update(&self, scope: &Scope, sandbox: Sandbox, fields: &[String]) -> Result<()> {
        let request = v1::ControllerUpdateRequest {
            sandbox_id: sandbox.id.clone(),
            sandboxer: self.name(),
            sandbox: Some(sandbox.into()),
            fields: fields.to_vec(),
        };
        self.client().update(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }
}
