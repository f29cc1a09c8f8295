//! What the daemon must be told.
//!
//! A [`Config`] is what the configuration *means*. It comes from containerd's `config.toml`
//! ([`Document`]), from flags that override it, or from a program that embeds the engine.

mod document;
mod duration;
mod glob;
mod migrate;
mod print;
mod resolve;
mod schema;
pub mod tree;

pub use document::Document;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stowd_core::{Platform, Result};

/// Everything that the daemon is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// What must outlive a restart of the machine: content, snapshots, metadata.
    pub root: PathBuf,
    /// What need not: bundles, sockets of shims.
    pub state: PathBuf,
    /// The gRPC socket.
    pub grpc: Socket,
    /// The ttrpc socket, which shims send events to.
    pub ttrpc: Socket,
    /// The largest gRPC message that is taken, in bytes.
    pub max_receive: usize,
    /// The largest gRPC message that is sent, in bytes.
    pub max_send: usize,
    /// The daemon's own `oom_score_adj`; 0 leaves it.
    pub oom_score: i32,
    /// Parts that are left out: `type.id`.
    pub disabled: Vec<String>,
    /// Parts that must work, else the start fails.
    pub required: Vec<String>,
    /// The program that stands for `io.containerd.runc.v2`; found beside the daemon when `None`.
    pub shim: Option<PathBuf>,
    /// The metadata database.
    pub metadata: stowd_metadata::Config,
    /// The snapshotter `overlayfs`.
    pub overlayfs: stowd_snapshots::overlayfs::Config,
    /// The differ.
    pub diff: stowd_diff::Config,
    /// Access to registries.
    pub registry: stowd_registry::Config,
    /// Pull, import and export.
    pub transfer: stowd_transfer::Config,
    /// How long shims are waited for.
    pub timeouts: stowd_tasks::Timeouts,
    /// Further environment for shims, each `NAME=value`.
    pub shim_env: Vec<String>,
    /// The folder of the shims' sockets; below `state` when `None`.
    pub shim_sockets: Option<PathBuf>,
    /// Where the snapshotter `native` keeps its trees; below `root` when `None`.
    pub native_root: Option<PathBuf>,
    /// Parts that are services of other daemons.
    pub proxies: Vec<Proxy>,
    /// The differs, in the order in which they are asked: `walking`, or a proxy's name.
    pub differs: Vec<String>,
    /// Where temporary files go; `$TMPDIR` when `None`.
    pub temp: Option<PathBuf>,
    /// The cgroup that the daemon's process joins, from the top of the hierarchy on.
    pub cgroup: Option<PathBuf>,
    /// How the daemon logs.
    pub logging: Logging,
}

/// A part that is the service of another daemon (containerd's `proxy_plugins`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its name, which becomes the plugin's id.
    pub name: String,
    /// What it is.
    pub kind: ProxyKind,
    /// The other daemon's gRPC socket.
    pub address: PathBuf,
    /// The platform it serves.
    pub platform: Platform,
    /// What it tells clients of itself, beside its address.
    pub exports: BTreeMap<String, String>,
    /// What it can do beyond its contract.
    pub capabilities: Vec<String>,
}

/// What a [`Proxy`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// A differ.
    Diff,
}

/// How the daemon logs, in the file's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// The level; empty for `info`.
    pub level: String,
    /// `text`, `json`, or empty for text.
    pub format: String,
}

/// A unix socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its path.
    pub path: PathBuf,
    /// The user that owns it.
    pub uid: u32,
    /// The group that may use it.
    pub gid: u32,
}

impl Config {
    /// The configuration file that is read when none is named.
    pub const DEFAULT_FILE: &str = "/etc/containerd/config.toml";
    /// Where containerd keeps what lasts.
    pub const DEFAULT_ROOT: &str = "/var/lib/containerd";
    /// Where containerd keeps what does not.
    pub const DEFAULT_STATE: &str = "/run/containerd";
    /// Where clients look for the gRPC socket.
    pub const DEFAULT_ADDRESS: &str = "/run/containerd/containerd.sock";

    /// Returns the defaults with these folders and this gRPC socket.
    pub fn new(root: &Path, state: &Path, address: &Path) -> Self {
        let mut ttrpc = address.as_os_str().to_owned();
        ttrpc.push(".ttrpc");
        Self {
            grpc: Socket { path: address.to_owned(), uid: 0, gid: 0 },
            ttrpc: Socket { path: ttrpc.into(), uid: 0, gid: 0 },
            max_receive: stowd_api::MAX_MESSAGE_SIZE,
            max_send: stowd_api::MAX_MESSAGE_SIZE,
            oom_score: 0,
            disabled: Vec::new(),
            required: Vec::new(),
            shim: None,
            metadata: stowd_metadata::Config::new(root.join("io.containerd.metadata.v1.bolt")),
            overlayfs: Default::default(),
            diff: stowd_diff::Config { processors: decoders(), ..Default::default() },
            registry: Default::default(),
            transfer: Default::default(),
            timeouts: Default::default(),
            shim_env: Vec::new(),
            shim_sockets: None,
            native_root: None,
            proxies: Vec::new(),
            differs: vec!["walking".to_owned()],
            temp: None,
            cgroup: None,
            logging: Logging::default(),
            root: root.to_owned(),
            state: state.to_owned(),
        }
    }

    /// Says whether a part is left out.
    pub fn is_disabled(&self, kind: &str, id: &str) -> bool {
        let uri = format!("{kind}.{id}");
        self.disabled.contains(&uri)
    }

    /// Checks what can be checked without touching the machine.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the key, when something cannot be.
    pub fn check(&self) -> Result<()> {
        use stowd_core::Error;
        for (key, path) in
            [("root", &self.root), ("state", &self.state), ("grpc.address", &self.grpc.path)]
        {
            if path.as_os_str().is_empty() {
                return Err(Error::invalid(format_args!("{key} must be specified")));
            }
            if !path.is_absolute() {
                return Err(Error::invalid(format_args!(
                    "{key} must be an absolute path, not {:?}",
                    path.display()
                )));
            }
        }
        if self.root == self.state {
            return Err(Error::invalid("root and state must be different paths"));
        }
        Ok(())
    }
}

/// Returns the processors that containerd has where nothing is said: ocicrypt's, for encrypted layers.
fn decoders() -> Vec<stowd_diff::Processor> {
    let folder = "/etc/containerd/ocicrypt";
    ["tar", "tar.gzip"]
        .map(|kind| {
            let returns = format!("application/vnd.oci.image.layer.v1.{}", kind.replace('.', "+"));
            stowd_diff::Processor {
                id: format!("io.containerd.ocicrypt.decoder.v1.{kind}"),
                accepts: vec![format!("{returns}+encrypted")],
                returns,
                path: "ctd-decoder".into(),
                args: vec!["--decryption-keys-path".to_owned(), format!("{folder}/keys")],
                env: vec![format!(
                    "OCICRYPT_KEYPROVIDER_CONFIG={folder}/ocicrypt_keyprovider.conf"
                )],
            }
        })
        .into()
}

impl Default for Config {
    fn default() -> Self {
        Self::new(
            Path::new(Self::DEFAULT_ROOT),
            Path::new(Self::DEFAULT_STATE),
            Path::new(Self::DEFAULT_ADDRESS),
        )
    }
}
