//! Mounts and their options.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;
use stowd_testing::process::Run;

use crate::case::{Case, compare, text};
use crate::peers::Runner;

/// Something to mount: a folder with a program, a device and a link, and a mount below.
fn furnish(case: &Case<'_>) -> String {
    let data = &case.data;
    fs::write(data.join("file"), "from the host\n").unwrap();
    symlink("file", data.join("link")).unwrap();
    fs::copy(case.rootfs.join("bin/busybox"), data.join("program")).unwrap();
    Run::program("mknod").args([text(&data.join("null")).as_str(), "c", "1", "3"]).ok();
    let below = data.join("below");
    fs::create_dir(&below).unwrap();
    Run::program("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,nodev", "below"])
        .args([&below])
        .ok();
    fs::write(below.join("deep"), "deep\n").unwrap();
    text(data)
}

const TRY: &str = "for d in /m*; do echo $d; $b touch $d/new && $b rm $d/new; \
                   $b touch $d/below/new && $b rm $d/below/new; $d/program true && echo runs; \
                   : > $d/null && echo device; $b cat $d/link; $b cat $d/below/deep; done";

#[test]
fn binds_with_each_option() {
    compare(|case| {
        let data = furnish(case);
        for (number, options) in [
            &["bind"][..],
            &["rbind"],
            &["rbind", "ro"],
            &["bind", "nosuid", "nodev", "noexec"],
            &["rbind", "rw", "exec"],
            &["bind", "noatime"],
            &["bind", "nodiratime"],
            &["bind", "strictatime"],
            &["rbind", "rprivate", "ro"],
            &["bind", "relatime"],
        ]
        .iter()
        .enumerate()
        {
            case.mount("bind", &data, &format!("/m{number}"), options);
        }
        case.more = TRY.into();
    });
}

#[test]
fn binds_with_recursive_options() {
    compare(|case| {
        let data = furnish(case);
        for (number, options) in [
            &["rbind", "rro"][..],
            &["rbind", "rnosuid", "rnodev"],
            &["rbind", "rnoexec"],
            &["rbind", "ro", "rnoatime"],
            &["rbind", "rro", "rrw"],
            &["rbind", "rnosymfollow"],
            &["bind", "rro"],
        ]
        .iter()
        .enumerate()
        {
            case.mount("bind", &data, &format!("/m{number}"), options);
        }
        case.more = TRY.into();
        case.not(Runner::Runc1_1, "knows only some of them");
    });
}

#[test]
fn binds_of_what_is_itself_restricted() {
    compare(|case| {
        let data = case.data.join("own");
        fs::create_dir(&data).unwrap();
        case.not(Runner::Runc1_1, "what is named to be cleared is not before 1.2");
        let options = "size=64k,ro,nosuid,nodev,noexec,noatime";
        Run::program("mount").args(["-t", "tmpfs", "-o", options, "t"]).args([&data]).ok();
        let data = text(&data);
        for (number, options) in [
            &["bind"][..],
            &["bind", "rw"],
            &["bind", "ro"],
            &["bind", "nodev"],
            &["bind", "suid"],
            &["bind", "relatime"],
        ]
        .iter()
        .enumerate()
        {
            case.mount("bind", &data, &format!("/m{number}"), options);
        }
    });
}

#[test]
fn propagation_of_each_kind() {
    compare(|case| {
        let data = furnish(case);
        Run::program("mount").args(["--bind", data.as_str(), data.as_str()]).ok();
        Run::program("mount").args(["--make-shared", data.as_str()]).ok();
        for kind in [
            "private",
            "rprivate",
            "slave",
            "rslave",
            "shared",
            "rshared",
            "unbindable",
            "runbindable",
        ] {
            case.mount("bind", &data, &format!("/m-{kind}"), &["rbind", kind]);
        }
        case.mount("tmpfs", "t", "/t-shared", &["shared", "size=16k"]);
    });
}

