//! Daemons to talk to: unmodified containerd of two versions, and stowd, each on its own folders.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::clients::{self, Version};
use crate::leaks;
use crate::process::{Background, Run};
use crate::scratch::Scratch;

/// Which program a [`Daemon`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unmodified containerd, with Debian 12's runc.
    Containerd(Version),
    /// stowd, as built in the target directory.
    Stowd,
}

/// A running daemon with its own root, state and socket below a scratch folder.
///
/// Dropping it ends what runs in its namespaces, then the daemon, then any shim it left.
#[derive(Debug)]
pub struct Daemon {
    kind: Kind,
    folder: PathBuf,
    namespace: String,
    process: Background,
}

/// stowd's programs.
const PROGRAMS: [&str; 3] = ["stowd", "stowd-shim", "stowctl"];

/// Returns the folder with stowd's programs: `$STOWD_PROGRAMS`, or where this test was built.
pub fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("STOWD_PROGRAMS") {
        return PathBuf::from(folder);
    }
    let test = std::env::current_exe().unwrap_or_default();
    // target/debug/deps/test-0123 → target/debug
    let folder = test.parent().unwrap_or(Path::new("."));
    if folder.ends_with("deps") { folder.parent().unwrap_or(folder).into() } else { folder.into() }
}

/// Returns the first of stowd's programs that is not built.
pub fn missing_program() -> Option<PathBuf> {
    PROGRAMS.iter().map(|name| programs().join(name)).find(|path| !path.exists())
}

impl Daemon {
    /// Starts unmodified containerd, and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub fn containerd(version: Version, scratch: &Scratch) -> Self {
        Self::start(Kind::Containerd(version), scratch, "")
    }

    /// Starts stowd, and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub fn stowd(scratch: &Scratch) -> Self {
        Self::start(Kind::Stowd, scratch, "")
    }

    /// Starts a daemon of either kind with lines added to its configuration.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(kind: Kind, scratch: &Scratch, config: &str) -> Self {
        let folder = folder_of(kind, scratch);
        let config = format!("{}\n{config}", base_config(kind, &folder));
        Self::configured(kind, scratch, folder, &config)
    }

    /// Starts a daemon of either kind that serves controllers of sandboxes: containerd does only
    /// together with CRI's own.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with_sandboxes(kind: Kind, scratch: &Scratch) -> Self {
        let folder = folder_of(kind, scratch);
        let config = base_config(kind, &folder).replace(&CRI_PARTS.join(", "), CRI_PARTS[0]);
        Self::configured(kind, scratch, folder, &config)
    }

    fn configured(kind: Kind, scratch: &Scratch, folder: PathBuf, config: &str) -> Self {
        fs::write(folder.join("config.toml"), config).expect("writing the configuration");
        let namespace = scratch.namespace();
        let process = Self::spawn(kind, &folder);
        let mut daemon = Self { kind, folder, namespace, process };
        daemon.wait_until_ready();
        daemon
    }

    fn spawn(kind: Kind, folder: &Path) -> Background {
        let mut command = match kind {
            Kind::Containerd(version) => {
                let mut command = Command::new(version.program("containerd"));
                command.env("PATH", containerd_path(version, folder));
                command
            }
            Kind::Stowd => {
                let mut command = Command::new(programs().join("stowd"));
                command
                    .arg("--root")
                    .arg(folder.join("root"))
                    .arg("--state")
                    .arg(folder.join("state"))
                    .arg("--address")
                    .arg(folder.join("d.sock"));
                let path = std::env::var_os("PATH").unwrap_or_default();
                let path = std::env::join_paths(
                    std::iter::once(programs()).chain(std::env::split_paths(&path)),
                );
                command.env("PATH", path.expect("no colon in the target directory"));
                command
            }
        };
        command.arg("--config").arg(folder.join("config.toml"));
        command.env_remove("NOTIFY_SOCKET").current_dir(folder);
        Background::start(command, &folder.join("log"))
    }

    fn wait_until_ready(&mut self) {
        let (kind, socket) = (self.kind, self.socket());
        self.process.wait_until("first answer", || {
            let version = match kind {
                Kind::Containerd(version) => version,
                Kind::Stowd => Version::V2,
            };
            socket.exists()
                && clients::ctr(version, &socket, "default")
                    .args(["version"])
                    .output()
                    .status
                    .success()
        });
    }

    /// Returns which program this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the gRPC socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("d.sock")
    }

    /// Returns the daemon's persistent folder.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Returns the daemon's folder of running state.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Returns a namespace that no other test uses.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the daemon's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns what the daemon has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Starts an unmodified `ctr` against this daemon, in its namespace.
    pub fn ctr(&self, version: Version) -> Run {
        clients::ctr(version, &self.socket(), &self.namespace)
    }

    /// Starts stowctl against this daemon, in its namespace.
    pub fn stowctl(&self) -> Run {
        Run::program(programs().join("stowctl"))
            .args(["-a".as_ref(), self.socket().as_os_str()])
            .args(["-n", &self.namespace])
    }

    /// Ends the daemon as a crash would and starts it again on the same folders.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn crash(&mut self) {
        self.process.kill();
        self.process = Self::spawn(self.kind, &self.folder);
        self.wait_until_ready();
    }

    /// Ends the daemon in an orderly way and starts it again on the same folders.
    ///
    /// # Panics
    /// When it does not end or does not come back.
    pub fn restart(&mut self) {
        assert!(self.process.stop(), "the daemon did not end when asked:\n{}", self.log());
        self.process = Self::spawn(self.kind, &self.folder);
        self.wait_until_ready();
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Says whether the daemon's process still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.process.is_running() && clients::missing().is_none() {
            self.end_tasks();
        }
        self.process.stop();
        // Shims outlive their daemon by design; those of this one bear its folder's path.
        let namespaces = vec![self.namespace.clone()];
        leaks::remove(&self.folder, &leaks::Names { namespaces, ..Default::default() });
    }
}

