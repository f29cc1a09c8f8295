//! What a list of device rules amounts to.

use super::{Access, DeviceKind, DeviceRule};
use crate::{Error, Result};

/// A device cgroup's state: what it does by default, and the exceptions from that.
///
/// Behaves as the v1 controller does, but refuses a rule that v1 would ignore without a word: taking
/// part of a wildcard exception back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emulator {
    allow_by_default: bool,
    /// Sorted by [`key`], one entry per device.
    exceptions: Vec<Exception>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exception {
    kind: DeviceKind,
    major: Option<u32>,
    minor: Option<u32>,
    access: Access,
}

impl Emulator {
    /// Plays `rules` in their order, from "deny all".
    pub fn from_rules(rules: &[DeviceRule]) -> Result<Emulator> {
        let mut state = Emulator::default();
        rules.iter().try_for_each(|rule| state.play(rule))?;
        Ok(state)
    }

    /// Understands the text of a v1 `devices.list`, which is all that v1 tells of its state: in "allow
    /// by default" it does not show the exceptions.
    pub fn from_list(text: &str) -> Result<Emulator> {
        let mut state = Emulator::default();
        for line in text.lines() {
            let rule = parse_line(line).ok_or_else(|| Error::Parse {
                path: "devices.list".into(),
                what: format!("malformed device rule {line:?}"),
            })?;
            state.play(&rule)?;
        }
        Ok(state)
    }

    /// Whether devices that no exception names are allowed.
    pub fn allows_by_default(&self) -> bool {
        self.allow_by_default
    }

    /// The fewest rules that lead from this state to `target`, in the order to apply them.
    pub fn transition(&self, target: &Emulator) -> Vec<DeviceRule> {
        let mut rules = Vec::with_capacity(target.exceptions.len() + 1);
        let mut old: &[Exception] = &self.exceptions;
        // An "allow by default" list hides its exceptions, so only starting afresh is safe there.
        if self.allow_by_default || self.allow_by_default != target.allow_by_default {
            rules.push(DeviceRule { allow: target.allow_by_default, ..DeviceRule::DENY_ALL });
            old = &[];
        }
        let mut differences = |from: &[Exception], other: &[Exception], allow: bool| {
            for exception in from {
                let kept = find(other, exception).map_or(Access::default(), |at| other[at].access);
                let access = exception.access.minus(kept);
                if !access.is_empty() {
                    let Exception { kind, major, minor, .. } = *exception;
                    rules.push(DeviceRule { kind, major, minor, access, allow });
                }
            }
        };
        differences(old, &target.exceptions, target.allow_by_default);
        differences(&target.exceptions, old, !target.allow_by_default);
        rules
    }

    /// The exceptions as rules; each allows what is denied by default, or denies what is allowed.
    pub fn exceptions(&self) -> impl Iterator<Item = DeviceRule> {
        self.exceptions.iter().map(|&Exception { kind, major, minor, access }| DeviceRule {
            kind,
            major,
            minor,
            access,
            allow: !self.allow_by_default,
        })
    }

    fn play(&mut self, rule: &DeviceRule) -> Result<()> {
        let DeviceRule { kind, major, minor, access, allow } = *rule;
        if kind == DeviceKind::All {
            *self = Emulator { allow_by_default: allow, exceptions: Vec::new() };
            return Ok(());
        }
        let exception = Exception { kind, major, minor, access };
        if allow == self.allow_by_default {
            self.remove(&exception)
        } else {
            match find(&self.exceptions, &exception) {
                Ok(at) => {
                    let known = &mut self.exceptions[at].access;
                    *known = known.union(access);
                }
                Err(at) => self.exceptions.insert(at, exception),
            }
            Ok(())
        }
    }

    fn remove(&mut self, gone: &Exception) -> Result<()> {
        let wider = |major, minor| Exception { major, minor, ..*gone };
        for wide in [wider(None, gone.minor), wider(gone.major, None), wider(None, None)] {
            if key(&wide) == key(gone) {
                continue;
            }
            if let Ok(at) = find(&self.exceptions, &wide)
                && !self.exceptions[at].access.intersection(gone.access).is_empty()
            {
                return Err(Error::InvalidLimit(format!(
                    "requested device rule [{}] not supported by devices cgroupv1 (cannot punch \
                     hole in existing wildcard rule [{}])",
                    line(gone),
                    line(&self.exceptions[at]),
                )));
            }
        }
        if let Ok(at) = find(&self.exceptions, gone) {
            let left = self.exceptions[at].access.minus(gone.access);
            if left.is_empty() {
                self.exceptions.remove(at);
            } else {
                self.exceptions[at].access = left;
            }
        }
        Ok(())
    }
}

impl DeviceRule {
    /// The rule as v1's `devices.allow` and `devices.deny` take it: `c 1:3 rwm`.
    pub fn to_line(&self) -> String {
        let &DeviceRule { kind, major, minor, access, .. } = self;
        line(&Exception { kind, major, minor, access })
    }
}

