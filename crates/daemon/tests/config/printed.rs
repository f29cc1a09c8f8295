//! The same files, printed by both.

use std::fs;
use std::path::Path;

use stowd_testing::process::Run;
use stowd_testing::{Scratch, Version, daemon, need};

/// Prints with containerd; Debian's has one default of its own.
fn containerd(folder: &Path, args: &[&str]) -> String {
    let printed = Run::program(Version::V2.program("containerd"))
        .args(["--config".as_ref(), folder.join("config.toml").as_os_str()])
        .args(args)
        .ok();
    printed.replace("bin_dirs = ['/usr/lib/cni', '/opt/cni/bin']", "bin_dirs = ['/opt/cni/bin']")
}

fn stowd(folder: &Path, args: &[&str]) -> Run {
    Run::program(daemon::programs().join("stowd"))
        .args(["--config".as_ref(), folder.join("config.toml").as_os_str()])
        .args(args)
}

/// Asserts that two texts are the same, and shows the first line that is not.
fn assert_same_lines(ours: &str, theirs: &str) {
    let differing = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
    assert_eq!(differing, None, "(stowd, containerd)");
    assert_eq!(ours.len(), theirs.len(), "one ends earlier");
}

/// Asserts that both print the same for these files.
fn assert_same(files: &[(&str, &str)]) {
    need!(clients, stowd);
    let scratch = Scratch::new();
    for (name, text) in files {
        fs::create_dir_all(scratch.join(name).parent().unwrap()).unwrap();
        fs::write(scratch.join(name), text).unwrap();
    }
    for command in ["dump", "migrate"] {
        let printed = stowd(scratch.path(), &["config", command]).ok();
        assert_same_lines(&printed, &containerd(scratch.path(), &["config", command]));
        if files.len() > 1 {
            // Imports are printed as written, and would be taken from elsewhere.
            continue;
        }
        // What was printed means the same again.
        fs::write(scratch.join("config.toml"), &printed).unwrap();
        assert_eq!(stowd(scratch.path(), &["config", "dump"]).ok(), printed);
        fs::write(scratch.join("config.toml"), files[0].1).unwrap();
    }
}

#[test]
fn the_default() {
    need!(clients, stowd);
    let scratch = Scratch::new();
    let printed = stowd(scratch.path(), &["config", "default"]).ok();
    assert_same_lines(&printed, &containerd(scratch.path(), &["config", "default"]));
    // No file at all is the default.
    assert_eq!(stowd(scratch.path(), &["config", "dump"]).ok(), printed);
}

#[test]
fn every_kind_of_value() {
    assert_same(&[(
        "config.toml",
        r#"
version = 3
root = "/r"
oom_score = -5
required_plugins = ["a.b"]
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  pod_annotations = ["a"]
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = true
    Zed = 'x'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kata]
  runtime_type = 'kata'
[plugins.'io.containerd.cri.v1.runtime'.cni]
  Conf_Dir = '/x'
  bin_dirs = []
[plugins.'io.containerd.cri.v1.images']
  max_concurrent_downloads = 0
  runtime_platforms = { q = { platform = "p" } }
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  other = 'registry.k8s.io/pause:3.10'
[plugins.'io.containerd.cri.v1.images'.registry.mirrors."docker.io"]
  endpoint = ["https://x"]
[plugins.'io.containerd.cri.v1.images'.registry.headers]
  x = ["https://x"]
[plugins.'io.containerd.cri.v1.images'.registry.configs.'a'.auth]
  username = 'x'
[plugins.'io.containerd.cri.v1.images'.registry.auths.'b']
  auth = 'x'
[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
  platform = "linux/amd64"
[plugins.'io.containerd.tracing.processor.v1.otlp']
  endpoint = "x"
[plugins.'io.containerd.gc.v1.scheduler']
  pause_threshold = 1
  startup_delay = "90m0.5s"
  schedule_delay = 5
[plugins.'io.containerd.nothing.v1.x']
  mixed = [1, "2", { a = 1, b = 'q' }]
  nested = [[1], [2, 3]]
  big = 1e30
  small = 1e-9
  f = 100000.5
  s = "it's \"q\" \n \u0007 é \\"
  d = 1979-05-27T07:32:00Z
  [plugins.'io.containerd.nothing.v1.x'.'a b']
  [[plugins.'io.containerd.nothing.v1.x'.t]]
  z = 1
  [[plugins.'io.containerd.nothing.v1.x'.t]]
  y = 1
[proxy_plugins.a]
  type = "snapshot"
  address = "/a"
[proxy_plugins.a.exports]
  x = 'y'
[proxy_plugins.b]
  type = "content"
[stream_processors.x]
  accepts = ["a"]
[timeouts]
  q = '1m'
"#,
    )]);
}

