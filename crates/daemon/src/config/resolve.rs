//! From what a configuration says to what it means.

use std::path::PathBuf;
use std::time::Duration;

use stowd_core::{Error, Platform, Result};
use stowd_snapshots::overlayfs::{Remapping, Removal, UpperdirLabel};

use super::schema::{join, schema};
use super::tree::{Node, Table};
use super::{Config, Logging, Proxy, ProxyKind, Socket, duration};

/// Parts of containerd's that stowd does not have: the tables of these may say what they like.
const ABSENT: &[&str] = &[
    "io.containerd.cri.v1.",
    "io.containerd.grpc.v1.cri",
    "io.containerd.image-verifier.v1.",
    "io.containerd.metrics.v1.",
    "io.containerd.monitor.container.v1.",
    "io.containerd.monitor.task.v1.",
    "io.containerd.nri.v1.",
    "io.containerd.server.v1.debug",
    "io.containerd.server.v1.metrics",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.",
];

const DIFF_SERVICE: &str = "io.containerd.service.v1.diff-service";

/// Resolves a document of version 4 in which each server is named. Also returns what in it has no
/// effect.
pub(super) fn resolve(document: &Table) -> Result<(Config, Vec<String>)> {
    let mut notes = Vec::new();
    let empty = Node::table(Table::new());
    let table = |name: &str| document.get(name).unwrap_or(&empty);
    let plugins = table("plugins").as_table().cloned().unwrap_or_default();

    let mut top = Keys::new("", document);
    let grpc = plugins.get("io.containerd.server.v1.grpc").unwrap_or(&empty);
    let mut grpc = Keys::of("plugins.'io.containerd.server.v1.grpc'", grpc);
    let mut config = Config::new(
        &top.path("root").unwrap_or_default(),
        &top.path("state").unwrap_or_default(),
        &grpc.path("address").unwrap_or_default(),
    );
    config.grpc = socket(&mut grpc)?;
    let size = |size: usize, default: usize| if size == 0 { default } else { size };
    config.max_receive =
        size(grpc.number("max_recv_message_size")?.unwrap_or(0), config.max_receive);
    config.max_send = size(grpc.number("max_send_message_size")?.unwrap_or(0), config.max_send);
    config.oom_score = top.number("oom_score")?.unwrap_or(0);
    config.disabled = top.texts("disabled_plugins");
    config.required = top.texts("required_plugins");
    config.temp = top.path("temp");
    config.cgroup = Keys::of("cgroup", table("cgroup")).path("path");
    let mut debug = Keys::of("debug", table("debug"));
    config.logging = Logging {
        level: debug.text("level").unwrap_or_default().to_owned(),
        format: debug.text("format").unwrap_or_default().to_owned(),
    };
    for (name, node) in table("proxy_plugins").as_table().into_iter().flatten() {
        let mut keys = Keys::of(&join("proxy_plugins", name), node);
        config.proxies.extend(proxy(name, &mut keys, &mut notes)?);
    }
    config.diff.processors.clear();
    for (id, node) in table("stream_processors").as_table().into_iter().flatten() {
        let mut keys = Keys::of(&join("stream_processors", id), node);
        config.diff.processors.push(processor(id, &mut keys)?);
    }
    for (name, node) in table("timeouts").as_table().into_iter().flatten() {
        timeout(&mut config, name, node, &mut notes)?;
    }
    for (name, node) in &plugins {
        let mut keys = Keys::of(&join("plugins", name), node);
        plugin(&mut config, name, &mut keys)?;
        let kind = name.rsplit_once('.').map_or(("", name.as_str()), |(kind, id)| (kind, id));
        if !config.is_disabled(kind.0, kind.1) {
            keys.rest(name, &mut notes);
        }
    }
    if let Some(unknown) = config
        .differs
        .iter()
        .find(|name| *name != "walking" && !config.proxies.iter().any(|proxy| proxy.name == **name))
    {
        let keys = plugins.get(DIFF_SERVICE).unwrap_or(&empty);
        let keys = Keys::of(&join("plugins", DIFF_SERVICE), keys);
        let wanted = "a list of differs: walking, or names of proxy_plugins of type diff";
        return Err(keys.wrong("default", wanted).hint(format_args!("there is no {unknown:?}")));
    }
    config.check()?;
    Ok((config, notes))
}