fn with_root_propagation(kind: &str) {
    compare(|case| {
        if kind == "unbindable" {
            case.not(Runner::Runc1_1, "cannot enter such a root");
        }
        if kind == "shared" {
            case.not(Runner::Runc1_1, "makes no such root");
        }
        let data = furnish(case);
        Run::program("mount").args(["--bind", data.as_str(), data.as_str()]).ok();
        Run::program("mount").args(["--make-shared", data.as_str()]).ok();
        if kind != "unbindable" {
            // With that, runc lets the container's mounts stay peers of the machine's.
            case.mount("bind", &data, "/m", &["rbind"]);
        }
        case.spec["linux"]["rootfsPropagation"] = json!(kind);
    });
}

#[test]
fn a_private_root() {
    with_root_propagation("rprivate");
}

#[test]
fn a_slave_root() {
    with_root_propagation("rslave");
}

#[test]
fn a_shared_root() {
    with_root_propagation("shared");
}

#[test]
fn an_unbindable_root() {
    with_root_propagation("unbindable");
}

#[test]
fn mount_points_that_are_not_there() {
    compare(|case| {
        let data = furnish(case);
        let file = text(&case.data.join("file"));
        case.mount("bind", &data, "/new/place/for/it", &["bind"]);
        case.mount("bind", &file, "/new/file", &["bind", "ro"]);
        case.mount("bind", &file, "/etc/over", &["bind"]);
        case.mount("tmpfs", "t", "/new/tmpfs", &["size=32k", "mode=1711", "nr_inodes=20"]);
        case.mount("bind", "/dev/null", "/new/device", &["bind"]);
        case.more = "$b find /new /etc/over | $b sort; $b cat /new/file /etc/over".into();
    });
}

#[test]
fn mount_points_behind_links() {
    compare(|case| {
        let data = furnish(case);
        fs::create_dir_all(case.rootfs.join("real/place")).unwrap();
        symlink("/real/place", case.rootfs.join("absolute")).unwrap();
        symlink("../../../real", case.rootfs.join("relative")).unwrap();
        symlink("/not/there", case.rootfs.join("dangling")).unwrap();
        symlink("run", case.rootfs.join("var")).unwrap();
        case.mount("bind", &data, "/absolute", &["bind", "ro"]);
        case.mount("tmpfs", "t", "/relative/inner", &["size=32k"]);
        case.mount("bind", &data, "/dangling/inner", &["bind"]);
        case.mount("bind", &data, "/var/lib", &["bind"]);
        case.more =
            "$b ls -l /absolute/file /relative /dangling/ /var/lib/file | $b cut -c1-10".into();
    });
}

#[test]
fn tmpfs_over_a_folder() {
    compare(|case| {
        let mode = PermissionsExt::from_mode(0o2750);
        fs::set_permissions(case.rootfs.join("home/user"), mode).unwrap();
        std::os::unix::fs::chown(case.rootfs.join("home/user"), Some(1000), Some(1000)).unwrap();
        case.mount("tmpfs", "t", "/home/user", &["nosuid", "nodev", "size=1m"]);
        case.mount("tmpfs", "t", "/tmp", &["nosuid", "noexec", "ro"]);
        case.mount("tmpfs", "named", "/opt", &["uid=5", "gid=6", "mode=0700"]);
        case.more = "$b stat -c '%n %A %u %g' /home/user /tmp /opt".into();
    });
}

#[test]
fn other_file_systems() {
    compare(|case| {
        case.mount("proc", "proc", "/proc2", &["ro", "hidepid=2"]);
        case.mount("sysfs", "sysfs", "/sys2", &["ro", "nosuid"]);
        case.mount("ramfs", "r", "/ram", &["noatime"]);
        case.mount("mqueue", "q", "/queue", &["nosuid"]);
        case.mount("devpts", "p", "/pts2", &["newinstance", "mode=0600", "max=3"]);
        let lower = case.data.join("lower");
        fs::create_dir(&lower).unwrap();
        fs::write(lower.join("file"), "lower\n").unwrap();
        let (upper, work) = (case.data.join("upper"), case.data.join("work"));
        for dir in [&upper, &work] {
            fs::create_dir(dir).unwrap();
        }
        let option = |name: &str, path: &Path| format!("{name}={}", path.display());
        let options =
            [option("lowerdir", &lower), option("upperdir", &upper), option("workdir", &work)];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        case.mount("overlay", "overlay", "/over", &options);
        case.more = "$b cat /over/file; echo x > /over/new; $b ls -l /pts2 | $b cut -c1-10".into();
    });
}

