//! The part of the benchmarks that a shell cannot measure: calls from one client that is running already.
//!
//!     load run SOCKET NAMESPACE COUNT PARALLEL
//!         runs `/bin/true` COUNT times, PARALLEL at a time, on the one image unpacked in the
//!         namespace, each from container to deletion, and prints runs per second and the median
//!         in milliseconds
//!     load start SOCKET TIMES LOG PROGRAM [ARGS...]
//!         starts a daemon TIMES times and prints the median in milliseconds to its first answer

#![allow(clippy::expect_used, reason = "what cannot be measured is reported by panicking")]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use stowd_core::containers::{Container, Runtime, SPEC_TYPE, Store as _};
use stowd_core::filters::Filters;
use stowd_core::images::Collect;
use stowd_core::leases::Store as _;
use stowd_core::snapshots::{Kind, Snapshotter as _};
use stowd_core::tasks::{Create, Tasks as _};
use stowd_core::{Any, Labels, Namespace, Result, Scope};
use stowd_proxy::Connection;

const SNAPSHOTTER: &str = "overlayfs";
const LEASE: &str = "load";

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<usize>().expect("a number");
    let said = match words.as_slice() {
        ["run", socket, namespace, count, parallel] => {
            run(socket, namespace, number(count), number(parallel)).await
        }
        ["start", socket, times, log, program, args @ ..] => {
            start(Path::new(socket), number(times), Path::new(log), program, args).await
        }
        _ => {
            let usage = "usage: load run SOCKET NAMESPACE COUNT PARALLEL | load start SOCKET TIMES LOG PROGRAM [ARGS...]\n";
            // Nothing is left to report a failing standard error to.
            let _ = std::io::stderr().write_all(usage.as_bytes());
            return ExitCode::from(2);
        }
    };
    match writeln!(std::io::stdout(), "{said}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What all runs share.
struct Load {
    connection: Connection,
    scope: Scope,
    parent: String,
    next: AtomicUsize,
    count: usize,
}

async fn run(socket: &str, namespace: &str, count: usize, parallel: usize) -> String {
    let connection = stowd_proxy::connect(socket).await.expect("a connection");
    let scope = Scope::new(Namespace::new(namespace).expect("a namespace"));
    let parent = top_layer(&connection, &scope).await;
    let leases = connection.leases();
    leases.create(&scope, LEASE, Labels::new()).await.expect("a lease");
    let (next, held) = (AtomicUsize::new(0), scope.clone());
    let load = Arc::new(Load { connection, scope, parent, next, count });
    let from = Instant::now();
    let lanes: Vec<_> = (0..parallel).map(|_| tokio::spawn(lane(Arc::clone(&load)))).collect();
    let mut times = Vec::new();
    for lane in lanes {
        times.extend(lane.await.expect("a lane"));
    }
    leases.delete(&held, LEASE, Collect::Later).await.expect("the lease goes");
    let per_second = count as f64 / from.elapsed().as_secs_f64();
    format!("{per_second:.1} {:.1}", milliseconds(median(times)))
}

/// Returns the committed snapshot that nothing was committed upon.
async fn top_layer(connection: &Connection, scope: &Scope) -> String {
    let everything = Filters::parse::<&str>(&[]).expect("no filter");
    let snapshots = connection.snapshotter(SNAPSHOTTER);
    let mut chunks = snapshots.list(scope, everything).await.expect("a list of snapshots");
    let mut all = Vec::new();
    while let Some(chunk) = chunks.next().await {
        all.extend(chunk.expect("a list of snapshots"));
    }
    all.iter()
        .find(|one| {
            one.kind == Kind::Committed
                && !all.iter().any(|other| other.parent.as_deref() == Some(&one.name))
        })
        .map(|one| one.name.clone())
        .expect("an unpacked image")
}

async fn lane(load: Arc<Load>) -> Vec<Duration> {
    let mut times = Vec::new();
    loop {
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        if number >= load.count {
            return times;
        }
        let from = Instant::now();
        one(&load, &format!("load-{number}")).await.expect("a run");
        times.push(from.elapsed());
    }
}

/// One container from nothing to nothing.
async fn one(load: &Load, id: &str) -> Result<()> {
    let Load { connection, scope, parent, .. } = load;
    let (snapshots, containers, tasks) =
        (connection.snapshotter(SNAPSHOTTER), connection.containers(), connection.tasks());
    // Held by the lease, or garbage collection might take it before the container refers to it.
    let leased = scope.clone().with_lease(LEASE);
    let rootfs = snapshots.prepare(&leased, id, Some(parent), Labels::new()).await?;
    let spec = spec(&scope.namespace, id).to_string();
    let container = Container {
        id: id.to_owned(),
        labels: Labels::new(),
        image: String::new(),
        runtime: Runtime { name: "io.containerd.runc.v2".to_owned(), options: None },
        spec: Some(Any { type_url: SPEC_TYPE.to_owned(), value: Bytes::from(spec) }),
        snapshotter: SNAPSHOTTER.to_owned(),
        snapshot_key: id.to_owned(),
        extensions: std::collections::BTreeMap::new(),
        sandbox_id: String::new(),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    };
    containers.create(scope, container).await?;
    let create = Create { container_id: id.to_owned(), rootfs, ..Default::default() };
    tasks.create(scope, create).await?;
    // As clients do it: they wait first, so that no exit escapes them.
    let (exit, started) = tokio::join!(tasks.wait(scope, id, ""), tasks.start(scope, id, ""));
    started?;
    assert_eq!(exit?.status, 0, "{id} failed");
    tasks.delete(scope, id, "").await?;
    containers.delete(scope, id).await?;
    snapshots.remove(scope, id).await
}

/// What `ctr run` asks for, but for seccomp.
fn spec(namespace: &Namespace, id: &str) -> Value {
    let namespaces: Vec<Value> = ["pid", "ipc", "uts", "mount", "network"]
        .iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    let capabilities = json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL"]);
    let mount = |at: &str, kind: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/true"],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs" },
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/run", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ],
        "linux": {
            "cgroupsPath": format!("/{namespace}/{id}"),
            "namespaces": namespaces,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
        },
    })
}

async fn start(socket: &Path, times: usize, log: &Path, program: &str, args: &[&str]) -> String {
    let mut taken = Vec::new();
    for _ in 0..times {
        // One that is there from the last time would be mistaken for a daemon that is not ready.
        let _ = std::fs::remove_file(socket);
        let output = File::options().create(true).append(true).open(log).expect("a log");
        let errors = output.try_clone().expect("a log");
        let from = Instant::now();
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("a daemon");
        while !answers(socket).await {
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "{program} ended: see {}", log.display());
            assert!(from.elapsed() < Duration::from_secs(30), "{program} does not answer");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        taken.push(from.elapsed());
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid");
        kill_process(pid, Signal::TERM).expect("ending the daemon");
        child.wait().expect("a child");
    }
    format!("{:.1}", milliseconds(median(taken)))
}

async fn answers(socket: &Path) -> bool {
    let Ok(connection) = stowd_proxy::connect(socket).await else { return false };
    connection.serving().await.is_ok_and(|told| told == stowd_proxy::Serving::Yes)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
