//! What the daemon is doing, in words, for whoever finds it hanging.
//!
//! Threads are shown as the kernel sees them: name, state, what they wait for, and their stack in the
//! kernel where root may read it. Where calls wait inside the daemon cannot be said: they are
//! tasks of an asynchronous runtime, which counts them and keeps no stacks.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use stowd_core::filters::Filters;
use stowd_core::tasks::Tasks as _;
use stowd_core::{Error, Result, Scope};
use stowd_metadata::Metadata;
use stowd_tasks::Manager;

/// How long the list of tasks is waited for: a daemon that hangs may never give it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks into a running engine.
#[derive(Clone)]
pub struct Observer {
    metadata: Weak<Metadata>,
    tasks: Weak<Manager>,
    runtime: tokio::runtime::Handle,
    temp: Option<PathBuf>,
}

impl Observer {
    /// Must be made within the engine's runtime.
    pub(crate) fn new(
        metadata: &Arc<Metadata>,
        tasks: &Arc<Manager>,
        temp: Option<PathBuf>,
    ) -> Self {
        Self {
            metadata: Arc::downgrade(metadata),
            tasks: Arc::downgrade(tasks),
            runtime: tokio::runtime::Handle::current(),
            temp,
        }
    }

    /// Writes to the log, and to `$TMPDIR/containerd.<pid>.stacks.log`, what the daemon is doing.
    /// Must not be called on the engine's runtime, which may hang. Blocks for up to five seconds.
    pub fn dump(&self) {
        let path = self
            .temp
            .clone()
            .unwrap_or_else(std::env::temp_dir)
            .join(format!("containerd.{}.stacks.log", std::process::id()));
        let threads = threads();
        tracing::info!("=== BEGIN thread dump ===\n{threads}=== END thread dump ===");
        // Threads first: whoever kills a hanging daemon does not wait for its tasks.
        report(&path, write(&path, &threads));
        let runtime = self.counts() + &self.containers();
        tracing::info!("=== BEGIN task dump ===\n{runtime}=== END task dump ===");
        report(&path, write(&path, &(threads + &runtime)));
        tracing::info!(path = %path.display(), "dump written");
    }

    /// Describes the asynchronous runtime.
    fn counts(&self) -> String {
        let metrics = self.runtime.metrics();
        format!(
            "runtime: {} workers, {} tasks alive (their stacks cannot be told), {} queued\n",
            metrics.num_workers(),
            metrics.num_alive_tasks(),
            metrics.global_queue_depth(),
        )
    }

    /// Describes all tasks of all namespaces.
    fn containers(&self) -> String {
        let (metadata, tasks) = (self.metadata.upgrade(), self.tasks.upgrade());
        let (Some(metadata), Some(tasks)) = (metadata, tasks) else {
            return "containers: the engine is closed\n".to_owned();
        };
        let (send, receive) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            let _ = send.send(list(&metadata, &tasks).await);
        });
        match receive.recv_timeout(PATIENCE) {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => format!("containers: {error}\n"),
            Err(_) => format!("containers: no answer within {PATIENCE:?}: the runtime hangs\n"),
        }
    }
}

async fn list(metadata: &Metadata, tasks: &Manager) -> Result<String> {
    let mut text = String::new();
    for (namespace, _) in metadata.namespaces().list().await? {
        let scope = Scope::new(namespace);
        for process in tasks.list(&scope, &Filters::default()).await? {
            let _ = writeln!(
                text,
                "container {}/{}: pid {}, {:?}",
                scope.namespace, process.container_id, process.pid, process.status
            );
        }
    }
    if text.is_empty() {
        text.push_str("containers: no tasks\n");
    }
    Ok(text)
}

/// Describes the process's threads.
fn threads() -> String {
    let mut text = String::new();
    let open = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count());
    let _ = writeln!(text, "pid {}: {open} open descriptors", std::process::id());
    for entry in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let folder = entry.path();
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let status = read("status");
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
        };
        let _ = writeln!(
            text,
            "\nthread {} {:?}: {}, waits in {:?}, system call {}",
            entry.file_name().display(),
            read("comm").trim(),
            field("State:"),
            read("wchan"),
            read("syscall").trim(),
        );
        text.push_str(&read("stack"));
    }
    text.push('\n');
    text
}

fn write(path: &PathBuf, text: &str) -> Result<()> {
    let failed =
        |error: std::io::Error| Error::io(format_args!("write {}", path.display()), &error);
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        // The folder may be everybody's.
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

fn report(path: &std::path::Path, written: Result<()>) {
    if let Err(error) = written {
        tracing::warn!(%error, path = %path.display(), "could not write the dump");
    }
}
