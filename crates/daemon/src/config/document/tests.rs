//! Files that people and programs write.

use super::*;

fn text(parts: &[&str]) -> String {
    parts.join("\n")
}

/// Writes files and loads the first.
fn load(files: &[(&str, &str)]) -> Result<Document> {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.replace("ROOT", root.path().to_str().unwrap())).unwrap();
    }
    Document::load(&root.path().join(files[0].0))
}

fn at<'a>(document: &'a Document, path: &[&str]) -> &'a Node {
    let (last, path) = path.split_last().unwrap();
    let table = path.iter().fold(&document.table, |table, name| table[*name].as_table().unwrap());
    &table[*last]
}

#[test]
fn takes_what_is_written() {
    let (config, notes) = Document::parse(
        r#"
        version = 3
        root = "/r"
        state = "/s"
        disabled_plugins = ["io.containerd.grpc.v1.cri"]
        oom_score = -999
        [grpc]
        address = "/s/a.sock"
        gid = 7
        [debug]
        level = "debug"
        [timeouts]
        "io.containerd.timeout.task.state" = "3s"
        [plugins."io.containerd.gc.v1.scheduler"]
        pause_threshold = 0.1
        schedule_delay = "1s"
        "#,
    )
    .unwrap()
    .resolve()
    .unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(config.root, Path::new("/r"));
    assert_eq!(config.grpc.path, Path::new("/s/a.sock"));
    assert_eq!(config.ttrpc.path, Path::new("/s/a.sock.ttrpc"));
    assert_eq!((config.grpc.gid, config.ttrpc.gid), (7, 7));
    assert!(config.is_disabled("io.containerd.grpc.v1", "cri"));
    assert_eq!(config.logging.level, "debug");
    assert_eq!(config.timeouts.state, std::time::Duration::from_secs(3));
    assert_eq!(config.metadata.collector.schedule_delay, std::time::Duration::from_secs(1));
    assert_eq!(config.metadata.root, Path::new("/r/io.containerd.metadata.v1.bolt"));
}

#[test]
fn no_file_and_an_empty_one_are_the_defaults() {
    let default = format!("{:?}", Config::default());
    for version in 2..=4 {
        let (config, notes) =
            Document::parse(&format!("version = {version}")).unwrap().resolve().unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(format!("{config:?}"), default, "version {version}");
    }
    assert_eq!(format!("{:?}", Document::default().resolve().unwrap().0), default);
}

#[test]
fn the_printed_default_is_the_default() {
    for version in [3, 4] {
        let printed = Document::default().print(version).unwrap();
        let read = Document::parse(&printed).unwrap();
        let (config, notes) = read.resolve().unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
        assert_eq!(read.print(version).unwrap(), printed);
    }
}

#[test]
fn imports_follow_each_other() {
    let document = load(&[
        (
            "config.toml",
            "version = 3\nroot = '/r'\nimports = ['conf.d/*.toml', 'ROOT/abs.toml', 'config.toml']\n\
             disabled_plugins = ['a.b']\noom_score = 5\n[timeouts]\na = '1s'\nb = '1s'\n",
        ),
        ("conf.d/20.toml", "version = 2\nroot = '/r2'\noom_score = 0\n"),
        ("conf.d/10.toml", "root = '/r1'\nstate = '/s1'\ndisabled_plugins = ['cri', 'a.b']\n"),
        ("conf.d/no.conf", "not toml"),
        ("abs.toml", "version = 3\nimports = ['abs.toml', 'more.toml']\n[timeouts]\nb = '2s'\n"),
        ("more.toml", "version = 3\nstate = ''\n"),
    ])
    .unwrap();
    assert_eq!(at(&document, &["root"]).as_text(), Some("/r2"));
    assert_eq!(at(&document, &["state"]).as_text(), Some("/s1"));
    assert_eq!(at(&document, &["oom_score"]).as_whole(), Some(5));
    let disabled = at(&document, &["disabled_plugins"]).as_texts().unwrap();
    assert_eq!(disabled, ["a.b", "io.containerd.grpc.v1.cri"]);
    assert_eq!(at(&document, &["timeouts", "a"]).as_text(), Some("1s"));
    assert_eq!(at(&document, &["timeouts", "b"]).as_text(), Some("2s"));
    let names: Vec<_> = document.files().iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(names, ["config.toml", "10.toml", "20.toml", "abs.toml", "more.toml"]);
}

