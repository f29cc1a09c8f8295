//! The contract, call by call.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::future::join_all;
use stowd_api::Message;
use stowd_api::convert::time::time;
use stowd_api::task::v3;
use stowd_api::types::task as wire;
use stowd_core::filters::Filters;
use stowd_core::tasks::{
    Create, Exec, Exit, Metric, Process, ProcessInfo, Reach, Status, Stdio, Tasks,
};
use stowd_core::{Any, Error, ErrorKind, Labels, Result, Scope};

use crate::Manager;
use crate::manager::Inner;
use crate::shim::{Shim, methods};
use crate::task::Task;

#[async_trait]
impl Tasks for Manager {
    async fn create(&self, scope: &Scope, create: Create) -> Result<u32> {
        // Once begun it goes to its end, also when nobody waits any more.
        let made = tokio::spawn(self.inner.clone().create(scope.clone(), create));
        made.await.map_err(Error::internal)?
    }

    async fn start(&self, scope: &Scope, id: &str, exec_id: &str) -> Result<u32> {
        let (task, shim) = self.inner.ready(scope, id).await?;
        let request = v3::StartRequest { id: id.to_owned(), exec_id: exec_id.to_owned() };
        let work = self.inner.config.timeouts.work;
        let started: v3::StartResponse =
            self.inner.call(&shim, id, methods::START, &request, work).await?;
        task.process(exec_id).started(started.pid);
        Ok(started.pid)
    }

    async fn delete(&self, scope: &Scope, id: &str, exec_id: &str) -> Result<Exit> {
        if exec_id.is_empty() {
            let deleted = tokio::spawn(self.inner.clone().delete(scope.clone(), id.to_owned()));
            return deleted.await.map_err(Error::internal)?;
        }
        let (task, shim) = self.inner.ready(scope, id).await?;
        let request = v3::DeleteRequest { id: id.to_owned(), exec_id: exec_id.to_owned() };
        let work = self.inner.config.timeouts.work;
        let deleted: v3::DeleteResponse =
            self.inner.call(&shim, id, methods::DELETE, &request, work).await?;
        let exit =
            Exit { pid: deleted.pid, status: deleted.exit_status, at: time(deleted.exited_at)? };
        if let Some(process) = task.known(exec_id) {
            process.ended(exit);
        }
        task.forget(exec_id);
        Ok(exit)
    }

    async fn get(&self, scope: &Scope, id: &str, exec_id: &str) -> Result<Process> {
        let (task, shim) = self.inner.ready(scope, id).await?;
        self.inner.state(&task, &shim, exec_id).await
    }

    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Process>> {
        let asked = self.inner.all(&scope.namespace).into_iter().map(|task| async move {
            let (task, shim) = self.inner.ready(scope, &task.id).await.ok()?;
            match self.inner.state(&task, &shim, "").await {
                Ok(process) => Some(process),
                Err(error) => {
                    if !error.is_not_found() {
                        tracing::warn!(%error, id = task.id, "left a task out of a list");
                    }
                    None
                }
            }
        });
        let all = join_all(asked).await.into_iter().flatten();
        Ok(all.filter(|process| filters.matches(process)).collect())
    }

    async fn kill(
        &self,
        scope: &Scope,
        id: &str,
        exec_id: &str,
        signal: u32,
        reach: Reach,
    ) -> Result<()> {
        let (_, shim) = self.inner.ready(scope, id).await?;
        let request = v3::KillRequest {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            signal,
            all: reach == Reach::All,
        };
        self.inner.act(&shim, id, methods::KILL, &request).await
    }

