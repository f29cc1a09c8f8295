//! The mounts of activations, when the daemon is killed in the middle of making and undoing them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stowd_core::containers::{Container, Runtime, Store as _};
use stowd_core::images::Collect;
use stowd_core::leases::Store as _;
use stowd_core::mount::Mount;
use stowd_core::mounts::{Activation, Extent, Manager as _, Options};
use stowd_core::tasks::{Create, Tasks as _};
use stowd_core::{Any, Labels, Namespace, Scope};
use stowd_proxy::Connection;
use stowd_testing::image::Layer;
use stowd_testing::process::{Run, wait_for};
use stowd_testing::{Daemon, Scratch, leaks, need};

use crate::number;
use stowd_testing::chance::Chance;

/// What is known of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Active,
    Gone,
    /// A call about it was cut off.
    Unknown,
}

fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        kind: kind.to_owned(),
        source: source.to_owned(),
        target: String::new(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
    }
}

fn all() -> Options {
    Options { extent: Extent::All, ..Options::default() }
}

/// A loop device, a file system on it, and what is built upon it.
fn chain(image: &Path) -> Vec<Mount> {
    vec![
        mount("mkfs/loop", image.to_str().unwrap(), &["X-containerd.mkfs.size=8m"]),
        mount("format/ext4", "{{ mount 0 }}", &[]),
        mount("format/bind", "{{ mount 1 }}", &["rbind", "ro"]),
    ]
}

async fn connect(daemon: &Daemon) -> Connection {
    stowd_proxy::connect(daemon.socket()).await.unwrap()
}

fn scope(daemon: &Daemon) -> Scope {
    Scope::new(Namespace::new(daemon.namespace()).unwrap()).with_lease("held")
}

