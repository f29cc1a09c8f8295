//! Files that people and programs write.

use super::*;

#[test]
fn takes_what_is_written() {
    let (config, warnings) = File::parse(
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
    .apply()
    .unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.root, Path::new("/r"));
    assert_eq!(config.grpc.path, Path::new("/s/a.sock"));
    assert_eq!(config.ttrpc.path, Path::new("/s/a.sock.ttrpc"));
    assert_eq!((config.grpc.gid, config.ttrpc.gid), (7, 7));
    assert!(config.is_disabled("io.containerd.grpc.v1", "cri"));
    assert_eq!(config.timeouts.state, std::time::Duration::from_secs(3));
    assert_eq!(config.metadata.collector.schedule_delay, std::time::Duration::from_secs(1));
    assert_eq!(config.metadata.root, Path::new("/r/io.containerd.metadata.v1.bolt"));
}

#[test]
fn an_empty_file_of_a_known_version_is_the_default() {
    let (config, warnings) = File::parse("version = 2").unwrap().apply().unwrap();
    assert!(warnings.is_empty());
    assert_eq!(config.grpc, Config::default().grpc);
    assert_eq!(config.max_receive, 16 << 20);
}

#[test]
fn names_what_has_no_effect() {
    let file = "version = 3\nnonsense = 1\nimports = ['x']\n[grpc]\nfoo = 1\n\
                [plugins.'io.containerd.what.v1.x']\nkey = 1\n\
                [plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'overlayfs'\n";
    let (_, warnings) = File::parse(file).unwrap().apply().unwrap();
    for name in ["nonsense", "imports", "grpc.foo", "plugins.\"io.containerd.what.v1.x\".key"] {
        assert!(warnings.iter().any(|w| w.contains(name)), "{name}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 4, "{warnings:?}");
}

#[test]
fn says_what_is_wrong_and_where() {
    let parse =
        |text: &str| File::parse(text).and_then(|file| file.apply()).unwrap_err().to_string();
    assert!(parse("version = 3\nroot = 5").contains("line 2"));
    assert!(parse("version = ").contains("line 1"));
    assert!(parse("version = 1").contains("no longer supported"));
    assert!(parse("").contains("no longer supported"));
    assert!(parse("version = 9").contains("from 2 to 4"));
    assert!(parse("version = 3\nroot = 'relative'").contains("root must be an absolute path"));
    assert!(parse("version = 3\nroot = '/a'\nstate = '/a'").contains("different"));
    let key = "[plugins.'io.containerd.gc.v1.scheduler']\nschedule_delay = 'soon'";
    assert!(parse(&format!("version = 3\n{key}")).contains("schedule_delay must be a duration"));
}

#[test]
fn the_printed_default_is_the_default() {
    let (config, warnings) = File::parse(&default_text()).unwrap().apply().unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}
