//! Containers.

use futures_util::future::join;
use stowd_core::containers::{self, Store as _};
use stowd_core::filters::Filters;
use stowd_core::mount::Mount;
use stowd_core::snapshots::Snapshotter as _;
use stowd_core::tasks::{self, Tasks as _};
use stowd_core::{Error, ErrorKind, Labels, Result};
use stowd_spec::{NoFiles, RootFiles, RootView, Spec};

use crate::streams::Connected;
use crate::{Client, Io, Process, Streams, Task, TaskOptions};

/// A container of the client's namespace.
#[derive(Clone, Debug)]
pub struct Container {
    client: Client,
    record: containers::Container,
    /// What its snapshot's preparation returned, where this handle has made it.
    mounts: Option<Vec<Mount>>,
}

/// Shows the files of a root file system, which is mounted only where they cannot be read otherwise.
pub(crate) fn with_root<T>(
    mounts: &[Mount],
    use_files: impl FnOnce(&dyn RootFiles) -> Result<T>,
) -> Result<T> {
    match RootView::of_mounts(mounts) {
        Ok(root) => use_files(&root),
        Err(stowd_spec::Error::NeedsMount { .. }) => {
            let place = stowd_mount::TempRoot::open(std::env::temp_dir())?;
            let mounted = place.mount(&stowd_mount::overlay::read_only(mounts))?;
            let used = use_files(&RootView::at(mounted.path()));
            mounted.close()?;
            used
        }
        Err(error) => Err(error.into()),
    }
}

impl Client {
    /// Finds a container by its id.
    ///
    /// # Errors
    /// `NotFound` when there is none of that id.
    pub async fn container(&self, id: &str) -> Result<Container> {
        let record = self.connection().containers().get(self.scope(), id).await?;
        Ok(Container::new(self.clone(), record))
    }

    /// Lists the namespace's containers; a filter list that is empty lets all pass.
    ///
    /// # Errors
    /// Those of the daemon.
    pub async fn containers(&self, filters: &Filters) -> Result<Vec<Container>> {
        let records = self.connection().containers().list(self.scope(), filters).await?;
        Ok(records.into_iter().map(|record| Container::new(self.clone(), record)).collect())
    }
}

impl Container {
    pub(crate) fn new(client: Client, record: containers::Container) -> Self {
        Self { client, record, mounts: None }
    }

    pub(crate) fn with_mounts(self, mounts: Vec<Mount>) -> Self {
        Self { mounts: Some(mounts), ..self }
    }

    /// Returns its id.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// Returns its record as it was when the handle was made.
    pub fn record(&self) -> &containers::Container {
        &self.record
    }

    /// Returns the client that it was found with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Reads its OCI spec.
    ///
    /// # Errors
    /// `FailedPrecondition` when it has none, `InvalidArgument` when that is not one.
    pub fn spec(&self) -> Result<Spec> {
        let spec = self.record.spec.as_ref().ok_or_else(|| {
            Error::failed_precondition(format_args!("container {:?} has no spec", self.id()))
        })?;
        Ok(Spec::parse(&spec.value)?)
    }

    /// Returns the signal that its image wants to be stopped with, such as `SIGQUIT`.
    pub fn stop_signal(&self) -> Option<&str> {
        crate::builder::stop_signal(&self.record.labels)
    }

    /// Sets labels; those with an empty value are removed. Returns all that there are then.
    ///
    /// # Errors
    /// `NotFound` when the container is gone.
    pub async fn set_labels(&mut self, labels: Labels) -> Result<&Labels> {
        let paths: Vec<String> = labels.keys().map(|key| format!("labels.{key}")).collect();
        let record = containers::Container { labels, ..self.record.clone() };
        let store = self.client.connection().containers();
        self.record = store.update(self.client.scope(), record, &paths).await?;
        Ok(&self.record.labels)
    }

    /// Deletes the container and keeps its snapshot.
    ///
    /// # Errors
    /// `FailedPrecondition` while it has a task, `NotFound` when it is gone.
    pub async fn delete(&self) -> Result<()> {
        self.check_idle().await?;
        self.client.connection().containers().delete(self.client.scope(), self.id()).await
    }

    /// Deletes the container and its snapshot.
    ///
    /// # Errors
    /// As [`delete`](Self::delete); a snapshot that is gone already counts as deleted.
    pub async fn delete_with_snapshot(&self) -> Result<()> {
        self.check_idle().await?;
        self.remove().await
    }

