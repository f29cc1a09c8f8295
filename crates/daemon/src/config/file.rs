//! containerd's `config.toml`.
//!
//! [`File`] is what was asked, key by key as written; [`File::apply`] turns it into what it means.
//! Versions 2 to 4 are read. Keys that stowd does not know, and known ones that it does not heed
//! yet, are named in warnings and change nothing: a file written for containerd always loads.

mod plugins;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stowd_core::{Error, Result};

use super::Config;

/// A configuration file as it stands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct File {
    version: u32,
    root: String,
    state: String,
    temp: String,
    oom_score: i32,
    disabled_plugins: Vec<String>,
    required_plugins: Vec<String>,
    imports: Vec<String>,
    grpc: Grpc,
    ttrpc: Ttrpc,
    debug: Debug,
    timeouts: BTreeMap<String, String>,
    plugins: BTreeMap<String, toml::Table>,
    /// Known to containerd, and meaningless or empty for most.
    metrics: toml::Table,
    cgroup: toml::Table,
    proxy_plugins: toml::Table,
    stream_processors: toml::Table,
    #[serde(flatten)]
    unknown: BTreeMap<String, toml::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Grpc {
    address: String,
    uid: u32,
    gid: u32,
    max_recv_message_size: usize,
    max_send_message_size: usize,
    tcp_address: String,
    #[serde(flatten)]
    rest: BTreeMap<String, toml::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Ttrpc {
    address: String,
    uid: u32,
    gid: u32,
    #[serde(flatten)]
    rest: BTreeMap<String, toml::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Debug {
    address: String,
    level: String,
    format: String,
    #[serde(flatten)]
    rest: BTreeMap<String, toml::Value>,
}

/// How the daemon logs, as the file says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// The level; empty for the default.
    pub level: String,
    /// `text`, `json`, or empty for text.
    pub format: String,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// `NotFound` when there is none; `InvalidArgument` with line and column when it is not TOML or
    /// has a value of a wrong type; `InvalidArgument` for a version that is not 2, 3 or 4.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::not_found(format_args!("configuration file {}", path.display()))
            }
            _ => Error::io(format_args!("read configuration file {}", path.display()), &error),
        })?;
        Self::parse(&text).map_err(|error| error.context(path.display()))
    }

    /// Parses a file's text.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str) -> Result<Self> {
        let file: Self =
            toml::from_str(text).map_err(|error| Error::invalid(error.to_string().trim_end()))?;
        match file.version {
            2..=4 => Ok(file),
            0 | 1 => Err(Error::invalid("containerd config version `1` is no longer supported")
                .hint("write the file anew with version = 3; `stowd config default` shows one")),
            other => Err(Error::invalid(format_args!(
                "expected containerd config version from 2 to 4, got `{other}`"
            ))),
        }
    }

    /// Puts what flags say in place of what the file says.
    pub fn override_folders(
        &mut self,
        root: Option<PathBuf>,
        state: Option<PathBuf>,
        address: Option<PathBuf>,
    ) {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        if let Some(root) = root {
            self.root = text(root);
        }
        if let Some(state) = state {
            self.state = text(state);
        }
        if let Some(address) = address {
            self.grpc.address = text(address);
        }
    }

    /// Returns how to log.
    pub fn logging(&self) -> Logging {
        Logging { level: self.debug.level.clone(), format: self.debug.format.clone() }
    }

    /// Returns the configuration that the file means, over the defaults, and warnings for what in
    /// it changes nothing.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the key, for a value that cannot be.
    pub fn apply(&self) -> Result<(Config, Vec<String>)> {
        let default = Config::default();
        let or = |text: &str, default: &Path| match text {
            "" => default.to_owned(),
            text => PathBuf::from(text),
        };
        let root = or(&self.root, &default.root);
        let state = or(&self.state, &default.state);
        let mut config = Config::new(&root, &state, &or(&self.grpc.address, &default.grpc.path));
        (config.grpc.uid, config.grpc.gid) = (self.grpc.uid, self.grpc.gid);
        config.ttrpc.path = or(&self.ttrpc.address, &config.ttrpc.path);
        (config.ttrpc.uid, config.ttrpc.gid) = match self.ttrpc.address.as_str() {
            "" => (self.grpc.uid, self.grpc.gid),
            _ => (self.ttrpc.uid, self.ttrpc.gid),
        };
        let size = |size: usize, default: usize| if size == 0 { default } else { size };
        config.max_receive = size(self.grpc.max_recv_message_size, config.max_receive);
        config.max_send = size(self.grpc.max_send_message_size, config.max_send);
        config.oom_score = self.oom_score;
        config.disabled.clone_from(&self.disabled_plugins);
        config.required.clone_from(&self.required_plugins);
        let mut warnings = self.ignored();
        for (name, wait) in &self.timeouts {
            plugins::timeout(&mut config, name, wait, &mut warnings)?;
        }
        for (name, table) in &self.plugins {
            plugins::apply(&mut config, name, table, &mut warnings)?;
        }
        config.check()?;
        Ok((config, warnings))
    }

    /// Names what is set in the file and not heeded.
    fn ignored(&self) -> Vec<String> {
        let mut names: Vec<String> = self.unknown.keys().cloned().collect();
        let set = |names: &mut Vec<String>, name: &str, is_set: bool| {
            if is_set {
                names.push(name.to_owned());
            }
        };
        set(&mut names, "temp", !self.temp.is_empty());
        set(&mut names, "imports", !self.imports.is_empty());
        set(&mut names, "grpc.tcp_address", !self.grpc.tcp_address.is_empty());
        set(&mut names, "debug.address", !self.debug.address.is_empty());
        set(&mut names, "proxy_plugins", !self.proxy_plugins.is_empty());
        set(&mut names, "stream_processors", !self.stream_processors.is_empty());
        let address = |table: &toml::Table, key: &str| {
            table.get(key).and_then(toml::Value::as_str).is_some_and(|text| !text.is_empty())
        };
        set(&mut names, "metrics.address", address(&self.metrics, "address"));
        set(&mut names, "cgroup.path", address(&self.cgroup, "path"));
        for (section, rest, known) in [
            (
                "grpc",
                &self.grpc.rest,
                &["tcp_tls_ca", "tcp_tls_cert", "tcp_tls_key", "tcp_tls_common_name"][..],
            ),
            ("ttrpc", &self.ttrpc.rest, &[][..]),
            ("debug", &self.debug.rest, &["uid", "gid"][..]),
        ] {
            let unknown = rest.keys().filter(|key| !known.contains(&key.as_str()));
            names.extend(unknown.map(|key| format!("{section}.{key}")));
        }
        names.into_iter().map(|name| format!("configuration key {name} has no effect")).collect()
    }
}

