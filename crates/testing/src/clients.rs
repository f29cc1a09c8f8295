//! The unmodified clients and peers that `scripts/clients` unpacks.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Run;

/// Which containerd a client or peer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// containerd 1.6, as in Debian 12.
    V1_6,
    /// containerd 2.1 or newer, as in Debian's development suite.
    V2,
}

impl Version {
    /// Both, oldest first.
    pub const ALL: [Self; 2] = [Self::V1_6, Self::V2];

    /// Returns the folder that the version's packages were unpacked into.
    pub fn tree(self) -> PathBuf {
        dir().join(match self {
            Self::V1_6 => "bookworm",
            Self::V2 => "forky",
        })
    }

    /// Returns the path of one of its programs.
    pub fn program(self, name: &str) -> PathBuf {
        let tree = self.tree();
        ["usr/bin", "usr/sbin", "bin", "sbin"]
            .iter()
            .map(|place| tree.join(place).join(name))
            .find(|path| path.exists())
            .unwrap_or_else(|| tree.join("usr/bin").join(name))
    }
}

/// Returns the folder of the clients: `$STOWD_CLIENTS`, or `.clients` at the root of the workspace.
pub fn dir() -> PathBuf {
    match std::env::var_os("STOWD_CLIENTS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.clients"),
    }
}

/// Returns the first file that should be there and is not.
pub fn missing() -> Option<PathBuf> {
    let files = [
        Version::V1_6.program("containerd"),
        Version::V1_6.program("ctr"),
        Version::V1_6.program("runc"),
        Version::V1_6.program("docker-registry"),
        Version::V1_6.program("busybox"),
        Version::V2.program("containerd"),
        Version::V2.program("ctr"),
        Version::V2.program("containerd-shim-runc-v2"),
    ];
    files.into_iter().find(|path| !path.exists())
}

/// Returns the statically linked busybox that images are made of.
///
/// The machine's own serves as well, so that making an image does not need the clients.
pub fn busybox() -> PathBuf {
    let unpacked = Version::V1_6.program("busybox");
    if unpacked.exists() { unpacked } else { PathBuf::from("/bin/busybox") }
}

/// Starts a `ctr` command line against a socket: `ctr -a SOCKET -n NAMESPACE ARGS...`.
pub fn ctr(version: Version, socket: &Path, namespace: &str) -> Run {
    let mut command = Command::new(version.program("ctr"));
    command.arg("-a").arg(socket).args(["-n", namespace]).env_remove("CONTAINERD_ADDRESS");
    Run::new(command)
}
