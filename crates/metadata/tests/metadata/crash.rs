//! A process that works on the database is killed at random moments, over and over on one root.
//!
//! What the process was told is done must be there after each kill, whole and with its files; what
//! it was not told of is as before or as asked, nothing else; and nothing is left on disk that no
//! record knows. `STOWD_KILLS` says how often it is killed (30), `STOWD_SEED` repeats a run.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use stowd_core::images::Delete;
use stowd_core::snapshots::{Commit, Kind};
use stowd_core::{Digest, Labels, Namespace, Result, Scope};
use stowd_metadata::Metadata;

use crate::bench::{Heard, container, image, labels, on_disk, open, put};

/// Where the process that is killed works.
const ROOT: &str = "STOWD_CRASH_ROOT";
/// The value of what is not there.
const ABSENT: &str = "-";
/// How many callers the process has, each in a namespace of its own.
const CALLERS: u64 = 4;

/// Numbers that look random and can be had again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// An object that the process changes, and how it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    caller: u64,
    kind: String,
    name: String,
}

impl Object {
    fn scope(&self) -> Scope {
        Scope::new(Namespace::new(format!("caller{}", self.caller)).unwrap())
    }

    /// Gives the object a value, or removes it.
    async fn set(&self, metadata: &Metadata, value: &str) -> Result<()> {
        let scope = self.scope();
        let name = self.name.as_str();
        let with = labels(&[("value", value)]);
        let gone = |result: Result<()>| match result {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        };
        match self.kind.as_str() {
            "container" => {
                let containers = metadata.containers();
                if value == ABSENT {
                    return gone(containers.delete(&scope, name).await);
                }
                match containers.create(&scope, container(name, with.clone())).await {
                    Err(error) if error.is_already_exists() => {
                        let paths = ["labels".to_owned()];
                        containers.update(&scope, container(name, with), &paths).await.map(drop)
                    }
                    other => other.map(drop),
                }
            }
            "image" => {
                let images = metadata.images();
                if value == ABSENT {
                    return gone(images.delete(&scope, name, Delete::default()).await);
                }
                let lease = format!("for-{name}");
                match metadata.leases().create(&scope, &lease, Labels::new()).await {
                    // Of a call that was cut off.
                    Err(error) if error.is_already_exists() => {}
                    other => drop(other?),
                }
                let held = scope.clone().with_lease(&lease);
                let layer = put(metadata, &held, &format!("layer {value}"), &[]).await?;
                let refers = [("containerd.io/gc.ref.content.l.0", layer.as_str())];
                let target = put(metadata, &held, value, &refers).await?;
                match images.create(&scope, image(name, &target, with.clone())).await {
                    Err(error) if error.is_already_exists() => {
                        images.update(&scope, image(name, &target, with), &[]).await.map(drop)
                    }
                    other => other.map(drop),
                }?;
                let later = stowd_core::images::Collect::Later;
                metadata.leases().delete(&scope, &lease, later).await
            }
            _ => {
                let native = metadata.snapshotters().snapshotter("native")?;
                gone(native.remove(&scope, name).await)?;
                if value == ABSENT {
                    return Ok(());
                }
                let key = format!("making-{name}");
                gone(native.remove(&scope, &key).await)?;
                let root = labels(&[("containerd.io/gc.root", "1"), ("value", value)]);
                let mounts = native.prepare(&scope, &key, None, root.clone()).await?;
                fs::write(Path::new(&mounts[0].source).join("value"), value).unwrap();
                native.commit(&scope, name, &key, Commit { labels: root, parent: None }).await
            }
        }
    }

    /// Reads the object's value; fails the test when it is not whole.
    async fn get(&self, metadata: &Metadata) -> String {
        let scope = self.scope();
        let name = self.name.as_str();
        let labels = match self.kind.as_str() {
            "container" => metadata.containers().get(&scope, name).await.map(|it| it.labels),
            "image" => {
                let image = metadata.images().get(&scope, name).await;
                if let Ok(image) = &image {
                    let value = &image.labels["value"];
                    assert_eq!(image.target.digest, Digest::of(value.as_bytes()), "{self:?}");
                    for data in [value.clone(), format!("layer {value}")] {
                        let digest = Digest::of(data.as_bytes());
                        let blob = metadata.content().open(&scope, &digest).await;
                        let blob = blob.unwrap_or_else(|error| panic!("{self:?}: {error}"));
                        assert_eq!(blob.read_at(0, 1 << 10).await.unwrap(), data.as_bytes());
                    }
                }
                image.map(|it| it.labels)
            }
            _ => {
                let native = metadata.snapshotters().snapshotter("native").unwrap();
                let found = native.stat(&scope, name).await;
                if let Ok(found) = &found {
                    assert_eq!(found.kind, Kind::Committed);
                    let mounts = native.view(&scope, "look", Some(name), Labels::new()).await;
                    let tree = PathBuf::from(&mounts.unwrap()[0].source);
                    let value = fs::read_to_string(tree.join("value")).unwrap();
                    assert_eq!(value, found.labels["value"], "{self:?}");
                    native.remove(&scope, "look").await.unwrap();
                }
                found.map(|it| it.labels)
            }
        };
        match labels {
            Ok(labels) => labels["value"].clone(),
            Err(error) if error.is_not_found() => ABSENT.to_owned(),
            Err(error) => panic!("{self:?}: {error}"),
        }
    }
}

