//! A host configuration for one call, in the form that the daemon reads.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use stowd_core::{Error, Reference, Result};

/// Whether the registry's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    /// It is.
    Yes,
    /// Any will do.
    No,
}

/// A folder with one registry's `hosts.toml`, removed when dropped.
#[derive(Debug)]
pub(super) struct Hosts {
    path: PathBuf,
}

impl Hosts {
    /// Writes the configuration for the registry of a reference.
    pub(super) fn write(
        reference: &str,
        verify: Verify,
        authority: Option<PathBuf>,
        identity: Option<(PathBuf, PathBuf)>,
    ) -> Result<Self> {
        let host = reference.parse::<Reference>()?.host().to_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = std::env::temp_dir().join(format!("stowctl-{}-{now}", std::process::id()));
        let failed = |path: &Path, error: &std::io::Error| {
            Error::io(format_args!("write {}", path.display()), error)
        };
        // To make the folder anew is to be the only one who writes into it.
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| failed(&path, &error))?;
        let hosts = Self { path };
        // Without its `server` the file is about the registry itself. `_default` is for all hosts,
        // of which this call has one.
        let folder = hosts.path.join(match host.split_once(':') {
            Some((name, port)) if !name.starts_with('[') => format!("{name}_{port}_"),
            _ => "_default".to_owned(),
        });
        fs::create_dir(&folder).map_err(|error| failed(&folder, &error))?;
        let file = folder.join("hosts.toml");
        let text = toml(verify, authority.as_deref(), identity.as_ref())?;
        fs::write(&file, text).map_err(|error| failed(&file, &error))?;
        Ok(hosts)
    }

    /// Returns the folder to name to the daemon.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // It holds paths only; what cannot be removed is left to the temporary folder's keeper.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn toml(
    verify: Verify,
    authority: Option<&Path>,
    identity: Option<&(PathBuf, PathBuf)>,
) -> Result<String> {
    let mut text = format!("skip_verify = {}\n", verify == Verify::No);
    if let Some(authority) = authority {
        text.push_str(&format!("ca = {}\n", quoted(authority)?));
    }
    if let Some((certificate, key)) = identity {
        text.push_str(&format!("client = [[{}, {}]]\n", quoted(certificate)?, quoted(key)?));
    }
    Ok(text)
}

/// Writes a path as a TOML string, which for these characters is as JSON has it.
fn quoted(path: &Path) -> Result<String> {
    let text = super::text(path)?;
    serde_json::to_string(&text).map_err(|error| Error::internal(format_args!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_about_the_registry_itself() {
        let hosts =
            Hosts::write("127.0.0.1:5000/a:1", Verify::Yes, Some("/etc/ca.crt".into()), None)
                .unwrap();
        let file = hosts.path().join("127.0.0.1_5000_/hosts.toml");
        assert_eq!(
            fs::read_to_string(file).unwrap(),
            "skip_verify = false\nca = \"/etc/ca.crt\"\n"
        );
        let path = hosts.path().to_path_buf();
        drop(hosts);
        assert!(!path.exists());
        assert!(Hosts::write("not a reference", Verify::No, None, None).is_err());
    }
}
