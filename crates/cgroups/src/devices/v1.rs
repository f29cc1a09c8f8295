//! Device rules for the v1 `devices` controller.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::{DeviceRule, Emulator};
use crate::{Error, Result, file};

/// Brings the cgroup at `path` to the state that `rules` describe, with the fewest writes.
pub(crate) fn apply(path: &Path, rules: &[DeviceRule]) -> Result<()> {
    let target = Emulator::from_rules(rules)?;
    let transition = list(path)?.transition(&target);
    if transition.is_empty() {
        return Ok(());
    }
    for group in transition.chunk_by(|one, next| one.allow == next.allow) {
        match write(path, group) {
            // In a user namespace the kernel refuses all of this, and what the namespace's owner may
            // not touch its containers may not either.
            Err(error) if error.errno() == Some(Errno::PERM) && in_user_namespace() => {
                return Ok(());
            }
            result => result?,
        }
    }
    // A parent can be stricter than what was asked for, and the kernel then drops rules silently.
    let now = list(path)?;
    let same = if target.allows_by_default() { now.allows_by_default() } else { now == target };
    if same {
        Ok(())
    } else {
        Err(Error::InvalidLimit(format!(
            "device rules of {path:?} do not match what was requested: its parent cgroup may be \
             stricter"
        )))
    }
}

fn list(path: &Path) -> Result<Emulator> {
    Emulator::from_list(&file::read(path, "devices.list")?)
}

/// Writes rules of one kind, one per write, through one descriptor.
fn write(path: &Path, rules: &[DeviceRule]) -> Result<()> {
    let allow = rules.first().is_some_and(|rule| rule.allow);
    let path = path.join(if allow { "devices.allow" } else { "devices.deny" });
    let failed = |value: String| {
        let path = path.clone();
        move |source| Error::Write { path, value, source }
    };
    let fd = openat(CWD, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed(String::new()))?;
    for rule in rules {
        let line = rule.to_line();
        file::write_all(&fd, line.as_bytes()).map_err(failed(line))?;
    }
    Ok(())
}

fn in_user_namespace() -> bool {
    // The first namespace maps all ids to themselves.
    let map = file::read_path("/proc/self/uid_map".into()).unwrap_or_default();
    let mut fields = map.split_ascii_whitespace();
    !(fields.next() == Some("0")
        && fields.next() == Some("0")
        && fields.next() == Some("4294967295"))
}