impl Daemon {
    fn end_tasks(&self) {
        let version = match self.kind {
            Kind::Containerd(version) => version,
            Kind::Stowd => Version::V2,
        };
        let listed = self.ctr(version).args(["tasks", "ls", "-q"]).output();
        for id in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
            // What cannot be ended this way is ended by pid right after.
            self.ctr(version).args(["tasks", "rm", "-f", id]).output();
        }
    }
}

/// containerd's parts of CRI, the service first.
const CRI_PARTS: [&str; 4] = [
    "\"io.containerd.grpc.v1.cri\"",
    "\"io.containerd.cri.v1.runtime\"",
    "\"io.containerd.cri.v1.images\"",
    "\"io.containerd.podsandbox.controller.v1.podsandbox\"",
];

fn folder_of(kind: Kind, scratch: &Scratch) -> PathBuf {
    scratch.folder(match kind {
        Kind::Containerd(Version::V1_6) => "c16",
        Kind::Containerd(Version::V2) => "c2",
        Kind::Stowd => "stowd",
    })
}

fn base_config(kind: Kind, folder: &Path) -> String {
    let folder = folder.display();
    let places = format!(
        "root = \"{folder}/root\"\nstate = \"{folder}/state\"\n[grpc]\n  address = \"{folder}/d.sock\"\n[ttrpc]\n  address = \"{folder}/d.sock.ttrpc\"\n"
    );
    // CRI and NRI would look at the machine's own configuration.
    match kind {
        Kind::Containerd(Version::V1_6) => format!(
            "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n{places}[plugins.\"io.containerd.internal.v1.opt\"]\n  path = \"{folder}/opt\"\n"
        ),
        Kind::Containerd(Version::V2) => format!(
            "version = 3\ndisabled_plugins = [\"io.containerd.nri.v1.nri\", {}]\n{places}[plugins.\"io.containerd.internal.v1.opt\"]\n  path = \"{folder}/opt\"\n",
            CRI_PARTS.join(", ")
        ),
        Kind::Stowd => format!("version = 3\n{places}"),
    }
}

/// Debian 12's runc first, since newer ones may need newer libraries, then the version's own programs.
fn containerd_path(version: Version, folder: &Path) -> std::ffi::OsString {
    let programs = folder.join("bin");
    if !programs.exists() {
        fs::create_dir(&programs).expect("a folder of programs");
        symlink(Version::V1_6.program("runc"), programs.join("runc")).expect("a link to runc");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = [programs, version.tree().join("usr/bin"), version.tree().join("usr/sbin")];
    std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)))
        .expect("no colon in these folders")
}
