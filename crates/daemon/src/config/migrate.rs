//! From one version of containerd's configuration to the next, as containerd does it.
//!
//! - 1 → 2: plugins are named in full.
//! - 2 → 3: the CRI plugin is split in three; three plugins have moved.
//! - 3 → 4: what was said about sockets is said to the server plugins.

use super::tree::{Node, Table, Value, table_in};

const CRI: &str = "io.containerd.grpc.v1.cri";
const CRI_IMAGES: &str = "io.containerd.cri.v1.images";
const CRI_RUNTIME: &str = "io.containerd.cri.v1.runtime";

/// The newest version.
pub(super) const NEWEST: i64 = 4;

/// Keys of the old CRI plugin that stay with the server.
const SERVER_KEYS: &[&str] = &[
    "disable_tcp_service",
    "stream_server_address",
    "stream_server_port",
    "stream_idle_timeout",
    "enable_tls_streaming",
    "x509_key_pair_streaming",
];

/// Keys of the old CRI plugin that are now the image service's.
const IMAGE_KEYS: &[&str] = &[
    "registry",
    "image_decryption",
    "max_concurrent_downloads",
    "image_pull_progress_timeout",
    "image_pull_with_sync_fs",
    "stats_collect_period",
];

/// The same for its table `containerd`.
const IMAGE_CONTAINERD_KEYS: &[&str] =
    &["snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers"];

/// Takes a document one version further.
pub(super) fn step(document: &mut Table, from: i64) {
    match from {
        0 => {}
        1 => name_in_full(document),
        2 => move_plugins(table_in(document, "plugins")),
        // Only where the version after the last would have something to say.
        _ => move_servers(document),
    }
}

/// Returns the names of plugins that version 1 abbreviated, in full.
fn full_name(name: &str) -> String {
    let prefix = match name {
        name if name.contains('.') => return name.to_owned(),
        "cgroups" => "monitor.v1",
        "linux" => "runtime.v1",
        "scheduler" => "gc.v1",
        "bolt" => "metadata.v1",
        "task" => "runtime.v2",
        "opt" | "restart" | "tracing" => "internal.v1",
        "otlp" => "tracing.processor.v1",
        "aufs" | "btrfs" | "devmapper" | "native" | "overlayfs" | "zfs" | "windows"
        | "windows-lcow" => "snapshotter.v1",
        name if name.ends_with("-service") => "service.v1",
        _ => "grpc.v1",
    };
    format!("io.containerd.{prefix}.{name}")
}

fn name_in_full(document: &mut Table) {
    if let Some(Node { value: Value::Table(plugins), .. }) = document.get_mut("plugins") {
        let named = std::mem::take(plugins).into_iter();
        *plugins = named.map(|(name, node)| (full_name(&name), node)).collect();
    }
    for list in ["disabled_plugins", "required_plugins"] {
        if let Some(Node { value: Value::List(list), .. }) = document.get_mut(list) {
            for node in list {
                if let Value::Text(name) = &mut node.value {
                    *name = full_name(name);
                }
            }
        }
    }
}

fn move_plugins(plugins: &mut Table) {
    for (old, new) in [
        ("io.containerd.monitor.v1.cgroups", "io.containerd.monitor.task.v1.cgroups"),
        ("io.containerd.internal.v1.restart", "io.containerd.monitor.container.v1.restart"),
    ] {
        if let Some(table) = plugins.remove(old) {
            plugins.insert(new.to_owned(), table);
        }
    }
    if let Some(Node { value: Value::Table(task), .. }) =
        plugins.get_mut("io.containerd.runtime.v2.task")
    {
        let asked = task.remove("sched_core").map(|node| node.value);
        let manager = table_in(plugins, "io.containerd.shim.v1.manager");
        if asked == Some(Value::Flag(true)) {
            let env = Value::List(vec![Node::text("SCHED_CORE=1")]);
            manager.insert("env".to_owned(), Node::new(env));
        }
    }
    let Some(cri) = plugins.remove(CRI) else { return };
    let place = cri.place.clone();
    let Value::Table(cri) = cri.value else { return };
    for name in [CRI_IMAGES, CRI_RUNTIME] {
        plugins
            .entry(name.to_owned())
            .or_insert_with(|| Node { value: Value::Table(Table::new()), place: place.clone() });
    }
    split_images(table_in(plugins, CRI_IMAGES), &cri);
    split_runtime(table_in(plugins, CRI_RUNTIME), &cri);
    let kept = cri.into_iter().filter(|(name, _)| SERVER_KEYS.contains(&name.as_str())).collect();
    plugins.insert(CRI.to_owned(), Node { value: Value::Table(kept), place });
}

