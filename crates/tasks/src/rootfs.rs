//! A root file system whose mounts need the mount manager.

use std::collections::BTreeMap;

use stowd_core::error::ResultExt as _;
use stowd_core::mount::Mount;
use stowd_core::mounts::Options;
use stowd_core::{ErrorKind, Result, Scope, labels};

use crate::manager::Inner;
use crate::task::Task;

impl Inner {
    /// Has made what a shim cannot make of a task's mounts, and returns those that are left for it.
    ///
    /// What is there under the task's name already, from a creation that was cut off, is used as it is.
    pub(crate) async fn activate(
        &self,
        scope: &Scope,
        id: &str,
        rootfs: Vec<Mount>,
    ) -> Result<Vec<Mount>> {
        if rootfs.is_empty() {
            return Ok(rootfs);
        }
        // The container keeps it, and garbage collection undoes it when nobody else did.
        let label = (labels::GC_BREF_CONTAINER.to_owned(), id.to_owned());
        let options = Options { labels: BTreeMap::from([label]), ..Options::default() };
        match self.mounts.activate(scope, id, rootfs.clone(), options).await {
            Ok(made) => Ok(made.system),
            Err(error) if error.is(ErrorKind::NotImplemented) => Ok(rootfs),
            Err(error) if error.is_already_exists() => {
                let there = self.mounts.info(scope, id).await;
                there
                    .map(|made| made.system)
                    .context(|| "failed to get info on already active mount")
            }
            Err(error) => Err(error),
        }
    }

    /// Undoes what was made of a task's mounts, if anything was.
    pub(crate) async fn deactivate(&self, task: &Task) {
        let scope = Scope::new(task.namespace.clone());
        match self.mounts.deactivate(&scope, &task.id).await {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(%error, id = task.id, "did not undo the mounts of a task");
            }
            _ => {}
        }
    }
}
