//! The allowed arrows between the workspace's crates.
//!
//! A crate stands on a floor and may use only the crates its row names. Contracts are at the bottom,
//! implementations side by side, wiring on top; the table here is the one ARCHITECTURE.md explains,
//! and this check is what makes it true. Dev-dependencies are free, except that nothing the daemon is
//! made of may test itself through the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use super::Finding;

/// A crate's row in the table: its floor and the crates it may use.
struct Row {
    floor: u8,
    name: &'static str,
    may_use: &'static [&'static str],
}

const PREFIX: &str = "stowd-";

/// Floor 0 holds what no product depends on.
const TABLE: &[Row] = &[
    Row { floor: 1, name: "core", may_use: &[] },
    Row { floor: 1, name: "sys", may_use: &[] },
    Row { floor: 1, name: "cni", may_use: &[] },
    Row { floor: 2, name: "api", may_use: &["core"] },
    Row { floor: 2, name: "cgroups", may_use: &["sys"] },
    Row { floor: 2, name: "mount", may_use: &["core", "sys"] },
    Row { floor: 2, name: "content", may_use: &["core", "sys"] },
    Row { floor: 2, name: "metadata", may_use: &["core"] },
    Row { floor: 2, name: "events", may_use: &["core"] },
    Row { floor: 2, name: "registry", may_use: &["core"] },
    Row { floor: 2, name: "images", may_use: &["core"] },
    Row { floor: 2, name: "spec", may_use: &["core"] },
    Row { floor: 3, name: "oci-runtime", may_use: &["cgroups", "sys"] },
    Row { floor: 3, name: "diff", may_use: &["core", "mount", "sys"] },
    Row { floor: 3, name: "snapshots", may_use: &["core", "mount", "sys"] },
    Row { floor: 3, name: "transfer", may_use: &["core", "images"] },
    Row { floor: 3, name: "tasks", may_use: &["core", "api", "mount", "sys"] },
    Row { floor: 3, name: "services", may_use: &["core", "api"] },
    Row { floor: 3, name: "proxy", may_use: &["core", "api"] },
    Row { floor: 3, name: "cri", may_use: &["core", "api", "spec", "images", "mount", "cni"] },
    Row { floor: 4, name: "shim", may_use: &["api", "oci-runtime", "cgroups", "mount", "sys"] },
    Row { floor: 4, name: "client", may_use: &["core", "api", "mount", "proxy", "spec"] },
    Row {
        floor: 4,
        name: "daemon",
        may_use: &[
            "core",
            "sys",
            "cni",
            "api",
            "cgroups",
            "mount",
            "content",
            "metadata",
            "events",
            "registry",
            "images",
            "spec",
            "diff",
            "snapshots",
            "transfer",
            "tasks",
            "services",
            "proxy",
            "cri",
        ],
    },
    Row { floor: 5, name: "stowctl", may_use: &["client", "core", "registry"] },
    Row { floor: 0, name: "testing", may_use: &["core"] },
    Row { floor: 0, name: "xtask", may_use: &["core"] },
];

/// Compares what `cargo metadata` says with the table.
pub(crate) fn check(metadata: &Value) -> Vec<Finding> {
    let packages = packages(metadata);
    let members: BTreeSet<&str> = packages.keys().copied().collect();
    let mut findings = Vec::new();
    for (package, dependencies) in &packages {
        let place = format!("crate {package}");
        let Some(row) = TABLE.iter().find(|row| row.name == *package) else {
            findings.push(Finding::new(
                place,
                "stands on no floor",
                "give it a row in xtask/src/tidy/arrows.rs and in ARCHITECTURE.md's map",
            ));
            continue;
        };
        for dependency in dependencies {
            if !members.contains(dependency.name.as_str()) {
                continue;
            }
            let used = dependency.name.as_str();
            match dependency.kind {
                Kind::Normal if !row.may_use.contains(&used) => findings.push(Finding::new(
                    &place,
                    format!("uses {used}"),
                    format!("it may use {}", words(row.may_use)),
                )),
                Kind::Dev if used == "daemon" && is_below_daemon(package) => {
                    findings.push(Finding::new(
                        &place,
                        "tests itself through the daemon, which is built from it",
                        "move the test to a crate above the daemon or to crates/testing",
                    ));
                }
                Kind::Normal | Kind::Dev => {}
            }
        }
    }
    findings
}