#[test]
fn mounts_over_mounts() {
    compare(|case| {
        let data = furnish(case);
        case.mount("tmpfs", "first", "/m", &["size=16k"]);
        case.mount("tmpfs", "second", "/m", &["size=32k"]);
        case.mount("bind", &data, "/m/inner", &["bind"]);
        case.mount("tmpfs", "third", "/m/inner/below", &["size=64k", "ro"]);
        case.mount("bind", &text(&case.data.join("file")), "/run/file", &["bind"]);
    });
}

#[test]
fn a_bind_over_dev_and_its_parts() {
    compare(|case| {
        case.spec["mounts"] = json!([
            { "destination": "/proc", "type": "proc", "source": "proc",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "bind", "source": case.data, "options": ["rbind"] }
        ]);
        for name in ["null", "zero"] {
            let path = text(&case.data.join(name));
            Run::program("mknod")
                .args([path.as_str(), "c", "1", if name == "null" { "3" } else { "5" }])
                .ok();
        }
        case.spec["linux"]["maskedPaths"] = json!(["/proc/kcore", "/proc/timer_list"]);
    });
}

#[test]
fn ids_mapped_on_a_mount() {
    compare(|case| {
        furnish(case);
        let plain = case.data.join("plain");
        fs::create_dir(&plain).unwrap();
        for (name, uid) in [("one", 0), ("two", 1000), ("three", 70_000)] {
            fs::write(plain.join(name), name).unwrap();
            std::os::unix::fs::chown(plain.join(name), Some(uid), Some(uid)).unwrap();
        }
        let map = json!([{ "containerID": 0, "hostID": 1000, "size": 10 },
                         { "containerID": 1000, "hostID": 2000, "size": 5000 }]);
        case.push(
            "/mounts",
            json!({
                "destination": "/m", "type": "bind", "source": plain, "options": ["bind", "idmap"],
                "uidMappings": map, "gidMappings": map
            }),
        );
        case.more =
            "$b stat -c '%n %u %g' /m /m/*; $b touch /m/new; $b stat -c '%n %u %g' /m/new".into();
        case.not(Runner::Runc1_1, "does not map ids of mounts");
    });
}

#[test]
fn tmpfs_with_what_it_covers() {
    compare(|case| {
        let home = case.rootfs.join("home");
        fs::write(home.join("user/file"), "covered\n").unwrap();
        symlink("file", home.join("user/link")).unwrap();
        fs::set_permissions(home.join("user/file"), PermissionsExt::from_mode(0o4640)).unwrap();
        std::os::unix::fs::chown(home.join("user/file"), Some(1000), Some(7)).unwrap();
        case.mount("tmpfs", "t", "/home", &["tmpcopyup", "size=1m"]);
        case.more = "$b find /home | $b sort | $b xargs $b stat -c '%N %A %u %g'; \
                     $b cat /home/user/link"
            .into();
    });
}

#[test]
fn sources_below_the_bundle_and_odd_paths() {
    compare(|case| {
        let data = furnish(case);
        let own = case.rootfs.parent().unwrap().join("own");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("file"), "of the bundle\n").unwrap();
        case.mount("bind", "own", "/m1", &["bind", "ro"]);
        case.mount("bind", &format!("{data}//./below/"), "/m2//./x/", &["rbind"]);
        case.mount("none", &data, "/m3/../m4", &["rbind", "nosymfollow"]);
        case.mount("", &data, "/m5", &["bind", "async", "norelatime", "nostrictatime"]);
        case.mount("bind", &text(&case.data.join("file")), "/proc/meminfo", &["bind", "ro"]);
        case.more = "$b cat /m1/file /m2/x/deep /proc/meminfo; $b cat /m4/link".into();
        case.not(Runner::Runc1_1, "knows of no nosymfollow");
    });
}
