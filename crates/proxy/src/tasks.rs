//! [`tasks::Tasks`] over gRPC.

use async_trait::async_trait;
use stowd_api::convert::required;
use stowd_api::convert::tasks::process;
use stowd_api::services::tasks::v1::{self, tasks_client::TasksClient};
use stowd_core::filters::Filters;
use stowd_core::tasks::{self, Create, Exec, Exit, Metric, Process, ProcessInfo, Reach};
use stowd_core::{Any, Labels, Result, Scope};
use tonic::transport::Channel;

use crate::call::{all, client, failed, scoped};

/// A daemon's tasks.
///
/// What [`wait`](tasks::Tasks::wait) returns has no pid: the answer does not carry it.
#[derive(Clone, Debug)]
pub struct Tasks {
    client: TasksClient<Channel>,
}

impl Tasks {
    /// Makes the tasks at the other end of a channel.
    pub fn new(channel: Channel) -> Self {
        Self { client: client!(TasksClient<Channel>, channel) }
    }

    fn client(&self) -> TasksClient<Channel> {
        self.client.clone()
    }
}

#[async_trait]
impl tasks::Tasks for Tasks {
    async fn create(&self, scope: &Scope, create: Create) -> Result<u32> {
        let request: v1::CreateTaskRequest = create.into();
        let answer = self.client().create(scoped(scope, request)?).await.map_err(failed)?;
        Ok(answer.into_inner().pid)
    }

    async fn start(&self, scope: &Scope, container_id: &str, exec_id: &str) -> Result<u32> {
        let request =
            v1::StartRequest { container_id: container_id.to_owned(), exec_id: exec_id.to_owned() };
        let answer = self.client().start(scoped(scope, request)?).await.map_err(failed)?;
        Ok(answer.into_inner().pid)
    }

    async fn delete(&self, scope: &Scope, container_id: &str, exec_id: &str) -> Result<Exit> {
        let container_id = container_id.to_owned();
        let answer = if exec_id.is_empty() {
            let request = v1::DeleteTaskRequest { container_id };
            self.client().delete(scoped(scope, request)?).await
        } else {
            let request = v1::DeleteProcessRequest { container_id, exec_id: exec_id.to_owned() };
            self.client().delete_process(scoped(scope, request)?).await
        };
        answer.map_err(failed)?.into_inner().try_into()
    }

    async fn get(&self, scope: &Scope, container_id: &str, exec_id: &str) -> Result<Process> {
        let request =
            v1::GetRequest { container_id: container_id.to_owned(), exec_id: exec_id.to_owned() };
        let answer = self.client().get(scoped(scope, request)?).await.map_err(failed)?;
        process(required(answer.into_inner().process, "process")?, Some(container_id))
    }

    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Process>> {
        // The request has room for one filter, which containerd does not look at.
        let request = v1::ListTasksRequest::default();
        let answer = self.client().list(scoped(scope, request)?).await.map_err(failed)?;
        let list = answer.into_inner().tasks.into_iter().map(|message| process(message, None));
        let mut list: Vec<Process> = list.collect::<Result<_>>()?;
        list.retain(|process| filters.matches(process));
        Ok(list)
    }

    async fn kill(
        &self,
        scope: &Scope,
        container_id: &str,
        exec_id: &str,
        signal: u32,
        reach: Reach,
    ) -> Result<()> {
        let request = v1::KillRequest {
            container_id: container_id.to_owned(),
            exec_id: exec_id.to_owned(),
            signal,
            all: reach == Reach::All,
        };
        self.client().kill(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn exec(&self, scope: &Scope, exec: Exec) -> Result<()> {
        let request: v1::ExecProcessRequest = exec.into();
        self.client().exec(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn resize(
        &self,
        scope: &Scope,
        container_id: &str,
        exec_id: &str,
        width: u32,
        height: u32,
    ) -> Result<()> {
        let request = v1::ResizePtyRequest {
            container_id: container_id.to_owned(),
            exec_id: exec_id.to_owned(),
            width,
            height,
        };
        self.client().resize_pty(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn close_stdin(&self, scope: &Scope, container_id: &str, exec_id: &str) -> Result<()> {
        let request = v1::CloseIoRequest {
            container_id: container_id.to_owned(),
            exec_id: exec_id.to_owned(),
            stdin: true,
        };
        self.client().close_io(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn pause(&self, scope: &Scope, container_id: &str) -> Result<()> {
        let request = v1::PauseTaskRequest { container_id: container_id.to_owned() };
        self.client().pause(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn resume(&self, scope: &Scope, container_id: &str) -> Result<()> {
        let request = v1::ResumeTaskRequest { container_id: container_id.to_owned() };
        self.client().resume(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn pids(&self, scope: &Scope, container_id: &str) -> Result<Vec<ProcessInfo>> {
        let request = v1::ListPidsRequest { container_id: container_id.to_owned() };
        let answer = self.client().list_pids(scoped(scope, request)?).await.map_err(failed)?;
        Ok(answer.into_inner().processes.into_iter().map(ProcessInfo::from).collect())
    }

    async fn update(
        &self,
        scope: &Scope,
        container_id: &str,
        resources: Any,
        annotations: Labels,
    ) -> Result<()> {
        let request = v1::UpdateTaskRequest {
            container_id: container_id.to_owned(),
            resources: Some(resources.into()),
            annotations,
        };
        self.client().update(scoped(scope, request)?).await.map_err(failed)?;
        Ok(())
    }

    async fn metrics(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Metric>> {
        let request = v1::MetricsRequest { filters: filters.texts() };
        let answer = self.client().metrics(scoped(scope, request)?).await.map_err(failed)?;
        all(answer.into_inner().metrics)
    }

    async fn wait(&self, scope: &Scope, container_id: &str, exec_id: &str) -> Result<Exit> {
        let request =
            v1::WaitRequest { container_id: container_id.to_owned(), exec_id: exec_id.to_owned() };
        let answer = self.client().wait(scoped(scope, request)?).await.map_err(failed)?;
        answer.into_inner().try_into()
    }
}
