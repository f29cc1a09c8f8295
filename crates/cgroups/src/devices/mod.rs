//! Which device nodes a cgroup's processes may read, write and make.
//!
//! Rules come in the spec's order and the last that matches a device decides, as in runc. What they
//! mean is worked out once ([`Emulator`]); v1 gets it as lines for `devices.allow` and
//! `devices.deny`, v2 as a BPF program.

mod emulator;
mod filter;
mod v1;

use std::fmt;

pub use emulator::Emulator;
pub(crate) use filter::attach;
pub use filter::{Instruction, filter_program};
pub(crate) use v1::apply;

use crate::{Error, Result};

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// The kind of device.
    pub kind: DeviceKind,
    /// The major number; `None` is any.
    pub major: Option<u32>,
    /// The minor number; `None` is any.
    pub minor: Option<u32>,
    /// What the rule is about.
    pub access: Access,
    /// Whether that is allowed or denied.
    pub allow: bool,
}

/// The kind of device a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// Every device (`a`).
    All,
    /// Block devices (`b`).
    Block,
    /// Character devices (`c`).
    Char,
}

/// A set of `r` (read), `w` (write) and `m` (make a node).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Access(u8);

impl DeviceRule {
    /// Denies everything: what a container's list begins with.
    pub const DENY_ALL: DeviceRule = rule(DeviceKind::All, None, None, Access::ALL, false);

    /// What runc allows every container after its own rules: making any node, and using null, zero,
    /// full, random, urandom, tty, ptmx, the pseudo terminals and tun.
    pub const DEFAULTS: [DeviceRule; 11] = [
        rule(DeviceKind::Char, None, None, Access::MAKE, true),
        rule(DeviceKind::Block, None, None, Access::MAKE, true),
        rule(DeviceKind::Char, Some(1), Some(3), Access::ALL, true),
        rule(DeviceKind::Char, Some(1), Some(8), Access::ALL, true),
        rule(DeviceKind::Char, Some(1), Some(7), Access::ALL, true),
        rule(DeviceKind::Char, Some(5), Some(0), Access::ALL, true),
        rule(DeviceKind::Char, Some(1), Some(5), Access::ALL, true),
        rule(DeviceKind::Char, Some(1), Some(9), Access::ALL, true),
        rule(DeviceKind::Char, Some(136), None, Access::ALL, true),
        rule(DeviceKind::Char, Some(5), Some(2), Access::ALL, true),
        rule(DeviceKind::Char, Some(10), Some(200), Access::ALL, true),
    ];
}

impl DeviceKind {
    /// Understands the spec's `type`: `a`, `b` or `c`, and empty for `a`.
    pub fn parse(text: &str) -> Result<DeviceKind> {
        match text {
            "" | "a" => Ok(DeviceKind::All),
            "b" => Ok(DeviceKind::Block),
            "c" => Ok(DeviceKind::Char),
            _ => Err(Error::InvalidLimit(format!(
                "invalid cgroup device type {text:?}: expected a, b or c"
            ))),
        }
    }

    /// The letter that the spec and the kernel use.
    pub fn letter(self) -> char {
        match self {
            DeviceKind::All => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        }
    }
}

impl Access {
    /// Reading.
    pub const READ: Access = Access(1);
    /// Writing.
    pub const WRITE: Access = Access(2);
    /// Making a node.
    pub const MAKE: Access = Access(4);
    /// All three.
    pub const ALL: Access = Access(7);

    /// Understands the spec's `access`, such as `rwm`.
    pub fn parse(text: &str) -> Result<Access> {
        if text.is_empty() {
            return Err(Error::InvalidLimit(
                "device access cannot be empty: name some of r, w and m".into(),
            ));
        }
        text.chars().try_fold(Access::default(), |set, letter| match letter {
            'r' => Ok(set.union(Access::READ)),
            'w' => Ok(set.union(Access::WRITE)),
            'm' => Ok(set.union(Access::MAKE)),
            _ => Err(Error::InvalidLimit(format!(
                "invalid device access {text:?}: expected letters of r, w and m"
            ))),
        })
    }

    /// Both sets' members.
    pub fn union(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    /// This set's members that are not in `other`.
    pub fn minus(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    /// The members of both.
    pub fn intersection(self, other: Access) -> Access {
        Access(self.0 & other.0)
    }

    /// Whether the set has no member.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (member, letter) in [(Access::READ, "r"), (Access::WRITE, "w"), (Access::MAKE, "m")] {
            if !self.intersection(member).is_empty() {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({self})")
    }
}

const fn rule(
    kind: DeviceKind,
    major: Option<u32>,
    minor: Option<u32>,
    access: Access,
    allow: bool,
) -> DeviceRule {
    DeviceRule { kind, major, minor, access, allow }
}
