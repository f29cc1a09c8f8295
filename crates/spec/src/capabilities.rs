//! The kernel's capabilities by number and name.

use crate::{Error, Result};

/// All capabilities that exist, in the kernel's order.
pub fn known() -> &'static [&'static str] {
    &NAMES
}

/// The capabilities that count for this process, which are fewer than all in a container.
pub fn current() -> Result<Vec<String>> {
    let path = "/proc/self/status";
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let mask = text.lines().find_map(|line| {
        let digits = line.strip_prefix("CapEff:")?.trim_ascii();
        u64::from_str_radix(digits, 16).ok()
    });
    let mask = mask.unwrap_or(0);
    let names = NAMES.iter().enumerate().filter(|(number, _)| mask >> number & 1 == 1);
    Ok(names.map(|(_, name)| (*name).to_owned()).collect())
}

const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_known() {
        let current = current().unwrap();
        assert!(current.iter().all(|name| known().contains(&name.as_str())));
        assert_eq!(known()[21], "CAP_SYS_ADMIN");
    }
}
