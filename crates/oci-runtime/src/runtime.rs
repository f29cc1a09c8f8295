//! The runtime: a directory of containers.

use std::path::{Path, PathBuf};

use stowd_cgroups::Driver;

use crate::{Container, CreateOptions, Created, Error, Result};

/// Makes containers, and finds those it made, under one root directory.
#[derive(Clone, Debug)]
pub struct Runtime {
    root: PathBuf,
    driver: Driver,
}

impl Runtime {
    /// A runtime that keeps its state under `root` (such as `/run/containerd/runc/default`), which
    /// is created when the first container is.
    pub fn new(root: impl Into<PathBuf>, driver: Driver) -> Runtime {
        Runtime { root: root.into(), driver }
    }

    /// Where the state is kept.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Builds a container and clones its init process, which waits for [`Container::start`].
    ///
    /// On return the init process is fully set up inside (root entered, privileges dropped, program
    /// looked up) and is the caller's child. On an error nothing is left: no process, cgroup or
    /// file.
    pub fn create(&self, options: CreateOptions) -> Result<Created> {
        crate::create::create(&self.root, self.driver, options)
    }

    /// Finds a container that this or another process made.
    pub fn load(&self, id: &str) -> Result<Container> {
        Container::load(&self.root, id)
    }

    /// The ids of all containers under the root, sorted.
    pub fn list(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("read", &self.root, error)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Error::file("read", &self.root, error))?;
            // One without a state is still being made, or already being removed.
            if entry.path().join("state.json").exists() {
                ids.extend(entry.file_name().into_string());
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }
}
