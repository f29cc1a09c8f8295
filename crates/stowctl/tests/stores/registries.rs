//! Pull and push, with the flags that say how.

use stowd_testing::Scratch;
use stowd_testing::image::{Image, Index, Layer};
use stowd_testing::process::Run;
use stowd_testing::registry::{Access, PASSWORD, Registry, Transport, USER};

use crate::{rig, text};

#[test]
fn pull_and_push_over_plain_http() {
    let rig = rig!();
    let registry = Registry::start(&rig.scratch);
    let layers = [Layer::busybox(), Layer::new().file("etc/motd", "ahoy\n")];
    let reference = registry.push("deck/image", "1", &Image::of(&layers));
    let said = rig.ok(&["images", "pull", "--plain-http", &reference]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("application/vnd.oci.image.manifest.v1+json sha256:"), "{said}");
    assert!(lines[1].contains("\telapsed: ") && lines[1].contains("\ttotal: "), "{said}");
    assert!(!said.contains('\u{1b}'), "nobody watches");
    rig.same(&["images", "ls"]);
    rig.same(&["images", "check"]);
    rig.same(&["images", "usage", &reference]);
    rig.same(&["content", "ls"]);
    let pulled = rig.json(&["images", "pull", "--print-chainid", "--label", "a=1,b=2", &reference]);
    assert_eq!(pulled["name"], reference.as_str());
    assert!(rig.ok(&["snapshots", "ls"]).contains(pulled["chainIds"][0].as_str().unwrap()));
    assert!(rig.same(&["images", "ls"]).contains("a=1,b=2"));
    let copy = format!("{}/deck/copy:2", registry.host());
    assert!(
        rig.ok(&["images", "push", "--plain-http", &copy, &reference]).contains("Completed push")
    );
    rig.ok(&["images", "rm", "--sync", &reference]);
    rig.ok(&["content", "fetch", "--plain-http", &copy]);
    assert!(rig.same(&["images", "check"]).contains("false"), "fetched is not unpacked");
    let digest = rig.json(&["images", "ls"])[0]["digest"].as_str().unwrap().to_owned();
    assert!(rig.ok(&["snapshots", "unpack", &digest]).ends_with("...done\n"));
    assert!(rig.same(&["images", "check"]).contains("true"));
}

#[test]
fn pull_by_short_names() {
    let rig = rig!();
    let registry = Registry::start(&rig.scratch);
    let reference = registry.push("deck/image", "latest", &Image::busybox());
    // Without a tag, which `images pull` does not take.
    let short = reference.trim_end_matches(":latest");
    rig.fails(&["images", "pull", short]);
    rig.ok(&["pull", "--plain-http", short]);
    assert_eq!(rig.ok(&["images", "ls", "-q"]), format!("{reference}\n"));
    let said = rig.fails(&["images", "label", short, "a=1"]);
    assert!(
        said.ends_with(&format!("hint: names are written in full here: {reference}\n")),
        "{said}"
    );
}

#[test]
fn pull_for_other_platforms() {
    let rig = rig!();
    let registry = Registry::start(&rig.scratch);
    let image = Image::busybox();
    let index = Index::of([image.clone(), image.architecture("s390x")]);
    let reference = registry.push_index("deck/index", "1", &index);
    for more in
        [&[][..], &["--platform", "linux/s390x"], &["--all-platforms"], &["--skip-metadata"]]
    {
        rig.ok(&[&["images", "pull", "--plain-http"], more, &[&reference]].concat());
        rig.same(&["images", "ls"]);
        rig.same(&["images", "inspect", &reference]);
        rig.ok(&["images", "rm", "--sync", &reference]);
    }
    rig.fails(&["images", "pull", "--platform", "a/b/c/d", &reference]);
    rig.fails(&["images", "pull", "--platform", "linux/riscv64", "--plain-http", &reference]);
}

#[test]
fn certificates_and_passwords() {
    let rig = rig!();
    let registry = Registry::start_with(&rig.scratch, Transport::Tls, Access::Password);
    let reference = registry.push("deck/secret", "1", &Image::busybox());
    let user = format!("{USER}:{PASSWORD}");
    let authority = text(&registry.ca());
    rig.ok(&["images", "pull", "--user", &user, "--tlscacert", &authority, &reference]);
    rig.ok(&["images", "rm", "--sync", &reference]);
    rig.ok(&["images", "pull", "-u", &user, "-k", &reference]);
    // Without a terminal the password is a line of standard input.
    rig.run(&["images", "pull", "-u", USER, &reference]).input(format!("{PASSWORD}\n")).ok();
    let said = rig.fails(&["images", "pull", &reference]);
    assert!(said.contains("hint: give credentials with --user"), "{said}");
    let said = rig.fails(&["images", "pull", "-u", "bosun:wrong", &reference]);
    assert!(said.contains("incorrect username or password"), "{said}");
    let elsewhere = Scratch::new();
    let other = Registry::start_with(&elsewhere, Transport::Tls, Access::Open);
    let wrong = ["images", "pull", "-u", &user, "--tlscacert", &text(&other.ca()), &reference];
    let said = rig.fails(&wrong);
    assert!(said.contains("certificate") && said.contains("hint: --tlscacert"), "{said}");
    let plain = ["images", "pull", "-u", &user, "--plain-http", &reference];
    assert!(rig.fails(&plain).contains("leave --plain-http out"));
    let push = format!("{}/deck/pushed:1", registry.host());
    rig.ok(&["images", "push", "-u", &user, &push, &reference]);
    assert!(rig.fails(&["images", "push", &push, &reference]).contains("--user"));
}