    async fn exec(&self, scope: &Scope, exec: Exec) -> Result<()> {
        let id = &exec.container_id;
        let (task, shim) = self.inner.ready(scope, id).await?;
        let request = v3::ExecProcessRequest {
            id: id.clone(),
            exec_id: exec.exec_id.clone(),
            terminal: exec.stdio.terminal,
            stdin: exec.stdio.stdin,
            stdout: exec.stdio.stdout,
            stderr: exec.stdio.stderr,
            spec: exec.spec.map(Into::into),
        };
        self.inner.act(&shim, id, methods::EXEC, &request).await?;
        // Whatever had that id before is over.
        if task.known(&exec.exec_id).is_some_and(|process| process.exit().is_some()) {
            task.forget(&exec.exec_id);
        }
        Ok(())
    }

    async fn resize(
        &self,
        scope: &Scope,
        id: &str,
        exec_id: &str,
        width: u32,
        height: u32,
    ) -> Result<()> {
        let (_, shim) = self.inner.ready(scope, id).await?;
        let request =
            v3::ResizePtyRequest { id: id.to_owned(), exec_id: exec_id.to_owned(), width, height };
        self.inner.act(&shim, id, methods::RESIZE_PTY, &request).await
    }

    async fn close_stdin(&self, scope: &Scope, id: &str, exec_id: &str) -> Result<()> {
        let (_, shim) = self.inner.ready(scope, id).await?;
        let request =
            v3::CloseIoRequest { id: id.to_owned(), exec_id: exec_id.to_owned(), stdin: true };
        self.inner.act(&shim, id, methods::CLOSE_IO, &request).await
    }

    async fn pause(&self, scope: &Scope, id: &str) -> Result<()> {
        let (_, shim) = self.inner.ready(scope, id).await?;
        self.inner.act(&shim, id, methods::PAUSE, &v3::PauseRequest { id: id.to_owned() }).await
    }

    async fn resume(&self, scope: &Scope, id: &str) -> Result<()> {
        let (_, shim) = self.inner.ready(scope, id).await?;
        self.inner.act(&shim, id, methods::RESUME, &v3::ResumeRequest { id: id.to_owned() }).await
    }

    async fn pids(&self, scope: &Scope, id: &str) -> Result<Vec<ProcessInfo>> {
        let (_, shim) = self.inner.ready(scope, id).await?;
        let request = v3::PidsRequest { id: id.to_owned() };
        let call = self.inner.config.timeouts.call;
        let answer: v3::PidsResponse =
            self.inner.call(&shim, id, methods::PIDS, &request, call).await?;
        Ok(answer.processes.into_iter().map(Into::into).collect())
    }

    async fn update(
        &self,
        scope: &Scope,
        id: &str,
        resources: Any,
        annotations: Labels,
    ) -> Result<()> {
        let (_, shim) = self.inner.ready(scope, id).await?;
        let request = v3::UpdateTaskRequest {
            id: id.to_owned(),
            resources: Some(resources.into()),
            annotations: annotations.into_iter().collect(),
        };
        self.inner.act(&shim, id, methods::UPDATE, &request).await
    }

