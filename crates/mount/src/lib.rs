//! Performs the mounts that snapshotters return, and undoes them.
//!
//! A [`Mount`](stowd_core::mount::Mount) says what to mount in the words of mount(8). [`mount_all`]
//! performs a list of them at a target; [`unmount_all`] takes off all that lies there. A
//! [`TempRoot`] makes mounts for the time of a piece of work, and clears at its start what a
//! process left behind that was killed. An [`Activator`] makes those of the mount manager, which may need
//! more than mount(2).
//!
//! Everything here is synchronous and free of threads but for one case: an overlay of so many
//! layers that the names do not fit into the page that the kernel takes. Then a short-lived thread
//! with a working directory of its own makes the names shorter.
//!
//! Deliberately absent: helper programs (`mount.fuse`) and mapped ids. Such mounts are refused with a
//! word on why.

pub mod error;
pub mod lowers;
pub mod manager;
pub mod options;
pub mod overlay;
pub mod perform;
pub mod temporary;

pub use error::{MountError, Result};
pub use manager::Activator;
pub use options::Options;
pub use perform::{mount, mount_all, unmount, unmount_all, unmount_mounts};
pub use temporary::{TempMount, TempRoot};
