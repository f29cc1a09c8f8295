//! What happens when a shim is gone: its tasks end, too.

use std::sync::Arc;
use std::time::SystemTime;

use stowd_api::Message as _;
use stowd_api::convert::time::time;
use stowd_api::task::v3;
use stowd_core::events::Event;
use stowd_core::tasks::Exit;
use stowd_core::{Error, Result};

use crate::bundle::Kind;
use crate::cgroup;
use crate::manager::Inner;
use crate::shim::Shim;
use crate::spec::Spec;
use crate::start::blocking;
use crate::task::{Stage, Task, Told};

/// The status of what was killed along with its shim.
pub(crate) const KILLED: u32 = 128 + 9;

impl Inner {
    /// Watches a shim until its end, and buries what it still holds then.
    pub(crate) fn watch(self: &Arc<Self>, shim: Arc<Shim>) {
        let inner = self.clone();
        tokio::spawn(async move {
            let left = shim.gone().await;
            if !left.is_empty() {
                // It may hang, or have lost only its connection; without us it is of no use.
                shim.kill();
            }
            // Tasks being made are undone by who makes them.
            let ready = |task: &Arc<Task>| *task.stage.borrow() == Stage::Ready;
            for task in left.into_iter().filter(ready) {
                inner.entomb(task, shim.clone());
            }
            shim.see_off(inner.config.timeouts.shutdown).await;
            inner.forget_shim(&shim);
            shim.release();
        });
    }

    fn forget_shim(&self, shim: &Arc<Shim>) {
        let mut shims = self.shims.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let address = &shim.bootstrap.address;
        if shims.get(address).is_some_and(|known| known.as_ptr() == Arc::as_ptr(shim)) {
            shims.remove(address);
        }
    }

    /// Buries a task whose shim is gone, in the background, unless somebody ends it already.
    pub(crate) fn entomb(self: &Arc<Self>, task: Arc<Task>, shim: Arc<Shim>) {
        if !task.claim_end() {
            return;
        }
        let inner = self.clone();
        tokio::spawn(async move {
            tracing::warn!(
                namespace = task.namespace.as_str(),
                id = task.id,
                shim = shim.pid(),
                "a shim is gone: cleaning up what it held"
            );
            inner.bury_task(&task).await;
        });
    }

    /// Ends a task that no shim holds: kills what is left of it, tells of its end, and removes it.
    pub(crate) async fn bury_task(self: &Arc<Self>, task: &Arc<Task>) {
        let found = self.clear_away(task).await.ok();
        if task.kind == Kind::Sandbox {
            self.tell_lost_sandbox(task).await;
        } else if task.process("").pid() == 0 {
            // From before this daemon. Without a pid there was no process, only a folder for one.
            let pid = found.map(|exit| exit.pid).filter(|pid| *pid != 0);
            let pid = pid.or_else(|| task.bundle.read("init.pid")?.parse().ok());
            task.process("").started(pid.unwrap_or_default());
        }
        if task.kind == Kind::Task && task.process("").pid() != 0 {
            self.tell(task, found).await;
        }
        if let Some(shim) = task.shim() {
            shim.released(self.config.timeouts.shutdown * 3).await;
        }
        self.remove_bundle(task).await;
        self.remove(task);
    }

    /// Kills a task's processes and has the shim's program clean up. Returns how that says it ended.
    pub(crate) async fn clear_away(&self, task: &Arc<Task>) -> Result<Exit> {
        task.kill_init();
        let patience = self.config.timeouts.cleanup;
        let (bundle, kind) = (task.bundle.clone(), task.kind);
        let killed = blocking(move || {
            let json = bundle.read("config.json").unwrap_or_default();
            let spec = match kind {
                Kind::Task => Spec::read(json.as_bytes())?,
                Kind::Sandbox => Spec::guess(json.as_bytes()),
            };
            if let Some(path) = spec.cgroup() {
                cgroup::kill(path, patience);
            }
            Ok(())
        });
        if let Err(error) = killed.await {
            tracing::warn!(%error, id = task.id, "did not kill what a shim left");
        }
        let deleted = async {
            let program = task.program.get().ok_or_else(|| Error::not_found("shim's program"))?;
            self.run(task, program, "delete", &[]).await
        };
        let deleted = tokio::time::timeout(patience, deleted)
            .await
            .unwrap_or_else(|_| Err(Error::deadline_exceeded("the shim's delete took too long")));
        let answer = match deleted {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, id = task.id, "a shim's program did not clean up");
                self.clear_state(task).await;
                return Err(error);
            }
        };
        let answer = v3::DeleteResponse::decode(&*answer).map_err(Error::unknown)?;
        Ok(Exit { pid: answer.pid, status: answer.exit_status, at: time(answer.exited_at)? })
    }

    /// Removes the runtime's state of a container, where runtimes keep it by default.
    async fn clear_state(&self, task: &Task) {
        let path = self.config.state.join("runc").join(task.namespace.as_str()).join(&task.id);
        let _ = blocking(move || match path.exists() {
            true => crate::bundle::remove_tree(&path),
            false => Ok(()),
        })
        .await;
    }

    /// Tells of the end of all processes that were started and whose exits nobody told, and of the
    /// task's.
    async fn tell(&self, task: &Arc<Task>, found: Option<Exit>) {
        let now = SystemTime::now();
        let mut last = None;
        for (exec_id, process) in task.processes() {
            let pid = process.pid();
            let is_init = exec_id.is_empty();
            if pid == 0 {
                continue;
            }
            let exit = process.exit().unwrap_or_else(|| {
                let at = found.filter(|_| is_init).map(|exit| exit.at);
                let at = at.filter(|at| *at <= now && *at > SystemTime::UNIX_EPOCH);
                Exit { pid, status: KILLED, at: at.unwrap_or(now) }
            });
            self.bury(task, pid);
            if process.tell() == Told::No {
                let id = if is_init { &task.id } else { &exec_id };
                self.publish(
                    task,
                    Event::TaskExit {
                        container_id: task.id.clone(),
                        id: id.clone(),
                        pid,
                        exit_status: exit.status,
                        exited_at: exit.at,
                    },
                )
                .await;
            }
            process.ended(exit);
            last = Some(exit);
        }
        let exit = last.unwrap_or(Exit { pid: 0, status: KILLED, at: now });
        self.publish(
            task,
            Event::TaskDelete {
                container_id: task.id.clone(),
                pid: exit.pid,
                exit_status: exit.status,
                exited_at: exit.at,
                id: String::new(),
            },
        )
        .await;
    }

    pub(crate) async fn publish(&self, task: &Task, event: Event) {
        let Some(topic) = event.topic() else { return };
        if let Err(error) = self.exchange.publish(&task.namespace, topic, event).await {
            tracing::warn!(%error, id = task.id, topic, "did not tell of an event");
        }
    }
}
