//! The rest of the commands, by group: what the other scripts do not reach.

use stowd_testing::Version;
use stowd_testing::image::{Image, Index, Layer};
use stowd_testing::transcript::Session;

use crate::{IMAGE, import, start, until};

crate::scripts!(
    images_in_detail,
    images_of_several_platforms,
    images_with_wishes,
    content_of_a_registry,
    content_by_hand,
    snapshots_in_detail,
    containers_in_detail,
    leases_in_detail,
    namespaces_apart,
    signals,
    processes,
    tasks_in_the_wrong_state,
);

fn images_in_detail(it: &mut Session<'_>) {
    import(it);
    if it.client == Version::V2 {
        // Labels come in any order.
        it.ctr_sorted(&["images", "inspect", IMAGE]);
        it.ctr_sorted(&["images", "inspect", "--content", IMAGE]);
        it.ctr_sorted(&["images", "i", IMAGE]);
        it.tries(&["images", "inspect", "absent"]);
    }
    it.tries(&["images", "usage", IMAGE]);
    it.tries(&["images", "usage", "test.example/absent:1"]);
    it.tries(&["images", "check", "-q"]);
    it.tries(&["images", "check", "name==nothing"]);
    it.tries(&["images", "check", "--snapshotter", "native"]);
    it.tries(&["images", "ls", "name~=busybox"]);
    it.tries(&["images", "list", "-q", "labels.none"]);
    it.tries(&["images", "ls", "name=~["]);
    it.tries(&["images", "ls", "nonsense filter"]);
    it.tries(&["images", "label", IMAGE, "a=1", "b=2"]);
    it.tries(&["images", "label", IMAGE, "a="]);
    it.tries(&["images", "ls", "labels.b==2"]);
    it.tries(&["images", "label", "--replace-all", IMAGE, "only=this"]);
    it.tries(&["images", "ls"]);
    it.tries(&["images", "label", IMAGE, &format!("{}=1", "k".repeat(5000))]);
    it.tries(&["images", "tag", IMAGE, "Not A Reference"]);
    it.tries(&["images", "tag", IMAGE, "test.example/a:1", "test.example/b:1"]);
    it.tries(&["images", "tag", "test.example/absent:1", "test.example/c:1"]);
    it.tries(&["images", "ls", "-q"]);
    it.tries(&["images", "rm", "test.example/a:1", "test.example/b:1", "test.example/absent:1"]);
    it.tries(&["images", "ls", "-q"]);
    it.tries(&["images", "rm"]);
    if it.client == Version::V2 {
        it.tries(&["images", "prune"]);
        it.tries(&["images", "ls", "-q"]);
        it.tries(&["images", "prune", "--all"]);
        it.tries(&["images", "ls", "-q"]);
    }
}

fn images_of_several_platforms(it: &mut Session<'_>) {
    let image = Image::busybox();
    let index = Index::of([image.clone(), image.architecture("s390x")]);
    let reference = it.registry.push_index("deck/platforms", "1", &index);
    it.quiet(&["images", "pull", "--plain-http", "--all-platforms", &reference]);
    it.tries(&["images", "ls"]);
    it.tries(&["images", "check"]);
    it.ctr_sorted(&["content", "ls"]);
    it.tries(&["run", "--rm", "--platform", "linux/riscv64", &reference, "c", "true"]);
    let archive = it.folder.join("all.tar").to_string_lossy().into_owned();
    it.tries(&["images", "export", "--all-platforms", &archive, &reference]);
    let one = it.folder.join("one.tar").to_string_lossy().into_owned();
    it.tries(&["images", "export", "--platform", "linux/s390x", &one, &reference]);
    it.tries(&["images", "rm", "--sync", &reference]);
    it.quiet(&["images", "import", "--all-platforms", "--no-unpack", &archive]);
    collect(it);
    it.tries(&["images", "ls"]);
    it.ctr_sorted(&["content", "ls"]);
    it.tries(&["snapshots", "ls"]);
    it.tries(&["images", "rm", "--sync", &reference]);
    it.quiet(&["images", "import", "--platform", "linux/s390x", "--no-unpack", &one]);
    it.tries(&["images", "ls"]);
    // Where nothing matches, the daemon of containerd 2.1 takes everything; ours refuses.
    if it.client == Version::V1_6 {
        let absent = ["images", "pull", "--plain-http", "--platform", "linux/riscv64"];
        it.tries(&[&absent[..], &[&reference]].concat());
    }
    it.tries(&["images", "pull", "--plain-http", "--platform", "not/a/plat/form", &reference]);
    it.tries(&["images", "export", "/no/such/folder/out.tar", &reference]);
    it.tries(&["images", "export", &archive, "test.example/absent:1"]);
    it.tries(&["images", "import", "/no/such/archive.tar"]);
}

