//! `oci-hook`: runs a program as an OCI runtime's hook, with what is known of the container put into its
//! arguments and environment. A runtime cannot do that itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use stowd_core::{Error, Result};

/// The container's state, as the runtime hands it to hooks (runtime-spec, runtime.md).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    id: String,
    status: String,
    pid: i64,
    bundle: PathBuf,
    annotations: BTreeMap<String, String>,
}

/// The part of a specification that hooks may ask for.
#[derive(Debug, Deserialize)]
struct Spec {
    root: Root,
}

#[derive(Debug, Deserialize)]
struct Root {
    path: PathBuf,
}

/// Becomes the program. Returns only when that fails.
///
/// # Errors
/// `InvalidArgument` when standard input holds no state, the bundle no specification, or an argument
/// asks for something that there is not; what executing the program fails with.
pub(crate) fn run(command: &[String]) -> Result<()> {
    let state: State = serde_json::from_reader(std::io::stdin().lock())
        .map_err(|error| Error::invalid(format_args!("standard input is no state: {error}")))?;
    let path = state.bundle.join("config.json");
    let text = std::fs::read(&path)
        .map_err(|error| Error::io(format_args!("read {}", path.display()), &error))?;
    let spec: Spec = serde_json::from_slice(&text)
        .map_err(|error| Error::invalid(format_args!("{}: {error}", path.display())))?;
    let fill = |text: &str| fill(text, &state, &state.bundle.join(&spec.root.path));
    let args = command.iter().map(|arg| fill(arg)).collect::<Result<Vec<_>>>()?;
    let Some((program, args)) = args.split_first() else {
        return Err(Error::invalid("oci-hook needs a program to run"));
    };
    let mut environment: Vec<(OsString, OsString)> = Vec::new();
    for (name, value) in std::env::vars_os() {
        // What is not text cannot ask for anything.
        let value = value
            .to_str()
            .map_or(Ok(value.as_bytes().to_owned()), |text| fill(text).map(String::into_bytes))?;
        environment.push((name, OsString::from_vec(value)));
    }
    let error = Command::new(program).args(args).env_clear().envs(environment).exec();
    Err(Error::io(format_args!("run {program}"), &error))
}

/// Fills in what stands between double braces.
fn fill(text: &str, state: &State, rootfs: &Path) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((asked, after)) = after.split_once("}}") else {
            return Err(Error::invalid(format_args!("{text:?}: {{{{ without }}}}")));
        };
        filled.push_str(before);
        filled.push_str(&answer(asked.trim(), state, rootfs).ok_or_else(|| {
            Error::invalid(format_args!("{text:?}: there is no {{{{{asked}}}}}"))
                .hint("there are id, bundle, rootfs, pid, status and annotation \"KEY\"")
        })?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn answer(asked: &str, state: &State, rootfs: &Path) -> Option<String> {
    Some(match asked {
        "id" => state.id.clone(),
        "bundle" => state.bundle.display().to_string(),
        "rootfs" => rootfs.display().to_string(),
        "pid" => state.pid.to_string(),
        "status" => state.status.clone(),
        asked => {
            let key = asked.strip_prefix("annotation")?.trim();
            let quoted = |quote| key.strip_prefix(quote)?.strip_suffix(quote);
            let key = quoted('"').or_else(|| quoted('`'))?;
            state.annotations.get(key).cloned().unwrap_or_default()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_what_is_asked() {
        let state = State {
            id: "c".into(),
            pid: 7,
            bundle: "/b".into(),
            annotations: [("k.x".to_owned(), "v".to_owned())].into(),
            ..State::default()
        };
        let fill = |text: &str| fill(text, &state, Path::new("/b/rootfs"));
        assert_eq!(fill("a {{id}}-{{ pid }} {{rootfs}}").unwrap(), "a c-7 /b/rootfs");
        assert_eq!(fill("{{annotation \"k.x\"}}{{annotation `no`}}").unwrap(), "v");
        assert_eq!(fill("plain }} text").unwrap(), "plain }} text");
        for wrong in ["{{id", "{{what}}", "{{annotation k}}"] {
            assert!(fill(wrong).is_err(), "{wrong}");
        }
    }
}