/// The table as text, floor by floor.
pub(crate) fn table() -> String {
    let mut text = String::new();
    for row in TABLE {
        let floor = if row.floor == 0 { "-".to_owned() } else { row.floor.to_string() };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{floor}  {:<12} {}", row.name, words(row.may_use));
    }
    text
}

#[derive(Clone, Copy)]
enum Kind {
    Normal,
    Dev,
}

struct Dependency {
    name: String,
    kind: Kind,
}

fn packages(metadata: &Value) -> BTreeMap<&str, Vec<Dependency>> {
    let mut packages = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(name) = package["name"].as_str() else { continue };
        let dependencies = package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|dependency| {
                let name = short(dependency["name"].as_str()?).to_owned();
                // Build scripts are part of the product: their arrows count like the rest.
                let kind = match dependency["kind"].as_str() {
                    Some("dev") => Kind::Dev,
                    _ => Kind::Normal,
                };
                Some(Dependency { name, kind })
            })
            .collect();
        packages.insert(short(name), dependencies);
    }
    packages
}

fn short(package: &str) -> &str {
    package.strip_prefix(PREFIX).unwrap_or(package)
}

fn is_below_daemon(name: &str) -> bool {
    TABLE.iter().any(|row| row.name == "daemon" && row.may_use.contains(&name))
}

fn words(names: &[&str]) -> String {
    if names.is_empty() { "no other crate of this workspace".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(dependencies: &[(&str, &str, Option<&str>)]) -> Value {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (from, to, _) in dependencies {
            names.insert(from);
            names.insert(to);
        }
        let packages: Vec<Value> = names
            .iter()
            .map(|name| {
                let dependencies: Vec<Value> = dependencies
                    .iter()
                    .filter(|(from, ..)| from == name)
                    .map(|(_, to, kind)| json!({"name": to, "kind": kind}))
                    .collect();
                json!({"name": name, "dependencies": dependencies})
            })
            .collect();
        json!({ "packages": packages })
    }

    #[test]
    fn arrows_of_the_table_pass() {
        let found = check(&metadata(&[
            ("stowd-content", "stowd-core", None),
            ("stowd-content", "stowd-sys", None),
            ("stowd-daemon", "stowd-content", None),
        ]));
        assert_eq!(found, []);
    }

    #[test]
    fn siblings_may_not_import_each_other() {
        let found = check(&metadata(&[("stowd-content", "stowd-metadata", None)]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().contains("crate content: uses metadata"), "{}", found[0]);
        assert!(found[0].to_string().contains("core, sys"), "{}", found[0]);
    }

    #[test]
    fn build_dependencies_count_and_dev_dependencies_do_not() {
        let found = check(&metadata(&[
            ("stowd-content", "stowd-api", Some("build")),
            ("stowd-diff", "stowd-snapshots", Some("dev")),
        ]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().contains("crate content: uses api"), "{}", found[0]);
    }

    #[test]
    fn parts_of_the_daemon_may_not_test_through_it() {
        let found = check(&metadata(&[
            ("stowd-content", "stowd-daemon", Some("dev")),
            ("stowd-stowctl", "stowd-daemon", Some("dev")),
        ]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().starts_with("crate content"), "{}", found[0]);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        let found = check(&metadata(&[("stowd-cargo-bay", "stowd-core", None)]));
        assert!(found[0].to_string().contains("stands on no floor"), "{found:?}");
    }

    #[test]
    fn every_arrow_points_down_or_sideways_never_up() {
        for row in TABLE.iter().filter(|row| row.floor > 0) {
            for used in row.may_use {
                let floor = TABLE
                    .iter()
                    .find(|other| other.name == *used)
                    .map(|other| other.floor)
                    .unwrap_or_else(|| panic!("{} names {used}, which has no row", row.name));
                assert!(
                    floor < row.floor,
                    "{} (floor {}) -> {used} ({floor})",
                    row.name,
                    row.floor
                );
            }
        }
    }
}