fn images_with_wishes(it: &mut Session<'_>) {
    let layers = [Layer::busybox(), Layer::new().file("wish", "1")];
    let reference = it.registry.push("deck/wishes", "1", &Image::of(&layers));
    it.quiet(&["images", "pull", "--plain-http", "--label", "mine=1", &reference]);
    it.tries(&["images", "ls"]);
    it.tries(&["images", "rm", "--sync", &reference]);
    let local = if it.client == Version::V2 { "--local" } else { "--plain-http" };
    let native = ["images", "pull", "--plain-http", local, "--snapshotter", "native"];
    it.quiet(&[&native[..], &[&reference]].concat());
    it.tries(&["snapshots", "ls"]);
    it.tries(&["snapshots", "--snapshotter", "native", "ls"]);
    it.tries(&["images", "check", "--snapshotter", "native"]);
    it.tries(&["run", "--rm", "--snapshotter", "native", &reference, "c", "cat", "/wish"]);
    it.tries(&["images", "rm", "--sync", &reference]);
    it.tries(&["snapshots", "--snapshotter", "native", "ls"]);
    let archive = it.folder.join("two.tar");
    Image::busybox().write_oci_archive(&archive, IMAGE);
    let archive = archive.to_string_lossy().into_owned();
    it.quiet(&["images", "import", "--no-unpack", &archive]);
    it.tries(&["snapshots", "ls"]);
    it.tries(&["images", "check"]);
    it.tries(&["run", "--rm", IMAGE, "c", "echo", "unpacked on the way"]);
    it.tries(&["images", "rm", "--sync", IMAGE]);
    it.quiet(&["images", "import", "--index-name", "test.example/index:1", &archive]);
    it.tries(&["images", "ls", "-q"]);
    it.tries(&["images", "push", "--plain-http", &format!("{}/deck/none:1", it.registry.host())]);
    // Ours says besides that it was unavailable.
    let said = it.quiet_failure(&["images", "pull", "--plain-http", "127.0.0.1:1/deck/none:1"]);
    assert!(said.contains("connection refused"), "{said}");
    if it.client == Version::V2 {
        it.quiet(&[
            "images",
            "convert",
            "--uncompress",
            "--oci",
            "test.example/index:1",
            "test.example/plain:1",
        ]);
        it.tries(&["images", "ls", "-q"]);
        it.quiet(&["images", "rm", "--sync", "test.example/plain:1"]);
        it.ctr_sorted(&["content", "ls", "-q"]);
    }
}

fn content_of_a_registry(it: &mut Session<'_>) {
    let image = Image::of(&[Layer::busybox(), Layer::new().file("second", "2")]);
    let reference = it.registry.push("deck/content", "1", &image);
    it.quiet(&["content", "fetch", "--plain-http", &reference]);
    it.ctr_sorted(&["content", "ls"]);
    it.tries(&["images", "ls"]);
    it.tries(&["content", "fetch-object", "--plain-http", &reference]);
    let digests = it.quiet(&["content", "ls", "-q"]);
    let small = digests.lines().find(|d| it.quiet(&["content", "get", d]).contains("rootfs"));
    let small = small.unwrap().to_owned();
    it.tries(&["content", "fetch-blob", "--plain-http", &reference, &small]);
    let other = format!("{}/deck/content-by-{}:1", it.registry.host(), it.daemon.pid());
    it.quiet(&[
        "content",
        "push-object",
        "--plain-http",
        &other,
        &small,
        "application/vnd.oci.image.config.v1+json",
    ]);
    it.tries(&["content", "fetch", "--plain-http", &reference.replace(":1", ":absent")]);
}

