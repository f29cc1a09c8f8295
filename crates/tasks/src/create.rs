//! Creating and deleting tasks.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

use stowd_api::convert::time::time;
use stowd_api::task::v3;
use stowd_core::error::ResultExt as _;
use stowd_core::tasks::{Create, Exit};
use stowd_core::{Any, Error, ErrorKind, Result, Scope};

use crate::bundle::Kind;
use crate::manager::Inner;
use crate::shim::{Shim, methods};
use crate::start::blocking;
use crate::task::{Stage, Task};

/// How long a deletion waits for the shim's event of it, which mostly is there before the answer.
const EVENT: Duration = Duration::from_millis(500);

impl Inner {
    /// Makes a container's task.
    pub(crate) async fn create(self: Arc<Self>, scope: Scope, create: Create) -> Result<u32> {
        if create.checkpoint.is_some() {
            return Err(Error::not_implemented("restoring a task from a checkpoint"));
        }
        let container = self.containers.get(&scope, &create.container_id).await?;
        let task = self.reserve(Kind::Task, &scope.namespace, &create.container_id)?;
        let runtime = match create.runtime_path.is_empty() {
            true => container.runtime.name,
            false => create.runtime_path.clone(),
        };
        let options = create.options.clone().filter(|options| !options.value.is_empty());
        let options = options.or(container.runtime.options);
        let json = container.spec.map(|spec| spec.value).unwrap_or_default();
        let made = async {
            let mut create = create;
            create.rootfs = self.activate(&scope, &task.id, create.rootfs).await?;
            let sandbox = &container.sandbox_id;
            let place = self.place(&scope, sandbox, &create).await;
            let shim = match place.context(|| "failed to start shim")? {
                Some(place) => self.join_sandbox(&task, json, sandbox, place).await,
                None => {
                    let program = self.programs.find(&self.config, &runtime).await;
                    let program = program
                        .context(|| "failed to start shim: failed to resolve runtime path")?;
                    self.start_shim(&task, &program, json, sandbox, options.as_ref()).await
                }
            };
            let shim = shim.context(|| "failed to start shim")?;
            self.make(&task, &shim, create, options).await
        };
        let made = made.await;
        if made.is_err() {
            self.unmake(&task).await;
        }
        made
    }

    /// Has the shim make the task.
    async fn make(
        self: &Arc<Self>,
        task: &Arc<Task>,
        shim: &Arc<Shim>,
        create: Create,
        options: Option<Any>,
    ) -> Result<u32> {
        let request = v3::CreateTaskRequest {
            id: task.id.clone(),
            bundle: task.bundle.path.to_string_lossy().into_owned(),
            rootfs: create.rootfs.into_iter().map(Into::into).collect(),
            terminal: create.stdio.terminal,
            stdin: create.stdio.stdin,
            stdout: create.stdio.stdout,
            stderr: create.stdio.stderr,
            options: options.map(Into::into),
            ..Default::default()
        };
        let timeout = Some(self.config.timeouts.work);
        let created = shim.call::<v3::CreateTaskResponse>(methods::CREATE, &request, timeout);
        // What is needed after a restart of the daemon is written while the shim is at work.
        let (created, noted) = tokio::join!(created, note(task, shim));
        let created = match created {
            Err(error) if error.is(ErrorKind::Unavailable) => {
                Err(self.last_words(task, error).await)
            }
            created => created,
        };
        let pid = created.context(|| "failed to create shim task")?.pid;
        noted?;
        task.set_init(pid);
        task.stage.send_replace(Stage::Ready);
        if shim.is_gone() {
            // Its watcher may have looked before the task was ready, and left it alone.
            self.entomb(task.clone(), shim.clone());
        }
        Ok(pid)
    }

    /// Adds to an error what a shim of ours that is gone wrote last.
    pub(crate) async fn last_words(&self, task: &Task, error: Error) -> Error {
        let bundle = task.bundle.clone();
        let said = blocking(move || {
            let path = bundle.path.join(crate::start::LOG);
            // containerd's shims have a fifo there, which must not be read to its end.
            let plain = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
            Ok(plain.then(|| bundle.read(crate::start::LOG)).flatten())
        });
        match said.await.ok().flatten() {
            Some(said) => {
                let last: Vec<&str> = said.lines().rev().take(3).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                Error::new(error.kind(), format_args!("{}: {}", error.message(), last.join("; ")))
            }
            None => error,
        }
    }