/// A folder below the daemon's root, where transformers may work.
fn images(daemon: &Daemon) -> PathBuf {
    let folder = daemon.root().join("images");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Works on names of its own until the daemon is gone.
async fn work(
    daemon_scope: Scope,
    connection: Connection,
    images: PathBuf,
    worker: usize,
    mut known: BTreeMap<String, Known>,
) -> BTreeMap<String, Known> {
    let mounts = connection.mounts();
    for round in 0.. {
        let name = format!("w{worker}-{}", round % 3);
        let state = *known.entry(name.clone()).or_insert(Known::Gone);
        let told = if state == Known::Gone {
            let chain = chain(&images.join(&name));
            mounts.activate(&daemon_scope, &name, chain, all()).await.map(|_| Known::Active)
        } else {
            mounts.deactivate(&daemon_scope, &name).await.map(|()| Known::Gone)
        };
        match told {
            Ok(state) => known.insert(name, state),
            Err(_) => {
                known.insert(name, Known::Unknown);
                break;
            }
        };
    }
    known
}

/// Compares what was promised with what is so.
async fn check(daemon: &Daemon, known: &mut BTreeMap<String, Known>) -> Result<(), String> {
    let mounts = connect(daemon).await.mounts();
    for (name, state) in known {
        match (*state, mounts.info(&scope(daemon), name).await) {
            (Known::Gone, Ok(_)) => return Err(format!("{name} was undone and is back")),
            (Known::Active, Err(error)) => return Err(format!("{name} is lost: {error}")),
            (_, Ok(active)) => {
                if let Some(point) = missing(&active) {
                    return Err(format!("{name} is there without {point}"));
                }
                *state = Known::Active;
            }
            (_, Err(error)) if error.is_not_found() => *state = Known::Gone,
            (_, Err(error)) => return Err(format!("{name}: {error}")),
        }
    }
    Ok(())
}

/// Returns a mount point that does not show what it should.
fn missing(activation: &Activation) -> Option<String> {
    let table = leaks::mounts_below(Path::new("/"));
    let stands = |point: &str| match std::fs::read_link(point) {
        Ok(device) => device.exists(),
        Err(_) => table.iter().any(|mounted| mounted == Path::new(point)),
    };
    activation.active.iter().map(|active| active.point.clone()).find(|point| !stands(point))
}

/// Lists folders, mounts and loop devices of activations.
fn remains(daemon: &Daemon) -> Vec<PathBuf> {
    let targets = daemon.state().join("io.containerd.mount-manager.v1.bolt/t");
    let folders = std::fs::read_dir(targets).into_iter().flatten().flatten();
    let mut found: Vec<_> = folders.map(|it| it.path()).filter(|path| path.is_dir()).collect();
    found.extend(leaks::mounts_below(&daemon.state()));
    let devices = std::fs::read_dir("/sys/block").unwrap().flatten().filter_map(|entry| {
        let file = std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        Some(PathBuf::from(file.trim_end()))
    });
    found.extend(devices.filter(|file| file.starts_with(daemon.root())));
    found
}

fn assert_nothing_remains(daemon: &Daemon, story: &str) {
    let mut left = Vec::new();
    let none = wait_for(|| {
        left = remains(daemon);
        left.is_empty()
    });
    assert!(none, "left behind: {left:#?}\n{story}\n{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mounts_are_whole_or_undone_when_the_daemon_is_killed() {
    need!(root, stowd);
    let seed = number("STOWD_SEED", u64::from(std::process::id()));
    let kills = number("STOWD_KILLS", 100) / 5;
    let mut chance = Chance::new(seed);
    let scratch = Scratch::new();
    let mut daemon = Daemon::stowd(&scratch);
    let images = images(&daemon);
    let held = scope(&daemon);
    let leases = connect(&daemon).await.leases();
    leases.create(&held, "held", Labels::new()).await.unwrap();
    let mut ledgers = vec![BTreeMap::new(); 3];
    for kill in 0..kills {
        let mut workers = Vec::new();
        for (worker, known) in ledgers.drain(..).enumerate() {
            let connection = connect(&daemon).await;
            workers.push(tokio::spawn(work(
                held.clone(),
                connection,
                images.clone(),
                worker,
                known,
            )));
        }
        tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
        tokio::task::block_in_place(|| daemon.crash());
        for worker in workers {
            ledgers.push(worker.await.unwrap());
        }
        for known in &mut ledgers {
            if let Err(broken) = check(&daemon, known).await {
                panic!(
                    "after kill {kill} of {kills} (STOWD_SEED={seed}): {broken}\n{}",
                    daemon.log()
                );
            }
        }
    }
    let leases = connect(&daemon).await.leases();
    leases.delete(&held, "held", Collect::BeforeReturn).await.unwrap();
    assert_nothing_remains(&daemon, &format!("STOWD_SEED={seed}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn activations_outlive_the_daemon_but_not_their_mounts() {
    need!(root, stowd);
    let scratch = Scratch::new();
    let mut daemon = Daemon::stowd(&scratch);
    let images = images(&daemon);
    let held = scope(&daemon);
    let connection = connect(&daemon).await;
    connection.leases().create(&held, "held", Labels::new()).await.unwrap();
    let mut made = BTreeMap::new();
    for name in ["kept", "lost", "freed"] {
        let chain = chain(&images.join(name));
        let activation = connection.mounts().activate(&held, name, chain, all()).await.unwrap();
        made.insert(name, activation);
    }
    for crash in [true, false] {
        tokio::task::block_in_place(|| if crash { daemon.crash() } else { daemon.restart() });
        let mounts = connect(&daemon).await.mounts();
        for (name, made) in &made {
            assert_eq!(mounts.info(&held, name).await.unwrap(), *made);
            assert_eq!(missing(made), None);
        }
    }
    // Somebody takes a mount off, and the device of another away.
    Run::program("umount").args([made["lost"].active[2].point.as_str()]).ok();
    for mount in made["freed"].active[1..].iter().rev() {
        Run::program("umount").args([mount.point.as_str()]).ok();
    }
    let device = std::fs::read_link(&made["freed"].active[0].point).unwrap();
    Run::program("losetup").args(["-d", device.to_str().unwrap()]).ok();
    tokio::task::block_in_place(|| daemon.restart());
    let mounts = connect(&daemon).await.mounts();
    for name in ["lost", "freed"] {
        assert!(mounts.info(&held, name).await.unwrap_err().is_not_found(), "{name}");
    }
    assert_eq!(mounts.info(&held, "kept").await.unwrap(), made["kept"]);
    // Their names can be taken again, and the images hold what they held.
    let again = mounts.activate(&held, "lost", chain(&images.join("lost")), all()).await.unwrap();
    assert_eq!(missing(&again), None);
    for name in ["kept", "lost"] {
        mounts.deactivate(&held, name).await.unwrap();
    }
    assert_nothing_remains(&daemon, "");
}

/// A spec whose process ends with 7 where the root has a `file`.
fn spec(scope: &Scope) -> serde_json::Value {
    let namespaces: Vec<_> =
        ["pid", "mount"].iter().map(|kind| serde_json::json!({ "type": kind })).collect();
    serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh", "-c", "test -e /file && exit 7"],
            "env": ["PATH=/bin"],
            "cwd": "/",
        },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
        ],
        "linux": {
            "cgroupsPath": format!("/{}/task", scope.namespace),
            "namespaces": namespaces,
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tasks_root_is_made_by_the_mount_manager_and_undone_with_it() {
    need!(root, overlayfs, stowd);
    let scratch = Scratch::new();
    let mut daemon = Daemon::stowd(&scratch);
    let (root, top) = (scratch.folder("busybox"), scratch.folder("top"));
    let archive = scratch.join("busybox.tar");
    std::fs::write(&archive, Layer::busybox().tar()).unwrap();
    Run::program("tar")
        .args(["-C".as_ref(), root.as_os_str(), "-xf".as_ref(), archive.as_os_str()])
        .ok();
    std::fs::write(top.join("file"), "").unwrap();
    let scope = Scope::new(Namespace::new(daemon.namespace()).unwrap());
    let connection = connect(&daemon).await;
    let value = serde_json::to_vec(&spec(&scope)).unwrap().into();
    let container = Container {
        id: "c".to_owned(),
        labels: Labels::new(),
        image: String::new(),
        runtime: Runtime { name: "io.containerd.runc.v2".to_owned(), options: None },
        spec: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".to_owned(),
            value,
        }),
        snapshotter: String::new(),
        snapshot_key: String::new(),
        extensions: BTreeMap::new(),
        sandbox_id: String::new(),
        created: std::time::SystemTime::UNIX_EPOCH,
        updated: std::time::SystemTime::UNIX_EPOCH,
    };
    connection.containers().create(&scope, container).await.unwrap();
    let rootfs = vec![
        mount("bind", root.to_str().unwrap(), &["rbind", "ro"]),
        mount("bind", top.to_str().unwrap(), &["rbind", "ro"]),
        mount("format/overlay", "overlay", &["lowerdir={{ overlay 1 0 }}"]),
    ];
    let create =
        || Create { container_id: "c".to_owned(), rootfs: rootfs.clone(), ..Create::default() };
    for killed in [false, true] {
        let tasks = connect(&daemon).await.tasks();
        tasks.create(&scope, create()).await.unwrap();
        let active = connect(&daemon).await.mounts().info(&scope, "c").await.unwrap();
        assert_eq!((active.active.len(), active.system.len()), (2, 1));
        tasks.start(&scope, "c", "").await.unwrap();
        if killed {
            tokio::task::block_in_place(|| daemon.crash());
        }
        let connection = connect(&daemon).await;
        // Nothing but the container keeps it.
        connection.leases().create(&scope, "collect", Labels::new()).await.unwrap();
        connection.leases().delete(&scope, "collect", Collect::BeforeReturn).await.unwrap();
        assert_eq!(missing(&active), None);
        assert_eq!(connection.tasks().wait(&scope, "c", "").await.unwrap().status, 7);
        connection.tasks().delete(&scope, "c", "").await.unwrap();
        assert!(connection.mounts().info(&scope, "c").await.unwrap_err().is_not_found());
        assert_nothing_remains(&daemon, "");
    }
    // A creation that fails undoes them, too.
    let connection = connect(&daemon).await;
    let mut wrong = create();
    wrong.rootfs[2].options.push("no-such-option".to_owned());
    assert!(connection.tasks().create(&scope, wrong).await.is_err());
    assert!(connection.mounts().info(&scope, "c").await.unwrap_err().is_not_found());
    connection.containers().delete(&scope, "c").await.unwrap();
    assert_nothing_remains(&daemon, "");
}