fn content_by_hand(it: &mut Session<'_>) {
    let data = "cargo\n".repeat(1000);
    let digest = stowd_core::Digest::of(data.as_bytes()).to_string();
    let mut ingest = |flags: &[&str], reference: &str| {
        let mut args = vec!["content", "ingest"];
        args.extend(flags);
        args.push(reference);
        let output = it.command(&args).input(data.as_bytes()).output();
        it.note(&args, &format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    };
    ingest(&["--expected-size", "6000"], "sized");
    ingest(&["--expected-size", "6000", "--expected-digest", &digest], "again");
    ingest(&["--expected-size", "1"], "small");
    ingest(&["--expected-digest", "md5:12"], "odd");
    ingest(&["--expected-digest", "nonsense"], "odder");
    it.tries(&["content", "active"]);
    it.tries(&["content", "label", &digest, "a=1", "b=2"]);
    it.tries(&["content", "label", &digest, "a="]);
    it.tries(&["content", "ls"]);
    it.tries(&["content", "label", &digest]);
    it.tries(&["content", "label", &format!("sha256:{}", "1".repeat(64)), "a=1"]);
    it.tries(&["content", "label", "nonsense", "a=1"]);
    it.tries(&["content", "rm", "nonsense"]);
    it.tries(&["content", "rm", &format!("sha256:{}", "1".repeat(64))]);
    it.tries(&["content", "get"]);
    it.tries(&["content", "ingest"]);
    it.tries(&["content", "rm", &digest]);
    it.tries(&["content", "ls", "-q"]);
}

/// Collects what nothing refers to, so that it does not depend on the clock whether it is there.
fn collect(it: &Session<'_>) {
    it.quiet(&["leases", "create", "--id", "collect"]);
    it.quiet(&["leases", "rm", "--sync", "collect"]);
}

/// Keeps a snapshot from the garbage collector.
fn keep(it: &Session<'_>, name: &str) {
    it.quiet(&["snapshots", "label", name, "containerd.io/gc.root=1"]);
}

fn snapshots_in_detail(it: &mut Session<'_>) {
    import(it);
    it.quiet(&["leases", "create", "--id", "kept"]);
    it.tries(&["snapshots", "prepare", "base"]);
    keep(it, "base");
    it.tries(&["snapshots", "usage", "base"]);
    it.tries(&["snapshots", "usage", "-b", "base"]);
    it.tries(&["snapshots", "info", "base"]);
    it.tries(&["snapshots", "view", "look", "base"]);
    it.tries(&["snapshots", "commit", "base", "base"]);
    it.tries(&["snapshots", "commit", "one", "base"]);
    keep(it, "one");
    it.tries(&["snapshots", "commit", "two", "base"]);
    it.tries(&["snapshots", "commit", "two", "one"]);
    it.tries(&["snapshots", "view", "look", "one"]);
    keep(it, "look");
    it.tries(&["snapshots", "commit", "two", "look"]);
    it.tries(&["snapshots", "info", "look"]);
    it.tries(&["snapshots", "label", "one", "a=1", "b=2"]);
    it.tries(&["snapshots", "label", "one", "a="]);
    it.tries(&["snapshots", "info", "one"]);
    it.tries(&["snapshots", "label", "absent", "a=1"]);
    it.tries(&["snapshots", "prepare", "top", "one"]);
    keep(it, "top");
    it.tries(&["snapshots", "tree"]);
    it.tries(&["snapshots", "usage", "absent"]);
    it.tries(&["snapshots", "mounts", "/mnt", "absent"]);
    it.tries(&["snapshots", "mounts", "/mnt", "one"]);
    it.tries(&["snapshots", "diff", "absent"]);
    it.tries(&["snapshots", "diff", "--media-type", "application/nonsense", "one", "top"]);
    it.tries(&["snapshots", "prepare"]);
    it.tries(&["snapshots", "rm"]);
    it.tries(&["snapshots", "unpack", "nonsense"]);
    it.tries(&["snapshots", "rm", "look", "top", "one"]);
    it.tries(&["snapshots", "ls"]);
}

fn containers_in_detail(it: &mut Session<'_>) {
    import(it);
    it.tries(&[
        "containers",
        "create",
        "--label",
        "tier=front",
        "--env",
        "A=1",
        "--cwd",
        "/tmp",
        "--read-only",
        "--memory-limit",
        "33554432",
        IMAGE,
        "one",
        "sleep",
        "1000",
    ]);
    it.tries(&["containers", "info", "one"]);
    it.tries(&["containers", "info", "--spec", "one"]);
    it.tries(&["containers", "label", "one", "more=2", "tier="]);
    it.tries(&["containers", "ls", "labels.more==2"]);
    it.tries(&["containers", "ls", "id==one"]);
    it.tries(&["containers", "ls", "image==nothing"]);
    it.tries(&["containers", "ls", "runtime.name==io.containerd.runc.v2"]);
    it.tries(&["containers", "ls", "id=="]);
    it.tries(&["containers", "label", "absent", "a=1"]);
    it.tries(&["containers", "label", "one"]);
    it.tries(&["containers", "create"]);
    it.tries(&["containers", "create", "test.example/absent:1", "two"]);
    it.tries(&["tasks", "start", "-d", "one"]);
    it.tries(&["containers", "rm", "one"]);
    it.tries(&["tasks", "start", "-d", "one"]);
    it.tries(&["tasks", "kill", "-s", "KILL", "one"]);
    until(it, "one", "STOPPED");
    it.tries(&["tasks", "rm", "one"]);
    it.tries(&["containers", "rm", "one"]);
    it.tries(&["containers", "rm", "one", "two"]);
    it.tries(&["snapshots", "ls"]);
}

fn leases_in_detail(it: &mut Session<'_>) {
    it.tries(&["leases", "create", "--id", "a", "--expires", "0s", "tier=one"]);
    it.tries(&["leases", "create", "--id", "b", "--expires", "1h", "tier=two", "other=x"]);
    it.tries(&["leases", "ls", "-q"]);
    it.tries(&["leases", "ls", "id==a"]);
    it.tries(&["leases", "ls", "labels.tier==two"]);
    it.tries(&["leases", "ls", "id=="]);
    it.tries(&["leases", "create", "--id", "not/good"]);
    it.tries(&["leases", "create", "--id", "c", "--expires", "nonsense"]);
    it.tries(&["leases", "rm", "--sync", "a"]);
    it.tries(&["leases", "rm", "a", "b"]);
    it.tries(&["leases", "ls", "-q"]);
}

fn namespaces_apart(it: &mut Session<'_>) {
    import(it);
    it.tries(&["containers", "create", IMAGE, "one", "sleep", "1000"]);
    it.tries(&["leases", "create", "--id", "mine", "--expires", "0s"]);
    let digests = it.quiet(&["content", "ls", "-q"]);
    let digest = digests.lines().next().unwrap().to_owned();
    const OTHER: &str = "of-another";
    for args in [
        &["images", "ls"][..],
        &["content", "ls"],
        &["containers", "ls"],
        &["snapshots", "ls"],
        &["leases", "ls"],
        &["tasks", "ls"],
    ] {
        let all: Vec<&str> = ["-n", OTHER].iter().chain(args).copied().collect();
        it.tries(&all);
    }
    for args in [
        &["content", "get", &digest][..],
        &["content", "rm", &digest],
        &["content", "label", &digest, "a=1"],
        &["containers", "info", "one"],
        &["containers", "rm", "one"],
        &["tasks", "start", "-d", "one"],
        &["images", "tag", IMAGE, "test.example/other:1"],
        &["leases", "rm", "mine"],
        &["run", "--rm", IMAGE, "c", "true"],
    ] {
        let all: Vec<&str> = ["-n", OTHER].iter().chain(args).copied().collect();
        it.tries(&all);
    }
    it.tries(&["containers", "ls"]);
    it.ctr_sorted(&["content", "ls"]);
}

fn signals(it: &mut Session<'_>) {
    import(it);
    start(it, "one", "trap 'echo >/got-usr1' USR1; while :; do sleep 0.1; done");
    for bad in ["NONSENSE", "SIGNONSENSE"] {
        it.tries(&["tasks", "kill", "-s", bad, "one"]);
    }
    // The words are the runtime's.
    for bad in ["999", "-1"] {
        it.quiet_failure(&["tasks", "kill", "-s", bad, "one"]);
    }
    for good in ["USR1", "SIGUSR1", "sigusr1", "10", "0"] {
        it.tries(&["tasks", "kill", "-s", good, "one"]);
    }
    it.tries(&["tasks", "kill", "--exec-id", "absent", "one"]);
    it.tries(&["tasks", "rm", "one"]);
    it.tries(&["tasks", "kill", "-a", "-s", "KILL", "one"]);
    until(it, "one", "STOPPED");
    it.tries(&["tasks", "kill", "one"]);
    it.tries(&["tasks", "kill", "-s", "KILL", "one"]);
    it.ctr_but_numbers(&["tasks", "ls"]);
    it.tries(&["tasks", "rm", "one", "absent"]);
    it.tries(&["tasks", "ls"]);
}

fn processes(it: &mut Session<'_>) {
    import(it);
    start(it, "one", "exec sleep 1000");
    let exec = |it: &mut Session<'_>, flags: &[&str], command: &[&str]| {
        let mut args = vec!["tasks", "exec", "--exec-id", "e"];
        args.extend(flags);
        args.push("one");
        args.extend(command);
        it.tries(&args)
    };
    exec(it, &[], &["sh", "-c", "id; pwd; env | sort; cat /proc/1/comm"]);
    exec(it, &["--cwd", "/tmp", "--user", "5:6"], &["sh", "-c", "id; pwd"]);
    exec(it, &["--user", "root"], &["id", "-u"]);
    exec(it, &[], &["sh", "-c", "ls /dev | sort | xargs; cat /proc/self/oom_score_adj"]);
    let log = it.folder.join("exec.log");
    exec(it, &["--log-uri", &format!("file://{}", log.display())], &["echo", "into the log"]);
    it.note(&["cat", "exec.log"], &std::fs::read_to_string(&log).unwrap());
    it.tries(&["tasks", "exec", "--exec-id", "e", "one", "sh", "-c", "exit 9"]);
    it.tries(&["tasks", "exec", "--exec-id", "e", "one", "/no/such/program"]);
    it.tries(&[
        "tasks",
        "exec",
        "--exec-id",
        "e",
        "--cwd",
        "/no/such",
        "--user",
        "nobody-such",
        "one",
        "true",
    ]);
    it.tries(&["tasks", "exec", "--exec-id", "not/good", "one", "true"]);
    it.tries(&["tasks", "exec", "--exec-id", "", "one", "true"]);
    it.tries(&["tasks", "exec", "one", "true"]);
    it.tries(&["tasks", "exec", "-d", "--exec-id", "long", "one", "sleep", "1000"]);
    it.tries(&["tasks", "exec", "--exec-id", "long", "one", "true"]);
    it.tries(&["tasks", "rm", "--exec-id", "long", "one"]);
    it.ctr_but_numbers(&["tasks", "ps", "one"]);
    it.tries(&["tasks", "kill", "--exec-id", "long", "-s", "KILL", "one"]);
    // Gone as soon as the shim has seen it.
    let removed = stowd_testing::process::wait_for(|| {
        it.command(&["tasks", "rm", "--exec-id", "long", "one"]).output().status.code() != Some(1)
    });
    assert!(removed, "the killed process is still there");
    it.tries(&["tasks", "rm", "--exec-id", "long", "one"]);
    it.ctr_but_numbers(&["tasks", "ps", "one"]);
    it.quiet(&["tasks", "rm", "-f", "one"]);
}

