//! Sandboxes that shims keep: the contract, call by call, and how their ends are learnt.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use stowd_api::Message;
use stowd_api::convert::time::{optional_time, time};
use stowd_api::runtime::sandbox::v1 as wire;
use stowd_core::error::ResultExt as _;
use stowd_core::events::Event;
use stowd_core::namespace::check_identifier;
use stowd_core::sandboxes::{Controller, Create, Detail, Exit, Instance, Sandbox, Status};
use stowd_core::tasks::{self, Metric};
use stowd_core::{Error, ErrorKind, Labels, Platform, Result, Scope};

use crate::bundle::Kind;
use crate::bury::KILLED;
use crate::create::note;
use crate::manager::Inner;
use crate::shim::{Shim, sandbox_methods as methods};
use crate::start::blocking;
use crate::task::{Stage, Task, Told};

/// The file in a bundle that says that its sandbox was started: the pid of what runs it, or 0.
const STARTED: &str = "started";

/// The file in a bundle that says that its sandbox's exit was told.
const TOLD: &str = "told";

/// The status of a sandbox that was shut down before anybody learnt how it ended.
const UNKNOWN: u32 = 255;

/// How long the shim's own word of an exit is waited for when the sandbox is shut down.
const LAST_WORD: Duration = Duration::from_millis(500);

/// The controller of sandboxes that shims keep.
pub(crate) struct Sandboxes(pub(crate) Arc<Inner>);

#[async_trait]
impl Controller for Sandboxes {
    async fn create(&self, scope: &Scope, sandbox: Sandbox, create: Create) -> Result<()> {
        // Once begun it goes to its end, also when nobody waits any more; so do the others.
        let made = tokio::spawn(self.0.clone().create_sandbox(scope.clone(), sandbox, create));
        made.await.map_err(Error::internal)?
    }

    async fn start(&self, scope: &Scope, id: &str) -> Result<Instance> {
        let started = tokio::spawn(self.0.clone().start_sandbox(scope.clone(), id.to_owned()));
        started.await.map_err(Error::internal)?
    }

    async fn platform(&self, scope: &Scope, id: &str) -> Result<Platform> {
        let (_, shim) = self.0.sandbox(scope, id).await?;
        let request = wire::PlatformRequest { sandbox_id: id.to_owned() };
        let timeout = self.0.config.timeouts.call;
        let answer = self.0.ask(&shim, id, methods::PLATFORM, &request, timeout).await;
        let answer: wire::PlatformResponse = answer.context(|| "failed to get sandbox platform")?;
        Ok(answer.platform.unwrap_or_default().into())
    }

    async fn stop(&self, scope: &Scope, id: &str, timeout: Duration) -> Result<()> {
        let shim = match self.0.sandbox(scope, id).await {
            Ok((_, shim)) => shim,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let timeout_secs = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
        let request = wire::StopSandboxRequest { sandbox_id: id.to_owned(), timeout_secs };
        let patience =
            self.0.config.timeouts.work.saturating_add(Duration::from_secs(timeout_secs.into()));
        let stopped = self.0.ask(&shim, id, methods::STOP_SANDBOX, &request, patience).await;
        match stopped {
            Ok(wire::StopSandboxResponse {}) => Ok(()),
            Err(error) if error.is_not_found() || error.is(ErrorKind::Unavailable) => Ok(()),
            Err(error) => Err(error.context("failed to stop sandbox")),
        }
    }

    async fn wait(&self, scope: &Scope, id: &str) -> Result<Exit> {
        let (task, shim) = self.0.sandbox(scope, id).await?;
        self.0.wait_sandbox(task, shim).await.context(|| format!("failed to wait sandbox {id}"))
    }

    async fn status(&self, scope: &Scope, id: &str, detail: Detail) -> Result<Status> {
        let shim = match self.0.sandbox(scope, id).await {
            Ok((_, shim)) => shim,
            Err(error) if error.is_not_found() => return Ok(gone()),
            Err(error) => return Err(error),
        };
        let request = wire::SandboxStatusRequest {
            sandbox_id: id.to_owned(),
            verbose: detail == Detail::Verbose,
        };
        let timeout = self.0.config.timeouts.state;
        let answer = shim.call_sandbox(methods::SANDBOX_STATUS, &request, Some(timeout)).await;
        let answer: wire::SandboxStatusResponse =
            answer.context(|| format!("failed to query sandbox {id} status"))?;
        let (address, version) = endpoint(&shim);
        Ok(Status {
            pid: answer.pid,
            state: answer.state,
            info: answer.info,
            created: optional_time(answer.created_at)?,
            exited: optional_time(answer.exited_at)?,
            extra: answer.extra.map(Into::into),
            address,
            version,
        })
    }

    async fn shutdown(&self, scope: &Scope, id: &str) -> Result<()> {
        let ended = tokio::spawn(self.0.clone().shut_sandbox_down(scope.clone(), id.to_owned()));
        ended.await.map_err(Error::internal)?
    }

    async fn metrics(&self, scope: &Scope, id: &str) -> Result<Metric> {
        let (_, shim) = self.0.sandbox(scope, id).await?;
        let request = wire::SandboxMetricsRequest { sandbox_id: id.to_owned() };
        let timeout = self.0.config.timeouts.stats;
        let answer = shim.call_sandbox(methods::SANDBOX_METRICS, &request, Some(timeout)).await;
        let answer: wire::SandboxMetricsResponse = answer?;
        let metric = answer.metrics.ok_or_else(|| {
            Error::unknown(format_args!("the shim of sandbox {id} did not measure it"))
        })?;
        metric.try_into()
    }

    async fn update(&self, _: &Scope, _: Sandbox, _: &[String]) -> Result<()> {
        // Shims have no method for it; the record is all that changes.
        Ok(())
    }
}

impl Inner {
    /// Returns a sandbox that can be used, and its shim.
    async fn sandbox(&self, scope: &Scope, id: &str) -> Result<(Arc<Task>, Arc<Shim>)> {
        let sandbox = self.find(&scope.namespace, id).filter(|task| task.kind == Kind::Sandbox);
        let missing = || Error::not_found(format_args!("sandbox {id} not found"));
        self.used(sandbox.ok_or_else(missing)?).await
    }