#[test]
fn version_2() {
    assert_same(&[(
        "config.toml",
        r#"
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "s/p:1"
  max_concurrent_downloads = 7
  enable_selinux = true
  tolerate_missing_hugepages_controller = true
  stream_server_port = "1"
  [plugins."io.containerd.grpc.v1.cri".cni]
   bin_dir = "/b"
   conf_dir = "/c"
  [plugins."io.containerd.grpc.v1.cri".containerd]
   snapshotter = "native"
   discard_unpacked_layers = true
   default_runtime_name = "x"
   [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.x]
     sandbox_mode = "shim"
     runtime_type = "q"
[plugins."io.containerd.runtime.v1.linux"]
 shim = "x"
[plugins."io.containerd.runtime.v2.task"]
 sched_core = true
[plugins."io.containerd.internal.v1.restart"]
 interval = "5s"
[plugins."io.containerd.monitor.v1.cgroups"]
 no_prometheus = true
"#,
    )]);
}

#[test]
fn what_dockerd_leaves_empty() {
    let file = "version = 2\nplugins = {}\nproxy_plugins = {}\ntimeouts = {}\n\
                stream_processors = {}\noom_score = 0\n\
                disabled_plugins = ['io.containerd.grpc.v1.cri']\n[grpc]\naddress = '/d.sock'\ngid = 3\n\
                [debug]\naddress = '/debug.sock'\n[cgroup]\npath = ''\n[metrics]\naddress = ''\n";
    assert_same(&[("config.toml", file)]);
}

#[test]
fn imports() {
    assert_same(&[
        (
            "config.toml",
            "version = 2\nimports = ['conf.d/*.toml', 'last.toml']\nroot = '/r'\noom_score = 5\n\
             disabled_plugins = ['io.containerd.a.b']\n[plugins.'x.v1.y']\na = 1\nl = [1]\n\
             t = { x = 1, y = 2 }\nem = {}\n[timeouts]\na = '1s'\n[stream_processors.s]\n\
             accepts = ['1']\npath = '/p'\n",
        ),
        (
            "conf.d/b.toml",
            "version = 2\nroot = '/b'\noom_score = 0\ndisabled_plugins = ['io.containerd.c.d']\n\
             imports = ['../config.toml', '../last.toml']\n[plugins.'x.v1.y']\na = 0\nl = []\n\
             t = { x = 0 }\nem = 1\n[stream_processors.s]\naccepts = ['2']\n",
        ),
        ("conf.d/a.toml", "disabled_plugins = ['opt', 'io.containerd.a.b']\nroot = '/a'\n"),
        (
            "last.toml",
            "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.nvidia]\n\
             runtime_type = 'io.containerd.runc.v2'\n",
        ),
    ]);
}

#[test]
fn what_is_wrong_is_named() {
    need!(stowd);
    let scratch = Scratch::new();
    fs::write(scratch.join("config.toml"), "version = 3\n\n[debug]\nlevel = 5\n").unwrap();
    for args in [&["config", "dump"][..], &[]] {
        let said = stowd(scratch.path(), args).fails();
        assert!(said.contains("config.toml:4: debug.level must be a string"), "{said}");
    }
    fs::write(scratch.join("config.toml"), "version = 3\nimports = ['gone.toml']\n").unwrap();
    let said = stowd(scratch.path(), &[]).fails();
    assert!(said.contains("config.toml:2: imports") && said.contains("hint: "), "{said}");
}
