//! What a caller asks for, and what it gets.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::Pid;

use crate::Container;
use crate::spec::{Process as ProcessSpec, Spec};

/// A request for a container. [`CreateOptions::new`] fills in the usual values.
#[derive(Debug)]
pub struct CreateOptions {
    /// The container's name: letters, digits and `_+-.`, unique under the runtime's root.
    pub id: String,
    /// The directory of the bundle.
    pub bundle: PathBuf,
    /// The configuration; `None` reads the bundle's `config.json`.
    pub spec: Option<Spec>,
    /// Where the process's standard streams go.
    pub stdio: Stdio,
    /// How the container's root becomes `/`.
    pub root_switch: RootSwitch,
    /// Which session keyring the process has.
    pub keyring: Keyring,
    /// Descriptors that the process gets as 3, 4 and so on.
    pub extra_fds: Vec<OwnedFd>,
}

/// A request for one more process in a running container.
#[derive(Debug)]
pub struct ExecOptions {
    /// What to run.
    pub process: ProcessSpec,
    /// Where its standard streams go.
    pub stdio: Stdio,
    /// Descriptors that the process gets as 3, 4 and so on.
    pub extra_fds: Vec<OwnedFd>,
}

/// Where a process's standard streams go.
#[derive(Debug, Default)]
pub enum Stdio {
    /// The caller's own.
    #[default]
    Inherit,
    /// These; `None` is `/dev/null`. The library closes them in the caller when the process has
    /// them. Their owner becomes the process's user, as with runc.
    Fds {
        /// Descriptor 0.
        stdin: Option<OwnedFd>,
        /// Descriptor 1.
        stdout: Option<OwnedFd>,
        /// Descriptor 2.
        stderr: Option<OwnedFd>,
    },
    /// A new terminal from the container's own devpts, also bound to the init process's
    /// `/dev/console`. Asked for exactly when the spec's `process.terminal` says so. The caller
    /// gets the other end ([`Created::console`], [`Process::console`]).
    Terminal,
}

/// How the container's root becomes `/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RootSwitch {
    /// `pivot_root(2)`.
    #[default]
    Pivot,
    /// Move the mount onto `/` and `chroot(2)`: for hosts that run from an initramfs, where
    /// `pivot_root` is not possible (`--no-pivot`). The host's root stays mounted underneath.
    Move,
}

/// Which session keyring a container's processes have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keyring {
    /// A new one, `_ses.ID`.
    #[default]
    New,
    /// The caller's (`--no-new-keyring`).
    Inherit,
}

/// A container that waits to be started.
#[derive(Debug)]
pub struct Created {
    /// The container.
    pub container: Container,
    /// The terminal's master, non-blocking mode as the kernel gives it (off), close-on-exec.
    pub console: Option<OwnedFd>,
    /// What could not be done as asked but did not prevent the container: one line each.
    pub warnings: Vec<String>,
}

/// A process that an `exec` started. It runs already, and is the caller's child to reap. One whose
/// program the kernel does not take has said so on its standard error and ends with status 255.
#[derive(Debug)]
pub struct Process {
    /// Its id in the caller's pid namespace.
    pub pid: Pid,
    /// Readable when it has exited; close-on-exec.
    pub pidfd: OwnedFd,
    /// The terminal's master.
    pub console: Option<OwnedFd>,
    /// What could not be done as asked but did not prevent the process: one line each.
    pub warnings: Vec<String>,
}

impl CreateOptions {
    /// A request for the bundle's own `config.json` on the caller's streams.
    pub fn new(id: impl Into<String>, bundle: impl Into<PathBuf>) -> CreateOptions {
        CreateOptions {
            id: id.into(),
            bundle: bundle.into(),
            spec: None,
            stdio: Stdio::Inherit,
            root_switch: RootSwitch::Pivot,
            keyring: Keyring::New,
            extra_fds: Vec::new(),
        }
    }
}

impl ExecOptions {
    /// A request for `process` on the caller's streams.
    pub fn new(process: ProcessSpec) -> ExecOptions {
        ExecOptions { process, stdio: Stdio::Inherit, extra_fds: Vec::new() }
    }
}