    /// Calls a shim, which is killed when it hangs.
    async fn ask<R: Message + Default>(
        &self,
        shim: &Shim,
        id: &str,
        method: &str,
        request: &impl Message,
        timeout: Duration,
    ) -> Result<R> {
        let answer = shim.call_sandbox(method, request, Some(timeout)).await;
        let probe = shim.ping(id, self.config.timeouts.state);
        shim.kill_if_hung(id, method, &answer, probe).await;
        answer
    }

    async fn create_sandbox(
        self: Arc<Self>,
        scope: Scope,
        sandbox: Sandbox,
        create: Create,
    ) -> Result<()> {
        // It becomes a folder's name.
        check_identifier(&sandbox.id).map_err(|error| error.context("invalid sandbox ID"))?;
        let id = sandbox.id.clone();
        let task = self.reserve(Kind::Sandbox, &scope.namespace, &id)?;
        let made = self.make_sandbox(&task, sandbox, create).await;
        if let Err(error) = made {
            self.unmake_sandbox(&task).await;
            return Err(error);
        }
        self.publish(&task, Event::SandboxCreate { sandbox_id: id }).await;
        Ok(())
    }

    async fn make_sandbox(
        self: &Arc<Self>,
        task: &Arc<Task>,
        sandbox: Sandbox,
        create: Create,
    ) -> Result<()> {
        let id = &sandbox.id;
        let json = sandbox.spec.map(|spec| spec.value).unwrap_or_default();
        let options = sandbox.runtime.options.filter(|options| !options.value.is_empty());
        let started = async {
            let program = self.programs.find(&self.config, &sandbox.runtime.name).await;
            let program = program.context(|| "start failed: failed to resolve runtime path")?;
            self.start_shim(task, &program, json, "", options.as_ref()).await
        };
        let shim =
            started.await.context(|| format!("failed to start new shim for sandbox {id}"))?;
        let request = wire::CreateSandboxRequest {
            sandbox_id: id.clone(),
            bundle_path: task.bundle.path.to_string_lossy().into_owned(),
            rootfs: create.rootfs.into_iter().map(Into::into).collect(),
            options: create.options.map(Into::into),
            netns_path: create.netns_path,
            annotations: create.annotations,
        };
        let timeout = self.config.timeouts.work;
        let created = self.ask(&shim, id, methods::CREATE_SANDBOX, &request, timeout);
        // What is needed after a restart of the daemon is written while the shim is at work.
        let (created, noted) = tokio::join!(created, note(task, &shim));
        let created = match created {
            Err(error) if error.is(ErrorKind::Unavailable) => {
                Err(self.last_words(task, error).await)
            }
            created => created,
        };
        let wire::CreateSandboxResponse {} =
            created.context(|| format!("failed to create sandbox {id}"))?;
        noted?;
        task.stage.send_replace(Stage::Ready);
        if shim.is_gone() {
            // Its watcher may have looked before the sandbox was ready, and left it alone.
            self.entomb(task.clone(), shim);
        }
        Ok(())
    }