    /// Deletes the container and its snapshot, for a caller who has deleted its task or never made
    /// one: whether it has one is not asked.
    ///
    /// # Errors
    /// `NotFound` when it is gone; a snapshot that is gone already counts as deleted.
    pub async fn remove(&self) -> Result<()> {
        let (connection, scope) = (self.client.connection(), self.client.scope());
        let containers = connection.containers();
        if self.record.snapshot_key.is_empty() {
            return containers.delete(scope, self.id()).await;
        }
        let snapshots = connection.snapshotter(&self.record.snapshotter);
        // Side by side, so that the daemon can make one change of both.
        let (snapshot, record) = join(
            snapshots.remove(scope, &self.record.snapshot_key),
            containers.delete(scope, self.id()),
        )
        .await;
        match snapshot {
            Err(error) if !error.is_not_found() => record.and(Err(error)),
            _ => record,
        }
    }

    async fn check_idle(&self) -> Result<()> {
        match self.task().await {
            Ok(_) => {
                let id = self.id();
                Err(Error::failed_precondition(format_args!("cannot delete running task {id}")))
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the mounts that show its root file system; none when it has no snapshot.
    ///
    /// # Errors
    /// `NotFound` when the snapshot is gone.
    pub async fn root_mounts(&self) -> Result<Vec<Mount>> {
        if self.record.snapshot_key.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(mounts) = &self.mounts {
            return Ok(mounts.clone());
        }
        let snapshots = self.client.connection().snapshotter(&self.record.snapshotter);
        snapshots.mounts(self.client.scope(), &self.record.snapshot_key).await
    }

    /// Sets the user in a spec, looked up by name or number in the container's own files.
    ///
    /// # Errors
    /// `NotFound` for a name that they do not have, `InvalidArgument` for what is no user.
    pub async fn set_user(&self, spec: &mut Spec, user: &str) -> Result<()> {
        let mounts = self.root_mounts().await?;
        if mounts.is_empty() {
            let path = spec.root.as_ref().map(|root| root.path.clone()).unwrap_or_default();
            let set = if path.starts_with('/') {
                spec.set_user(user, &RootView::at(path))
            } else {
                spec.set_user(user, &NoFiles)
            };
            return Ok(set?);
        }
        with_root(&mounts, |files| Ok(spec.set_user(user, files)?))
    }

    /// Makes its task: the process exists then, and runs nothing before it is started.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one; those of the runtime.
    pub async fn create_task(&self, io: Io, options: TaskOptions) -> Result<Task> {
        let rootfs = self.root_mounts().await?;
        let mut connected = Connected::new(io, self.id())?;
        let create = tasks::Create {
            container_id: self.id().to_owned(),
            rootfs,
            stdio: connected.stdio().clone(),
            options: options.pack(self.record.runtime.options.as_ref()),
            ..tasks::Create::default()
        };
        let tasks = self.client.connection().tasks();
        match tasks.create(self.client.scope(), create).await {
            Ok(pid) => Ok(Task::new(Process::new(&self.client, self.id(), "", pid, connected))),
            Err(error) => {
                connected.remove();
                Err(error)
            }
        }
    }

    /// Finds its task.
    ///
    /// # Errors
    /// `NotFound` when it has none.
    pub async fn task(&self) -> Result<Task> {
        let process = self.process("").await?;
        Ok(Task::new(process))
    }

    /// Finds one of its exec processes, or with an empty id its init.
    ///
    /// # Errors
    /// `NotFound` when there is no such process.
    pub async fn process(&self, exec_id: &str) -> Result<Process> {
        let tasks = self.client.connection().tasks();
        let found = tasks.get(self.client.scope(), self.id(), exec_id).await;
        let found = found.map_err(|error| match error.kind() {
            ErrorKind::NotFound if exec_id.is_empty() => error.context("no running task found"),
            _ => error,
        })?;
        let connected = Connected::known(found.stdio);
        Ok(Process::found(&self.client, self.id(), exec_id, found.pid, connected))
    }

    /// Finds its task and connects with the streams that it was made with.
    ///
    /// # Errors
    /// `NotFound` when it has none, `FailedPrecondition` when its streams lead elsewhere.
    pub async fn attach(&self, streams: Streams) -> Result<Task> {
        let tasks = self.client.connection().tasks();
        let found = tasks.get(self.client.scope(), self.id(), "").await?;
        if !found.stdio.stdout.starts_with('/') {
            return Err(Error::failed_precondition(format_args!(
                "the streams of {:?} are not fifos that one could attach to",
                self.id()
            )));
        }
        let connected = Connected::attach(found.stdio, streams)?;
        Ok(Task::new(Process::found(&self.client, self.id(), "", found.pid, connected)))
    }
}
