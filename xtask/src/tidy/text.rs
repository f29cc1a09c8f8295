//! Words that no file of the tree may hold.
//!
//! The tree must mean the same on every machine. Which directories are peculiar to the one at hand is
//! read from its root directory, so the list needs no upkeep and names no machine.

use std::collections::BTreeSet;
use std::fs;

use super::{Finding, SourceFile};

/// What a Linux root directory holds by the Filesystem Hierarchy Standard and custom.
const STANDARD_DIRECTORIES: &[&str] = &[
    "bin",
    "boot",
    "data",
    "dev",
    "etc",
    "home",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "lost+found",
    "media",
    "mnt",
    "nix",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var",
];

/// Words for work that was put off; unfinished things are listed in README instead.
///
/// Put together from halves, so that this file does not hold them.
const UNFINISHED: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK:")];

/// Settings that send everyone who builds the tree to one machine's mirror.
const MIRROR_SETTINGS: &[&str] = &["[source.", "replace-with", "registry ="];

/// Top-level directories of this machine that other machines do not have, as `/name/`.
pub(crate) fn machine_words() -> Vec<String> {
    let mut words = BTreeSet::new();
    for entry in fs::read_dir("/").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_directory && !name.starts_with('.') && !STANDARD_DIRECTORIES.contains(&&*name) {
            words.insert(format!("/{name}/"));
        }
    }
    words.into_iter().collect()
}

pub(crate) fn check(files: &[SourceFile], machine_words: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| !is_lock(&file.path)) {
        for (index, line) in file.text.lines().enumerate() {
            let place = || format!("{}:{}", file.path, index + 1);
            if let Some(word) = machine_words.iter().find(|word| holds_path(line, word)) {
                findings.push(Finding::new(
                    place(),
                    format!("`{word}` is a directory of this machine"),
                    "take the path from an option, an environment variable or a temporary directory",
                ));
            }
            if let Some(word) = UNFINISHED.iter().find(|word| line.contains(**word)) {
                findings.push(Finding::new(
                    place(),
                    format!("`{word}` puts work off"),
                    "do it, or list it as missing in README.md",
                ));
            }
        }
        if file.path.starts_with(".cargo/") {
            for setting in MIRROR_SETTINGS.iter().filter(|setting| file.text.contains(**setting)) {
                findings.push(Finding::new(
                    &file.path,
                    format!("`{setting}` sends every build to one registry"),
                    "put mirrors into the machine's own cargo configuration",
                ));
            }
        }
    }
    findings
}

fn is_lock(path: &str) -> bool {
    path.ends_with(".lock")
}

/// Whether `line` holds `word` as the start of an absolute path, not in the middle of a longer one.
fn holds_path(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|character| {
            !character.is_alphanumeric() && !matches!(character, '/' | '.' | '-' | '_' | '}' | '*')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn directories_of_this_machine_are_found_at_the_start_of_a_path_only() {
        let words = ["/barn/".to_owned()];
        let found = check(&[file("a.sh", "cd /barn/x\ncd $top/barn/x\ncd \"/barn/\"\n")], &words);
        let places: Vec<&str> = found.iter().map(|finding| finding.place.as_str()).collect();
        assert_eq!(places, ["a.sh:1", "a.sh:3"]);
    }

    #[test]
    fn standard_directories_are_not_peculiar() {
        assert!(!machine_words().iter().any(|word| word == "/usr/" || word == "/tmp/"));
    }

    #[test]
    fn lock_files_are_not_read() {
        let words = ["/barn/".to_owned()];
        assert!(check(&[file("Cargo.lock", "/barn/")], &words).is_empty());
    }

    #[test]
    fn mirrors_are_found_in_cargo_settings() {
        let settings = "[source.crates-io]\nreplace-with = \"near\"\n";
        assert_eq!(check(&[file(".cargo/config.toml", settings)], &[]).len(), 2);
        assert!(check(&[file("docs/x.toml", settings)], &[]).is_empty());
    }
}
