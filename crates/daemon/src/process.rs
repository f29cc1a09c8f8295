//! What the daemon does to its own process. A program that embeds the engine decides that itself.

use std::path::Path;

use stowd_cgroups::{Cgroup, CgroupsPath, Driver, Layout, Resources};
use stowd_core::{Error, Result};

use crate::Config;

/// Sets the process's OOM score and cgroup, where the configuration names them.
///
/// # Errors
/// `FailedPrecondition` when the cgroup cannot be made or joined.
pub fn prepare(config: &Config) -> Result<()> {
    if config.oom_score != 0 {
        set_oom_score(config.oom_score);
    }
    match &config.cgroup {
        Some(path) => join(path).map_err(|error| {
            Error::failed_precondition(format_args!("cgroup.path {}: {error}", path.display()))
        }),
        None => Ok(()),
    }
}

/// Moves the process into a cgroup, which is made when it is missing.
fn join(path: &Path) -> Result<(), stowd_cgroups::Error> {
    let layout = Layout::get()?;
    let text = Path::new("/").join(path).to_string_lossy().into_owned();
    let path = CgroupsPath::parse(&text, "", Driver::Cgroupfs)?;
    let mut cgroup = Cgroup::load(path.resolve(layout)?);
    if !cgroup.exists() {
        cgroup = Cgroup::create(layout, &path, &Resources::default())?;
    }
    cgroup.add(rustix::process::getpid())
}

/// Sets how readily the kernel kills the daemon when memory is short, -1000 (never) to 1000. A kernel
/// that refuses is logged: the daemon works all the same.
pub(crate) fn set_oom_score(score: i32) {
    let path = "/proc/self/oom_score_adj";
    let now = std::fs::read_to_string(path).unwrap_or_default();
    if now.trim() == score.to_string() {
        return;
    }
    if let Err(error) = std::fs::write(path, score.to_string()) {
        tracing::warn!(%error, score, "could not set oom_score");
    }
}