#[test]
fn hosts_are_configured() {
    let rig = rig!();
    let registry = Registry::start(&rig.scratch);
    registry.push("deck/image", "1", &Image::busybox());
    let folder = rig.scratch.folder("hosts/mirrored.example");
    let file = format!("server = \"http://{}\"\n", registry.host());
    std::fs::write(folder.join("hosts.toml"), file).unwrap();
    let hosts = rig.path("hosts");
    rig.ok(&["images", "pull", "--hosts-dir", &hosts, "mirrored.example/deck/image:1"]);
    let both = ["images", "pull", "--hosts-dir", &hosts, "-k", "mirrored.example/deck/image:1"];
    assert!(rig.fails(&both).contains("not implemented"));
}

#[test]
fn what_the_daemon_cannot_be_told_is_refused() {
    let rig = rig!();
    let reference = "test.example/a:1";
    for flags in [
        &["pull", "--http-dump"][..],
        &["pull", "--http-trace"],
        &["pull", "--max-concurrent-downloads", "2"],
        &["push", "--manifest", "sha256:0"],
        &["push", "--platform", "linux/amd64"],
        &["push", "--allow-non-distributable-blobs"],
        &["push", "--max-concurrent-uploaded-layers", "2"],
        &["import", "--compress-blobs"],
        &["import", "--discard-unpacked-layers"],
    ] {
        let said = rig.fails(&[&["images"], flags, &[reference]].concat());
        assert!(said.contains("not implemented"), "{said}");
    }
}

#[test]
fn a_terminal_sees_progress() {
    let rig = rig!();
    let registry = Registry::start(&rig.scratch);
    let reference = registry.push("deck/image", "1", &Image::busybox());
    let program = stowd_testing::daemon::programs().join("stowctl");
    let line = format!(
        "'{}' -a '{}' -n {} pull {reference}",
        program.display(),
        rig.daemon.socket().display(),
        rig.daemon.namespace()
    );
    let said =
        Run::program("script").args(["--quiet", "--return", "--command", &line, "/dev/null"]).ok();
    assert!(said.contains("\u{1b}[") && said.contains("elapsed: "), "{said}");
    assert!(said.contains("layer (") && said.contains("Completed pull"), "{said}");
}

#[test]
fn single_objects() {
    let rig = rig!();
    let registry = Registry::start(&rig.scratch);
    let image = Image::of(&[Layer::busybox()]);
    let reference = registry.push("deck/image", "1", &image);
    fn plain<'a>(args: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
        [args, more].concat()
    }
    let (manifest, config) = (image.manifest(), image.config());
    let (manifest, config) = (manifest.digest.to_string(), config.digest.to_string());
    let layer = image.blobs().into_iter().map(|blob| blob.digest.to_string());
    let layer = layer.into_iter().find(|it| *it != manifest && *it != config).unwrap();
    rig.same(&plain(&["content", "fetch-object", "--plain-http"], &[&reference, "x", "y"]));
    let by_digest = format!("{}@{manifest}", reference.trim_end_matches(":1"));
    rig.same(&plain(&["content", "fetch-object", "--plain-http"], &[&by_digest, "x"]));
    let blobs = ["content", "fetch-blob", "--plain-http"];
    rig.same(&plain(&blobs, &[&reference, &config, &config]));
    // ctr asks for blobs only, unless a media type says otherwise.
    rig.ok(&plain(&blobs, &[&reference, &config, &manifest]));
    let accept = "application/vnd.oci.image.manifest.v1+json";
    rig.same(&plain(&blobs, &["--media-type", accept, &reference, &manifest]));
    // Not text, so it is compared by its digest.
    let data = rig.run(&plain(&blobs, &[&reference, &layer])).output().stdout;
    assert_eq!(stowd_core::Digest::of(&data).as_str(), layer);
    rig.same_failure(&plain(&blobs, &[&reference]));
    assert!(rig.fails(&plain(&blobs, &[&reference, "sha256:short"])).contains("digest length"));
    let absent = format!("sha256:{}", "0".repeat(64));
    rig.fails(&plain(&blobs, &[&reference, &absent]));

    rig.ok(&plain(&["images", "pull", "--plain-http"], &[&reference]));
    let push = ["content", "push-object", "--plain-http"];
    let to = format!("{}/deck/objects:2", registry.host());
    let types = ["application/vnd.oci.image.config.v1+json", accept];
    for digest in [&layer, &config] {
        let said = rig.ok(&plain(&push, &[&to, digest, types[0]]));
        assert_eq!(said, format!("Pushed {digest} {}\n", types[0]));
    }
    rig.same_failure(&plain(&push, &[&to, &config, types[0]]));
    rig.ok(&plain(&push, &[&to, &manifest, types[1]]));
    rig.same_failure(&plain(&push, &[&to, &manifest, types[1]]));
    rig.same_failure(&plain(&push, &[&to, &absent, types[0]]));
    rig.fails(&plain(&push, &[&to, "not-a-digest", types[0]]));
    rig.same(&plain(&["content", "fetch-object", "--plain-http"], &[&to, "x"]));
}
