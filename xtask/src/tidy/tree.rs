//! What must be there, and where: documents, crate settings, names.

use std::path::Path;

use serde_json::Value;

use super::{Finding, SourceFile};

const DOCUMENTS: &[(&str, &str)] = &[
    ("README.md", "says what stowd is, and opens with the two commands"),
    ("ARCHITECTURE.md", "maps the crates by floors and says what is deliberately absent"),
    ("CHANGELOG.md", "says what changed for a user"),
    ("CONTRIBUTING.md", "says how to build, test and commit"),
    ("LICENSE", "is the Apache License 2.0"),
];

/// File names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc"];

pub(crate) fn check(root: &Path, metadata: &Value, files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, what) in DOCUMENTS {
        if !files.iter().any(|file| file.path == *name && !file.text.trim().is_empty()) {
            findings.push(Finding::new(*name, "is missing", format!("it {what}")));
        }
    }
    for package in metadata["packages"].as_array().into_iter().flatten() {
        findings.extend(check_package(root, package, files));
    }
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        findings.extend(check_name(file));
    }
    findings
}

fn check_package(root: &Path, package: &Value, files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let manifest = package["manifest_path"].as_str().unwrap_or_default();
    let manifest = Path::new(manifest).strip_prefix(root).unwrap_or(Path::new(manifest));
    let place = manifest.to_string_lossy().into_owned();
    if package["description"].as_str().is_none_or(|text| text.split_whitespace().count() < 3) {
        findings.push(Finding::new(
            &place,
            "has no description worth the name",
            "say in one sentence what the crate is for",
        ));
    }
    if package["publish"].as_array().is_none_or(|registries| !registries.is_empty()) {
        findings.push(Finding::new(&place, "may be published", "add `publish.workspace = true`"));
    }
    let folder = manifest.parent().map(|path| path.to_string_lossy().into_owned());
    let manifest = files.iter().find(|file| file.path == place);
    // `sys` opts out of the ban on `unsafe` and therefore lists its lints itself.
    if folder.as_deref() != Some("crates/sys")
        && !manifest.is_some_and(|file| inherits_lints(&file.text))
    {
        findings.push(Finding::new(
            &place,
            "does not take the workspace's lints",
            "add `workspace = true` under `[lints]`",
        ));
    }
    for target in package["targets"].as_array().into_iter().flatten() {
        let kinds: Vec<&str> =
            target["kind"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !kinds.iter().any(|kind| matches!(*kind, "lib" | "bin" | "proc-macro")) {
            continue;
        }
        let source = Path::new(target["src_path"].as_str().unwrap_or_default());
        let source = source.strip_prefix(root).unwrap_or(source).to_string_lossy().into_owned();
        if let Some(file) = files.iter().find(|file| file.path == source) {
            findings.extend(check_crate_docs(file));
        }
    }
    findings
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim);
    lines.any(|line| line == "[lints]") && lines.next() == Some("workspace = true")
}

fn check_crate_docs(file: &SourceFile) -> Option<Finding> {
    let words: usize = file
        .text
        .lines()
        .take_while(|line| line.starts_with("//!") || line.starts_with("#!") || line.is_empty())
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.split_whitespace().count())
        .sum();
    (words < 8).then(|| {
        Finding::new(
            &file.path,
            "does not say what the crate does",
            "open it with a `//!` paragraph: what it is for, and what is deliberately absent",
        )
    })
}

fn check_name(file: &SourceFile) -> Option<Finding> {
    let path = Path::new(&file.path);
    let stem = path.file_stem()?.to_str()?;
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let name = if stem == "mod" { folder? } else { stem };
    EMPTY_NAMES.contains(&name).then(|| {
        Finding::new(
            &file.path,
            format!("`{name}` says nothing about what is inside"),
            "name the thing: reaper, bundle, whiteout",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn lints_are_inherited_only_under_their_own_header() {
        assert!(inherits_lints("[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n"));
        assert!(!inherits_lints("[dependencies]\nworkspace = true\n"));
        assert!(!inherits_lints("[lints]\n[lints.rust]\nunsafe_code = \"allow\"\n"));
    }

    #[test]
    fn a_crate_must_open_with_more_than_a_pointer() {
        assert!(check_crate_docs(&file("src/lib.rs", "//! See ARCHITECTURE.md.\n")).is_some());
        assert!(
            check_crate_docs(&file(
                "src/lib.rs",
                "mod a;\n//! Late words do not count here, at all.\n"
            ))
            .is_some()
        );
        let good = "#![forbid(unsafe_code)]\n//! The blob store: content-addressed, on disk, durable at commit.\n";
        assert!(check_crate_docs(&file("src/lib.rs", good)).is_none());
    }

    #[test]
    fn empty_names_are_found_as_file_and_as_folder() {
        assert!(check_name(&file("crates/x/src/utils.rs", "")).is_some());
        assert!(check_name(&file("crates/x/src/common/mod.rs", "")).is_some());
        assert!(check_name(&file("crates/x/src/reaper.rs", "")).is_none());
    }

    #[test]
    fn missing_documents_are_named() {
        let found = check(
            Path::new("/"),
            &Value::Null,
            &[file("README.md", "stowd"), file("LICENSE", " ")],
        );
        let places: Vec<&str> = found.iter().map(|finding| finding.place.as_str()).collect();
        assert_eq!(places, ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"]);
    }
}