    async fn metrics(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Metric>> {
        let wanted = self.inner.all(&scope.namespace).into_iter().filter(|task| {
            let blank = Metric { id: task.id.clone(), at: SystemTime::now(), data: Any::default() };
            filters.matches(&blank)
        });
        let asked = wanted.map(|task| async move {
            match self.inner.measure(scope, &task).await {
                Ok(metric) => metric,
                Err(error) => {
                    // One that does not answer does not keep the others' numbers back.
                    if !error.is_not_found() {
                        tracing::warn!(%error, id = task.id, "did not measure a task");
                    }
                    None
                }
            }
        });
        Ok(join_all(asked).await.into_iter().flatten().collect())
    }

    async fn wait(&self, scope: &Scope, id: &str, exec_id: &str) -> Result<Exit> {
        let (task, shim) = self.inner.ready(scope, id).await?;
        let process = task.process(exec_id);
        if let Some(exit) = process.exit() {
            return Ok(exit);
        }
        let asked = process.ask(|| {
            let request = v3::WaitRequest { id: id.to_owned(), exec_id: exec_id.to_owned() };
            let shim = shim.clone();
            async move {
                let answer: v3::WaitResponse = shim.call(methods::WAIT, &request, None).await?;
                Ok(Exit { pid: 0, status: answer.exit_status, at: time(answer.exited_at)? })
            }
        });
        let answer = tokio::select! {
            exit = process.exited() => return Ok(exit),
            answer = asked => answer,
        };
        match answer {
            Ok(exit) => {
                process.ended(Exit { pid: process.pid(), ..exit });
                Ok(process.exit().unwrap_or(exit))
            }
            Err(error) if error.is(ErrorKind::Unavailable) => {
                // The shim is gone, so the task is about to be buried, which says how it ended.
                let timeouts = &self.inner.config.timeouts;
                let patience = timeouts.shutdown + timeouts.cleanup * 3;
                tokio::time::timeout(patience, process.exited()).await.map_err(|_| error)
            }
            Err(error) => {
                task.forget_unstarted(exec_id);
                Err(error)
            }
        }
    }
}

impl Inner {
    /// Calls a shim, which is killed when it hangs.
    async fn call<R: Message + Default>(
        self: &Arc<Self>,
        shim: &Arc<Shim>,
        id: &str,
        method: &str,
        request: &impl Message,
        timeout: Duration,
    ) -> Result<R> {
        let answer = shim.call(method, request, Some(timeout)).await;
        let probe = shim.connect(id, self.config.timeouts.state);
        shim.kill_if_hung(id, method, &answer, probe).await;
        answer
    }

    /// Calls a method without an answer.
    async fn act(
        self: &Arc<Self>,
        shim: &Arc<Shim>,
        id: &str,
        method: &str,
        request: &impl Message,
    ) -> Result<()> {
        self.call(shim, id, method, request, self.config.timeouts.call).await
    }

    /// Asks for a process's state. Of one whose shim does not answer in time the state is unknown.
    async fn state(&self, task: &Task, shim: &Shim, exec_id: &str) -> Result<Process> {
        let request = v3::StateRequest { id: task.id.clone(), exec_id: exec_id.to_owned() };
        let timeout = Some(self.config.timeouts.state);
        let answer = shim.call::<v3::StateResponse>(methods::STATE, &request, timeout).await;
        let answer = match answer {
            Err(error) if error.is(ErrorKind::DeadlineExceeded) => {
                tracing::warn!(id = task.id, "a shim does not tell a task's state");
                let pid = task.known(exec_id).map_or(0, |process| process.pid());
                v3::StateResponse { pid, ..Default::default() }
            }
            answer => answer?,
        };
        process(task, exec_id, answer)
    }

    async fn measure(&self, scope: &Scope, task: &Task) -> Result<Option<Metric>> {
        let (_, shim) = self.ready(scope, &task.id).await?;
        let request = v3::StatsRequest { id: task.id.clone() };
        let timeout = Some(self.config.timeouts.stats);
        let answer = shim.call::<v3::StatsResponse>(methods::STATS, &request, timeout).await?;
        let at = SystemTime::now();
        Ok(answer.stats.map(|data| Metric { id: task.id.clone(), at, data: data.into() }))
    }
}

fn process(task: &Task, exec_id: &str, state: v3::StateResponse) -> Result<Process> {
    let status = wire::Status::try_from(state.status).unwrap_or_default();
    let status = Status::from(status);
    let exit = match status {
        Status::Stopped => {
            Some(Exit { pid: state.pid, status: state.exit_status, at: time(state.exited_at)? })
        }
        _ => None,
    };
    Ok(Process {
        container_id: task.id.clone(),
        exec_id: exec_id.to_owned(),
        pid: state.pid,
        status,
        stdio: Stdio {
            stdin: state.stdin,
            stdout: state.stdout,
            stderr: state.stderr,
            terminal: state.terminal,
        },
        exit,
    })
}
