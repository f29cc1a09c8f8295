//! Capability names and sets.

use rustix::thread::CapabilitySet;

use crate::spec::Capabilities;

/// The five sets of a process, as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CapabilityMasks {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) inheritable: u64,
    pub(crate) permitted: u64,
    pub(crate) ambient: u64,
}

impl CapabilityMasks {
    /// Resolves names. Unknown ones are left out, as runc does, and listed in a warning.
    pub(crate) fn resolve(spec: Option<&Capabilities>, warnings: &mut Vec<String>) -> Self {
        let Some(spec) = spec else { return CapabilityMasks::default() };
        let mut unknown: Vec<&str> = Vec::new();
        let mut masks = CapabilityMasks::default();
        for (mask, names) in [
            (&mut masks.bounding, &spec.bounding),
            (&mut masks.effective, &spec.effective),
            (&mut masks.inheritable, &spec.inheritable),
            (&mut masks.permitted, &spec.permitted),
            (&mut masks.ambient, &spec.ambient),
        ] {
            for name in names {
                match number(name) {
                    Some(number) => *mask |= 1 << number,
                    None => unknown.push(name),
                }
            }
        }
        if !unknown.is_empty() {
            unknown.sort_unstable();
            unknown.dedup();
            warnings.push(format!("ignoring unknown capabilities: {}", unknown.join(", ")));
        }
        masks
    }

    /// Leaves out what is not in `permitted`, the most that this process can give.
    pub(crate) fn limit(&mut self, permitted: u64, warnings: &mut Vec<String>) {
        let all = self.bounding | self.effective | self.inheritable | self.permitted | self.ambient;
        let missing = all & !permitted;
        if missing == 0 {
            return;
        }
        let names: Vec<&str> = (0..NAMES.len())
            .filter(|number| missing & (1 << number) != 0)
            .map(|number| NAMES[number])
            .collect();
        warnings.push(format!("ignoring unavailable capabilities: {}", names.join(", ")));
        for set in [
            &mut self.bounding,
            &mut self.effective,
            &mut self.inheritable,
            &mut self.permitted,
            &mut self.ambient,
        ] {
            *set &= permitted;
        }
    }

    /// The names in a mask, for `state.json`.
    pub(crate) fn names(mask: u64) -> Vec<String> {
        let named = |number: &usize| mask & (1 << number) != 0;
        (0..NAMES.len()).filter(named).map(|number| NAMES[number].to_owned()).collect()
    }
}

/// The set that holds one capability.
pub(crate) fn single(number: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << number)
}

fn number(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

/// Returns the names of all that there are.
pub(crate) fn names() -> &'static [&'static str] {
    &NAMES
}

/// By number, from `linux/capability.h`.
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
    fn names_become_masks_and_unknown_ones_a_warning() {
        let spec = Capabilities {
            bounding: vec!["CAP_CHOWN".into(), "CAP_BPF".into(), "CAP_FLY".into()],
            permitted: vec!["CAP_FLY".into(), "CAP_KILL".into()],
            ..Default::default()
        };
        let mut warnings = Vec::new();
        let mut masks = CapabilityMasks::resolve(Some(&spec), &mut warnings);
        assert_eq!(masks.bounding, 1 | 1 << 39);
        assert_eq!(masks.permitted, 1 << 5);
        assert_eq!(warnings, ["ignoring unknown capabilities: CAP_FLY"]);
        masks.limit(!(1 << 39), &mut warnings);
        assert_eq!(masks.bounding, 1);
        assert_eq!(warnings[1], "ignoring unavailable capabilities: CAP_BPF");
        assert_eq!(CapabilityMasks::names(33), ["CAP_CHOWN", "CAP_KILL"]);
    }
}