/// Takes what a plugin's table says.
fn plugin(config: &mut Config, name: &str, keys: &mut Keys<'_>) -> Result<()> {
    match name {
        "io.containerd.metadata.v1.bolt" => {
            config.metadata.sharing = match keys.text("content_sharing_policy") {
                None | Some("" | "shared") => stowd_metadata::Sharing::Shared,
                Some("isolated") => stowd_metadata::Sharing::Isolated,
                Some(_) => {
                    return Err(keys.wrong("content_sharing_policy", "\"shared\" or \"isolated\""));
                }
            };
        }
        "io.containerd.gc.v1.scheduler" => {
            let collector = &mut config.metadata.collector;
            if let Some(share) = keys.real("pause_threshold") {
                collector.pause_threshold = share;
            }
            if let Some(count) = keys.number("deletion_threshold")? {
                collector.deletion_threshold = count;
            }
            if let Some(count) = keys.number("mutation_threshold")? {
                collector.mutation_threshold = count;
            }
            if let Some(wait) = keys.wait("schedule_delay") {
                collector.schedule_delay = wait;
            }
            if let Some(wait) = keys.wait("startup_delay") {
                collector.startup_delay = wait;
            }
        }
        "io.containerd.snapshotter.v1.overlayfs" => {
            let overlayfs = &mut config.overlayfs;
            overlayfs.root_path = keys.path("root_path");
            overlayfs.mount_options = keys.texts("mount_options");
            if keys.flag("upperdir_label") {
                overlayfs.upperdir_label = UpperdirLabel::Shown;
            }
            if keys.flag("slow_chown") {
                overlayfs.remapping = Remapping::SlowChown;
            }
            if keys.flag("sync_remove") {
                overlayfs.removal = Removal::Synchronous;
            }
        }
        "io.containerd.snapshotter.v1.native" => config.native_root = keys.path("root_path"),
        DIFF_SERVICE => {
            if keys.flag("sync_fs") {
                config.diff.sync = stowd_core::diff::Sync::Now;
            }
            let differs = keys.texts("default");
            if !differs.is_empty() {
                config.differs = differs;
            }
        }
        "io.containerd.shim.v1.manager" => {
            config.shim_env = keys.texts("env");
            config.shim_sockets = keys.path("socket_dir");
        }
        "io.containerd.transfer.v1.local" => {
            let downloads = keys.number("max_concurrent_downloads")?;
            config.transfer.max_concurrent_downloads =
                downloads.unwrap_or(config.transfer.max_concurrent_downloads);
            keys.text("config_path")
                .unwrap_or_default()
                .clone_into(&mut config.transfer.registry_config_path);
        }
        "io.containerd.server.v1.grpc" => {
            let _ = socket(keys)?;
            keys.heed(&["max_recv_message_size", "max_send_message_size"]);
        }
        "io.containerd.server.v1.ttrpc" => config.ttrpc = socket(keys)?,
        // It serves the CRI and nothing else, in containerd too.
        "io.containerd.server.v1.grpc-tcp" => {
            keys.heed(&["max_recv_message_size", "max_send_message_size"])
        }
        _ => {}
    }
    Ok(())
}

/// Reads what proxy a table asks for, if it is one that can be used.
fn proxy(name: &str, keys: &mut Keys<'_>, notes: &mut Vec<String>) -> Result<Option<Proxy>> {
    let kind = match keys.text("type") {
        Some("diff" | "io.containerd.differ.v1") => ProxyKind::Diff,
        Some(
            "snapshot"
            | "io.containerd.snapshotter.v1"
            | "content"
            | "io.containerd.content.v1"
            | "sandbox"
            | "io.containerd.sandbox.controller.v1",
        ) => {
            notes.push(format!("{}: stowd has only proxies of type diff yet", keys.note("type")));
            return Ok(None);
        }
        _ => return Err(keys.wrong("type", "one of snapshot, content, sandbox and diff")),
    };
    let address = keys.text("address").unwrap_or_default();
    let address = PathBuf::from(address.strip_prefix("unix://").unwrap_or(address));
    if !address.is_absolute() {
        return Err(keys.wrong("address", "the path of a socket"));
    }
    let platform = match keys.text("platform") {
        None | Some("") => Platform::host(),
        Some(text) => Platform::parse(text)
            .map_err(|_| keys.wrong("platform", "a platform such as linux/amd64"))?,
    };
    let exports = keys.get("exports").and_then(Node::as_table).into_iter().flatten();
    let exports =
        exports.map(|(key, value)| (key.clone(), value.as_text().unwrap_or("").to_owned()));
    Ok(Some(Proxy {
        name: name.to_owned(),
        kind,
        address,
        platform,
        exports: exports.collect(),
        capabilities: keys.texts("capabilities"),
    }))
}

fn processor(id: &str, keys: &mut Keys<'_>) -> Result<stowd_diff::Processor> {
    let path = keys.path("path").ok_or_else(|| keys.wrong("path", "a program"))?;
    Ok(stowd_diff::Processor {
        id: id.to_owned(),
        accepts: keys.texts("accepts"),
        returns: keys.text("returns").unwrap_or_default().to_owned(),
        path,
        args: keys.texts("args"),
        env: keys.texts("env"),
    })
}

fn socket(keys: &mut Keys<'_>) -> Result<Socket> {
    Ok(Socket {
        path: keys.path("address").unwrap_or_default(),
        uid: keys.number("uid")?.unwrap_or(0),
        gid: keys.number("gid")?.unwrap_or(0),
    })
}

