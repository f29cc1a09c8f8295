//! What was seen of a container, in sections of lines, and how two views differ.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rustix::process::Pid;

use crate::mountinfo;

/// Lines by section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View(pub(crate) BTreeMap<String, Vec<String>>);

impl View {
    /// Takes what the probe printed.
    pub(crate) fn inside(&mut self, printed: &str) {
        let mut name = "before";
        let mut sections: BTreeMap<&str, String> = BTreeMap::new();
        for line in printed.lines() {
            let line = line.trim_end_matches('\r');
            match line.strip_prefix("=== ") {
                Some(next) => name = next,
                None => {
                    let text = sections.entry(name).or_default();
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        for (name, text) in sections {
            let lines = match name {
                "mounts" => mountinfo::tree(&text),
                "status" => status(&text),
                "descriptors" => text.lines().map(numbers_in_brackets).collect(),
                _ => text.lines().map(str::to_owned).collect(),
            };
            self.0.insert(name.to_owned(), lines);
        }
    }

    /// Adds a section.
    pub(crate) fn add(&mut self, name: &str, lines: Vec<String>) {
        self.0.insert(name.to_owned(), lines);
    }

    /// Adds what the host sees of the process.
    pub(crate) fn process(&mut self, when: &str, pid: Pid) {
        let proc = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
        let mut lines = Vec::new();
        for file in [
            "uid_map",
            "gid_map",
            "setgroups",
            "timens_offsets",
            "oom_score_adj",
            "limits",
            "personality",
            "coredump_filter",
            "cgroup",
            "loginuid",
        ] {
            let text =
                fs::read_to_string(proc.join(file)).unwrap_or_else(|error| error.to_string());
            // The kernel pads the columns of maps.
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            lines.extend(text.lines().map(|line| format!("{file}: {}", words(line))));
        }
        self.add(&format!("host process {when}"), lines);
        let mut lines = Vec::new();
        for entry in fs::read_dir("/proc/self/ns").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let link = |dir: &Path| fs::read_link(dir.join("ns").join(&name)).ok();
            let word = if link(&proc) == link(Path::new("/proc/self")) { "same" } else { "other" };
            lines.push(format!("{} {word}", name.to_string_lossy()));
        }
        lines.sort_unstable();
        self.add(&format!("host namespaces {when}"), lines);
    }

    /// Adds the settings of the container's cgroup, in every tree.
    pub(crate) fn cgroup(&mut self, when: &str, path: &str) {
        let mut lines = Vec::new();
        let mut trees: Vec<_> =
            fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().collect();
        trees.sort_unstable_by_key(std::fs::DirEntry::file_name);
        for tree in trees {
            let dir = tree.path().join(path.trim_start_matches('/'));
            let mut files: Vec<_> = fs::read_dir(&dir).into_iter().flatten().flatten().collect();
            files.sort_unstable_by_key(std::fs::DirEntry::file_name);
            for file in files {
                let name = file.file_name().to_string_lossy().into_owned();
                if is_count(&name) {
                    continue;
                }
                let text =
                    fs::read_to_string(file.path()).unwrap_or_else(|error| error.to_string());
                let tree = tree.file_name().to_string_lossy().into_owned();
                lines.extend(text.lines().map(|line| format!("{tree}/{name}: {line}")));
            }
        }
        self.add(&format!("host cgroup {when}"), lines);
    }

    /// Adds the files of a folder with their kinds, modes and owners.
    pub(crate) fn folder(&mut self, name: &str, folder: &Path) {
        let text = stowd_testing::process::Run::program("find")
            .args([folder.as_os_str(), "-printf".as_ref(), "%P %M %U %G %l\\n".as_ref()])
            .ok();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        self.add(name, lines);
    }

    /// How `other` differs from this one; empty when it does not.
    pub(crate) fn differences(&self, other: &View) -> String {
        let mut report = String::new();
        let error = |view: &View| view.0.get("error").cloned().unwrap_or_default();
        if error(self) != error(other) {
            // One failed and the other did not, or otherwise; all else follows from that.
            return format!("  error:\n    - {:?}\n    + {:?}\n", error(other), error(self));
        }
        let names = self.0.keys().chain(other.0.keys().filter(|name| !self.0.contains_key(*name)));
        for name in names {
            let none = Vec::new();
            let (mine, theirs) =
                (self.0.get(name).unwrap_or(&none), other.0.get(name).unwrap_or(&none));
            if mine != theirs {
                _ = writeln!(report, "  {name}:");
                for line in lines_that_differ(theirs, mine) {
                    _ = writeln!(report, "    {line}");
                }
            }
        }
        report
    }
}

/// Lines only in `old` with `-`, those only in `new` with `+`, in order.
fn lines_that_differ(old: &[String], new: &[String]) -> Vec<String> {
    // Longest common subsequences of all pairs of tails.
    let mut common = vec![vec![0u32; new.len() + 1]; old.len() + 1];
    for (i, one) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            common[i][j] = if one == other {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("- {}", old[i]));
            i += 1;
        } else {
            lines.push(format!("+ {}", new[j]));
            j += 1;
        }
    }
    lines
}

/// The lines of `/proc/PID/status` that say how a process was set up, not what it is doing.
fn status(text: &str) -> Vec<String> {
    const FIELDS: [&str; 22] = [
        "Name",
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "NStgid",
        "NSpid",
        "NSpgid",
        "NSsid",
        "CoreDumping",
        "THP_enabled",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "Speculation_Store_Bypass",
        "Cpus_allowed_list",
        "Mems_allowed_list",
    ];
    let kept = |line: &&str| line.split_once(':').is_some_and(|(name, _)| FIELDS.contains(&name));
    let lines: Vec<&str> = text.lines().collect();
    // An error message has no such lines and is kept whole.
    if !lines.iter().any(kept) {
        return lines.into_iter().map(str::to_owned).collect();
    }
    lines.into_iter().filter(kept).map(ids_by_kind).collect()
}

/// Ids of processes as the first one's and others': how many processes there were before is no
/// matter.
fn ids_by_kind(line: &str) -> String {
    match line.split_once(':') {
        Some((name, ids)) if name.starts_with("NS") => {
            let kind = |id: &str| if id == "1" { " first" } else { " other" };
            format!("{name}:{}", ids.split_whitespace().map(kind).collect::<String>())
        }
        _ => line.to_owned(),
    }
}

/// `pipe:[123]` without the inode, which is another one each time.
fn numbers_in_brackets(line: &str) -> String {
    match (line.find('['), line.find(']')) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &line[..=from], &line[to..]),
        _ => line.to_owned(),
    }
}

/// Whether a cgroup's file counts what happened rather than saying what is set.
fn is_count(name: &str) -> bool {
    const PARTS: [&str; 17] = [
        "stat",
        "usage",
        "events",
        "failcnt",
        "procs",
        "tasks",
        "threads",
        "pressure",
        "current",
        "peak",
        "io_",
        "sectors",
        "cpuacct.",
        "memory_pressure",
        "time_recursive",
        "oom_control_fd",
        "slabinfo",
    ];
    PARTS.iter().any(|part| name.contains(part)) || name == "blkio.time"
}

#[test]
fn differences_name_the_lines() {
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines_that_differ(&lines("a b c"), &lines("a x c d")), ["- b", "+ x", "+ d"]);
    assert!(lines_that_differ(&lines("a b"), &lines("a b")).is_empty());
}
