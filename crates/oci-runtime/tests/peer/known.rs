//! How an older runc differs for a good reason.

use crate::peers::Runner;
use crate::view::View;

/// Takes out of both views what a runc is known to do otherwise. Each line says why.
pub(crate) fn settle(theirs: Runner, view: &mut View) {
    // A mount that fails is told with the system call's arguments: what is the same is where, and why.
    each(view, "error", |line| {
        let at = line.find("error mounting ")?;
        let line = match line.split_once("cannot be mounted because") {
            Some((before, reason)) => format!("{before}: {reason}"),
            None => line.to_owned(),
        };
        let place = at + line[at..].find("\": ")? + 3;
        Some(format!("{}...{}", &line[..place], &line[line.rfind(": ")?..]))
    });
    // Its limits are set in two steps, told apart.
    let step = "error during container init: error setting cgroup config for procHooks process: ";
    each(view, "error", |line| {
        line.contains(step).then(|| line.replace(step, "unable to apply cgroup configuration: "))
    });
    // Stays writable, though asked to be read-only: runc looks at the mounts in it alone.
    each(view, "mounts", |line| {
        let rest = line.strip_prefix("    /sys/fs/cgroup ro,")?;
        Some(format!("    /sys/fs/cgroup rw,{rest}"))
    });
    // Queues are made by a process that is not quite root of its user namespace: its group is not
    // yet or, with the older one, it is not at all.
    each(view, "devices", |line| {
        let (queue, _) =
            line.split_once(" drwxrwxrwt ").filter(|_| line.starts_with("/dev/mqueue"))?;
        (line.contains(" 65534 ")).then(|| format!("{queue} drwxrwxrwt 0 0 0:0"))
    });
    if theirs == Runner::Runc1_3 {
        // The words before were not there in the older version, nor are they here.
        let words = "error during container init: exec: ";
        each(view, "error", |line| line.contains(words).then(|| line.replace(words, "exec: ")));
    }
    if theirs == Runner::Runc1_1 {
        // Masks of directories are file systems of their own each, and without limits on what can be
        // put there; both was changed against CVE-2025-31133.
        each(view, "mounts", |line| {
            let is_mask = line.contains(" ro,relatime - tmpfs tmpfs / ro");
            is_mask.then(|| line.replace(",size=4k,nr_inodes=1", ""))
        });
        unnumber(view);
        // The mode that a tmpfs takes over from what it covers is set once it is mounted, not by an
        // option that is shown.
        each(view, "mounts", |line| {
            let (_, mode) = line.split_once(" - tmpfs ")?.1.split_once(",mode=")?;
            let mode = mode.split([',', ' ']).next()?;
            Some(line.replace(&format!(",mode={mode}"), ""))
        });
        // Files made to mount on are executable.
        each(view, "host root", |line| Some(line.replace(" -rwxr-xr-x 0 0", " -rw-r--r-- 0 0")));
    }
}

/// Forgets which anonymous device is which.
fn unnumber(view: &mut View) {
    each(view, "mounts", |line| line.rsplit_once(" 0:#").map(|(line, _)| format!("{line} 0:#")));
}

/// Replaces lines of a section.
fn each(view: &mut View, section: &str, change: impl Fn(&str) -> Option<String>) {
    for line in view.0.get_mut(section).into_iter().flatten() {
        if let Some(changed) = change(line) {
            *line = changed;
        }
    }
}