fn line(exception: &Exception) -> String {
    let number = |number: Option<u32>| number.map_or_else(|| "*".into(), |n| n.to_string());
    let Exception { kind, major, minor, access } = *exception;
    format!("{} {}:{} {access}", kind.letter(), number(major), number(minor))
}

fn key(exception: &Exception) -> (Option<u32>, Option<u32>, DeviceKind) {
    (exception.major, exception.minor, exception.kind)
}

fn find(exceptions: &[Exception], wanted: &Exception) -> Result<usize, usize> {
    exceptions.binary_search_by_key(&key(wanted), key)
}

fn parse_line(line: &str) -> Option<DeviceRule> {
    let mut fields = line.split([' ', ':']);
    let kind = DeviceKind::parse(fields.next()?).ok()?;
    let mut number = || match fields.next()? {
        "*" => Some(None),
        digits => digits.parse().ok().map(Some),
    };
    let (major, minor) = (number()?, number()?);
    let access = Access::parse(fields.next()?).ok()?;
    fields.next().is_none().then_some(DeviceRule { kind, major, minor, access, allow: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str, allow: bool) -> DeviceRule {
        DeviceRule { allow, ..parse_line(text).unwrap() }
    }

    fn lines(rules: &[DeviceRule]) -> Vec<String> {
        let sign = |rule: &DeviceRule| if rule.allow { '+' } else { '-' };
        rules.iter().map(|rule| format!("{}{}", sign(rule), rule.to_line())).collect()
    }

    #[test]
    fn a_fresh_cgroup_is_denied_first_and_then_allowed_in_order() {
        let fresh = Emulator::from_list("a *:* rwm\n").unwrap();
        let mut rules = vec![DeviceRule::DENY_ALL];
        rules.extend(DeviceRule::DEFAULTS);
        let target = Emulator::from_rules(&rules).unwrap();
        assert_eq!(
            lines(&fresh.transition(&target)),
            [
                "-a *:* rwm",
                "+b *:* m",
                "+c *:* m",
                "+c 1:3 rwm",
                "+c 1:5 rwm",
                "+c 1:7 rwm",
                "+c 1:8 rwm",
                "+c 1:9 rwm",
                "+c 5:0 rwm",
                "+c 5:2 rwm",
                "+c 10:200 rwm",
                "+c 136:* rwm",
            ]
        );
        let listed: String =
            target.exceptions().map(|rule| format!("{}\n", rule.to_line())).collect();
        let listed = Emulator::from_list(&listed).unwrap();
        assert_eq!(listed, target);
        assert!(listed.transition(&target).is_empty());
    }

    #[test]
    fn an_update_writes_only_the_difference() {
        let now = Emulator::from_list("c 1:3 rwm\nc 1:5 rw\nb 8:0 r\n").unwrap();
        let target = [rule("c 1:3 r", true), rule("c 1:5 rwm", true), rule("b 8:0 r", true)];
        let target = Emulator::from_rules(&target).unwrap();
        assert_eq!(lines(&now.transition(&target)), ["-c 1:3 wm", "+c 1:5 m"]);
    }

    #[test]
    fn permissions_add_up_and_come_off() {
        let rules = [rule("c 1:3 r", true), rule("c 1:3 w", true), rule("c 1:3 r", false)];
        let state = Emulator::from_rules(&rules).unwrap();
        assert_eq!(lines(&state.exceptions().collect::<Vec<_>>()), ["+c 1:3 w"]);
        let rules = [rule("c 1:3 r", true), rule("c 1:3 rwm", false)];
        assert_eq!(Emulator::from_rules(&rules).unwrap(), Emulator::default());
    }

    #[test]
    fn holes_in_wildcards_are_refused() {
        let rules = [rule("c 1:* rw", true), rule("c 1:3 w", false)];
        let error = Emulator::from_rules(&rules).unwrap_err().to_string();
        assert!(
            error.contains("cannot punch hole in existing wildcard rule [c 1:* rw]"),
            "{error}"
        );
        // Not overlapping: nothing to take away.
        let rules = [rule("c 1:* rw", true), rule("c 1:3 m", false)];
        assert!(Emulator::from_rules(&rules).is_ok());
    }

    #[test]
    fn privileged_is_allow_all() {
        let rules = [DeviceRule::DENY_ALL, DeviceRule { allow: true, ..DeviceRule::DENY_ALL }];
        let state = Emulator::from_rules(&rules).unwrap();
        assert!(state.allows_by_default());
        assert_eq!(lines(&Emulator::default().transition(&state)), ["+a *:* rwm"]);
    }

    #[test]
    fn malformed_lists_are_refused() {
        for text in ["c 1:3", "x 1:3 rwm", "c 1:3 rwx", "c a:3 r", "c 1:3 r r"] {
            assert!(Emulator::from_list(text).is_err(), "{text}");
        }
    }
}