fn split_images(images: &mut Table, cri: &Table) {
    if let Some(image) = cri.get("sandbox_image") {
        table_in(images, "pinned_images").insert("sandbox".to_owned(), image.clone());
    }
    let mut copy = |from: &Table, names: &[&str]| {
        for &name in names {
            if let Some(node) = from.get(name) {
                images.insert(name.to_owned(), node.clone());
            }
        }
    };
    copy(cri, IMAGE_KEYS);
    if let Some(containerd) = cri.get("containerd").and_then(Node::as_table) {
        // containerd copies these only where runtimes are named; a file that says them means them.
        copy(containerd, IMAGE_CONTAINERD_KEYS);
    }
}

fn split_runtime(runtime: &mut Table, cri: &Table) {
    let elsewhere = |name: &str| {
        matches!(name, "cni" | "containerd" | "sandbox_image")
            || IMAGE_KEYS.contains(&name)
            || SERVER_KEYS.contains(&name)
    };
    add(runtime, cri.iter().filter(|(name, _)| !elsewhere(name)));
    if let Some(cni) = cri.get("cni").and_then(Node::as_table) {
        let new = table_in(runtime, "cni");
        add(new, cni.iter().filter(|(name, _)| *name != "bin_dir"));
        if let (Some(folder), None) = (cni.get("bin_dir"), new.get("bin_dirs")) {
            let list = Value::List(vec![folder.clone()]);
            new.insert("bin_dirs".to_owned(), Node { value: list, place: folder.place.clone() });
        }
    }
    let Some(containerd) = cri.get("containerd").and_then(Node::as_table) else { return };
    let new = table_in(runtime, "containerd");
    add(new, containerd.iter().filter(|(name, _)| !IMAGE_CONTAINERD_KEYS.contains(&name.as_str())));
    let Some(Node { value: Value::Table(runtimes), .. }) = new.get_mut("runtimes") else { return };
    for node in runtimes.values_mut() {
        let Value::Table(one) = &mut node.value else { continue };
        if !one.contains_key("sandboxer")
            && let Some(mode) = one.remove("sandbox_mode")
        {
            one.insert("sandboxer".to_owned(), mode);
        }
    }
}

/// Adds what is not there yet.
fn add<'a>(table: &mut Table, entries: impl Iterator<Item = (&'a String, &'a Node)>) {
    for (name, node) in entries {
        table.entry(name.clone()).or_insert_with(|| node.clone());
    }
}

/// Old keys and what they became.
type Renames = &'static [(&'static str, &'static str)];

/// Old tables with the plugins and keys that they became.
const SERVERS: &[(&str, &str, Renames)] = &[
    ("debug", "io.containerd.server.v1.debug", SOCKET),
    (
        "grpc",
        "io.containerd.server.v1.grpc-tcp",
        &[
            ("tcp_address", "address"),
            ("tcp_tls_ca", "tls_ca"),
            ("tcp_tls_cert", "tls_cert"),
            ("tcp_tls_key", "tls_key"),
            ("tcp_tls_common_name", "tls_common_name"),
            ("max_recv_message_size", "max_recv_message_size"),
            ("max_send_message_size", "max_send_message_size"),
        ],
    ),
    ("ttrpc", "io.containerd.server.v1.ttrpc", SOCKET),
    ("metrics", "io.containerd.server.v1.metrics", &[("address", "address")]),
];

const SOCKET: Renames = &[("address", "address"), ("uid", "uid"), ("gid", "gid")];
const GRPC: &str = "io.containerd.server.v1.grpc";

