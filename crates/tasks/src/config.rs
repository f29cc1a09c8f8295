//! What a manager must be told.

use std::path::PathBuf;
use std::time::Duration;

/// Where a manager keeps things, whom it starts, and how long it waits.
#[derive(Clone, Debug)]
pub struct Config {
    /// The daemon's root: work folders go below `io.containerd.runtime.v2.task/` in it.
    pub root: PathBuf,
    /// The daemon's state: bundles go below `io.containerd.runtime.v2.task/` in it.
    pub state: PathBuf,
    /// The folder of the shims' sockets; `s/` in the state when `None`. Where a socket's path would
    /// be longer than the kernel takes, `/run/containerd/s` is used instead.
    pub socket_dir: Option<PathBuf>,
    /// The program that stands for `io.containerd.runc.v2`. `None`: `stowd-shim`, else
    /// `containerd-shim-runc-v2`, beside the running program or in `PATH`.
    pub shim_path: Option<PathBuf>,
    /// The daemon's gRPC socket: shims show it, and their own sockets' names derive from it.
    pub grpc_address: String,
    /// The daemon's ttrpc socket, to which shims forward events.
    pub ttrpc_address: String,
    /// Further environment for shims, each `NAME=value`.
    pub env: Vec<String>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

/// How long the manager waits for shims. What a hung shim held is killed after that.
///
/// The first five are containerd's, under its names `io.containerd.timeout.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `shim.load`: reconnecting to one shim after a restart. 5 s.
    pub load: Duration,
    /// `shim.cleanup`: clearing away what a dead shim left. 5 s.
    pub cleanup: Duration,
    /// `shim.shutdown`: a shim's end after its last task. 3 s.
    pub shutdown: Duration,
    /// `task.state`: asking for the state of one task. 2 s.
    pub state: Duration,
    /// `metrics.shimstats`: measuring one task. 2 s.
    pub stats: Duration,
    /// Starting a shim, and creating, starting or deleting a process: hooks run meanwhile. 120 s.
    pub work: Duration,
    /// Everything else. 10 s.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            load: Duration::from_secs(5),
            cleanup: Duration::from_secs(5),
            shutdown: Duration::from_secs(3),
            state: Duration::from_secs(2),
            stats: Duration::from_secs(2),
            work: Duration::from_secs(120),
            call: Duration::from_secs(10),
        }
    }
}
