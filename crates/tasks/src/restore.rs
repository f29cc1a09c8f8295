//! Finding the tasks that run since before this daemon.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use stowd_api::Any;
use stowd_api::convert::time::time;
use stowd_api::runc::v1::ProcessDetails;
use stowd_api::task::v3;
use stowd_api::types::task as wire;
use stowd_core::tasks::Exit;
use stowd_core::{Error, ErrorKind, Namespace, Result, Scope};

use crate::address::{self, Bootstrap};
use crate::bundle::{self, Kind};
use crate::manager::Inner;
use crate::shim::{Process, Shim, methods};
use crate::start::{blocking, drain_log};
use crate::task::{Stage, Task};

/// Finds or buries every task that is missing, and removes what belongs to none.
pub(crate) async fn restore(inner: &Arc<Inner>) {
    let missing = inner.everywhere().into_iter();
    let missing = missing.filter(|task| *task.stage.borrow() == Stage::Missing);
    // Tasks of one group share a shim, and so a connection.
    type Group = (Bootstrap, Vec<Arc<Task>>);
    let mut shims: BTreeMap<(Namespace, String), Group> = BTreeMap::new();
    for task in missing {
        let bootstrap = bootstrap(inner, &task);
        let key = (task.namespace.clone(), bootstrap.address.clone());
        shims.entry(key).or_insert_with(|| (bootstrap, Vec::new())).1.push(task);
    }
    join_all(shims.into_values().map(|(bootstrap, tasks)| load(inner, bootstrap, tasks))).await;
    sweep(inner).await;
}

/// Reads how a task's shim is reached. A daemon that was killed before it wrote that down listened
/// where it always does.
fn bootstrap(inner: &Inner, task: &Task) -> Bootstrap {
    let written = task.bundle.read("bootstrap.json");
    let written = written.and_then(|json| Bootstrap::read(json.as_bytes()).ok());
    let old = || Some(Bootstrap::old(&task.bundle.read("address")?));
    let derived = || Bootstrap::own(&address::socket(&inner.config, &task.namespace, &task.id));
    written.or_else(old).unwrap_or_else(derived)
}

/// Connects to one shim, and takes its tasks on or buries them.
async fn load(inner: &Arc<Inner>, bootstrap: Bootstrap, tasks: Vec<Arc<Task>>) {
    let Some(first) = tasks.first() else { return };
    for task in &tasks {
        find_program(inner, task).await;
    }
    // The sandbox that a shim was started for is who can tell whether it is well.
    let first = tasks.iter().find(|task| task.kind == Kind::Sandbox).unwrap_or(first);
    let connected = connect(inner, bootstrap.clone(), first);
    let connected = tokio::time::timeout(inner.config.timeouts.load, connected).await;
    let shim = match connected {
        Ok(Ok(shim)) => shim,
        failed => {
            let error = failed.unwrap_or_else(|_| Err(Error::deadline_exceeded("load shim")));
            if let Err(error) = error {
                let (namespace, id) = (first.namespace.as_str(), &first.id);
                tracing::warn!(%error, namespace, id, "a shim is gone or hangs: cleaning up");
            }
            kill_hung(inner, &tasks).await;
            if let Some(socket) = bootstrap.socket() {
                let _ = std::fs::remove_file(socket);
            }
            let buried = tasks.iter().filter(|task| task.claim_end());
            join_all(buried.map(|task| inner.bury_task(task))).await;
            return;
        }
    };
    let shim = Arc::new(shim);
    for task in &tasks {
        task.set_shim(shim.clone());
        shim.join(task);
    }
    inner
        .shims
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .insert(shim.bootstrap.address.clone(), Arc::downgrade(&shim));
    inner.watch(shim.clone());
    join_all(tasks.iter().map(|task| take_on(inner, &shim, task))).await;
}

async fn find_program(inner: &Inner, task: &Task) {
    if let Some(path) = task.bundle.read("shim-binary-path") {
        let _ = task.program.set(path.into());
        return;
    }
    let scope = Scope::new(task.namespace.clone());
    let runtime = match task.kind {
        Kind::Task => inner.containers.get(&scope, &task.id).await.map(|it| it.runtime.name),
        Kind::Sandbox => inner.sandboxes.get(&scope, &task.id).await.map(|it| it.runtime.name),
    };
    let Ok(runtime) = runtime else { return };
    if let Ok(program) = inner.programs.find(&inner.config, &runtime).await {
        let _ = task.program.set(program.path);
    }
}

/// Connects, and checks that the shim answers.
async fn connect(inner: &Inner, bootstrap: Bootstrap, task: &Task) -> Result<Shim> {
    let stream = bootstrap.connect().await?;
    let shim = Shim::new(bootstrap, stream, &task.namespace);
    let mut pid = task.bundle.read("shim.pid").and_then(|pid| pid.parse().ok());
    if task.kind == Kind::Sandbox {
        shim.ping(&task.id, inner.config.timeouts.load).await?;
        if let Some(process) = pid.and_then(Process::find) {
            shim.set_process(process);
        }
        return Ok(shim);
    }
    if task.bundle.read(crate::placed::SANDBOX).is_some_and(|id| {
        // With its sandbox among ours, that is asked instead.
        inner.find(&task.namespace, &id).is_none()
    }) {
        shim.set_guest();
    }
    match shim.connect(&task.id, inner.config.timeouts.load).await {
        Ok(answer) if answer.shim_pid != 0 => pid = Some(answer.shim_pid),
        Ok(_) => {}
        // It answers, if only that it does not know the task.
        Err(error) if error.is(ErrorKind::NotFound) => {}
        Err(error) => return Err(error),
    }
    if let Some(process) = pid.and_then(Process::find) {
        shim.set_process(process);
    }
    Ok(shim)
}

