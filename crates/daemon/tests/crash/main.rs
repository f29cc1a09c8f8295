//! Kills the daemon at random moments while clients pull, run and delete, and holds it to its word.
//!
//! What a client was told stays true: an image that was pulled is whole, one that was removed stays
//! removed, a container that was started keeps running, one that has ended tells how. What nobody
//! was told of may have happened or not, but leaves nothing that cannot be removed, and in the end
//! nothing at all.
//!
//! `STOWD_KILLS` says how often the daemon is killed (100), `STOWD_SEED` repeats a run.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

use std::path::Path;
use std::time::Duration;

use stowd_testing::image::{Image, Layer};
use stowd_testing::process::wait_for;
use stowd_testing::{Daemon, Registry, Scratch, leaks, need};

mod mounts;
mod work;

use stowd_testing::chance::Chance;
use work::{Ledger, Worker};

fn number(variable: &str, unless_told: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(unless_told)
}

/// Images that differ in their second layer, which is big enough to be killed in the middle of.
fn images(registry: &Registry, count: usize) -> Vec<String> {
    let mut noise = Chance::new(7);
    (0..count)
        .map(|number| {
            let data: Vec<u8> = std::iter::repeat_with(|| noise.next().to_le_bytes())
                .take(200_000)
                .flatten()
                .collect();
            let mut layer = Layer::new();
            for (at, piece) in data.chunks(100_000).enumerate() {
                layer = layer.file(&format!("data/{number}/{at}"), piece);
            }
            registry.push(&format!("deck/i{number}"), "1", &Image::of(&[Layer::busybox(), layer]))
        })
        .collect()
}

#[test]
fn the_daemon_keeps_its_word_when_killed_again_and_again() {
    need!(root, clients, overlayfs, stowd);
    let seed = number("STOWD_SEED", u64::from(std::process::id()));
    let kills = number("STOWD_KILLS", 100);
    let mut chance = Chance::new(seed);
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch);
    let images = images(&registry, 4);
    let mut daemon = Daemon::stowd(&scratch);
    let mut ledger = Ledger::new(images);
    for kill in 0..kills {
        let worker = Worker::start(&daemon, ledger, chance.next());
        std::thread::sleep(Duration::from_millis(chance.below(400)));
        daemon.crash();
        ledger = worker.stop();
        if let Err(broken) = ledger.check(&daemon) {
            panic!(
                "after kill {kill} of {kills} (STOWD_SEED={seed}): {broken}\n{}",
                ledger.history()
            );
        }
    }
    ledger.remove_all(&daemon);
    assert_nothing_is_left(&daemon, &format!("STOWD_SEED={seed}\n{}", ledger.history()));
}

/// Looks at the disk and the kernel, not at what the daemon says of them.
fn assert_nothing_is_left(daemon: &Daemon, story: &str) {
    let mut left = Vec::new();
    let empty = wait_for(|| {
        left = leaks::mounts_below(&daemon.state())
            .into_iter()
            .chain(leaks::mounts_below(&daemon.root()))
            .chain(entries(&daemon.state().join("io.containerd.runtime.v2.task"), 2))
            .chain(entries(&daemon.root().join("io.containerd.runtime.v2.task"), 2))
            .chain(entries(
                &daemon.root().join("io.containerd.snapshotter.v1.overlayfs/snapshots"),
                1,
            ))
            .chain(entries(&daemon.root().join("io.containerd.content.v1.content/blobs"), 2))
            .chain(entries(&daemon.root().join("io.containerd.content.v1.content/ingest"), 1))
            .collect();
        left.is_empty()
    });
    assert!(empty, "left behind: {left:#?}\n{story}");
    // Of processes, only the daemon itself bears its folder's name; of cgroups, none.
    let names =
        leaks::Names { namespaces: vec![daemon.namespace().to_owned()], ..Default::default() };
    let folder = daemon.root().parent().unwrap().to_path_buf();
    let others = || -> Vec<leaks::Leak> {
        let own = |leak: &leaks::Leak| matches!(leak, leaks::Leak::Process(pid, _) if pid.cast_unsigned() == daemon.pid());
        leaks::find(&folder, &names).into_iter().filter(|leak| !own(leak)).collect()
    };
    assert!(wait_for(|| others().is_empty()), "left behind: {:#?}\n{story}", others());
}

/// Returns what is so many folders deep; folders above that depth may stay.
fn entries(folder: &Path, depth: usize) -> Vec<std::path::PathBuf> {
    let found: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect();
    if depth == 1 {
        found
    } else {
        found.iter().flat_map(|path| entries(path, depth - 1)).collect()
    }
}
