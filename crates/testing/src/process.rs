//! Programs that a test starts: run to their end, or kept running and ended by pid.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a started program may take to become ready, and a stopped one to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command line that is about to run.
#[derive(Debug)]
pub struct Run {
    command: Command,
    input: Vec<u8>,
}

impl Run {
    /// Takes a command as it is.
    pub fn new(command: Command) -> Self {
        Self { command, input: Vec::new() }
    }

    /// Runs a program by path or name.
    pub fn program(program: impl AsRef<OsStr>) -> Self {
        Self::new(Command::new(program))
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets what the program reads from standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Runs it to its end, however it ends.
    pub fn output(mut self) -> Output {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {:?}: {error}", self.command));
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        let input = std::mem::take(&mut self.input);
        // Written from a thread: a program that prints before it has read all would block both.
        let writer = std::thread::spawn(move || {
            // A program may end without reading its input.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().expect("waiting for a child");
        writer.join().expect("the writer does not panic");
        output
    }

    /// Runs it and returns its standard output.
    ///
    /// # Panics
    /// When it fails, with all that it printed.
    pub fn ok(self) -> String {
        let shown = format!("{:?}", self.command);
        let output = self.output();
        assert!(
            output.status.success(),
            "{shown} ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs it and returns what it printed, standard output first.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn fails(self) -> String {
        let shown = format!("{:?}", self.command);
        let output = self.output();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success(), "{shown} should have failed, and printed\n{text}");
        text
    }
}

/// A program that runs in the background and ends with this value.
#[derive(Debug)]
pub struct Background {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Background {
    /// Starts a program with its output in a file.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(log).expect("opening the log");
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("cloning the log"))
            .stderr(file);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, name, log: log.to_path_buf() }
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` says yes.
    ///
    /// # Panics
    /// When the program ends first, or takes longer than anyone would wait, with its output.
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let start = Instant::now();
        while !ready() {
            let ended = self.child.try_wait().expect("waiting for a child");
            assert!(ended.is_none(), "{} ended before {what}:\n{}", self.name, self.log());
            assert!(start.elapsed() < PATIENCE, "{}: no {what}:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Says whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("waiting for a child").is_none()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // It may have ended; its pid cannot have been reused, as nobody has waited for it.
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end, and ends it when it does not; returns whether it ended by itself.
    pub fn stop(&mut self) -> bool {
        self.signal(Signal::TERM);
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() > PATIENCE {
                self.kill();
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Ends it as a power cut would: no time to clean up.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        // Reaps it; the status says nothing new.
        let _ = self.child.wait();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(8000);
            let tail = log.get(from..).unwrap_or(&log);
            let _ = writeln!(std::io::stderr(), "--- {} said, at its end:\n{tail}", self.name);
        }
    }
}

/// Waits until `done` says yes; returns whether it did before patience ran out.
pub fn wait_for(done: impl FnMut() -> bool) -> bool {
    wait(PATIENCE, done)
}

/// Waits as [`wait_for`] does, but only as long as something already on its way may take.
pub fn wait_briefly(done: impl FnMut() -> bool) -> bool {
    wait(Duration::from_secs(3), done)
}

fn wait(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < patience {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    done()
}