#[test]
fn plugins_are_merged_deeply_and_replaced_by_anything() {
    let plugin = "[plugins.'x.v1.y']\n";
    let document = load(&[
        (
            "c.toml",
            &text(&[
                "version = 3\nimports = ['d.toml']",
                plugin,
                "a = 1\nl = [1, 2]\nb = true\nt = { x = 1, y = 2 }",
            ]),
        ),
        (
            "d.toml",
            &text(&["version = 3", plugin, "a = 0\nl = []\nb = false\nt = { x = 0, z = 3 }"]),
        ),
    ])
    .unwrap();
    let table = at(&document, &["plugins", "x.v1.y"]).as_table().unwrap();
    assert!(table["a"].is_zero() && table["l"].is_zero() && table["b"].is_zero());
    let values: Vec<_> = table["t"].as_table().unwrap().values().map(Node::as_whole).collect();
    assert_eq!(values, [Some(0), Some(2), Some(3)]);
}

#[test]
fn whole_entries_replace_entries() {
    let document = load(&[
        (
            "c.toml",
            "version = 3\nimports = ['d.toml']\n[proxy_plugins.p]\ntype = 'snapshot'\n\
             address = '/a'\nexports = { root = '/r' }\n",
        ),
        ("d.toml", "version = 3\n[proxy_plugins.p]\ntype = 'snapshot'\naddress = '/b'\n"),
    ])
    .unwrap();
    let entry = at(&document, &["proxy_plugins", "p"]).as_table().unwrap();
    assert_eq!(entry["address"].as_text(), Some("/b"));
    assert!(!entry.contains_key("exports"));
}

#[test]
fn versions_mix() {
    let document = load(&[
        ("c.toml", "version = 3\nimports = ['d.toml']\n[grpc]\naddress = '/a'\n"),
        ("d.toml", "version = 4\n[plugins.'io.containerd.server.v1.grpc']\ngid = 7\n"),
    ])
    .unwrap();
    assert_eq!(document.version(), 4);
    let (config, _) = document.resolve().unwrap();
    assert_eq!(config.grpc.path, Path::new("/a"));
    assert_eq!(config.ttrpc.path, Path::new("/a.ttrpc"));
    assert_eq!((config.grpc.gid, config.ttrpc.gid), (7, 0));
}

#[test]
fn version_4_keeps_its_sockets_apart() {
    let file = "version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/a'\n";
    let mut document = Document::parse(file).unwrap();
    let (config, _) = document.resolve().unwrap();
    assert_eq!(config.grpc.path, Path::new("/a"));
    assert_eq!(config.ttrpc.path, Path::new("/run/containerd/containerd.sock.ttrpc"));
    document.override_folders(None, None, Some(Path::new("/f")));
    let (config, _) = document.resolve().unwrap();
    assert_eq!(config.ttrpc.path, Path::new("/f.ttrpc"));
    let old = Document::parse("version = 4\n[grpc]\naddress = '/a'\n").unwrap();
    let (config, notes) = old.resolve().unwrap();
    assert_eq!(config.grpc, Config::default().grpc);
    assert!(notes[0].contains("io.containerd.server.v1.grpc"), "{notes:?}");
}

#[test]
fn names_what_has_no_effect() {
    let file = "version = 3\nnonsense = 1\n[grpc]\nfoo = 1\n\
                [plugins.'io.containerd.what.v1.x']\nkey = 1\n\
                [plugins.'io.containerd.gc.v1.scheduler']\nsoon = true\n\
                [plugins.'io.containerd.nri.v1.nri']\ndisable = true\nsocket_path = '/x'\n\
                [plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'overlayfs'\n";
    let (_, notes) = Document::parse(file).unwrap().resolve().unwrap();
    for name in [
        "config.toml:2: there is no key nonsense",
        "config.toml:4: there is no key grpc.foo",
        "config.toml:6: stowd has no plugin io.containerd.what.v1.x",
        "config.toml:8: there is no key plugins.'io.containerd.gc.v1.scheduler'.soon",
        "config.toml:10: plugins.'io.containerd.nri.v1.nri' has no effect",
    ] {
        assert!(notes.iter().any(|note| note.contains(name)), "{name}: {notes:?}");
    }
    assert_eq!(notes.len(), 5, "{notes:?}");
}

