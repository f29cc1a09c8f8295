//! What is kept from the process, and what is not.

use crate::{Result, Seccomp, Spec, seccomp};

impl Spec {
    /// Hides these paths; none for nothing hidden.
    pub fn set_masked_paths(&mut self, paths: Vec<String>) {
        self.linux_mut().masked_paths = paths;
    }

    /// Forbids writing to these paths; none for nothing forbidden.
    pub fn set_readonly_paths(&mut self, paths: Vec<String>) {
        self.linux_mut().readonly_paths = paths;
    }

    /// Lets the process gain privileges, as by set-user-id programs.
    pub fn allow_new_privileges(&mut self) {
        self.process_mut().no_new_privileges = false;
    }

    /// Keeps the process from ever gaining privileges.
    pub fn forbid_new_privileges(&mut self) {
        self.process_mut().no_new_privileges = true;
    }

    /// Sets the process's SELinux context.
    pub fn set_selinux_label(&mut self, label: impl Into<String>) {
        self.process_mut().selinux_label = label.into();
    }

    /// Sets the process's AppArmor profile, which must be loaded.
    pub fn set_apparmor_profile(&mut self, name: impl Into<String>) {
        self.process_mut().apparmor_profile = name.into();
    }

    /// Restricts system calls by a profile of the caller's.
    pub fn set_seccomp(&mut self, profile: Seccomp) {
        self.linux_mut().seccomp = Some(profile);
    }

    /// Restricts system calls by the default profile, which depends on the capabilities given so far.
    pub fn set_default_seccomp(&mut self) {
        let profile = seccomp::default_profile(self.process_mut());
        self.set_seccomp(profile);
    }

    /// Allows all system calls.
    pub fn clear_seccomp(&mut self) {
        self.linux_mut().seccomp = None;
    }

    /// Takes the restrictions away that separate the container's root from the host's: all our
    /// capabilities, nothing hidden or read-only, no profiles. Devices are a matter of their own.
    pub fn make_privileged(&mut self) -> Result<()> {
        self.set_current_capabilities()?;
        self.set_masked_paths(Vec::new());
        self.set_readonly_paths(Vec::new());
        self.make_writable("sysfs");
        self.make_writable("cgroup");
        self.set_selinux_label("");
        self.set_apparmor_profile("");
        self.clear_seccomp();
        Ok(())
    }
}