fn tasks_in_the_wrong_state(it: &mut Session<'_>) {
    import(it);
    start(it, "one", "exec sleep 1000");
    it.tries(&["tasks", "resume", "one"]);
    it.tries(&["tasks", "pause", "one"]);
    it.tries(&["tasks", "pause", "one"]);
    it.tries(&["tasks", "exec", "--exec-id", "e", "one", "true"]);
    it.tries(&["tasks", "rm", "one"]);
    it.ctr_but_numbers(&["tasks", "ls"]);
    it.tries(&["tasks", "resume", "one"]);
    it.quiet(&["tasks", "metrics", "one"]);
    it.quiet(&["tasks", "metrics", "--format", "json", "one"]);
    it.tries(&["tasks", "kill", "-s", "KILL", "one"]);
    until(it, "one", "STOPPED");
    it.tries(&["tasks", "pause", "one"]);
    it.tries(&["tasks", "resume", "one"]);
    it.tries(&["tasks", "exec", "--exec-id", "e", "one", "true"]);
    it.quiet(&["tasks", "metrics", "one"]);
    it.tries(&["tasks", "ps", "one"]);
    it.tries(&["tasks", "start", "one"]);
    it.tries(&["tasks", "attach", "absent"]);
    it.tries(&["tasks", "start", "absent"]);
    it.tries(&["tasks", "ps", "absent"]);
    it.tries(&["tasks", "resume", "absent"]);
    it.quiet(&["tasks", "rm", "one"]);
}