    async fn start_sandbox(self: Arc<Self>, scope: Scope, id: String) -> Result<Instance> {
        let (task, shim) = self.sandbox(&scope, &id).await?;
        let request = wire::StartSandboxRequest { sandbox_id: id.clone() };
        let timeout = self.config.timeouts.work;
        let started = self.ask(&shim, &id, methods::START_SANDBOX, &request, timeout).await;
        let started: wire::StartSandboxResponse = match started {
            Ok(started) => started,
            Err(error) => {
                if task.claim_end() {
                    self.unmake_sandbox(&task).await;
                }
                return Err(error.context(format_args!("failed to start sandbox {id}")));
            }
        };
        task.process("").started(started.pid);
        let (bundle, pid) = (task.bundle.clone(), started.pid.to_string());
        if let Err(error) = blocking(move || bundle.write(STARTED, pid.as_bytes(), 0o600)).await {
            // It runs; only a daemon after this one could miss its exit.
            tracing::warn!(%error, id, "did not note that a sandbox was started");
        }
        self.publish(&task, Event::SandboxStart { sandbox_id: id }).await;
        self.attend(&task, &shim);
        let (address, version) = endpoint(&shim);
        Ok(Instance {
            pid: started.pid,
            created: time(started.created_at)?,
            labels: Labels::new(),
            address,
            version,
            spec: started.spec.map(Into::into),
        })
    }

    /// Undoes a sandbox whose creation or start failed.
    async fn unmake_sandbox(self: &Arc<Self>, task: &Arc<Task>) {
        task.claim_end();
        if let Some(shim) = task.shim() {
            let request = wire::ShutdownSandboxRequest { sandbox_id: task.id.clone() };
            let timeout = Some(self.config.timeouts.shutdown);
            let ended = shim.call_sandbox(methods::SHUTDOWN_SANDBOX, &request, timeout).await;
            match ended {
                Ok(wire::ShutdownSandboxResponse {}) => {}
                // The shim is ended below, whatever it says.
                Err(error) => {
                    tracing::debug!(%error, id = task.id, "a sandbox was not shut down");
                }
            }
            self.leave(task, shim).await;
        }
        self.remove_bundle(task).await;
        self.remove(task);
    }

    async fn shut_sandbox_down(self: Arc<Self>, scope: Scope, id: String) -> Result<()> {
        let (task, shim) = self.sandbox(&scope, &id).await?;
        let _deleting = task.deleting.lock().await;
        if *task.stage.borrow() == Stage::Gone {
            return Err(Error::not_found(format_args!("sandbox {id} not found")));
        }
        let request = wire::ShutdownSandboxRequest { sandbox_id: id.clone() };
        let timeout = Some(self.config.timeouts.work);
        let ended = shim.call_sandbox(methods::SHUTDOWN_SANDBOX, &request, timeout).await;
        match ended {
            Ok(wire::ShutdownSandboxResponse {}) => {}
            // Gone before it could answer: what it held goes below all the same.
            Err(error) if error.is(ErrorKind::Unavailable) => {}
            Err(error) if error.is(ErrorKind::DeadlineExceeded) => shim.kill(),
            Err(error) => return Err(error.context("failed to shutdown sandbox")),
        }
        if !task.claim_end() {
            // Its shim died, and it is being buried.
            self.buried_exit(&task).await;
            return Ok(());
        }
        self.finish_sandbox(&task).await;
        self.leave(&task, &shim).await;
        self.remove_bundle(&task).await;
        self.remove(&task);
        Ok(())
    }

    /// Waits for a sandbox's end from its start on, so that its exit is told.
    pub(crate) fn attend(self: &Arc<Self>, task: &Arc<Task>, shim: &Arc<Shim>) {
        if !is_started(task) {
            return;
        }
        let (inner, task, shim) = (self.clone(), task.clone(), shim.clone());
        tokio::spawn(async move {
            if let Err(error) = inner.wait_sandbox(task.clone(), shim).await {
                tracing::debug!(%error, id = task.id, "a shim does not tell of a sandbox's end");
            }
        });
    }