#[test]
fn says_what_is_wrong_and_where() {
    let parse =
        |text: &str| Document::parse(text).and_then(|file| file.resolve()).unwrap_err().to_string();
    assert!(parse("version = 3\nroot = 5").contains("config.toml:2: root must be a string"));
    assert!(parse("version = ").contains("config.toml:1"));
    assert!(parse("version = 9").contains("equal to or less than `4`, got `9`"));
    assert!(parse("version = 3\nroot = 'relative'").contains("root must be an absolute path"));
    assert!(parse("version = 3\nroot = '/a'\nstate = '/a'").contains("different"));
    let key = "[plugins.'io.containerd.gc.v1.scheduler']\nschedule_delay = 'soon'";
    let said = parse(&format!("version = 3\n{key}"));
    assert!(said.contains("config.toml:3: plugins.'io.containerd.gc.v1.scheduler'.schedule_delay"));
    assert!(said.contains("must be a duration"), "{said}");
    assert!(parse("version = 3\ndisabled_plugins = [\n'cri']").contains("config.toml:3"));
    assert!(parse("version = 3\n[timeouts]\nx = 'never'").contains("config.toml:3: timeouts.x"));
    let key = "[plugins.'io.containerd.gc.v1.scheduler']\nmutation_threshold = -1";
    assert!(parse(&format!("version = 3\n{key}")).contains("config.toml:3"));
    let missing = load(&[("c.toml", "version = 3\n\nimports = ['gone.toml']")]).unwrap_err();
    assert!(missing.to_string().contains("c.toml:3: imports"), "{missing}");
}

/// What dockerd's supervisor writes: the whole structure, most of it empty.
const DOCKERD: &str = r#"
version = 2
root = '/var/lib/docker/containerd/daemon'
state = '/run/docker/containerd/daemon'
temp = ''
disabled_plugins = ['io.containerd.grpc.v1.cri']
required_plugins = []
oom_score = 0
imports = []
plugins = {}
proxy_plugins = {}
timeouts = {}
stream_processors = {}

[grpc]
  address = '/run/docker/containerd/containerd.sock'
  tcp_address = ''
  tcp_tls_ca = ''
  tcp_tls_cert = ''
  tcp_tls_key = ''
  uid = 0
  gid = 0
  max_recv_message_size = 16777216
  max_send_message_size = 16777216
  tcp_tls_common_name = ''

[ttrpc]
  address = ''
  uid = 0
  gid = 0

[debug]
  address = '/run/docker/containerd/containerd-debug.sock'
  uid = 0
  gid = 0
  level = 'info'
  format = ''

[metrics]
  address = ''
  grpc_histogram = false

[cgroup]
  path = ''
"#;

#[test]
fn takes_what_dockerd_writes() {
    let (config, notes) = Document::parse(DOCKERD).unwrap().resolve().unwrap();
    assert_eq!(config.root, Path::new("/var/lib/docker/containerd/daemon"));
    assert_eq!(config.ttrpc.path, Path::new("/run/docker/containerd/containerd.sock.ttrpc"));
    assert!(notes.iter().all(|note| note.contains("server.v1.debug")), "{notes:?}");
}

/// As kind's node image has it, with a key that is long gone.
const KIND: &str = r#"
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = false
  sandbox_image = "registry.k8s.io/pause:3.10"
  tolerate_missing_hugepages_controller = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    discard_unpacked_layers = true
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      base_runtime_spec = "/etc/containerd/cri-base.json"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.test-handler]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
[proxy_plugins]
"#;

#[test]
fn takes_what_kind_writes() {
    let document = Document::parse(KIND).unwrap();
    let printed = document.print(3).unwrap();
    for line in [
        "version = 3\n",
        "    snapshotter = 'overlayfs'\n",
        "    discard_unpacked_layers = true\n",
        "      sandbox = 'registry.k8s.io/pause:3.10'\n",
        "    restrict_oom_score_adj = false\n",
        "            SystemdCgroup = true\n",
        "        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.test-handler]\n",
        "      config_path = '/etc/containerd/certs.d'\n",
    ] {
        assert!(printed.contains(line), "{line} in\n{printed}");
    }
    let (_, notes) = document.resolve().unwrap();
    let gone = "config.toml:6: there is no key \
                plugins.'io.containerd.cri.v1.runtime'.tolerate_missing_hugepages_controller";
    assert!(notes.iter().any(|note| note.contains(gone)), "{notes:?}");
}

