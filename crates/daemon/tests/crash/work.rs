//! Clients at work, and the record of what they were promised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use stowd_testing::process::{Run, wait_for};
use stowd_testing::{Daemon, Version, clients};

use stowd_testing::chance::Chance;

/// How a container that ended must have ended.
const CODE: u32 = 7;

/// What is known of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It was started and runs until it is killed.
    Runs,
    /// It was started and ends by itself with [`CODE`].
    Ends,
    /// A call about it was cut off: anything may be true.
    Unknown,
}

/// What is known of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Image {
    Whole,
    Gone,
    Unknown,
}

/// What clients have been told so far.
#[derive(Debug)]
pub(crate) struct Ledger {
    images: BTreeMap<String, Image>,
    containers: BTreeMap<String, Known>,
    next: u32,
    history: Vec<String>,
}

impl Ledger {
    /// Begins with nothing pulled and nothing running.
    pub(crate) fn new(images: Vec<String>) -> Self {
        let images = images.into_iter().map(|name| (name, Image::Gone)).collect();
        Self { images, containers: BTreeMap::new(), next: 0, history: Vec::new() }
    }

    /// Returns the last things that were done, for a report.
    pub(crate) fn history(&self) -> String {
        let from = self.history.len().saturating_sub(40);
        self.history[from..].join("\n")
    }

    /// Compares what was promised with what a restarted daemon says.
    pub(crate) fn check(&mut self, daemon: &Daemon) -> Result<(), String> {
        let client = Client::of(daemon);
        self.check_images(&client)?;
        self.check_containers(&client)
    }

    fn check_images(&mut self, client: &Client) -> Result<(), String> {
        let listed = client.read(&["images", "ls", "-q"])?;
        let there: BTreeSet<&str> = listed.lines().collect();
        let checked = client.read(&["images", "check"])?;
        for (name, known) in &mut self.images {
            let is_there = there.contains(name.as_str());
            let whole = checked.lines().any(|line| {
                line.starts_with(name.as_str())
                    && line.contains("complete")
                    && line.contains("true")
            });
            match known {
                Image::Whole if !is_there => return Err(format!("{name} was pulled and is gone")),
                Image::Gone if is_there => return Err(format!("{name} was removed and is back")),
                // One that is visible is whole, promised or not.
                _ if is_there && !whole => {
                    return Err(format!("{name} is not whole:\n{checked}"));
                }
                _ => *known = if is_there { Image::Whole } else { Image::Gone },
            }
        }
        Ok(())
    }

    fn check_containers(&mut self, client: &Client) -> Result<(), String> {
        let records = client.read(&["containers", "ls", "-q"])?;
        let records: BTreeSet<&str> = records.lines().collect();
        let tasks = client.tasks()?;
        for (id, known) in &self.containers {
            let task = tasks.get(id);
            if *known != Known::Unknown && !records.contains(id.as_str()) {
                return Err(format!("container {id} was created and is gone"));
            }
            match (known, task) {
                (Known::Runs, Some((pid, state))) => {
                    if state != "RUNNING" || !Path::new(&format!("/proc/{pid}")).exists() {
                        return Err(format!("{id} should run and is {state}, pid {pid}"));
                    }
                }
                (Known::Ends, Some((_, state))) => {
                    if state != "RUNNING" && state != "STOPPED" {
                        return Err(format!("{id} should have ended and is {state}"));
                    }
                }
                (Known::Runs | Known::Ends, None) => {
                    return Err(format!("the task of {id} is gone"));
                }
                (Known::Unknown, _) => {}
            }
        }
        if let Some(stranger) = tasks.keys().find(|id| !self.containers.contains_key(*id)) {
            return Err(format!("{stranger} was deleted and is back"));
        }
        self.collect_exits(client)?;
        self.settle(client)
    }

    /// Deletes what has ended, and looks at how it did.
    fn collect_exits(&mut self, client: &Client) -> Result<(), String> {
        let ending: Vec<String> = self.of(Known::Ends);
        for id in ending {
            let mut state = String::new();
            let ended = wait_for(|| {
                state = client
                    .tasks()
                    .ok()
                    .and_then(|mut tasks| tasks.remove(&id))
                    .map_or_else(String::new, |(_, state)| state);
                state == "STOPPED"
            });
            if !ended {
                return Err(format!("{id} does not end: {state:?}"));
            }
            let output = client.run(&["tasks", "rm", &id]).output();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // ctr says so on standard error, and passes the code on.
            if !said.contains(&CODE.to_string()) && output.status.code() != Some(CODE.cast_signed())
            {
                return Err(format!("the exit of {id} is lost: {} {said}", output.status));
            }
            client.read(&["containers", "rm", &id])?;
            self.containers.remove(&id);
        }
        Ok(())
    }

    /// Removes everything that a cut-off call may have left.
    fn settle(&mut self, client: &Client) -> Result<(), String> {
        for id in self.of(Known::Unknown) {
            client.run(&["tasks", "rm", "-f", &id]).output();
            client.run(&["containers", "rm", &id]).output();
            if client.tasks()?.contains_key(&id) {
                return Err(format!("the task of {id} cannot be removed"));
            }
            self.containers.remove(&id);
        }
        Ok(())
    }

    fn of(&self, wanted: Known) -> Vec<String> {
        let of_it = self.containers.iter().filter(|(_, known)| **known == wanted);
        of_it.map(|(id, _)| id.clone()).collect()
    }

