//! Which shim a runtime's name means, and what it is told.

use stowd_api::Any;
use stowd_api::runc::v1::Options;
use stowd_core::ErrorKind;
use stowd_core::containers::{Container, Runtime};
use stowd_core::tasks::Tasks as _;
use stowd_testing::{Version, need};

use crate::bench::{Bench, FOREVER, Kind, container, spec};

fn on(bench: &Bench, runtime: &str) -> Container {
    Container {
        runtime: Runtime { name: runtime.to_owned(), options: None },
        ..container("c", &spec(bench, "c", FOREVER, Default::default()))
    }
}

#[test]
fn shims_are_found_by_name_and_path() {
    need!(root, clients);
    let bench = Bench::new(Kind::Containerd(Version::V2));
    // In the path that shims are given.
    let shim = Version::V2.program("containerd-shim-runc-v2");
    let link = bench.scratch.join("bin/containerd-shim-other-v9");
    std::os::unix::fs::symlink(&shim, link).unwrap();
    let shim = shim.to_str().unwrap();
    bench.live(async |life| {
        for (runtime, path) in [("x.other.v9", ""), (shim, ""), ("not.used.v1", shim)] {
            let created = life.create_on(&bench, on(&bench, runtime), path).await;
            assert!(created.is_ok(), "{runtime} {path}: {created:?}");
            life.end("c").await;
        }
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

#[test]
fn runtimes_that_are_not_there_are_named() {
    need!(root, clients);
    let bench = Bench::new(Kind::Containerd(Version::V2));
    bench.live(async |life| {
        for (runtime, words) in [
            ("io.containerd.nothing.v1", r#"runtime "io.containerd.nothing.v1" binary not installed "containerd-shim-nothing-v1": file does not exist"#),
            ("/no/such/shim", "invalid custom binary path: stat /no/such/shim"),
            ("nothing", "invalid runtime name nothing, correct runtime name should be"),
            ("a/b.c", "invalid runtime name a/b.c"),
        ] {
            let error = life.create_on(&bench, on(&bench, runtime), "").await.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        let gone = life.manager.get(&life.scope, "c", "").await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

fn options_reach_the_shim(version: Version) {
    let bench = Bench::new(Kind::Containerd(version));
    let binary = bench.scratch.join("my-runc");
    std::os::unix::fs::symlink(Version::V1_6.program("runc"), &binary).unwrap();
    let with = |binary: &str| {
        let options = Options { binary_name: binary.to_owned(), ..Default::default() };
        let runtime = on(&bench, "io.containerd.runc.v2").runtime;
        let runtime = Runtime { options: Some(Any::pack(&options).into()), ..runtime };
        Container { runtime, ..on(&bench, "io.containerd.runc.v2") }
    };
    bench.live(async |life| {
        life.create_on(&bench, with(binary.to_str().unwrap()), "").await.unwrap();
        let written = std::fs::read_to_string(bench.bundle("c").join("options.json")).unwrap();
        assert!(written.contains("my-runc"), "{written}");
        life.end("c").await;
        let error = life.create_on(&bench, with("/no/such/runc"), "").await.unwrap_err();
        assert!(error.to_string().contains("/no/such/runc"), "{error}");
    });
    assert_eq!(bench.bundles(), [] as [&str; 0]);
}

#[test]
fn options_reach_shims_of_1_6() {
    need!(root, clients);
    options_reach_the_shim(Version::V1_6);
}

#[test]
fn options_reach_shims_of_2() {
    need!(root, clients);
    options_reach_the_shim(Version::V2);
}
