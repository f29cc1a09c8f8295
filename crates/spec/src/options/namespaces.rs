//! What the container shares with the host, and where it is in the cgroup tree.

use crate::defaults::cgroups_path;
use crate::{Error, IdMapping, Namespace, Result, Spec};

impl Spec {
    /// Shares the host's namespace of this kind.
    pub fn share_namespace(&mut self, kind: &str) {
        let namespaces = &mut self.linux_mut().namespaces;
        if let Some(at) = namespaces.iter().position(|known| known.kind == kind) {
            namespaces.remove(at);
        }
    }

    /// Sets a namespace, in place of the one of its kind.
    pub fn set_namespace(&mut self, namespace: Namespace) {
        let namespaces = &mut self.linux_mut().namespaces;
        match namespaces.iter_mut().find(|known| known.kind == namespace.kind) {
            Some(known) => *known = namespace,
            None => namespaces.push(namespace),
        }
    }

    /// Shares the host's network, with its name resolution and the name it is known by.
    pub fn share_network(&mut self, hostname: &str) {
        self.share_namespace("network");
        self.bind_host_file("/etc/hosts");
        self.bind_host_file("/etc/resolv.conf");
        self.add_env(&[format!("HOSTNAME={hostname}")]);
    }

    /// Gives the container a user namespace with these ranges, added to those it has.
    pub fn map_users(&mut self, uids: &[IdMapping], gids: &[IdMapping]) {
        let linux = self.linux_mut();
        if !linux.namespaces.iter().any(|known| known.kind == "user") {
            linux.namespaces.push(Namespace::new("user"));
        }
        linux.uid_mappings.extend_from_slice(uids);
        linux.gid_mappings.extend_from_slice(gids);
    }

    /// Sets the cgroup; empty leaves it to the runtime.
    pub fn set_cgroup(&mut self, path: impl Into<String>) {
        self.linux_mut().cgroups_path = path.into();
    }

    /// Sets the cgroup to `/<namespace>/<id>`.
    pub fn set_namespaced_cgroup(&mut self, namespace: &str, id: &str) {
        self.linux_mut().cgroups_path = cgroups_path(namespace, id);
    }
}

impl Namespace {
    /// A new namespace of this kind.
    pub fn new(kind: &str) -> Namespace {
        Namespace { kind: kind.into(), path: String::new() }
    }

    /// Understands `kind:path`, a namespace to join.
    pub fn parse_flag(text: &str) -> Result<Namespace> {
        let (kind, path) = text.split_once(':').ok_or_else(|| {
            Error::InvalidOption(
                "joining a Linux namespace using --with-ns requires the format 'nstype:path'"
                    .into(),
            )
        })?;
        if !["pid", "network", "uts", "mount", "user", "ipc", "cgroup"].contains(&kind) {
            return Err(Error::InvalidOption(format!(
                "the Linux namespace type specified in --with-ns is not valid: {kind}"
            )));
        }
        Ok(Namespace { kind: kind.into(), path: path.into() })
    }
}

impl IdMapping {
    /// Understands `container-id:host-id:size`.
    pub fn parse_flag(text: &str) -> Result<IdMapping> {
        let parts: Vec<&str> = text.split(':').collect();
        let [container, host, size] = parts[..] else {
            return Err(Error::InvalidOption(
                "user namespace mappings require the format `container-id:host-id:size`".into(),
            ));
        };
        let number = |digits: &str, what: &str| {
            digits.parse().map_err(|_| {
                Error::InvalidOption(format!(
                    "invalid {what} for user namespace remapping: {digits:?}"
                ))
            })
        };
        Ok(IdMapping {
            container_id: number(container, "container id")?,
            host_id: number(host, "host id")?,
            size: number(size, "size")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(spec: &Spec) -> Vec<&str> {
        let linux = spec.linux.as_ref().unwrap();
        linux.namespaces.iter().map(|namespace| namespace.kind.as_str()).collect()
    }

    #[test]
    fn namespaces_are_shared_joined_and_added() {
        let mut spec = Spec::linux_default("n", "i");
        spec.share_network("host1");
        assert_eq!(kinds(&spec), ["pid", "ipc", "uts", "mount"]);
        spec.set_namespace(Namespace::parse_flag("ipc:/proc/1/ns/ipc").unwrap());
        let range = IdMapping::parse_flag("0:1000:65536").unwrap();
        spec.map_users(&[range], &[range]);
        spec.map_users(&[range], &[]);
        assert_eq!(kinds(&spec), ["pid", "ipc", "uts", "mount", "user"]);
        let linux = spec.linux.unwrap();
        assert_eq!(linux.namespaces[1].path, "/proc/1/ns/ipc");
        assert_eq!((linux.uid_mappings.len(), linux.gid_mappings.len()), (2, 1));
        assert_eq!(spec.process.unwrap().env, ["HOSTNAME=host1"]);
    }

    #[test]
    fn misspelt_flags_are_refused() {
        assert!(Namespace::parse_flag("ipc").is_err());
        assert!(Namespace::parse_flag("net:/x").is_err());
        for flag in ["1:2", "1:2:3:4", "a:1:1", "1:-1:1"] {
            assert!(IdMapping::parse_flag(flag).is_err(), "{flag}");
        }
    }
}
