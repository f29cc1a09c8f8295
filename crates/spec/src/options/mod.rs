//! Changes to a spec, one method each; the words of containerd's `oci.With...`.

mod capabilities;
mod devices;
mod limits;
mod mounts;
mod namespaces;
mod process;
mod security;

pub(crate) use process::merge_env;

use crate::{Capabilities, Linux, Process, Resources, Spec};

impl Spec {
    /// The process, made if there is none.
    pub fn process_mut(&mut self) -> &mut Process {
        self.process.get_or_insert_default()
    }

    /// The Linux part, made if there is none.
    pub fn linux_mut(&mut self) -> &mut Linux {
        self.linux.get_or_insert_default()
    }

    /// The cgroup's limits, made if there are none.
    pub fn resources_mut(&mut self) -> &mut Resources {
        self.linux_mut().resources.get_or_insert_default()
    }

    /// The process's capabilities, made if there are none.
    pub fn capabilities_mut(&mut self) -> &mut Capabilities {
        self.process_mut().capabilities.get_or_insert_default()
    }
}