    /// Waits until a sandbox has ended, and its exit was told.
    async fn wait_sandbox(self: &Arc<Self>, task: Arc<Task>, shim: Arc<Shim>) -> Result<Exit> {
        let process = task.process("");
        let asked = process.ask(|| {
            let request = wire::WaitSandboxRequest { sandbox_id: task.id.clone() };
            let (inner, task) = (self.clone(), task.clone());
            let pid = process.pid();
            async move {
                let answer = shim.call_sandbox(methods::WAIT_SANDBOX, &request, None).await;
                let answer: wire::WaitSandboxResponse = answer?;
                let at = time(answer.exited_at)?;
                let exit = tasks::Exit { pid, status: answer.exit_status, at };
                inner.tell_exit(&task, exit).await;
                Ok(exit)
            }
        });
        let answer = tokio::select! {
            biased;
            exit = process.exited() => Ok(exit),
            answer = asked => answer,
        };
        let exit = match answer {
            Ok(exit) => process.exit().unwrap_or(exit),
            Err(error) if error.is(ErrorKind::Unavailable) => {
                // The shim is gone, so the sandbox is about to be buried, which says how it ended.
                let timeouts = &self.config.timeouts;
                let patience = timeouts.shutdown + timeouts.cleanup * 3;
                tokio::time::timeout(patience, process.exited()).await.map_err(|_| error)?
            }
            Err(error) => return Err(error),
        };
        Ok(Exit { status: exit.status, at: exit.at })
    }

    /// Tells of the end of a sandbox whose shim is gone.
    pub(crate) async fn tell_lost_sandbox(&self, task: &Task) {
        let exit =
            tasks::Exit { pid: task.process("").pid(), status: KILLED, at: SystemTime::now() };
        self.tell_exit(task, exit).await;
    }

    /// Tells of the end of a sandbox that was shut down, if its shim does not in time.
    async fn finish_sandbox(&self, task: &Task) {
        let process = task.process("");
        if is_started(task) && tokio::time::timeout(LAST_WORD, process.exited()).await.is_ok() {
            return;
        }
        let exit = tasks::Exit { pid: process.pid(), status: UNKNOWN, at: SystemTime::now() };
        self.tell_exit(task, exit).await;
    }

    /// Tells of a sandbox's end, once, if it was ever started, and lets those know who wait.
    async fn tell_exit(&self, task: &Task, exit: tasks::Exit) {
        let process = task.process("");
        if process.exit().is_none() && is_started(task) && process.tell() == Told::No {
            let event = Event::SandboxExit {
                sandbox_id: task.id.clone(),
                exit_status: exit.status,
                exited_at: exit.at,
            };
            self.publish(task, event).await;
            let bundle = task.bundle.clone();
            if let Err(error) = blocking(move || bundle.write(TOLD, b"1", 0o600)).await {
                tracing::warn!(%error, id = task.id, "did not note that an exit was told");
            }
        }
        process.ended(exit);
    }

    /// Asks a shim of before this daemon for its sandbox.
    pub(crate) async fn learn_sandbox(&self, shim: &Shim, task: &Task) -> Result<()> {
        if let Some(pid) = task.bundle.read(STARTED) {
            task.process("").started(pid.parse().unwrap_or_default());
        }
        if task.bundle.read(TOLD).is_some() {
            task.process("").perhaps_told();
        }
        let request = wire::SandboxStatusRequest { sandbox_id: task.id.clone(), verbose: false };
        let timeout = Some(self.config.timeouts.load);
        let answer = shim.call_sandbox(methods::SANDBOX_STATUS, &request, timeout).await;
        answer.map(|wire::SandboxStatusResponse { .. }| ())
    }
}

/// Says whether a sandbox was started, by this daemon or one before.
fn is_started(task: &Task) -> bool {
    task.process("").pid() != 0 || task.bundle.read(STARTED).is_some()
}

/// Returns where a shim's tasks are made, in the form that creating one takes.
fn endpoint(shim: &Shim) -> (String, u32) {
    let bootstrap = &shim.bootstrap;
    let protocol = if bootstrap.protocol.is_empty() { "ttrpc" } else { &bootstrap.protocol };
    let version = u32::try_from(bootstrap.version).unwrap_or_default();
    (format!("{protocol}+{}", bootstrap.address), version)
}

/// The status of what is not there.
fn gone() -> Status {
    Status {
        pid: 0,
        state: String::new(),
        info: Labels::new(),
        created: None,
        exited: Some(SystemTime::now()),
        extra: None,
        address: String::new(),
        version: 0,
    }
}