/// Asks a shim about one task, and takes that on.
async fn take_on(inner: &Arc<Inner>, shim: &Arc<Shim>, task: &Arc<Task>) {
    drain_old_log(task);
    let learnt = async {
        match task.kind {
            Kind::Task => learn(inner, shim, task).await,
            Kind::Sandbox => inner.learn_sandbox(shim, task).await,
        }
    };
    let known = tokio::time::timeout(inner.config.timeouts.load, learnt).await;
    let known = known.unwrap_or_else(|_| Err(Error::deadline_exceeded("load task")));
    let (namespace, id) = (task.namespace.as_str(), &task.id);
    match known {
        Ok(()) => {}
        Err(error) if error.is(ErrorKind::NotFound) => {
            // The daemon was killed between the start of the shim and the task's creation.
            tracing::info!(namespace, id, "shutting down a shim without its task");
            if task.claim_end() {
                inner.leave(task, shim).await;
                inner.remove_bundle(task).await;
                inner.remove(task);
            }
            return;
        }
        // It is alive, and so perhaps is the container: better unknown than dead.
        Err(error) => tracing::warn!(%error, namespace, id, "a shim does not tell of its task"),
    }
    task.stage.send_replace(Stage::Ready);
    if shim.is_gone() {
        inner.entomb(task.clone(), shim.clone());
        return;
    }
    if task.kind == Kind::Sandbox {
        inner.attend(task, shim);
        return;
    }
    let scope = Scope::new(task.namespace.clone());
    if inner.containers.get(&scope, &task.id).await.is_err_and(|error| error.is_not_found()) {
        // Left running: the metadata may be lost, or still be another containerd's.
        tracing::warn!(namespace, id, "a task runs whose container is not known");
    }
}

/// Asks for a task's processes and how they are.
async fn learn(inner: &Inner, shim: &Shim, task: &Task) -> Result<()> {
    let request = v3::StateRequest { id: task.id.clone(), exec_id: String::new() };
    let timeout = Some(inner.config.timeouts.load);
    let state: v3::StateResponse = shim.call(methods::STATE, &request, timeout).await?;
    if state.status() == wire::Status::Stopped {
        let process = task.process("");
        process.started(state.pid);
        process.perhaps_told();
        process.ended(Exit {
            pid: state.pid,
            status: state.exit_status,
            at: time(state.exited_at)?,
        });
        return Ok(());
    }
    task.set_init(state.pid);
    let request = v3::PidsRequest { id: task.id.clone() };
    // Not all shims can tell, nor in all states.
    let pids = shim.call::<v3::PidsResponse>(methods::PIDS, &request, timeout).await;
    for process in pids.unwrap_or_default().processes {
        let details = process.info.as_ref().map(Any::unpack::<ProcessDetails>);
        if let Some(Ok(Some(details))) = details
            && !details.exec_id.is_empty()
            && details.exec_id != task.id
        {
            task.process(&details.exec_id).started(process.pid);
        }
    }
    Ok(())
}

/// containerd's shims write to a fifo; ours to a file.
fn drain_old_log(task: &Task) {
    use std::os::unix::fs::FileTypeExt as _;
    let log = task.bundle.path.join(crate::start::LOG);
    if log.symlink_metadata().is_ok_and(|meta| meta.file_type().is_fifo()) {
        drain_log(task);
    }
}

/// Kills a shim that is there but does not answer, where it is sure that the pid is still its.
async fn kill_hung(inner: &Inner, tasks: &[Arc<Task>]) {
    for task in tasks {
        let Some(pid) = task.bundle.read("shim.pid").and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        let Some(process) = Process::find(pid) else { continue };
        // The working directory of a shim is the bundle of its first task.
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
        if cwd.is_ok_and(|cwd| tasks.iter().any(|task| cwd == task.bundle.path)) {
            process.end(inner.config.timeouts.shutdown).await;
        }
    }
}

/// Removes what belongs to no task: what removals left, and work folders, which outlive a restart of
/// the machine when bundles do not.
async fn sweep(inner: &Arc<Inner>) {
    let inner = inner.clone();
    let swept =
        blocking(move || Kind::ALL.into_iter().try_for_each(|kind| sweep_kind(&inner, kind)));
    if let Err(error) = swept.await {
        tracing::warn!(%error, "did not remove what tasks left");
    }
}

fn sweep_kind(inner: &Inner, kind: Kind) -> Result<()> {
    let (state, root) = (bundle::state(&inner.config, kind), bundle::root(&inner.config, kind));
    for folder in [&state, &root] {
        for namespace in bundle::folders(folder) {
            bundle::sweep(&folder.join(namespace));
        }
    }
    for name in bundle::folders(&root) {
        let Ok(namespace) = Namespace::new(&name) else { continue };
        for id in bundle::folders(&root.join(&name)) {
            let known = inner.find(&namespace, &id).is_some_and(|task| task.kind == kind);
            if !known {
                bundle::remove_tree(&root.join(&name).join(&id))?;
            }
        }
        // Only those that are empty.
        let _ = std::fs::remove_dir(root.join(&name));
    }
    Ok(())
}
