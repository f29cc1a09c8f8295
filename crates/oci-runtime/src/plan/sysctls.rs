//! Kernel parameters.

use std::ffi::CString;

use stowd_sys::clone::Namespaces;

use super::namespaces::NamespacePlan;
use super::{c_string, wrong};
use crate::error::Result;
use crate::spec::Linux;

/// Kernel parameters that belong to the container's namespaces; others would change the host.
pub(crate) fn sysctls(
    linux: &Linux,
    namespaces: &NamespacePlan,
) -> Result<Vec<(CString, CString)>> {
    const IPC: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "fs.mqueue",
    ];
    let mut found = Vec::with_capacity(linux.sysctl.len());
    for (name, value) in &linux.sysctl {
        // A name with a slash uses dots within a part: `net/ipv4/conf/eth0.1/rp_filter`.
        let path = match (name.find('/'), name.find('.')) {
            (Some(slash), Some(dot)) if slash < dot => name.clone(),
            (Some(_), None) => name.clone(),
            _ => name
                .chars()
                .map(|c| match c {
                    '.' => '/',
                    '/' => '.',
                    c => c,
                })
                .collect(),
        };
        let dotted = path.replace('/', ".");
        if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return Err(wrong(&format!("sysctl {name:?} is not a kernel parameter")));
        }
        let need = if IPC.iter().any(|known| dotted == *known) || dotted.starts_with("fs.mqueue.") {
            Namespaces::IPC
        } else if dotted.starts_with("net.") {
            Namespaces::NETWORK
        } else if dotted == "kernel.domainname" || dotted == "kernel.hostname" {
            Namespaces::UTS
        } else if dotted.starts_with("user.") {
            Namespaces::USER
        } else {
            return Err(wrong(&format!("sysctl {name:?} is not in a separate kernel namespace")));
        };
        if !namespaces.has(need) {
            return Err(wrong(&format!("sysctl {name:?} is not allowed in the hosts namespace")));
        }
        found.push((c_string("sysctl", &format!("sys/{path}"))?, c_string("sysctl", value)?));
    }
    Ok(found)
}
