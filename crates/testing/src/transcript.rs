//! What a user sees of client commands, side by side: the same script against containerd and against
//! stowd must read the same, but for what differs from run to run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use crate::clients::Version;
use crate::daemon::{Daemon, Kind};
use crate::process::Run;
use crate::registry::Registry;
use crate::scratch::Scratch;

/// A daemon, a client, and the record of what the client was asked and has answered.
#[derive(Debug)]
pub struct Session<'a> {
    /// The daemon.
    pub daemon: Daemon,
    /// Which `ctr` speaks to it.
    pub client: Version,
    /// A registry, the same for both daemons.
    pub registry: &'a Registry,
    /// A folder of this session's own.
    pub folder: PathBuf,
    replaced: Vec<(String, &'static str)>,
    named: u32,
    text: String,
}

/// Runs a script against containerd and against stowd.
///
/// # Panics
/// When the two transcripts differ, with the difference.
pub fn side_by_side(client: Version, script: impl Fn(&mut Session<'_>)) {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch);
    let expected = record(Kind::Containerd(Version::V2), client, &scratch, &registry, &script);
    let actual = record(Kind::Stowd, client, &scratch, &registry, &script);
    if expected != actual {
        let (one, other) = (scratch.join("containerd.txt"), scratch.join("stowd.txt"));
        std::fs::write(&one, expected).expect("writing a transcript");
        std::fs::write(&other, actual).expect("writing a transcript");
        let said = Run::program("diff").args(["-U5".into(), one, other]).output();
        panic!("stowd answers otherwise:\n{}", String::from_utf8_lossy(&said.stdout));
    }
}

fn record(
    kind: Kind,
    client: Version,
    scratch: &Scratch,
    registry: &Registry,
    script: &impl Fn(&mut Session<'_>),
) -> String {
    let daemon = Daemon::start(kind, scratch, NO_EARLY_COLLECTION);
    let folder = scratch.folder(if kind == Kind::Stowd { "by-stowd" } else { "by-containerd" });
    let below = |path: &Path| path.to_string_lossy().into_owned();
    let replaced = vec![
        (below(&folder), "FOLDER"),
        (below(&daemon.state()), "STATE"),
        (below(&daemon.root()), "ROOT"),
        (below(scratch.path()), "SCRATCH"),
        (daemon.namespace().to_owned(), "NAMESPACE"),
        (registry.host(), "REGISTRY"),
    ];
    let (named, text) = (0, String::new());
    let mut session = Session { daemon, client, registry, folder, replaced, named, text };
    script(&mut session);
    session.text
}

/// Without it, a garbage collection takes what a script has just made, or just does not: the first comes
/// when it is asked for, and the next that nobody asked for seconds later.
const NO_EARLY_COLLECTION: &str = r#"
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "1h"
  pause_threshold = 0.001
"#;

impl Session<'_> {
    /// Runs a command that must succeed, and records what it prints; returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctr(&mut self, args: &[&str]) -> String {
        let said = self.quiet(args);
        self.note(args, &said);
        said
    }

    /// As [`Self::ctr`], for output with process ids or measurements: every number is left out.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctr_but_numbers(&mut self, args: &[&str]) -> String {
        let said = self.quiet(args);
        self.note(args, &NUMBER.replace_all(&said, "N"));
        said
    }

    /// As [`Self::ctr_but_numbers`], for processes, whose order is that of ids which begin anew.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctr_of_processes(&mut self, args: &[&str]) -> String {
        let said = self.quiet(args);
        // The widths of columns go before the lines are sorted: they hang on the ids.
        self.note(args, &sorted(&redacted(&NUMBER.replace_all(&said, "N"))));
        said
    }

    /// As [`Self::ctr`], where the order of lines is nobody's promise.
    ///
    /// # Panics
    /// When it fails.
    pub fn ctr_sorted(&mut self, args: &[&str]) -> String {
        let said = self.quiet(args);
        self.note(args, &sorted(&said));
        said
    }

    /// Runs a command that must fail; records how it ends and what it says, and returns that.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn fails(&mut self, args: &[&str]) -> String {
        let output = self.command(args).output();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{args:?} should have failed");
        self.note(args, &format!("{}\n{said}", output.status));
        said
    }

    /// Runs a command and records how it ends and all that it says, whatever that is: what is right,
    /// containerd shows. Returns its standard output.
    pub fn tries(&mut self, args: &[&str]) -> String {
        let output = self.command(args).output();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        self.note(args, &format!("{}\n{said}{errors}", output.status));
        said
    }

    /// Runs a command that must succeed, without recording it.
    ///
    /// # Panics
    /// When it fails.
    pub fn quiet(&self, args: &[&str]) -> String {
        self.command(args).ok()
    }

    /// Runs a command that must fail, without recording it; returns what it says.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn quiet_failure(&self, args: &[&str]) -> String {
        self.command(args).fails()
    }

    /// Runs a command on a terminal, and records what it prints there.
    ///
    /// # Panics
    /// When it fails.
    pub fn on_terminal(&mut self, args: &[&str]) -> String {
        let mut line = format!(
            "{} -a {} -n {}",
            self.client.program("ctr").display(),
            self.daemon.socket().display(),
            self.daemon.namespace()
        );
        for arg in args {
            line.push_str(&format!(" '{}'", arg.replace('\'', r"'\''")));
        }
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        // The terminal of `script` has no size and echoes the end of our input.
        let said = Run::new(command).ok().replace("^@", "").replace("^D\u{8}\u{8}", "");
        let lines: Vec<&str> = said.lines().filter(|line| !line.contains("resize pty")).collect();
        self.note(args, &lines.join("\n"));
        said
    }

    /// Returns a name that this session has not had, and that is the same for both daemons.
    pub fn fresh(&mut self, beginning: &str) -> String {
        self.named += 1;
        format!("{beginning}{}", self.named)
    }

    /// Returns a command of the session's client, for what the other calls do not do.
    pub fn command(&self, args: &[&str]) -> Run {
        self.daemon.ctr(self.client).args(args)
    }

    /// Adds something to the record.
    pub fn note(&mut self, args: &[&str], said: &str) {
        let mut text = format!("$ ctr {}\n{}\n", args.join(" "), said.trim_end());
        for (from, to) in &self.replaced {
            text = text.replace(from.as_str(), to);
        }
        self.text.push_str(&redacted(&text));
        self.text.push('\n');
    }

    /// Writes a file that a command reads, and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, data: impl AsRef<[u8]>) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, data).expect("writing a file");
        path.to_string_lossy().into_owned()
    }
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b\d+(\.\d+)?\b"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Replaces times, durations, unique ids and widths of columns.
fn redacted(text: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let time =
            r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|[+-]\d\d:?\d\d))?( UTC)?( m=\S+)?";
        vec![
            (pattern(time), "TIME"),
            // As `ls -l` prints it.
            (pattern(r"\b[A-Z][a-z]{2} +\d+ \d\d:\d\d\b"), "TIME"),
            (pattern(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
            (pattern(r"Less than a second|About a minute|\b\d+ (second|minute)s?\b"), "AGE"),
            (pattern(r"\b(\d+(\.\d+)?(ns|µs|ms|s|m|h))+\b"), "DURATION"),
            // Names that the client makes up.
            (pattern(r"/containerd-mount\d+"), "/containerd-mountN"),
            (pattern(r"/fifo/\d+/"), "/fifo/N/"),
            // containerd 2.1 has a snapshot's inner name in some errors.
            (pattern(r"NAMESPACE/\d+/"), ""),
            // It wraps some errors twice.
            (pattern(r"(: invalid argument)+"), "$1"),
            (pattern(r"-+(\s)"), "-$1"),
            (pattern(r"[ \t]+"), " "),
            (pattern(r" *\r?\n"), "\n"),
        ]
    });
    // Labels are printed in any order.
    static LABELS: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"[^\s,]+=[^\s,]*(,[^\s,]+=[^\s,]*)+"));
    let text = RULES.iter().fold(text.to_owned(), |text, (pattern, with)| {
        pattern.replace_all(&text, *with).into_owned()
    });
    let in_order = |found: &Captures<'_>| {
        let mut labels: Vec<&str> = found[0].split(',').collect();
        labels.sort_unstable();
        labels.join(",")
    };
    LABELS.replace_all(&text, in_order).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_replaced() {
        let text =
            "a   b\tc  \nat 2026-11-24T14:50:56.123Z, 2026-11-24 14:50:56 +0000 UTC, in 1.5ms";
        assert_eq!(redacted(text), "a b c\nat TIME, TIME, in DURATION");
        assert_eq!(redacted("1 root 40 Nov 25 12:16 shm"), "1 root 40 TIME shm");
        assert_eq!(redacted("5 seconds | Less than a second"), "AGE | AGE");
        assert_eq!(redacted("x b=2,a=1"), "x a=1,b=2");
        assert_eq!(redacted("sha256:0123abcd -----"), "sha256:0123abcd -----");
    }
}
