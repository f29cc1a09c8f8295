//! Control groups for one container: create, limit, join, freeze, kill, measure, remove.
//!
//! Works on v1 (each controller its own tree), v2 (one tree) and hybrid (v1 controllers with a
//! nearly empty v2 tree beside them). Nothing here starts a thread, keeps a global but the detected
//! [`Layout`], or knows of the OCI spec's JSON: the caller fills in [`Resources`].
//!
//! # Life of a container's cgroup
//!
//! ```no_run
//! use stowd_cgroups::{Cgroup, CgroupsPath, Driver, Layout, Resources};
//! # fn main() -> Result<(), stowd_cgroups::Error> {
//! let layout = Layout::get()?;
//! let path = CgroupsPath::parse("/default/web", "web", Driver::Cgroupfs)?;
//! let resources = Resources::default();
//!
//! // Directories, limits and device rules, before any process is in it:
//! let cgroup = Cgroup::create(layout, &path, &resources)?;
//! let joiner = cgroup.joiner()?; // open descriptors for the child
//! // clone3(.., CLONE_INTO_CGROUP, joiner.unified()); then, first thing in the child:
//! joiner.join()?; // async-signal-safe, no allocation
//! // ... `cgroup.paths()` goes into state.json; later:
//! let cgroup = Cgroup::load(cgroup.paths().clone());
//! cgroup.kill()?;
//! cgroup.delete()?;
//! # Ok(()) }
//! ```
//!
//! # What joining costs, and how to join
//!
//! Moving a process into a cgroup by writing its pid takes the kernel's thread-group semaphore for
//! writing, and the first writer after a pause waits for an RCU grace period. Measured on Linux 6.18,
//! 2 cores, ten hierarchies, 15 rounds, microseconds (median):
//!
//! | who writes what | first v1 hierarchy | each further one | v2 |
//! |---|---|---|---|
//! | the parent, the child's pid to `cgroup.procs` | 14,385 | 7-16 | 51 |
//! | the parent, the child's pid to `tasks` | 14,294 | 7-16 | 62 |
//! | the child, `0` to `cgroup.procs` | 9,567 | 8-16 | 18 |
//! | **the child, `0` to `tasks`** | **53** | **7-12** | 13,357 |
//!
//! The wait is paid once, by whichever write comes first, whatever the hierarchy; order does not
//! matter. Only a thread that moves itself alone (`0` to v1's `tasks`) skips the semaphore (since
//! Linux 6.0; older kernels wait as before, nothing breaks). v2 has no such file for a normal
//! cgroup, but `clone3` with `CLONE_INTO_CGROUP` starts the child there without the semaphore. So:
//!
//! 1. the parent opens everything ([`Cgroup::joiner`]);
//! 2. `clone3` with `CLONE_INTO_CGROUP` and [`Joiner::unified`], on v2 and on hybrid alike;
//! 3. the child, still single-threaded, calls [`Joiner::join`] before it creates its cgroup
//!    namespace or drops privileges (the kernel checks the opener's rights, so the descriptors also
//!    work after `CLONE_NEWUSER`). A cgroup namespace asked for in the same `clone3` would have the
//!    parent's cgroup as its root: `unshare(CLONE_NEWCGROUP)` after joining instead.
//!
//! All ten joins then cost about 0.15 ms. Where the process exists already, [`Cgroup::add`] writes
//! its pid, and waits.

mod cgroup;
pub mod devices;
mod error;
mod file;
mod freezer;
mod join;
mod kill;
mod layout;
mod limits;
mod oom;
mod path;
mod pids;
mod resources;
pub mod stats;

pub use cgroup::Cgroup;
pub use error::{Error, Result};
pub use freezer::FreezerState;
pub use join::{JoinError, Joiner};
pub use layout::{Hierarchy, Layout, Mode};
pub use limits::{cpu_shares_to_weight, memory_swap_to_v2};
pub use oom::{OomEvent, OomEvents};
pub use path::{CgroupsPath, Driver, Paths};
pub use resources::{
    BlockIo, Cpu, HugetlbLimit, InterfacePriority, Memory, Network, RdmaLimit, Resources,
    ThrottleDevice, WeightDevice,
};
pub use rustix::process::{Pid, Signal};
pub use stats::Stats;
