//! `linux.seccomp` in `config.json`.

use serde::Deserialize;

use super::or_default;

/// A system call filter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seccomp {
    /// What happens to calls that no rule names.
    #[serde(deserialize_with = "or_default")]
    pub default_action: String,
    /// The error number of a default `SCMP_ACT_ERRNO` or `SCMP_ACT_TRACE`.
    pub default_errno_ret: Option<u32>,
    /// `SCMP_ARCH_…` besides the native one.
    #[serde(deserialize_with = "or_default")]
    pub architectures: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_…`.
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
    /// The socket that gets the notification descriptor.
    #[serde(deserialize_with = "or_default")]
    pub listener_path: String,
    /// What is sent with it.
    #[serde(deserialize_with = "or_default")]
    pub listener_metadata: String,
    /// The rules.
    #[serde(deserialize_with = "or_default")]
    pub syscalls: Vec<SeccompSyscall>,
}

/// What happens to some system calls.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompSyscall {
    /// Their names; ones that the kernel's architecture lacks are skipped.
    #[serde(deserialize_with = "or_default")]
    pub names: Vec<String>,
    /// `SCMP_ACT_…`.
    #[serde(deserialize_with = "or_default")]
    pub action: String,
    /// The error number of `SCMP_ACT_ERRNO` or `SCMP_ACT_TRACE`.
    pub errno_ret: Option<u32>,
    /// Conditions on the arguments.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<SeccompArg>,
}

/// A condition on one argument.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompArg {
    /// Which one, 0 to 5.
    pub index: u32,
    /// What it is compared with, or the mask of `SCMP_CMP_MASKED_EQ`.
    pub value: u64,
    /// What the masked argument is compared with.
    pub value_two: u64,
    /// `SCMP_CMP_…`.
    #[serde(deserialize_with = "or_default")]
    pub op: String,
}