    /// Removes everything, in the way of any client, and has garbage collected.
    pub(crate) fn remove_all(&mut self, daemon: &Daemon) {
        let client = Client::of(daemon);
        for id in client.tasks().unwrap().into_keys() {
            client.run(&["tasks", "rm", "-f", &id]).output();
        }
        for id in client.read(&["containers", "ls", "-q"]).unwrap().lines() {
            client.read(&["containers", "rm", id]).unwrap();
        }
        for name in client.read(&["images", "ls", "-q"]).unwrap().lines() {
            client.read(&["images", "rm", "--sync", name]).unwrap();
        }
        // Leases of cut-off pulls would keep their content for a day.
        for id in client.read(&["leases", "ls", "-q"]).unwrap().lines() {
            client.read(&["leases", "rm", "--sync", id]).unwrap();
        }
        // A run that was cut off leaves a snapshot that bears no label: nothing but this goes.
        client.read(&["leases", "create", "--id", "last"]).unwrap();
        client.read(&["leases", "rm", "--sync", "last"]).unwrap();
    }
}

/// A `ctr` in a namespace.
#[derive(Clone, Debug)]
struct Client {
    socket: PathBuf,
    namespace: String,
}

impl Client {
    fn of(daemon: &Daemon) -> Self {
        Self { socket: daemon.socket(), namespace: daemon.namespace().to_owned() }
    }

    fn run(&self, args: &[&str]) -> Run {
        clients::ctr(Version::V2, &self.socket, &self.namespace).args(args)
    }

    fn read(&self, args: &[&str]) -> Result<String, String> {
        let output = self.run(args).output();
        if !output.status.success() {
            return Err(format!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Pids and states of tasks by id.
    fn tasks(&self) -> Result<BTreeMap<String, (String, String)>, String> {
        let listed = self.read(&["tasks", "ls"])?;
        let rows = listed.lines().skip(1).filter_map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some((words.next()?, (words.next()?, words.next()?)))
        });
        Ok(rows.collect())
    }
}

/// A client that does one thing after the other until it is stopped.
pub(crate) struct Worker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Ledger>,
}

impl Worker {
    /// Starts working.
    pub(crate) fn start(daemon: &Daemon, mut ledger: Ledger, seed: u64) -> Self {
        let client = Client::of(daemon);
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut chance = Chance::new(seed);
            while !told.load(Ordering::Acquire) {
                ledger.act(&client, &mut chance);
            }
            ledger
        });
        Self { stop, thread }
    }

    /// Stops working after the act under way, and hands back what is known.
    pub(crate) fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap()
    }
}

impl Ledger {
    fn act(&mut self, client: &Client, chance: &mut Chance) {
        let pick = chance.below(10);
        let names: Vec<String> = self.images.keys().cloned().collect();
        let name = names[chance.below(names.len() as u64) as usize].clone();
        let whole = self.images.iter().find(|(_, known)| **known == Image::Whole);
        match (pick, whole.map(|(name, _)| name.clone())) {
            (0..=1, _) | (_, None) => self.pull(client, &name),
            (2, _) => self.remove_image(client, &name),
            (3..=5, Some(image)) => {
                self.run(client, &image, Known::Ends, "sleep 0.2; exit 7");
            }
            (6..=7, Some(image)) => {
                self.run(client, &image, Known::Runs, "while :; do sleep 1; done");
            }
            (_, Some(_)) => self.remove_container(client),
        }
    }

    fn note(&mut self, act: &str, of: &str, done: bool) {
        self.history.push(format!("{act} {of}: {}", if done { "done" } else { "cut off" }));
    }

    fn pull(&mut self, client: &Client, name: &str) {
        let args = ["images", "pull", "--plain-http", name];
        let done = client.run(&args).output().status.success();
        self.note("pull", name, done);
        // Pulling again what is there takes nothing away, whatever becomes of the call.
        let known = self.images.entry(name.to_owned()).or_insert(Image::Unknown);
        if done {
            *known = Image::Whole;
        } else if *known != Image::Whole {
            *known = Image::Unknown;
        }
    }

    fn remove_image(&mut self, client: &Client, name: &str) {
        let done = client.run(&["images", "rm", name]).output().status.success();
        self.note("remove", name, done);
        self.images.insert(name.to_owned(), if done { Image::Gone } else { Image::Unknown });
    }

    fn run(&mut self, client: &Client, image: &str, kind: Known, script: &str) {
        let id = format!("c{}", self.next);
        self.next += 1;
        let args = ["run", "-d", "--null-io", image, &id, "sh", "-c", script];
        let done = client.run(&args).output().status.success();
        self.note("run", &id, done);
        self.containers.insert(id, if done { kind } else { Known::Unknown });
    }

    fn remove_container(&mut self, client: &Client) {
        let Some(id) = self.of(Known::Runs).into_iter().next() else { return };
        let killed = client.run(&["tasks", "rm", "-f", &id]).output();
        let removed = client.run(&["containers", "rm", &id]).output();
        // `tasks rm` passes on the exit code of what it killed; the container goes only after it.
        let done = removed.status.success();
        self.note("remove", &format!("{id} ({})", killed.status), done);
        if done {
            self.containers.remove(&id);
        } else {
            self.containers.insert(id, Known::Unknown);
        }
    }
}
