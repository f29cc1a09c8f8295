//! `stress`, under its own name and as `containerd-stress`, against both daemons.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::Value;
use stowd_testing::daemon::{Kind, programs};
use stowd_testing::image::Image;
use stowd_testing::process::{Background, Run, wait_for};
use stowd_testing::{Daemon, Scratch, Version};

use crate::IMAGE;

/// One test, as the program's namespaces have fixed names.
#[test]
fn containers_and_execs_are_counted() {
    stowd_testing::need!(root, clients, overlayfs, stowd);
    for kind in [Kind::Stowd, Kind::Containerd(Version::V2)] {
        let scratch = Scratch::new();
        let daemon = Daemon::start(kind, &scratch, "");
        let archive = scratch.join("image.tar");
        Image::busybox().write_oci_archive(&archive, IMAGE);
        for namespace in ["stress", "density"] {
            let import = ["-n", namespace, "images", "import", archive.to_str().unwrap()];
            daemon.stowctl().args(import).ok();
        }
        let link = scratch.join("containerd-stress");
        symlink(programs().join("stowctl"), &link).unwrap();
        let socket = daemon.socket();
        let stress = |args: &[&str]| {
            let address = ["-a".as_ref(), socket.as_os_str()];
            let output = Run::program(&link).args(address).args(["-i", IMAGE]).args(args).output();
            let (said, told) = (text(&output.stdout), text(&output.stderr));
            assert!(output.status.success(), "{kind:?} {args:?}: {told}");
            (said, told)
        };

        let (said, told) = stress(&["-j", "-d", "1s", "-c", "2", "--exec"]);
        let report: Value = serde_json::from_str(&said).unwrap();
        assert!(report["total"].as_u64() >= Some(2), "{said}");
        assert!(report["execTotal"].as_u64() >= Some(2), "{said}");
        assert_eq!(
            (&report["failures"], &report["execFailures"]),
            (&0.into(), &0.into()),
            "{told}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");

        let (said, told) = stress(&["--duration", "100ms"]);
        assert!(said.is_empty() && told.contains("create/start/delete "), "{said}{told}");

        let (said, _) = stress(&["density", "--count", "2"]);
        let memory: Value = serde_json::from_str(&said).unwrap();
        let of = |name: &str| memory[name].as_u64().unwrap();
        assert!(of("pss") > 0 && of("rss") >= of("pss"), "{said}");
        assert_eq!(of("pssPerContainer"), of("pss") / 2);

        for namespace in ["stress", "density"] {
            let left = daemon.stowctl().args(["-n", namespace, "containers", "ls", "-q"]).ok();
            assert_eq!(left, "", "{kind:?} {namespace}");
        }
        if kind == Kind::Stowd {
            tells_prometheus(&scratch, &daemon);
        }
    }
}

/// What is told while a test runs, and that an interrupt ends it with its results.
fn tells_prometheus(scratch: &Scratch, daemon: &Daemon) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(programs().join("stowctl"));
    command.arg("-a").arg(daemon.socket()).args(["stress", "-i", IMAGE, "-d", "5m"]);
    command.args(["-m", &format!("127.0.0.1:{port}")]);
    let mut running = Background::start(command, &scratch.join("stress.log"));
    let mut told = String::new();
    let seen = wait_for(|| {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        told.clear();
        stream.read_to_string(&mut told).is_ok() && told.contains("stress_run_seconds_count{")
    });
    assert!(seen, "{told}\n{}", running.log());
    assert!(told.contains("Content-Type: text/plain; version=0.0.4"), "{told}");
    running.signal(rustix::process::Signal::INT);
    assert!(wait_for(|| !running.is_running()), "an interrupt ends it");
    assert!(running.log().contains("create/start/delete "), "{}", running.log());
}

#[test]
fn what_cannot_be_tested_is_said() {
    stowd_testing::need!(stowd);
    let stress = |args: &[&str]| Run::program(programs().join("stowctl")).args(args).fails();
    assert!(stress(&["stress", "--cri"]).contains("hint: leave --cri out"));
    assert!(stress(&["stress", "-a", "/no/such.sock"]).contains("connect to /no/such.sock"));
    assert!(stress(&["stress", "density", "--count", "0"]).contains("--count"));
    assert!(stress(&["stress", "-m", "nowhere"]).contains("hint: --metrics takes"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
