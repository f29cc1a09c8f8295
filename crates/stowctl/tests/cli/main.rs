//! The program under its names, against stowd; where its output must be ctr's, beside the
//! real ctr.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be set up fails its test")]

mod containers;
mod globals;
mod run;
mod shells;
mod shim;
mod stress;
mod tasks;
mod terminal;

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use regex_lite::Regex;
use rustix::process::{Pid, Signal, kill_process};
use stowd_testing::process::{Run, wait_for};
use stowd_testing::{Daemon, Scratch, Version, daemon};

/// The name of the image that every test has, as ctr wants it.
const IMAGE: &str = "docker.io/library/busybox:latest";
/// A script that runs until it is killed.
const FOREVER: &str = "while :; do sleep 0.1; done";

/// A daemon with an image.
struct It {
    daemon: Daemon,
    scratch: Scratch,
}

impl It {
    fn new() -> Self {
        let scratch = Scratch::new();
        let daemon = Daemon::stowd(&scratch);
        let archive = scratch.join("image.tar");
        stowd_testing::image::Image::busybox().write_oci_archive(&archive, IMAGE);
        daemon.ctr(Version::V2).args(["images", "import"]).args([archive]).ok();
        symlink(daemon::programs().join("stowctl"), scratch.join("ctr")).unwrap();
        Self { daemon, scratch }
    }

    /// Starts the program under its own name.
    fn stowctl(&self, args: &[&str]) -> Run {
        self.daemon.stowctl().args(args)
    }

    /// Starts the program under ctr's name.
    fn ctr(&self, args: &[&str]) -> Run {
        Run::new(self.command("ctr", args))
    }

    /// Makes a command of the program under one of its names.
    fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(match name {
            "ctr" => self.scratch.join("ctr"),
            name => daemon::programs().join(name),
        });
        command.arg("-a").arg(self.daemon.socket()).args(["-n", self.daemon.namespace()]);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts the program in the background.
    fn spawn(&self, name: &str, args: &[&str]) -> Child {
        self.command(name, args).spawn().unwrap()
    }

    /// Starts a container in the background that runs a shell script.
    fn start(&self, id: &str, script: &str) {
        self.ctr(&["run", "-d", "--null-io", IMAGE, id, "sh", "-c", script]).ok();
    }

    /// Checks that the real ctr prints the same, but for times.
    fn as_ctr(&self, args: &[&str]) -> String {
        let (ours, theirs) = (self.ctr(args).output(), self.daemon.ctr(Version::V2).args(args));
        let theirs = theirs.output();
        let text = |output: &Output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            redacted(&text)
        };
        assert_eq!(text(&ours), text(&theirs), "{args:?}");
        assert_eq!(ours.status, theirs.status, "{args:?}");
        text(&ours)
    }

    /// Checks that the real ctr fails in the same words, hints aside.
    fn fails_as_ctr(&self, args: &[&str]) -> String {
        let (ours, theirs) = (self.ctr(args).output(), self.daemon.ctr(Version::V2).args(args));
        let theirs = theirs.output();
        let line = |output: &Output| {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let line = text.lines().find(|line| line.starts_with("ctr: ")).unwrap_or(&text);
            line.to_owned()
        };
        assert_eq!(line(&ours), line(&theirs), "{args:?}");
        assert_eq!(ours.status, theirs.status, "{args:?}");
        line(&ours)
    }

    /// Waits until a task is listed in a state.
    fn until(&self, id: &str, state: &str) {
        let mut listed = String::new();
        let seen = wait_for(|| {
            listed = self.stowctl(&["tasks", "ls"]).ok();
            listed.lines().any(|line| line.starts_with(id) && line.contains(state))
        });
        assert!(seen, "{id} is not {state}:\n{listed}");
    }

    /// Checks that nothing is left of any container: record, task, snapshot, fifo.
    fn nothing_is_left(&self) {
        assert_eq!(self.stowctl(&["containers", "ls", "-q"]).ok(), "");
        assert_eq!(self.stowctl(&["tasks", "ls", "-q"]).ok(), "");
        let snapshots = self.daemon.ctr(Version::V2).args(["snapshots", "ls"]).ok();
        assert!(!snapshots.contains("Active"), "{snapshots}");
        let leases = self.daemon.ctr(Version::V2).args(["leases", "ls", "-q"]).ok();
        assert!(!leases.contains("stowd-client"), "{leases}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }
}

/// Replaces times and measurements.
fn redacted(text: &str) -> String {
    let rules = [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "TIME"),
        (r"seconds:\d+ +nanos:\d+ *", "TIME"),
        (r"( |\[)\d{4,}( \d+)*\]? *", "$1N"),
        (r": \d{4,}", ": N"),
        // Columns are as wide as what was measured.
        (r"(TIMESTAMP|VALUE) +", "$1"),
        // ctr's version of the runtime spec is older.
        (r#""ociVersion": "[^"]*""#, "VERSION"),
    ];
    rules.iter().fold(text.to_owned(), |text, (pattern, with)| {
        Regex::new(pattern).unwrap().replace_all(&text, *with).into_owned()
    })
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
