//! What a child process does before its program, worked out beforehand as plain data.
//!
//! Everything that allocates, reads files or can be refused by looking happens here, in the calling
//! process; the child walks through the plan with system calls alone.

pub(crate) mod copy_up;
pub(crate) mod idmap;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod options;
pub(crate) mod process;
pub(crate) mod resources;
pub(crate) mod rootfs;
pub(crate) mod seccomp;
pub(crate) mod streams;
pub(crate) mod sysctls;

use std::ffi::CString;
use std::os::fd::OwnedFd;

use stowd_cgroups::Joiner;
use stowd_sys::clone::Namespaces;
use stowd_sys::exec::ExecStrings;

use crate::child::own::FileId;
use crate::error::{Error, Result};
use namespaces::Join;
use process::ProcessPlan;
use rootfs::RootPlan;
use streams::Streams;

/// Everything a child needs to become its program.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Its way into the cgroups.
    pub(crate) joiner: Joiner,
    /// The namespaces it joins, in order.
    pub(crate) joins: Vec<Join>,
    /// Whether it must become root of a user namespace first.
    pub(crate) user_namespace: bool,
    /// Its descriptors.
    pub(crate) streams: Streams,
    /// The program and what it runs with.
    pub(crate) process: ProcessPlan,
    /// What only the first process of a container does.
    pub(crate) init: Option<InitPlan>,
}

/// What only the first process of a container does.
#[derive(Debug)]
pub(crate) struct InitPlan {
    /// Whether it waits for the caller to write id mappings or clock offsets.
    pub(crate) asks_for_maps: bool,
    /// Whether it makes a time namespace.
    pub(crate) new_time: bool,
    /// Namespaces that it makes itself, as root of its user namespace and in its cgroup.
    pub(crate) late: Namespaces,
    /// Whether its network namespace is new, so that the loopback interface is down.
    pub(crate) new_network: bool,
    /// Its session keyring.
    pub(crate) keyring: Option<CString>,
    /// Kernel parameters: files below `/proc`, and their values.
    pub(crate) sysctls: Vec<(CString, CString)>,
    /// The host name, if it is to be set.
    pub(crate) hostname: String,
    /// The domain name, if it is to be set.
    pub(crate) domainname: String,
    /// Its view of files; `None` without a mount namespace of its own.
    pub(crate) root: Option<RootPlan>,
    /// The directory with the start barrier.
    pub(crate) state_dir: OwnedFd,
    /// The creator's program, which they must not be.
    pub(crate) own_program: FileId,
    /// Hooks that run in the container before the program.
    pub(crate) start_hooks: Vec<HookPlan>,
    /// What they read.
    pub(crate) state_text: Option<OwnedFd>,
}

/// A hook that the child runs.
#[derive(Debug)]
pub(crate) struct HookPlan {
    pub(crate) path: CString,
    pub(crate) args: ExecStrings,
    pub(crate) env: ExecStrings,
    /// Milliseconds; negative waits for ever.
    pub(crate) timeout: i32,
}

/// The error for a request that makes no sense.
pub(crate) fn wrong(text: &str) -> Error {
    Error::InvalidSpec(text.to_owned())
}

/// `text` for the kernel.
pub(crate) fn c_string(what: &str, text: &str) -> Result<CString> {
    CString::new(text)
        .map_err(|_| Error::InvalidSpec(format!("{what} contains a null byte: {text:?}")))
}