/// As k3s and RKE2 have it: the newest tables beside the old `[grpc]`.
const RKE2: &str = r#"
version = 3
root = "/var/lib/rancher/rke2/agent/containerd"
state = "/run/k3s/containerd"
imports = ["/nowhere/config-v3.toml.d/*.toml"]

[grpc]
  address = "/run/k3s/containerd/containerd.sock"

[plugins.'io.containerd.internal.v1.opt']
  path = "/var/lib/rancher/rke2/agent/containerd"

[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = "127.0.0.1"
  stream_server_port = "10010"

[plugins.'io.containerd.cri.v1.runtime']
  enable_selinux = false
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  device_ownership_from_security_context = false

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/var/lib/rancher/data/cni"]
  conf_dir = "/var/lib/rancher/rke2/agent/etc/cni/net.d"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  disable_snapshot_annotations = true
  use_local_image_pull = true

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "index.docker.io/rancher/mirrored-pause:3.6"

[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "/var/lib/rancher/rke2/agent/etc/containerd/certs.d"
"#;

#[test]
fn takes_what_k3s_and_rke2_write() {
    let document = Document::parse(RKE2).unwrap();
    let (config, notes) = document.resolve().unwrap();
    assert_eq!(config.grpc.path, Path::new("/run/k3s/containerd/containerd.sock"));
    assert_eq!(config.ttrpc.path, Path::new("/run/k3s/containerd/containerd.sock.ttrpc"));
    assert!(!notes.iter().any(|note| note.contains("there is no key")), "{notes:?}");
    // Everything that is left out keeps its default.
    let printed = document.print(3).unwrap();
    assert!(printed.contains("          sandboxer = 'podsandbox'\n"));
    assert!(printed.contains("      bin_dirs = ['/var/lib/rancher/data/cni']\n"));
}

#[test]
fn prints_no_older_version_than_it_has() {
    let document = Document::parse("version = 4").unwrap();
    assert!(document.print(4).unwrap().starts_with("version = 4\nroot = '/var/lib/containerd'\n"));
    assert_eq!(document.print(3).unwrap_err().kind(), stowd_core::ErrorKind::InvalidArgument);
}

#[test]
fn paths_are_cleaned_by_their_words() {
    let clean = |path: &str| cleaned(Path::new(path)).display().to_string();
    assert_eq!(clean("/a/../../b/./c//d"), "/b/c/d");
    assert_eq!(clean("../a/../b"), "../b");
}

#[test]
fn finds_what_differs_and_takes_some_of_it() {
    let old = Document::parse("version = 3\n[debug]\nlevel = 'info'\n").unwrap();
    let new = Document::parse("version = 3\noom_score = 1\n[debug]\nlevel = 'warn'\n").unwrap();
    assert_eq!(old.differences(&new), ["debug.level", "oom_score"]);
    let mixed = old.with_live_of(&new, &["debug.level".to_owned()]);
    assert_eq!(mixed.differences(&new), ["oom_score"]);
    assert_eq!(mixed.differences(&old), ["debug.level"]);
}

#[test]
fn proxies_are_checked() {
    let resolve = |text: &str| Document::parse(&format!("version = 3\n{text}")).unwrap().resolve();
    let diff =
        "[proxy_plugins.far]\ntype = 'diff'\naddress = 'unix:///a'\nplatform = 'linux/arm64'\n";
    let order = "[plugins.'io.containerd.service.v1.diff-service']\ndefault = ['far']\n";
    let (config, notes) = resolve(&format!("{diff}{order}")).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(config.proxies[0].address, Path::new("/a"));
    assert_eq!(config.differs, ["far"]);
    let said = |text: &str| resolve(text).unwrap_err().to_string();
    assert!(said(order).contains("config.toml:3: plugins.'io.containerd.service.v1.diff-service'"));
    assert!(said("[proxy_plugins.p]\naddress = '/a'\n").contains("proxy_plugins.p.type must be"));
    let bad = "[proxy_plugins.p]\ntype = 'diff'\naddress = ''\n";
    assert!(said(bad).contains("config.toml:4: proxy_plugins.p.address must be"));
    let (_, notes) = resolve("[proxy_plugins.s]\ntype = 'snapshot'\naddress = '/a'\n").unwrap();
    assert!(notes[0].contains("only proxies of type diff"), "{notes:?}");
}
