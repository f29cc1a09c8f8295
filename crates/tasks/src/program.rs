//! Which program is a runtime's shim.

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use stowd_core::{Error, Result};

use crate::Config;

/// The runtime that our own shim stands for.
const OWN: &str = "io.containerd.runc.v2";

/// Its program, and the name that containerd knows it by.
const OWN_PROGRAMS: [&str; 2] = ["stowd-shim", "containerd-shim-runc-v2"];

/// A shim's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// How it is started.
    pub(crate) way: Way,
}

/// How a shim is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is handed its socket and serves at once. Only stowd's own shim can do that.
    Direct,
    /// `PROGRAM … start` makes a background process and prints where that listens.
    Bootstrap(Input),
}

/// What a shim's `start` expects on its standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The runtime's options, packed: those made with containerd before 2.3.
    Options,
    /// `BootstrapParams`, with the options inside: all since.
    Parameters,
}

/// The first containerd whose shims read parameters.
const PARAMETERS_SINCE: (u32, u32) = (2, 3);

/// Finds programs, each once.
#[derive(Debug, Default)]
pub(crate) struct Programs(Mutex<HashMap<String, Program>>);

impl Programs {
    /// Returns the shim of a runtime: its name (`io.containerd.runc.v2`) or its program's path.
    pub(crate) async fn find(&self, config: &Config, runtime: &str) -> Result<Program> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(runtime).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let path = locate(config, runtime)?;
        let way = way(&path).await;
        tracing::debug!(runtime, program = %path.display(), ?way, "found a shim's program");
        let program = Program { path, way };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(runtime.to_owned(), program.clone());
        Ok(program)
    }
}

/// Tells our own shim by its name; others, which may be ours under another name, by what they say
/// of themselves.
async fn way(path: &Path) -> Way {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if [path, &*real].iter().any(|path| path.file_name().is_some_and(|it| it == OWN_PROGRAMS[0])) {
        return Way::Direct;
    }
    let asked = tokio::process::Command::new(path)
        .arg("-v")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(std::time::Duration::from_secs(2), asked).await {
        Ok(Ok(answer)) => read_version(&String::from_utf8_lossy(&answer.stdout)),
        _ => Way::Bootstrap(Input::Options),
    }
}

/// Reads what `-v` prints. Its version is that of the containerd whose library the shim is made with,
/// whoever made it.
fn read_version(text: &str) -> Way {
    if text.contains("stowd") {
        return Way::Direct;
    }
    let version = text.lines().find_map(|line| line.trim().strip_prefix("Version:"));
    let version = version.unwrap_or_default().trim().trim_start_matches('v');
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= PARAMETERS_SINCE => {
            Way::Bootstrap(Input::Parameters)
        }
        _ => Way::Bootstrap(Input::Options),
    }
}

fn locate(config: &Config, runtime: &str) -> Result<PathBuf> {
    let misspelt = || {
        Error::unknown(format_args!(
            "invalid runtime name {runtime}, correct runtime name should be either format like \
             `io.containerd.runc.v2` or a full path to the binary"
        ))
    };
    if runtime.is_empty() {
        return Err(Error::invalid("no runtime name"));
    }
    if runtime.starts_with('/') {
        let path = PathBuf::from(runtime);
        return match path.metadata() {
            Ok(_) => Ok(path),
            Err(error) => {
                // Clients know the kernel's words as Go spells them.
                let words = match error.kind() {
                    std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                    _ => error.to_string(),
                };
                Err(Error::unknown(format_args!(
                    "invalid custom binary path: stat {runtime}: {words}"
                )))
            }
        };
    }
    let name = binary_name(runtime).ok_or_else(misspelt)?;
    if runtime == OWN {
        if let Some(path) = &config.shim_path {
            return Ok(path.clone());
        }
        let own =
            OWN_PROGRAMS.iter().find_map(|name| beside(name).or_else(|| in_path(config, name)));
        return own.ok_or_else(|| not_installed(runtime, OWN_PROGRAMS[0]));
    }
    in_path(config, &name).or_else(|| beside(&name)).ok_or_else(|| not_installed(runtime, &name))
}

fn not_installed(runtime: &str, name: &str) -> Error {
    Error::unknown(format_args!(
        "runtime {runtime:?} binary not installed {name:?}: file does not exist"
    ))
}

/// Makes a program's name of a runtime's, which is `<anything>.<name>.<version>`.
fn binary_name(runtime: &str) -> Option<String> {
    if runtime.contains('/') || runtime.starts_with('.') {
        return None;
    }
    let mut parts = runtime.rsplit('.');
    let (version, name) = (parts.next()?, parts.next()?);
    Some(format!("containerd-shim-{name}-{version}"))
}

fn beside(name: &str) -> Option<PathBuf> {
    let path = env::current_exe().ok()?.parent()?.join(name);
    path.is_file().then_some(path)
}

fn in_path(config: &Config, name: &str) -> Option<PathBuf> {
    let path = config.env.iter().rev().find_map(|pair| pair.strip_prefix("PATH="));
    let path = path.map(Into::into).or_else(|| env::var_os("PATH"))?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_decide_what_is_asked_of_a_shim() {
        let (options, parameters) =
            (Way::Bootstrap(Input::Options), Way::Bootstrap(Input::Parameters));
        for (version, way) in [
            ("1.6.20~ds1", options),
            ("v2.2.9", options),
            ("2.3.0-rc.1", parameters),
            ("v3.0.0", parameters),
            ("unknown", options),
            ("", options),
        ] {
            let text = format!("containerd-shim-x-v1:\n  Version:  {version}\n  Revision: 1\n");
            assert_eq!(read_version(&text), way, "{version}");
        }
        assert_eq!(read_version("containerd-shim-runc-v2 (stowd 0.1.0)"), Way::Direct);
    }

    #[test]
    fn names_follow_the_rule() {
        assert_eq!(
            binary_name("io.containerd.kata.v2").as_deref(),
            Some("containerd-shim-kata-v2")
        );
        assert_eq!(binary_name("a.b").as_deref(), Some("containerd-shim-a-b"));
        for wrong in ["runc", "", ".a.b", "a/b.c"] {
            assert_eq!(binary_name(wrong), None, "{wrong}");
        }
    }
}