/// The process that is killed. Run as a test of its own it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that the test below kills"]
async fn victim() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let seed: u64 = std::env::var("STOWD_SEED").unwrap().parse().unwrap();
    let metadata = open(Path::new(&root), Arc::new(Heard::default())).await.unwrap();
    tell("open", None);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(call(metadata.clone(), caller, Chance(seed * CALLERS + caller + 1)));
    }
    callers.spawn(async move {
        loop {
            metadata.collect().await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    callers.join_all().await;
}

/// Changes objects for ever.
async fn call(metadata: Arc<Metadata>, caller: u64, mut chance: Chance) {
    for count in 0_u64.. {
        let kind = ["container", "image", "snapshot"][chance.below(3) as usize];
        let name = format!("{kind}{}", chance.below(3));
        let object = Object { caller, kind: kind.to_owned(), name };
        let value = match chance.below(3) {
            0 => ABSENT.to_owned(),
            _ => format!("{}-{caller}-{count}-{}", std::process::id(), chance.below(1 << 40)),
        };
        tell("begin", Some((&object, &value)));
        object.set(&metadata, &value).await.unwrap();
        tell("done", Some((&object, &value)));
    }
}

/// Tells the killer, in one write.
fn tell(word: &str, change: Option<(&Object, &str)>) {
    let line = match change {
        Some((Object { caller, kind, name }, value)) => {
            format!("\n{word} {caller} {kind} {name} {value}\n")
        }
        None => format!("\n{word}\n"),
    };
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// What is known of an object: its value, and the one that a call may have given it.
#[derive(Clone, Debug)]
struct Known {
    settled: String,
    begun: Option<String>,
}

impl Known {
    fn absent() -> Self {
        Self { settled: ABSENT.to_owned(), begun: None }
    }

    /// Says whether a value can be: the settled one; in the middle of a change also the new one, or
    /// none, since a snapshot is replaced in two calls.
    fn allows(&self, object: &Object, value: &str) -> bool {
        let Some(begun) = &self.begun else { return value == self.settled };
        value == self.settled || value == begun || (object.kind == "snapshot" && value == ABSENT)
    }
}

/// Starts a victim, kills it after a while, and notes what it said.
fn kill(root: &Path, seed: u64, after: Duration, known: &mut BTreeMap<Object, Known>) -> usize {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["crash::victim", "--exact", "--ignored", "--nocapture"])
        .env(ROOT, root)
        .env("STOWD_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let (opened, is_open) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in output.split(b'\n').map_while(std::io::Result::ok) {
            let line = String::from_utf8(line).unwrap();
            if line == "open" {
                let _ = opened.send(());
            }
            lines.push(line);
        }
        lines
    });
    // Every fourth is killed while it opens the database.
    if !seed.is_multiple_of(4) {
        let _ = is_open.recv_timeout(Duration::from_secs(30));
    }
    std::thread::sleep(after);
    let ended = victim.try_wait().unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    let lines = reader.join().unwrap();
    assert!(ended.is_none(), "the process ended by itself: {ended:?}");
    let mut done = 0;
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [word @ ("begin" | "done"), caller, kind, name, value] = words[..] else { continue };
        let Ok(caller) = caller.parse() else { continue };
        let object = Object { caller, kind: kind.to_owned(), name: name.to_owned() };
        let entry = known.entry(object).or_insert_with(Known::absent);
        if word == "done" {
            *entry = Known { settled: value.to_owned(), begun: None };
            done += 1;
        } else {
            entry.begun = Some(value.to_owned());
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_kills() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("STOWD_KILLS").unwrap_or(30);
    let seed = number("STOWD_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("STOWD_SEED={seed}");
    let mut chance = Chance(seed + 1);
    let folder = tempfile::tempdir().unwrap();
    let mut known: BTreeMap<Object, Known> = BTreeMap::new();
    let mut done = 0;
    for round in 0..kills {
        let after = Duration::from_micros(chance.below(120_000));
        done += kill(folder.path(), seed + round, after, &mut known);

        let metadata = open(folder.path(), Arc::new(Heard::default())).await.unwrap();
        let mut wanted = 0;
        for (object, state) in &mut known {
            let value = object.get(&metadata).await;
            assert!(state.allows(object, &value), "round {round}: {object:?}: {value} {state:?}");
            if value != ABSENT && object.kind == "image" {
                wanted += 2;
            }
            *state = Known { settled: value, begun: None };
        }
        // What callers were at goes: leases that were cut off hold blobs.
        for caller in 0..CALLERS {
            let scope = Scope::new(Namespace::new(format!("caller{caller}")).unwrap());
            let leases = metadata.leases();
            for lease in leases.list(&scope, &Default::default()).await.unwrap() {
                let later = stowd_core::images::Collect::Later;
                leases.delete(&scope, &lease.id, later).await.unwrap();
            }
            let native = metadata.snapshotters().snapshotter("native").unwrap();
            for name in 0..3 {
                let _ = native.remove(&scope, &format!("making-snapshot{name}")).await;
            }
        }
        metadata.collect().await.unwrap();
        let is_tree = |(object, state): &(&Object, &Known)| {
            object.kind == "snapshot" && state.settled != ABSENT
        };
        let trees = known.iter().filter(is_tree).count();
        let (blobs, on_disk) = on_disk(folder.path()).await;
        assert_eq!((blobs.len(), on_disk.len()), (wanted, trees), "round {round}");
        metadata.shutdown().await;
    }
    assert!(done as u64 > kills, "only {done} calls were done");
    eprintln!("{done} calls done, {kills} kills");
}
