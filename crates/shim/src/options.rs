//! What a client asks of the runtime (`containerd.runc.v1.Options`), and what that means here.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stowd_api::Any;
use stowd_api::runc::v1;
use stowd_oci_runtime::{Driver, Keyring, RootSwitch, Runtime};

use crate::engine::Engine;
use crate::failure::{Result, invalid, unimplemented};
use crate::program::Program;

/// Kept in the bundle for `delete`, under containerd's name, when anything in it is not the default.
const FILE: &str = "options.json";

/// containerd's folder of bundles in its state.
const BUNDLES: &str = "io.containerd.runtime.v2.task";

/// Where containerd's shim keeps the runtime's state.
const DEFAULT_ROOT: &str = "/run/containerd/runc";

/// The options that matter here. The owner of the streams (`io_uid`, `io_gid`) does not: the runtime
/// gives them to the process's user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    /// The runtime's program; empty or a bare `runc` means the linked one.
    pub(crate) binary_name: String,
    /// Where the runtime keeps its state, without the namespace; empty for the usual place.
    pub(crate) root: String,
    pub(crate) systemd_cgroup: bool,
    pub(crate) no_pivot_root: bool,
    pub(crate) no_new_keyring: bool,
    pub(crate) shim_cgroup: String,
}

impl Options {
    /// Reads the options of a request to create a container.
    pub(crate) fn read(any: Option<&Any>) -> Result<Options> {
        let Some(any) = any else { return Ok(Options::default()) };
        let wrong = |error| invalid(format_args!("read {}: {error}", any.type_url));
        let Some(options) = any.unpack::<v1::Options>().map_err(wrong)? else {
            // Options of other shapes (a path to a configuration) mean nothing to this runtime.
            return Ok(Options::default());
        };
        if !options.criu_image_path.is_empty() {
            return Err(unimplemented("restore from a checkpoint"));
        }
        Ok(Options::of(options))
    }

    /// Takes what matters here.
    pub(crate) fn of(options: v1::Options) -> Options {
        Options {
            binary_name: options.binary_name,
            root: options.root,
            systemd_cgroup: options.systemd_cgroup,
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup,
        }
    }

    /// Keeps what `delete` will need.
    pub(crate) fn save(&self, bundle: &Path) -> Result<()> {
        if *self == Options::default() {
            return Ok(());
        }
        let path = bundle.join(FILE);
        let failed = |error: &dyn std::fmt::Display| {
            crate::failure::failed(format_args!("write {}: {error}", path.display()))
        };
        let text = serde_json::to_vec(self).map_err(|error| failed(&error))?;
        std::fs::write(&path, text).map_err(|error| failed(&error))
    }

    /// Reads what was kept; also what containerd's shim has kept.
    pub(crate) fn load(bundle: &Path) -> Options {
        std::fs::read(bundle.join(FILE))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    /// Returns the runtime for a container's bundle.
    pub(crate) fn engine(&self, bundle: &Path, namespace: &str) -> Engine {
        let driver = if self.systemd_cgroup { Driver::Systemd } else { Driver::Cgroupfs };
        let root = self.root(bundle, namespace);
        match &*self.binary_name {
            // What clients ask for by default (dockerd says it outright). A path is meant.
            "" | "runc" | "stowd-runc" => Engine::Linked(Runtime::new(root, driver)),
            program => Engine::Program(Program::new(program, root, driver, bundle)),
        }
    }

    /// Returns where the runtime keeps its state.
    fn root(&self, bundle: &Path, namespace: &str) -> PathBuf {
        let root = match &*self.root {
            "" => state(bundle).map_or(DEFAULT_ROOT.into(), |state| state.join("runc")),
            root => PathBuf::from(root),
        };
        root.join(namespace)
    }

    pub(crate) fn root_switch(&self) -> RootSwitch {
        if self.no_pivot_root { RootSwitch::Move } else { RootSwitch::Pivot }
    }

    pub(crate) fn keyring(&self) -> Keyring {
        if self.no_new_keyring { Keyring::Inherit } else { Keyring::New }
    }
}

/// Returns the daemon's state folder that a bundle lies in. Two daemons beside each other then do
/// not share the runtime's state; with the usual folder it is containerd's [`DEFAULT_ROOT`].
fn state(bundle: &Path) -> Option<&Path> {
    let bundles = bundle.parent()?.parent()?;
    if bundles.file_name()? == BUNDLES { bundles.parent() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_runtimes_root() {
        let root = |options: &Options, bundle: &str| options.root(Path::new(bundle), "ns");
        let bundle = "/run/containerd/io.containerd.runtime.v2.task/ns/web";
        assert_eq!(root(&Options::default(), bundle), Path::new("/run/containerd/runc/ns"));
        assert_eq!(root(&Options::default(), "/b/web"), Path::new("/run/containerd/runc/ns"));
        let options = Options { root: "/var/run/docker/runtime-runc".into(), ..Options::default() };
        assert_eq!(root(&options, bundle), Path::new("/var/run/docker/runtime-runc/ns"));
    }

    #[test]
    fn reads_and_keeps_options() {
        let bundle = Path::new("/b/web");
        let options = v1::Options { binary_name: "/usr/bin/crun".into(), ..Default::default() };
        let options = Options::read(Some(&Any::pack(&options))).unwrap();
        assert!(matches!(options.engine(bundle, "ns"), Engine::Program(_)));
        assert!(matches!(Options::default().engine(bundle, "ns"), Engine::Linked(_)));
        let options = v1::Options {
            binary_name: "runc".into(),
            no_pivot_root: true,
            root: "/r".into(),
            ..Default::default()
        };
        let options = Options::read(Some(&Any::pack(&options))).unwrap();
        assert_eq!((options.root_switch(), &*options.root), (RootSwitch::Move, "/r"));
        let folder = tempfile::tempdir().unwrap();
        options.save(folder.path()).unwrap();
        assert_eq!(Options::load(folder.path()), options);
    }
}
