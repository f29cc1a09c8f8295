//! `containerd.services.tasks.v1`.

use std::sync::Arc;

use stowd_api::services::tasks::v1 as api;
use stowd_core::filters::Filters;
use stowd_core::mount::Mount;
use stowd_core::tasks::{Create, Exec, Reach, Stdio, Tasks};
use stowd_core::{Error, Result};
use tonic::{Request, Status};

use crate::request::{Answer, answer, finish, required, scoped};

/// Serves tasks.
pub struct Service(pub Arc<dyn Tasks>);

#[tonic::async_trait]
impl api::tasks_server::Tasks for Service {
    async fn create(
        &self,
        request: Request<api::CreateTaskRequest>,
    ) -> Answer<api::CreateTaskResponse> {
        let (scope, request) = scoped(request)?;
        let tasks = self.0.clone();
        let container_id = request.container_id.clone();
        let created = finish(async move { tasks.create(&scope, create(request)?).await });
        answer(created.await, |pid| api::CreateTaskResponse { container_id, pid })
    }

    async fn start(&self, request: Request<api::StartRequest>) -> Answer<api::StartResponse> {
        let (scope, request) = scoped(request)?;
        let tasks = self.0.clone();
        let started =
            finish(
                async move { tasks.start(&scope, &request.container_id, &request.exec_id).await },
            );
        answer(started.await, |pid| api::StartResponse { pid })
    }

    async fn delete(
        &self,
        request: Request<api::DeleteTaskRequest>,
    ) -> Answer<api::DeleteResponse> {
        let (scope, request) = scoped(request)?;
        let tasks = self.0.clone();
        let deleted = finish(async move { tasks.delete(&scope, &request.container_id, "").await });
        answer(deleted.await, |exit| api::DeleteResponse {
            id: String::new(),
            pid: exit.pid,
            exit_status: exit.status,
            exited_at: Some(exit.at.into()),
        })
    }

    async fn delete_process(
        &self,
        request: Request<api::DeleteProcessRequest>,
    ) -> Answer<api::DeleteResponse> {
        let (scope, request) = scoped(request)?;
        let tasks = self.0.clone();
        let id = request.exec_id.clone();
        let deleted = finish(async move {
            let exec_id = required(Some(request.exec_id).filter(|id| !id.is_empty()), "exec id")?;
            tasks.delete(&scope, &request.container_id, &exec_id).await
        });
        answer(deleted.await, |exit| api::DeleteResponse {
            id,
            pid: exit.pid,
            exit_status: exit.status,
            exited_at: Some(exit.at.into()),
        })
    }

    async fn get(&self, request: Request<api::GetRequest>) -> Answer<api::GetResponse> {
        let (scope, request) = scoped(request)?;
        let got = self.0.get(&scope, &request.container_id, &request.exec_id).await;
        answer(got, |process| api::GetResponse { process: Some(process.into()) })
    }

    async fn list(
        &self,
        request: Request<api::ListTasksRequest>,
    ) -> Answer<api::ListTasksResponse> {
        let (scope, request) = scoped(request)?;
        let listed = async {
            let filter = Some(request.filter).filter(|filter| !filter.is_empty());
            self.0.list(&scope, &Filters::parse(filter.as_slice())?).await
        };
        answer(listed.await, |tasks| api::ListTasksResponse {
            tasks: tasks.into_iter().map(Into::into).collect(),
        })
    }

    async fn kill(&self, request: Request<api::KillRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let tasks = self.0.clone();
        let reach = if request.all { Reach::All } else { Reach::Process };
        let killed = finish(async move {
            let (id, exec) = (&request.container_id, &request.exec_id);
            tasks.kill(&scope, id, exec, request.signal, reach).await
        });
        answer(killed.await, |()| ())
    }

    async fn exec(&self, request: Request<api::ExecProcessRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let tasks = self.0.clone();
        let made = finish(async move {
            if request.exec_id.is_empty() {
                return Err(Error::invalid("exec id cannot be empty"));
            }
            let exec = Exec {
                container_id: request.container_id,
                exec_id: request.exec_id,
                stdio: Stdio {
                    stdin: request.stdin,
                    stdout: request.stdout,
                    stderr: request.stderr,
                    terminal: request.terminal,
                },
                spec: request.spec.map(Into::into),
            };
            tasks.exec(&scope, exec).await
        });
        answer(made.await, |()| ())
    }

    async fn resize_pty(&self, request: Request<api::ResizePtyRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let (id, exec) = (&request.container_id, &request.exec_id);
        answer(self.0.resize(&scope, id, exec, request.width, request.height).await, |()| ())
    }

    async fn close_io(&self, request: Request<api::CloseIoRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let closed = async {
            if request.stdin {
                self.0.close_stdin(&scope, &request.container_id, &request.exec_id).await?;
            }
            Ok(())
        };
        answer(closed.await, |()| ())
    }

    async fn pause(&self, request: Request<api::PauseTaskRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let tasks = self.0.clone();
        let paused = finish(async move { tasks.pause(&scope, &request.container_id).await });
        answer(paused.await, |()| ())
    }

    async fn resume(&self, request: Request<api::ResumeTaskRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let tasks = self.0.clone();
        let resumed = finish(async move { tasks.resume(&scope, &request.container_id).await });
        answer(resumed.await, |()| ())
    }

    async fn list_pids(
        &self,
        request: Request<api::ListPidsRequest>,
    ) -> Answer<api::ListPidsResponse> {
        let (scope, request) = scoped(request)?;
        answer(self.0.pids(&scope, &request.container_id).await, |pids| api::ListPidsResponse {
            processes: pids.into_iter().map(Into::into).collect(),
        })
    }

    async fn checkpoint(
        &self,
        _: Request<api::CheckpointTaskRequest>,
    ) -> Answer<api::CheckpointTaskResponse> {
        Err(Status::unimplemented("checkpoint is not built yet"))
    }

    async fn update(&self, request: Request<api::UpdateTaskRequest>) -> Answer<()> {
        let (scope, request) = scoped(request)?;
        let tasks = self.0.clone();
        let updated = finish(async move {
            let resources = required(request.resources, "resources")?.into();
            tasks.update(&scope, &request.container_id, resources, request.annotations).await
        });
        answer(updated.await, |()| ())
    }

    async fn metrics(&self, request: Request<api::MetricsRequest>) -> Answer<api::MetricsResponse> {
        let (scope, request) = scoped(request)?;
        let measured = async { self.0.metrics(&scope, &Filters::parse(&request.filters)?).await };
        answer(measured.await, |metrics| api::MetricsResponse {
            metrics: metrics.into_iter().map(Into::into).collect(),
        })
    }

    async fn wait(&self, request: Request<api::WaitRequest>) -> Answer<api::WaitResponse> {
        let (scope, request) = scoped(request)?;
        let waited = self.0.wait(&scope, &request.container_id, &request.exec_id).await;
        answer(waited, |exit| api::WaitResponse {
            exit_status: exit.status,
            exited_at: Some(exit.at.into()),
        })
    }
}

fn create(request: api::CreateTaskRequest) -> Result<Create> {
    Ok(Create {
        container_id: request.container_id,
        rootfs: request.rootfs.into_iter().map(Mount::from).collect(),
        stdio: Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        },
        checkpoint: request.checkpoint.map(TryInto::try_into).transpose()?,
        options: request.options.map(Into::into),
        runtime_path: request.runtime_path,
        sandbox_address: request.task_api_address,
        sandbox_version: request.task_api_version,
    })
}
