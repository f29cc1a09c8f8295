//! The shim's own program, which processes of containers are cloned from.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use stowd_testing::{Daemon, Scratch, need};

use crate::{IMAGE, assert_unharmed, ctr, import};

/// Returns the parent of a task's process.
fn shim_of(daemon: &Daemon, id: &str) -> String {
    let listed = ctr(daemon, &["tasks", "ls"]).ok();
    let line = listed.lines().find(|line| line.split_whitespace().next() == Some(id)).unwrap();
    let pid = line.split_whitespace().nth(1).unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned()
}

#[test]
fn nobody_can_change_the_shims_program_by_its_process() {
    need!(root, clients, overlayfs, stowd);
    let scratch = Scratch::new();
    let mut daemon = Daemon::stowd(&scratch);
    import(&daemon, &scratch);
    ctr(&daemon, &["run", "-d", "--null-io", IMAGE, "c", "sleep", "1000"]).ok();
    let program = format!("/proc/{}/exe", shim_of(&daemon, "c"));
    let shown = fs::read_link(&program).unwrap();
    assert!(shown.ends_with("stowd-shim"), "{}", shown.display());
    // To open it for writing is refused anyway while it runs; this tells where its file lies.
    let refused = fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    ctr(&daemon, &["tasks", "rm", "-f", "c"]).output();
    ctr(&daemon, &["containers", "rm", "c"]).ok();
    assert_unharmed(&mut daemon);
}
