//! What this runtime can do, in the form of the runtime specification's `features.md`.

use serde_json::{Value, json};

use crate::{capabilities, plan, spec};

/// Returns the features structure that `runc features` prints.
pub fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": spec::VERSION,
        "hooks": [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
            "poststop",
        ],
        "mountOptions": plan::options::names(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities::names(),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": false },
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE",
                    "SCMP_ACT_TRAP",
                ],
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "mountExtensions": { "idmap": { "enabled": true } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_understood() {
        let features = features();
        let has = |list: &Value, name: &str| list.as_array().unwrap().contains(&name.into());
        for option in ["bind", "rslave", "rro", "ridmap", "tmpcopyup", "defaults"] {
            assert!(has(&features["mountOptions"], option), "{option}");
        }
        assert!(has(&features["linux"]["capabilities"], "CAP_SYS_ADMIN"));
    }
}