/// Returns the defaults as a file, in the form that containerd prints and tools parse: single
/// quotes, tables indented by two spaces.
pub fn default_text() -> String {
    let config = Config::default();
    let collector = &config.metadata.collector;
    format!(
        "version = 3
root = '{root}'
state = '{state}'
disabled_plugins = []
required_plugins = []
oom_score = 0

[grpc]
  address = '{address}'
  uid = 0
  gid = 0
  max_recv_message_size = {receive}
  max_send_message_size = {send}

[ttrpc]
  address = ''
  uid = 0
  gid = 0

[debug]
  level = ''
  format = ''

[plugins]
  [plugins.'io.containerd.gc.v1.scheduler']
    pause_threshold = {pause}
    deletion_threshold = {deletions}
    mutation_threshold = {mutations}
    schedule_delay = '{schedule}ms'
    startup_delay = '{startup}ms'

  [plugins.'io.containerd.metadata.v1.bolt']
    content_sharing_policy = 'shared'

  [plugins.'io.containerd.snapshotter.v1.overlayfs']
    root_path = ''
    upperdir_label = false
    sync_remove = false
    slow_chown = false
    mount_options = []

  [plugins.'io.containerd.transfer.v1.local']
    max_concurrent_downloads = {downloads}
    config_path = ''

[timeouts]
  'io.containerd.timeout.metrics.shimstats' = '{stats}s'
  'io.containerd.timeout.shim.cleanup' = '{cleanup}s'
  'io.containerd.timeout.shim.load' = '{load}s'
  'io.containerd.timeout.shim.shutdown' = '{shutdown}s'
  'io.containerd.timeout.task.state' = '{task}s'
",
        root = config.root.display(),
        state = config.state.display(),
        address = config.grpc.path.display(),
        receive = config.max_receive,
        send = config.max_send,
        pause = collector.pause_threshold,
        deletions = collector.deletion_threshold,
        mutations = collector.mutation_threshold,
        schedule = collector.schedule_delay.as_millis(),
        startup = collector.startup_delay.as_millis(),
        downloads = config.transfer.max_concurrent_downloads,
        stats = config.timeouts.stats.as_secs(),
        cleanup = config.timeouts.cleanup.as_secs(),
        load = config.timeouts.load.as_secs(),
        shutdown = config.timeouts.shutdown.as_secs(),
        task = config.timeouts.state.as_secs(),
    )
}

#[cfg(test)]
mod tests;