fn timeout(config: &mut Config, name: &str, node: &Node, notes: &mut Vec<String>) -> Result<()> {
    let key = join("timeouts", name);
    let wait = node.as_text().and_then(duration::parse);
    let wait = wait.ok_or_else(|| node.wrong(&key, "a duration such as \"2s\" or \"500ms\""))?;
    match name.strip_prefix("io.containerd.timeout.") {
        Some("shim.load") => config.timeouts.load = wait,
        Some("shim.cleanup") => config.timeouts.cleanup = wait,
        Some("shim.shutdown") => config.timeouts.shutdown = wait,
        Some("task.state") => config.timeouts.state = wait,
        Some("metrics.shimstats") => config.timeouts.stats = wait,
        // Generated files hold them with their defaults.
        Some("bolt.open") if wait.is_zero() => {}
        Some("cri.defercleanup") if wait == Duration::from_secs(60) => {}
        _ => {
            notes.push(format!("{}: {key} has no effect: nothing waits for that here", node.place))
        }
    }
    Ok(())
}

/// The keys of a table, and which of them were heeded. Types have been checked before.
struct Keys<'a> {
    name: String,
    table: Option<&'a Table>,
    heeded: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    fn new(name: &str, table: &'a Table) -> Self {
        Self { name: name.to_owned(), table: Some(table), heeded: Vec::new() }
    }

    fn of(name: &str, node: &'a Node) -> Self {
        Self { name: name.to_owned(), table: node.as_table(), heeded: Vec::new() }
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.heeded.push(key);
        self.table?.get(key)
    }

    /// Says that these are known and taken elsewhere.
    fn heed(&mut self, keys: &[&'static str]) {
        self.heeded.extend(keys);
    }

    fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.get(key)?.as_text()
    }

    /// Returns a path; `None` for an empty one.
    fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn texts(&mut self, key: &'static str) -> Vec<String> {
        let texts = self.get(key).and_then(Node::as_texts).unwrap_or_default();
        texts.into_iter().map(str::to_owned).collect()
    }

    fn flag(&mut self, key: &'static str) -> bool {
        self.get(key).is_some_and(|node| !node.is_zero())
    }

    fn real(&mut self, key: &'static str) -> Option<f64> {
        match self.get(key)?.value {
            super::tree::Value::Real(number) => Some(number),
            _ => None,
        }
    }

    fn wait(&mut self, key: &'static str) -> Option<Duration> {
        self.text(key).and_then(duration::parse)
    }

    fn number<T: TryFrom<i64>>(&mut self, key: &'static str) -> Result<Option<T>> {
        let Some(number) = self.get(key).and_then(Node::as_whole) else { return Ok(None) };
        let wanted = "a whole number that is neither negative nor huge";
        T::try_from(number).map(Some).map_err(|_| self.wrong(key, wanted))
    }

    fn wrong(&self, key: &str, wanted: &str) -> Error {
        let name = join_raw(&self.name, key);
        match self.table.and_then(|table| table.get(key)) {
            Some(node) => node.wrong(&name, wanted),
            None => Error::invalid(format_args!("{name} must be {wanted}")),
        }
    }

    fn note(&self, key: &str) -> String {
        let name = join_raw(&self.name, key);
        match self.table.and_then(|table| table.get(key)) {
            Some(node) => format!("{}: {name} has no effect in stowd", node.place),
            None => format!("{name} has no effect in stowd"),
        }
    }

    /// Notes what is set to something else than its default and was not heeded.
    fn rest(&self, plugin: &str, notes: &mut Vec<String>) {
        let Some(table) = self.table else { return };
        let schema = schema();
        let known = match schema.shape.of("plugins") {
            Some(super::schema::Shape::Map(fields, _)) => fields.iter().find(|f| f.name == plugin),
            _ => None,
        };
        let place = table.values().next().map(|node| node.place.to_string()).unwrap_or_default();
        let Some(known) = known else {
            if !table.is_empty() {
                notes.push(format!(
                    "{place}: stowd has no plugin {plugin}: {} has no effect",
                    self.name
                ));
            }
            return;
        };
        let defaults = schema.defaults.get("plugins").and_then(Node::as_table);
        let default = defaults.and_then(|table| table.get(plugin)).or(schema.optional.get(plugin));
        let default = known.shape.complete(None, default);
        let given = known.shape.complete(Some(&Node::table(table.clone())), Some(&default));
        let differs = |key: &str, node: &Node| {
            !node.is_zero()
                && given.as_table().and_then(|table| table.get(key))
                    != default.as_table().and_then(|table| table.get(key))
        };
        let mut unheeded = table
            .iter()
            .filter(|(key, node)| !self.heeded.contains(&key.as_str()) && differs(key, node));
        if ABSENT.iter().any(|absent| plugin.starts_with(absent)) {
            if let Some((_, node)) = unheeded.next() {
                notes.push(format!(
                    "{}: {} has no effect: stowd has no such part yet",
                    node.place, self.name
                ));
            }
            return;
        }
        notes.extend(unheeded.map(|(key, _)| self.note(key)));
    }
}

fn join_raw(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}