    /// Undoes a creation that failed.
    async fn unmake(self: &Arc<Self>, task: &Arc<Task>) {
        task.claim_end();
        if let Some(shim) = task.shim() {
            let request = v3::DeleteRequest { id: task.id.clone(), exec_id: String::new() };
            let timeout = Some(self.config.timeouts.cleanup);
            let deleted = shim.call::<v3::DeleteResponse>(methods::DELETE, &request, timeout).await;
            let lost = match &deleted {
                Ok(_) => false,
                Err(error) => !error.is(ErrorKind::NotFound) && !error.is(ErrorKind::Unknown),
            };
            self.leave(task, shim).await;
            if lost {
                // Something of the container may be there, and the shim does not care for it.
                let _ = self.clear_away(task).await;
            }
        }
        self.remove_bundle(task).await;
        self.remove(task);
    }

    /// Deletes a task.
    pub(crate) async fn delete(self: Arc<Self>, scope: Scope, id: String) -> Result<Exit> {
        let (task, shim) = self.ready(&scope, &id).await?;
        let _deleting = task.deleting.lock().await;
        if *task.stage.borrow() == Stage::Gone {
            return Err(Error::not_found(format_args!("task {id} not found")));
        }
        let request = v3::DeleteRequest { id: id.clone(), exec_id: String::new() };
        let timeout = Some(self.config.timeouts.work);
        let deleted = shim.call::<v3::DeleteResponse>(methods::DELETE, &request, timeout).await;
        let deleted = match deleted {
            Ok(response) => Ok(Exit {
                pid: response.pid,
                status: response.exit_status,
                at: time(response.exited_at)?,
            }),
            Err(error) if error.is(ErrorKind::NotFound) => Err(error),
            Err(error) => {
                if error.is(ErrorKind::DeadlineExceeded) {
                    shim.kill();
                } else if !error.is(ErrorKind::Unavailable) {
                    return Err(error);
                }
                return self.buried_exit(&task).await.ok_or(error);
            }
        };
        if !task.claim_end() {
            return self.buried_exit(&task).await.map_or(deleted, Ok);
        }
        if let Ok(exit) = deleted {
            let mut told = task.told_deleted.subscribe();
            let _ = tokio::time::timeout(EVENT, told.wait_for(|told| *told)).await;
            task.process("").ended(exit);
        }
        self.leave(&task, &shim).await;
        self.remove_bundle(&task).await;
        self.remove(&task);
        deleted
    }

    /// Waits until a task whose shim is gone is buried, and returns how it ended.
    pub(crate) async fn buried_exit(&self, task: &Task) -> Option<Exit> {
        let timeouts = &self.config.timeouts;
        let patience = timeouts.shutdown + timeouts.cleanup * 3;
        let mut stages = task.stage.subscribe();
        let gone = stages.wait_for(|stage| *stage == Stage::Gone);
        let gone = tokio::time::timeout(patience, gone).await.is_ok_and(|gone| gone.is_ok());
        gone.then(|| task.process("").exit()).flatten()
    }

    /// Takes a task from its shim, and shuts that down if it was the last.
    pub(crate) async fn leave(self: &Arc<Self>, task: &Task, shim: &Arc<Shim>) {
        let patience = self.config.timeouts.shutdown;
        if !shim.leave(&task.id) {
            if shim.is_gone() {
                shim.released(patience * 3).await;
            }
            return;
        }
        if shim.is_guest() {
            // Whoever keeps the sandbox keeps what serves it.
            shim.kill();
            return;
        }
        shim.shut_down(&task.id, patience).await;
        let leaving = shim.clone();
        let gone = async move {
            if !leaving.released(patience).await {
                tracing::warn!(shim = leaving.pid(), "a shim does not end: killing it");
                leaving.kill();
                leaving.released(patience).await;
            }
        };
        if shim.is_child() {
            // Ours does not need the bundle any more, and nobody need wait for it.
            tokio::spawn(gone);
        } else {
            gone.await;
        }
    }

    /// Removes a task's bundle and what was mounted for it, and says so if that fails: nobody else could
    /// do anything about it.
    pub(crate) async fn remove_bundle(&self, task: &Task) {
        let bundle = task.bundle.clone();
        if let Err(error) = blocking(move || bundle.remove()).await {
            tracing::warn!(%error, id = task.id, "did not remove a bundle");
        }
        self.deactivate(task).await;
    }
}

/// Writes down how a shim is reached, where tools and the next daemon look.
pub(crate) async fn note(task: &Task, shim: &Shim) -> Result<()> {
    let json = serde_json::to_vec(&shim.bootstrap).map_err(Error::internal)?;
    let (bundle, address) = (task.bundle.clone(), shim.bootstrap.address.clone());
    let (path, pid) = (task.program.get().cloned(), shim.pid());
    blocking(move || {
        bundle.write("bootstrap.json", &json, 0o644)?;
        bundle.write("address", address.as_bytes(), 0o644)?;
        if let Some(path) = path {
            bundle.write("shim-binary-path", path.as_os_str().as_bytes(), 0o600)?;
        }
        pid.map_or(Ok(()), |pid| bundle.write("shim.pid", pid.to_string().as_bytes(), 0o644))
    })
    .await
}
