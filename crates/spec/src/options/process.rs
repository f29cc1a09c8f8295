//! What runs, and as whom.

use crate::{ConsoleSize, Error, Result, Rlimit, Spec};

impl Spec {
    /// Replaces program and arguments.
    pub fn set_args(&mut self, args: Vec<String>) {
        let process = self.process_mut();
        process.args = args;
        process.command_line.clear();
    }

    /// Replaces the working directory.
    pub fn set_cwd(&mut self, cwd: impl Into<String>) {
        self.process_mut().cwd = cwd.into();
    }

    /// Sets variables, in place of those of the same name; one without `=` is removed.
    pub fn add_env(&mut self, variables: &[String]) {
        if !variables.is_empty() {
            let process = self.process_mut();
            process.env = merge_env(&process.env, variables);
        }
    }

    /// Gives the process a terminal, and says so in its environment.
    pub fn use_terminal(&mut self) {
        let linux = self.linux.is_some();
        let process = self.process_mut();
        process.terminal = true;
        if linux {
            process.env.push("TERM=xterm".into());
        }
    }

    /// Sets the terminal's size at first.
    pub fn set_terminal_size(&mut self, width: u32, height: u32) {
        self.process_mut().console_size = Some(ConsoleSize { height, width });
    }

    /// Sets a resource limit, in place of the one of that kind.
    pub fn set_rlimit(&mut self, limit: Rlimit) {
        let limits = &mut self.process_mut().rlimits;
        match limits.iter_mut().find(|known| known.kind == limit.kind) {
            Some(known) => *known = limit,
            None => limits.push(limit),
        }
    }

    /// Sets the file mode creation mask.
    pub fn set_umask(&mut self, umask: u32) {
        self.process_mut().user.umask = Some(umask);
    }

    /// Sets how readily the process is killed when memory runs out: -1000 to 1000.
    pub fn set_oom_score_adj(&mut self, score: i64) {
        self.process_mut().oom_score_adj = Some(score);
    }

    /// Sets the host name.
    pub fn set_hostname(&mut self, name: impl Into<String>) {
        self.hostname = name.into();
    }

    /// Sets the NIS domain name.
    pub fn set_domainname(&mut self, name: impl Into<String>) {
        self.domainname = name.into();
    }

    /// Adds annotations, in place of those of the same key.
    pub fn add_annotations<K: Into<String>, V: Into<String>>(
        &mut self,
        annotations: impl IntoIterator<Item = (K, V)>,
    ) {
        let entries = annotations.into_iter().map(|(key, value)| (key.into(), value.into()));
        self.annotations.extend(entries);
    }
}

impl Rlimit {
    /// Understands `soft:hard`, or one number for both, as a limit on open files.
    pub fn parse_nofile(text: &str) -> Result<Rlimit> {
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let number = |digits: &str| {
            digits.parse().map_err(|_| {
                Error::InvalidOption(format!(
                    "failed to parse rlimit-nofile {text:?}: expected a number or soft:hard"
                ))
            })
        };
        let (soft, hard) = (number(soft)?, number(hard)?);
        Ok(Rlimit { kind: "RLIMIT_NOFILE".into(), hard, soft })
    }
}

/// `base` with the variables of `changes` replaced, added or, where they have no `=`, removed.
pub(crate) fn merge_env(base: &[String], changes: &[String]) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let names: Vec<String> = base.iter().map(|variable| name(variable)).collect();
    let mut merged: Vec<Option<&String>> = base.iter().map(Some).collect();
    for change in changes {
        // Of several with the same name in the base the last one counts, as it does for programs
        // that read their environment into a table.
        let at = names.iter().rposition(|known| *known == name(change));
        match (at, change.contains('=')) {
            (Some(at), true) => merged[at] = Some(change),
            (Some(at), false) => merged[at] = None,
            (None, true) => merged.push(Some(change)),
            (None, false) => {}
        }
    }
    merged.into_iter().flatten().filter(|variable| !variable.is_empty()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn variables_are_replaced_added_and_removed() {
        let base = strings(&["A=1", "B=2", "C=3"]);
        let merged = merge_env(&base, &strings(&["B=", "C", "D=4", "E", "D=5"]));
        // Two additions of one name both stay, as in containerd.
        assert_eq!(merged, ["A=1", "B=", "D=4", "D=5"]);
    }

    #[test]
    fn limits_are_replaced_by_kind() {
        let mut spec = Spec::linux_default("n", "i");
        spec.set_rlimit(Rlimit::parse_nofile("10:20").unwrap());
        spec.set_rlimit(Rlimit { kind: "RLIMIT_CORE".into(), hard: 0, soft: 0 });
        let limits = spec.process.unwrap().rlimits;
        assert_eq!((limits[0].soft, limits[0].hard, limits.len()), (10, 20, 2));
        assert_eq!(Rlimit::parse_nofile("7").unwrap().hard, 7);
        assert!(Rlimit::parse_nofile("7:x").is_err());
    }
}
