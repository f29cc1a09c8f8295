//! What the process may do beyond others.

use crate::{Capabilities, Error, Result, Spec, capabilities};

impl Spec {
    /// Replaces the capabilities. What can be inherited is never more than that.
    pub fn set_capabilities(&mut self, names: Vec<String>) {
        let sets = self.capabilities_mut();
        sets.inheritable.retain(|name| names.contains(name));
        sets.bounding = names.clone();
        sets.effective = names.clone();
        sets.permitted = names;
    }

    /// Gives the process all capabilities that this process has.
    pub fn set_current_capabilities(&mut self) -> Result<()> {
        self.set_capabilities(capabilities::current()?);
        Ok(())
    }

    /// Gives the process all capabilities that exist.
    pub fn set_all_capabilities(&mut self) {
        self.set_capabilities(
            capabilities::known().iter().map(|name| (*name).to_owned()).collect(),
        );
    }

    /// Adds capabilities.
    pub fn add_capabilities(&mut self, names: &[String]) {
        let Capabilities { bounding, effective, permitted, .. } = self.capabilities_mut();
        for set in [bounding, effective, permitted] {
            for name in names {
                if !set.contains(name) {
                    set.push(name.clone());
                }
            }
        }
    }

    /// Takes capabilities away.
    pub fn drop_capabilities(&mut self, names: &[String]) {
        let Capabilities { bounding, effective, permitted, inheritable, .. } =
            self.capabilities_mut();
        for set in [bounding, effective, permitted, inheritable] {
            set.retain(|name| !names.contains(name));
        }
    }

    /// Lets every program that the process starts keep these, which only makes sense for users other
    /// than root.
    pub fn set_ambient_capabilities(&mut self, names: Vec<String>) {
        let sets = self.capabilities_mut();
        sets.inheritable = names.clone();
        sets.ambient = names;
    }
}

impl Capabilities {
    /// Refuses names without `CAP_` in front, as `ctr` does.
    pub fn check_names(names: &[String]) -> Result<()> {
        if names.iter().all(|name| name.starts_with("CAP_")) {
            return Ok(());
        }
        Err(Error::InvalidOption("capabilities must be specified with 'CAP_' prefix".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DEFAULT_CAPABILITIES;

    #[test]
    fn sets_are_changed_together() {
        let mut spec = Spec::linux_default("n", "i");
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        spec.add_capabilities(&names(&["CAP_SYS_ADMIN", "CAP_CHOWN"]));
        spec.drop_capabilities(&names(&["CAP_KILL"]));
        let sets = spec.capabilities_mut();
        assert_eq!(sets.bounding.len(), DEFAULT_CAPABILITIES.len());
        assert_eq!(sets.bounding, sets.permitted);
        assert_eq!(sets.bounding.last().unwrap(), "CAP_SYS_ADMIN");
        spec.set_ambient_capabilities(names(&["CAP_CHOWN", "CAP_BPF"]));
        spec.set_capabilities(names(&["CAP_CHOWN"]));
        assert_eq!(spec.capabilities_mut().inheritable, ["CAP_CHOWN"]);
        assert!(Capabilities::check_names(&names(&["SYS_ADMIN"])).is_err());
    }
}
