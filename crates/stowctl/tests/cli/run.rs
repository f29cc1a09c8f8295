//! `run`, in both grammars.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;

use rustix::process::Signal;
use stowd_testing::registry::{Access, PASSWORD, Transport, USER};
use stowd_testing::{Registry, need};

use crate::{FOREVER, IMAGE, It, signal, stderr};

#[test]
fn a_command_runs_and_nothing_stays() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    assert_eq!(it.stowctl(&["run", "busybox", "echo", "hello"]).ok(), "hello\n");
    let output = it.stowctl(&["run", "busybox", "sh", "-c", "echo bad >&2; exit 7"]).output();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(7), "bad\n"));
    let output =
        it.stowctl(&["run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).output();
    assert_eq!(output.status.code(), Some(137));
    // What stands behind the image is the command's.
    assert_eq!(it.stowctl(&["run", "busybox", "echo", "--rm", "-d"]).ok(), "--rm -d\n");
    it.nothing_is_left();
}

#[test]
fn as_ctr_the_container_is_named_and_kept() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    assert_eq!(it.ctr(&["run", IMAGE, "kept", "echo", "first"]).ok(), "first\n");
    assert_eq!(it.ctr(&["containers", "ls", "-q"]).ok(), "kept\n");
    assert_eq!(it.ctr(&["tasks", "start", "kept"]).ok(), "first\n");
    it.fails_as_ctr(&["run", IMAGE, "kept", "true"]);
    it.ctr(&["containers", "rm", "kept"]).ok();
    assert_eq!(it.ctr(&["run", "--rm", IMAGE, "gone", "echo", "x"]).ok(), "x\n");
    it.nothing_is_left();
}

#[test]
fn errors_are_ctrs() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    for args in [
        &["run"][..],
        &["run", IMAGE],
        &["run", "absent", "x"],
        &["run", "--rm", "-d", IMAGE, "x"],
        &["run", "--rm", "--with-ns", "ipc:/proc/self/ns/absent", IMAGE, "x", "true"],
        &["run", "--rm", IMAGE, "x", "/absent"],
        &["run", "--rm", "--user", "absent", IMAGE, "x", "true"],
        &["run", "--rm", "--device", "/dev/absent", IMAGE, "x", "true"],
    ] {
        let said = it.ctr(args).fails();
        assert!(said.starts_with("ctr: "), "{said}");
    }
    it.fails_as_ctr(&["run"]);
    it.fails_as_ctr(&["run", IMAGE]);
    it.fails_as_ctr(&["run", "absent", "x"]);
    it.fails_as_ctr(&["run", "--rm", "-d", IMAGE, "x"]);
    it.fails_as_ctr(&["run", "--rm", IMAGE, "x", "/absent"]);
    it.nothing_is_left();
}

#[test]
fn what_cannot_be_done_is_refused_with_a_hint() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    for flags in [
        &["--cni"][..],
        &["--gpus", "0"],
        &["--blockio-class", "x"],
        &["--apparmor-default-profile", "x"],
        &["--uidmap", "0:1000:10", "--gidmap", "0:1000:10"],
    ] {
        let mut args = vec!["run"];
        args.extend_from_slice(flags);
        args.push("busybox");
        let said = it.stowctl(&args).fails();
        assert!(said.contains("not implemented") && said.contains("hint: "), "{said}");
    }
    let said = it.stowctl(&["run", "--pull", "never", "absent"]).fails();
    assert!(said.contains("docker.io/library/absent:latest") && said.contains("hint: "), "{said}");
    let said = it.stowctl(&["run"]).fails();
    assert!(said.contains("hint: "), "{said}");
    it.nothing_is_left();
}

#[test]
fn a_missing_image_is_pulled() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let registry = Registry::start(&it.scratch);
    let name = registry.push("tool", "2", &stowd_testing::image::Image::busybox());
    assert_eq!(it.stowctl(&["run", "--plain-http", &name, "echo", "new"]).ok(), "new\n");
    // Now it is here.
    assert_eq!(it.stowctl(&["run", "--pull=never", &name, "echo", "old"]).ok(), "old\n");
    let said =
        it.stowctl(&["run", "--plain-http", "--pull=always", &name, "sh", "-c", "echo $0"]).ok();
    assert_eq!(said, "sh\n");
    it.nothing_is_left();
}

#[test]
fn a_guarded_registry_is_let_in_to() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let registry = Registry::start_with(&it.scratch, Transport::Tls, Access::Password);
    let name = registry.push("secret", "1", &stowd_testing::image::Image::busybox());
    let said = it.stowctl(&["run", "-k", &name, "true"]).fails();
    assert!(said.contains("hint: give credentials with --creds"), "{said}");
    let creds = format!("{USER}:{PASSWORD}");
    let said = it.stowctl(&["run", "-k", "--creds", USER, &name, "true"]).fails();
    assert!(said.contains("--creds has no password"), "{said}");
    let args = ["run", "-k", "--creds", &creds, &name, "echo", "in"];
    assert_eq!(it.stowctl(&args).ok(), "in\n");
    it.nothing_is_left();
}

#[test]
fn input_goes_in_and_ends() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    assert_eq!(it.stowctl(&["run", "busybox", "cat"]).input("hi\n").ok(), "hi\n");
    let many = "line\n".repeat(100_000);
    let said = it.stowctl(&["run", "busybox", "cat"]).input(many.clone()).ok();
    assert!(said == many, "{} of {} bytes came back", said.len(), many.len());
    let said = it.ctr(&["run", "--rm", IMAGE, "c", "wc", "-c"]).input(many).ok();
    assert_eq!(said.trim(), "500000");
    it.nothing_is_left();
}