fn move_servers(document: &mut Table) {
    let old: Table = ["grpc", "ttrpc", "debug", "metrics"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), document.get(name)?.clone())))
        .collect();
    let set = |section: &str, key: &str| {
        let node = old.get(section)?.as_table()?.get(key)?;
        (!node.is_zero()).then(|| node.clone())
    };
    let plugins = table_in(document, "plugins");
    let mut put = |plugin: &str, section: &str, moved: Table| {
        if !moved.is_empty() && !plugins.contains_key(plugin) {
            let place = old.get(section).map_or(super::tree::Place::NOWHERE, |n| n.place.clone());
            plugins.insert(plugin.to_owned(), Node { value: Value::Table(moved), place });
        }
    };

    let sizes = [("max_recv_message_size", ""), ("max_send_message_size", "")];
    let grpc = SOCKET.iter().chain(&sizes).map(|&(key, _)| key);
    let grpc: Table = grpc.filter_map(|key| Some((key.to_owned(), set("grpc", key)?))).collect();
    // A socket of one's own carries its owner along, to the shims' socket too where that has none.
    let mut ttrpc = Table::new();
    for &(key, _) in SOCKET {
        if let Some(node) = set("ttrpc", key) {
            ttrpc.insert(key.to_owned(), node);
        }
    }
    if let (Some(address), false) = (grpc.get("address"), ttrpc.contains_key("address")) {
        let derived = Value::Text(format!("{}.ttrpc", address.as_text().unwrap_or_default()));
        let place = address.place.clone();
        ttrpc.insert("address".to_owned(), Node { value: derived, place });
        for key in ["uid", "gid"] {
            if let (Some(node), false) = (grpc.get(key), ttrpc.contains_key(key)) {
                ttrpc.insert(key.to_owned(), node.clone());
            }
        }
    }
    put(GRPC, "grpc", grpc);
    put("io.containerd.server.v1.ttrpc", "ttrpc", ttrpc);
    for (section, plugin, keys) in SERVERS.iter().filter(|(section, ..)| *section != "ttrpc") {
        let moved = keys
            .iter()
            .filter_map(|(old, new)| Some(((*new).to_owned(), set(section, old)?)))
            .collect::<Table>();
        if moved.contains_key("address") {
            put(plugin, section, moved);
        }
    }
    if let Some(histogram) = set("metrics", "grpc_histogram") {
        let moved = Table::from([("grpc_histogram".to_owned(), histogram)]);
        put("io.containerd.metrics.v1.grpc-prometheus", "metrics", moved);
    }
    for section in ["grpc", "ttrpc", "metrics"] {
        document.remove(section);
    }
    if let Some(Node { value: Value::Table(debug), .. }) = document.get_mut("debug") {
        debug.retain(|key, _| !SOCKET.iter().any(|(socket, _)| key == socket));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::parse;
    use super::*;

    fn migrated(text: &str, from: i64, to: i64) -> Table {
        let mut document = parse(text, "f").unwrap();
        for version in from..to {
            step(&mut document, version);
        }
        document
    }

    fn at<'a>(mut table: &'a Table, path: &[&str]) -> &'a Node {
        let (last, path) = path.split_last().unwrap();
        for name in path {
            table = table[*name].as_table().unwrap();
        }
        &table[*last]
    }

    #[test]
    fn names_get_long() {
        let document = migrated(
            "disabled_plugins = ['cri', 'io.containerd.x.v1.y']\n[plugins.cri]\na = 1\n\
             [plugins.diff-service]\n[plugins.overlayfs]\n",
            0,
            2,
        );
        let disabled = at(&document, &["disabled_plugins"]).as_texts().unwrap();
        assert_eq!(disabled, [CRI, "io.containerd.x.v1.y"]);
        let plugins = at(&document, &["plugins"]).as_table().unwrap();
        let names: Vec<_> = plugins.keys().collect();
        let expected = [
            CRI,
            "io.containerd.service.v1.diff-service",
            "io.containerd.snapshotter.v1.overlayfs",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn one_cri_becomes_three() {
        let document = migrated(
            "[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'pause:1'\n\
             stream_server_port = '1'\nenable_selinux = true\nstats_collect_period = 3\n\
             cni = { bin_dir = '/b', conf_dir = '/c' }\n\
             [plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'native'\n\
             [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.k]\nsandbox_mode = 'shim'\n",
            2,
            3,
        );
        let plugins = at(&document, &["plugins"]).as_table().unwrap();
        assert_eq!(at(plugins, &[CRI]).as_table().unwrap().len(), 1);
        assert_eq!(
            at(plugins, &[CRI_IMAGES, "pinned_images", "sandbox"]).as_text(),
            Some("pause:1")
        );
        assert_eq!(at(plugins, &[CRI_IMAGES, "snapshotter"]).as_text(), Some("native"));
        assert_eq!(at(plugins, &[CRI_IMAGES, "stats_collect_period"]).place.line, 5);
        assert_eq!(at(plugins, &[CRI_RUNTIME, "cni", "bin_dirs"]).as_texts().unwrap(), ["/b"]);
        let kind = at(plugins, &[CRI_RUNTIME, "containerd", "runtimes", "k", "sandboxer"]);
        assert_eq!(kind.as_text(), Some("shim"));
    }

    #[test]
    fn sockets_become_servers() {
        let document = migrated(
            "[grpc]\naddress = '/a'\ngid = 5\ntcp_address = '1:2'\ntcp_tls_ca = 'ca'\n\
             [debug]\naddress = '/d'\nlevel = 'warn'\n[metrics]\naddress = 'm'\n",
            3,
            4,
        );
        let server = |id: &str, key: &str| {
            at(&document, &["plugins", &format!("io.containerd.server.v1.{id}"), key]).clone()
        };
        assert_eq!(server("grpc", "address").as_text(), Some("/a"));
        assert_eq!(server("ttrpc", "address").as_text(), Some("/a.ttrpc"));
        assert_eq!(server("ttrpc", "gid").as_whole(), Some(5));
        assert_eq!(server("grpc-tcp", "tls_ca").as_text(), Some("ca"));
        assert_eq!(server("metrics", "address").as_text(), Some("m"));
        assert_eq!(server("debug", "address").as_text(), Some("/d"));
        assert_eq!(at(&document, &["debug"]).as_table().unwrap().len(), 1);
        assert!(!document.contains_key("grpc"));
    }
}
