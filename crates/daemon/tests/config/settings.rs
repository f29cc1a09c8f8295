//! Settings that the daemon's process shows.

use std::fs;

use rustix::process::Signal;
use stowd_cgroups::{Cgroup, CgroupsPath, Driver, Layout};
use stowd_testing::process::wait_for;
use stowd_testing::{Daemon, Scratch, need};

/// Removes a cgroup when its daemon, which was made later, is gone.
struct Left(Cgroup);

impl Drop for Left {
    fn drop(&mut self) {
        let _ = self.0.delete();
    }
}

#[test]
fn score_cgroup_and_temporary_files() {
    need!(root, clients, stowd);
    let scratch = Scratch::new();
    let name = scratch.name("cgroup");
    let parsed = CgroupsPath::parse(&format!("/{name}"), "", Driver::Cgroupfs).unwrap();
    let _left = Left(Cgroup::load(parsed.resolve(Layout::get().unwrap()).unwrap()));
    let mut daemon = Daemon::stowd(&scratch);
    let path = scratch.join("stowd/config.toml");
    let temp = scratch.join("temp");
    let text = fs::read_to_string(&path).unwrap().replacen(
        "version = 3\n",
        &format!("version = 3\noom_score = 321\ntemp = '{}'\n", temp.display()),
        1,
    );
    fs::write(&path, format!("{text}\n[cgroup]\npath = '{name}'\n")).unwrap();
    daemon.restart();

    let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", daemon.pid())).unwrap();
    assert_eq!(read("oom_score_adj"), "321\n");
    assert!(read("cgroup").contains(&format!(":/{name}\n")), "{}", read("cgroup"));
    daemon.signal(Signal::USR1);
    let dump = temp.join(format!("containerd.{}.stacks.log", daemon.pid()));
    assert!(wait_for(|| dump.exists()), "{}", daemon.log());

    fs::write(&path, fs::read_to_string(&path).unwrap().replace("321", "322")).unwrap();
    daemon.signal(Signal::HUP);
    assert!(wait_for(|| read("oom_score_adj") == "322\n"), "{}", daemon.log());
}

#[test]
fn what_is_disabled_is_not_there() {
    need!(root, clients, stowd);
    let scratch = Scratch::new();
    let mut daemon = Daemon::stowd(&scratch);
    let path = scratch.join("stowd/config.toml");
    let written = fs::read_to_string(&path).unwrap();
    let disable = |more: &str| {
        let lines = format!(
            "version = 3\ndisabled_plugins = ['io.containerd.grpc.v1.leases', \
             'io.containerd.snapshotter.v1.native']\n{more}"
        );
        fs::write(&path, written.replacen("version = 3\n", &lines, 1)).unwrap();
    };
    disable("");
    daemon.restart();
    let ctr = |args: &[&str]| daemon.ctr(stowd_testing::Version::V2).args(args);
    let said = ctr(&["leases", "ls"]).fails();
    assert!(said.contains("unknown service containerd.services.leases.v1.Leases"), "{said}");
    let listed = ctr(&["plugins", "ls"]).ok();
    assert!(!listed.contains("leases") && !listed.contains("native"), "{listed}");
    ctr(&["images", "ls"]).ok();

    disable("required_plugins = ['io.containerd.grpc.v1.leases']\n");
    let mut again = std::process::Command::new(stowd_testing::daemon::programs().join("stowd"));
    let other = scratch.folder("other");
    again.arg("--config").arg(&path).arg("--root").arg(other.join("r"));
    again.arg("--state").arg(other.join("s")).arg("--address").arg(other.join("a"));
    let said = stowd_testing::process::Run::new(again).fails();
    assert!(said.contains("required plugin [\"io.containerd.grpc.v1.leases\"]"), "{said}");
}