#[test]
fn large_output_is_whole_also_for_slow_readers() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let script = "i=0; while [ $i -lt 50000 ]; do echo line $i; i=$((i+1)); done";
    let mut child = it.spawn("stowctl", &["run", "busybox", "sh", "-c", script]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said.lines().count(), 50_000);
    it.nothing_is_left();
}

#[test]
fn a_reader_that_goes_ends_it() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let mut child = it.spawn("stowctl", &["run", "busybox", "yes"]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "y\n");
    assert_eq!(child.wait().unwrap().code(), Some(141));
    it.nothing_is_left();
}

#[test]
fn signals_are_passed_on() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    for (number, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::USR1, "USR1")] {
        let script = format!("trap 'echo {name}; exit 3' {name}; echo ready; {FOREVER}");
        let mut child = it.spawn("stowctl", &["run", "busybox", "sh", "-c", &script]);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        signal(&child, number);
        output.read_line(&mut line).unwrap();
        assert_eq!(line, format!("ready\n{name}\n"));
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }
    it.nothing_is_left();
}

#[test]
fn whoever_asks_often_is_heard() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let script = format!("trap '' INT; echo ready; {FOREVER}");
    let mut child = it.spawn("stowctl", &["run", "busybox", "sh", "-c", &script]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    // Two that come at once count as one.
    stowd_testing::process::wait_for(|| {
        signal(&child, Signal::INT);
        std::thread::sleep(std::time::Duration::from_millis(50));
        child.try_wait().unwrap().is_some()
    });
    assert_eq!(child.wait().unwrap().code(), Some(137));
    it.nothing_is_left();
}

#[test]
fn interrupted_at_any_moment_it_leaves_nothing() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    for delay in [0, 2, 4, 6, 8, 10, 15, 20, 30, 50, 80] {
        let mut child = it.spawn("stowctl", &["run", "busybox", "sleep", "1000"]);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        // One may not be enough: as pid 1 the process ignores what it has no handler for.
        stowd_testing::process::wait_for(|| {
            signal(&child, Signal::TERM);
            std::thread::sleep(std::time::Duration::from_millis(60));
            child.try_wait().unwrap().is_some()
        });
        assert!(!child.wait().unwrap().success());
    }
    it.nothing_is_left();
}

#[test]
fn a_timeout_leaves_nothing() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let said = it.stowctl(&["--timeout", "700ms", "run", "busybox", "sleep", "1000"]).fails();
    assert!(said.contains("--timeout"), "{said}");
    it.nothing_is_left();
}

#[test]
fn it_runs_in_the_background() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let name = it.stowctl(&["run", "-d", "--null-io", "busybox", "sleep", "1000"]).ok();
    let name = name.trim();
    assert!(name.starts_with("busybox-"), "{name}");
    it.until(name, "RUNNING");
    it.stowctl(&["tasks", "rm", "-f", name]).ok();
    it.stowctl(&["containers", "rm", name]).ok();
    let output = it.stowctl(&["run", "--keep", "--name", "mine", "busybox", "true"]).output();
    assert!(output.status.success() && stderr(&output).contains("mine"));
    let said = it.stowctl(&["run", "--name", "mine", "busybox", "true"]).fails();
    assert!(said.contains("already exists") && said.contains("hint: "), "{said}");
    it.stowctl(&["containers", "rm", "mine"]).ok();
    it.nothing_is_left();
}

#[test]
fn flags_shape_the_container() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    std::fs::write(it.path("data"), "outside\n").unwrap();
    std::fs::write(it.path("vars"), "C=d\n\nE=f\n").unwrap();
    let mount = format!("type=bind,src={},dst=/data,options=rbind:ro", it.path("data").display());
    let vars = it.path("vars").to_string_lossy().into_owned();
    let runs: [(&[&str], &[&str], &str); 8] = [
        (&["--mount", &mount], &["cat", "/data"], "outside\n"),
        (&["-e", "A=b", "--env-file", &vars], &["sh", "-c", "echo $A$C$E"], "bdf\n"),
        (&["--cwd", "/tmp"], &["pwd"], "/tmp\n"),
        (&["-u", "1000:7"], &["sh", "-c", "id -u; id -g"], "1000\n7\n"),
        (&["--hostname", "box"], &["hostname"], "box\n"),
        (&["--read-only"], &["sh", "-c", "touch /x 2>/dev/null || echo no"], "no\n"),
        (&["--rlimit-nofile", "77:99"], &["sh", "-c", "ulimit -n"], "77\n"),
        (&["--snapshotter", "native"], &["echo", "native"], "native\n"),
    ];
    for (flags, command, expected) in runs {
        let mut args = vec!["run"];
        args.extend_from_slice(flags);
        args.push("busybox");
        args.extend_from_slice(command);
        assert_eq!(it.stowctl(&args).ok(), expected, "{args:?}");
    }
    let pid_file = it.path("pid").to_string_lossy().into_owned();
    it.stowctl(&["run", "--pid-file", &pid_file, "busybox", "true"]).ok();
    assert!(std::fs::read_to_string(&pid_file).unwrap().parse::<u32>().is_ok());
    let log = it.path("log");
    let uri = format!("file://{}", log.display());
    it.stowctl(&["run", "--log-uri", &uri, "busybox", "echo", "logged"]).ok();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "logged\n");
    it.nothing_is_left();
}

#[test]
fn input_is_left_to_others_when_nothing_runs() {
    need!(root, clients, overlayfs, stowd);
    let it = It::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"mine\n").unwrap();
    drop(writer);
    let mut command = it.command("stowctl", &["run", "busybox", "/absent"]);
    command.stdin(Stdio::from(reader.try_clone().unwrap()));
    assert!(!command.output().unwrap().status.success());
    let mut left = String::new();
    BufReader::new(reader).read_line(&mut left).unwrap();
    assert_eq!(left, "mine\n");
}
