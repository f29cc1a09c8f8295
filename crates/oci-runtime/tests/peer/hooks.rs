//! Hooks: when they run, where, and what they get.

use serde_json::json;

use crate::case::compare;

#[test]
fn hooks_of_every_kind() {
    compare(|case| {
        let log = case.data.join("log");
        std::fs::write(&log, "").unwrap();
        let host = |name: &str| {
            // runc names the container only once its root is entered, later than its namespace is there.
            let named = if name == "createContainer" { "" } else { "$(hostname)" };
            // And runs these while the container is made, not after it was started.
            let status = match name {
                "poststart" => "true",
                _ => "echo $state | grep -o '\"status\":\"[a-z]*\"'",
            };
            let script = format!(
                "state=$(cat); exec >> {}; echo {name} $0 $1 $X {named} $(pwd | grep -c .); \
                     {status}; \
                     echo $state | grep -c '\"pid\":[1-9]'; echo $state | grep -o '\"annotations\".*'; \
                     readlink /proc/self/ns/mnt | grep -c \"$(readlink /proc/1/ns/mnt)\"; \
                     true",
                log.display()
            );
            json!([
                { "path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one"],
                  "env": ["X=1", "PATH=/bin:/usr/bin"] },
                { "path": "/bin/true" }
            ])
        };
        let inside = "state=$(/bin/cat); exec > /tmp/log; echo startContainer $(/bin/hostname) $X; \
                          echo $state | /bin/grep -o '\"status\":\"[a-z]*\"'; \
                          /bin/grep -E '^(Cap|Uid|Seccomp:)' /proc/self/status; pwd";
        case.spec["hostname"] = json!("inside");
        case.spec["annotations"] = json!({ "a": "b" });
        case.spec["hooks"] = json!({
            "prestart": host("prestart"), "createRuntime": host("createRuntime"),
            "createContainer": host("createContainer"), "poststart": host("poststart"),
            "poststop": host("poststop"),
            "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", inside], "env": ["X=2"] }]
        });
        case.more = "$b cat /tmp/log".into();
    });
}
