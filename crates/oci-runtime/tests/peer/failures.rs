//! What is said when a container cannot be made, and how programs end.

use serde_json::{Value, json};

use crate::case::{Case, compare};
use crate::peers::Runner;

fn failing(args: Value) {
    compare(|case| case.args = Some(args.clone()));
}

fn wrong(change: impl Fn(&mut Case<'_>)) {
    compare(|case| change(case));
}

#[test]
fn a_program_that_is_not_in_path() {
    failing(json!(["nope"]));
}

#[test]
fn a_program_that_is_not_there() {
    failing(json!(["/no/such/program"]));
}

#[test]
fn a_program_that_may_not_be_run() {
    failing(json!(["/etc/passwd"]));
}

#[test]
fn a_program_that_is_a_folder() {
    wrong(|case| {
        case.args = Some(json!(["/etc"]));
        case.not(Runner::Runc1_1, "says permission denied");
    });
}

#[test]
fn a_program_below_a_file() {
    failing(json!(["/etc/passwd/x"]));
}

#[test]
fn a_program_in_an_unknown_format() {
    wrong(|case| {
        let odd = case.rootfs.join("bin/odd");
        std::fs::write(&odd, "odd").unwrap();
        std::fs::set_permissions(&odd, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        case.not(Runner::Runc1_1, "ends with status 1 then");
        case.args = Some(json!(["odd"]));
    });
}

#[test]
fn a_program_that_fails() {
    failing(json!(["/bin/sh", "-c", "exit 42"]));
}

#[test]
fn a_program_that_kills_itself() {
    // The first process of a namespace cannot be killed from inside; one in the machine's can.
    wrong(|case| {
        case.spec["linux"]["namespaces"] = json!([{ "type": "mount" }]);
        case.args = Some(json!(["/bin/sh", "-c", "kill -9 $$"]));
    });
}

#[test]
fn no_arguments() {
    failing(json!([]));
}

#[test]
fn a_working_directory_that_is_a_file() {
    wrong(|case| case.spec["process"]["cwd"] = json!("/etc/passwd"));
}

#[test]
fn a_working_directory_that_is_not_absolute() {
    wrong(|case| case.spec["process"]["cwd"] = json!("tmp"));
}

#[test]
fn a_mount_whose_source_is_not_there() {
    wrong(|case| {
        case.mount("bind", "/no/such", "/data", &["rbind"]);
        case.not(Runner::Runc1_3, "opens sources before it gets to the mount that it would name");
    });
}

#[test]
fn a_folder_mounted_on_a_file() {
    wrong(|case| case.mount("bind", "/tmp", "/etc/passwd", &["rbind"]));
}

#[test]
fn an_unknown_file_system() {
    wrong(|case| case.mount("nosuchfs", "x", "/data", &[]));
}

#[test]
fn a_mount_inside_proc() {
    wrong(|case| {
        case.mount("tmpfs", "x", "/proc/self/attr", &[]);
        case.not(Runner::Runc1_1, "lets that happen: CVE-2023-27561 and those after it");
    });
}

#[test]
fn a_parameter_of_the_machine() {
    wrong(|case| case.spec["linux"]["sysctl"] = json!({ "kernel.panic": "5" }));
}

#[test]
fn a_variable_without_a_value() {
    wrong(|case| {
        case.spec["process"]["env"] = json!(["PATH=/bin", "ALONE"]);
        case.not(Runner::Runc1_3, "does not name it");
    });
}

#[test]
fn a_hook_that_fails() {
    wrong(|case| {
        case.spec["hooks"] = json!({ "createRuntime": [
            { "path": "/bin/sh", "args": ["sh", "-c", "echo because >&2; exit 3"] }
        ] });
        case.not(Runner::Runc1_1, "does not name the kind of hook");
    });
}

#[test]
fn a_script_without_its_interpreter() {
    wrong(|case| {
        let script = case.rootfs.join("bin/script");
        std::fs::write(&script, "#!/no/such\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        case.not(Runner::Runc1_1, "ends with status 1 then");
        case.args = Some(json!(["script"]));
    });
}

#[test]
fn one_more_process_that_is_no_program() {
    wrong(|case| {
        let odd = case.rootfs.join("bin/odd");
        std::fs::write(&odd, "odd").unwrap();
        std::fs::set_permissions(&odd, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        case.exec = Some(case.spec["process"].clone());
        case.not(Runner::Runc1_1, "ends with status 1 then");
        case.args = Some(json!(["odd"]));
    });
}

#[test]
fn a_program_that_one_more_process_lacks() {
    wrong(|case| {
        case.exec = Some(case.spec["process"].clone());
        case.args = Some(json!(["nope"]));
    });
}

#[test]
fn limits_that_the_kernel_does_not_take() {
    for resources in [
        json!({ "cpu": { "cpus": "99" } }),
        json!({ "cpu": { "shares": 1 } }),
        json!({ "cpu": { "quota": 1, "period": 100_000 } }),
        json!({ "memory": { "swap": 100_000_000, "limit": 200_000_000 } }),
        json!({ "memory": { "swappiness": 101 } }),
        json!({ "unified": { "memory.max": "1" } }),
        json!({ "blockIO": { "throttleReadBpsDevice": [{ "major": 99, "minor": 0, "rate": 1 }] } }),
    ] {
        wrong(|case| {
            println!("{resources}");
            case.spec["linux"]["resources"] = resources.clone();
        });
    }
}

#[test]
fn namespaces_that_make_no_sense() {
    for namespaces in [
        json!([{ "type": "mount" }, { "type": "mount" }]),
        json!([{ "type": "mount" }, { "type": "pid", "path": "/no/such" }]),
        json!([{ "type": "mount" }, { "type": "nonsense" }]),
    ] {
        wrong(|case| {
            println!("{namespaces}");
            case.spec["linux"]["namespaces"] = namespaces.clone();
        });
    }
}

#[test]
fn names_without_a_namespace() {
    wrong(|case| {
        case.spec["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "pid" }]);
        case.spec["hostname"] = json!("mine");
    });
}

#[test]
fn an_unknown_limit() {
    wrong(|case| {
        case.spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_X", "soft": 1, "hard": 1 }]);
    });
}

#[test]
fn a_soft_limit_above_the_hard_one() {
    wrong(|case| {
        case.spec["process"]["rlimits"] =
            json!([{ "type": "RLIMIT_NOFILE", "soft": 200, "hard": 100 }]);
    });
}

#[test]
fn a_profile_that_makes_no_sense() {
    for seccomp in [
        json!({ "defaultAction": "SCMP_ACT_NONSENSE" }),
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NONE"] }),
    ] {
        wrong(|case| {
            println!("{seccomp}");
            case.spec["linux"]["seccomp"] = seccomp.clone();
        });
    }
}
