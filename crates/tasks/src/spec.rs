//! The few fields of an OCI spec that matter before the shim reads it.

use std::collections::HashMap;

use serde::Deserialize;
use stowd_core::{Error, Result};

/// Annotations that name the group whose containers share a shim, in the order they are asked.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// What is read of a spec.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Spec {
    annotations: Option<HashMap<String, String>>,
    linux: Option<Linux>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    gid_mappings: Option<Vec<Mapping>>,
    cgroups_path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mapping {
    #[serde(rename = "containerID")]
    container: u32,
    #[serde(rename = "hostID")]
    host: u32,
}

impl Spec {
    /// Reads a spec; an empty one is allowed.
    pub(crate) fn read(json: &[u8]) -> Result<Self> {
        if json.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(json)
            .map_err(|error| Error::invalid(format_args!("the container's spec: {error}")))
    }

    /// Reads what may be a spec, as a sandbox's may; what is none has nothing in it.
    pub(crate) fn guess(json: &[u8]) -> Self {
        Self::read(json).unwrap_or_default()
    }

    /// Returns the group whose shim the container shares.
    pub(crate) fn group(&self) -> Option<&str> {
        let annotations = self.annotations.as_ref()?;
        let group = GROUPS.iter().find_map(|name| annotations.get(*name))?;
        Some(group.as_str()).filter(|group| !group.is_empty())
    }

    /// Returns the host's number of the container's group 0, where it is another.
    pub(crate) fn remapped_gid(&self) -> Option<u32> {
        let mappings = self.linux.as_ref()?.gid_mappings.as_ref()?;
        let root = mappings.iter().find(|mapping| mapping.container == 0)?;
        Some(root.host).filter(|gid| *gid != 0)
    }

    /// Returns where its cgroup is, in the spec's words.
    pub(crate) fn cgroup(&self) -> Option<&str> {
        self.linux.as_ref()?.cgroups_path.as_deref().filter(|path| !path.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_matters_and_nothing_else() {
        let spec = Spec::read(
            br#"{"ociVersion":"1.0.2","annotations":{"io.kubernetes.cri.sandbox-id":"pod","x":"y"},
                "linux":{"cgroupsPath":"/a/b","gidMappings":[
                    {"containerID":1,"hostID":7,"size":1},{"containerID":0,"hostID":1000,"size":9}]}}"#,
        )
        .unwrap();
        assert_eq!(spec.group(), Some("pod"));
        assert_eq!(spec.remapped_gid(), Some(1000));
        assert_eq!(spec.cgroup(), Some("/a/b"));
        let spec = Spec::read(br#"{"annotations":null,"linux":{"gidMappings":null}}"#).unwrap();
        assert_eq!((spec.group(), spec.remapped_gid(), spec.cgroup()), (None, None, None));
        assert!(Spec::read(b"").is_ok());
        assert!(Spec::read(b"{").is_err());
    }
}
