//! Performs the mounts that a snapshotter returns, with the machine's own `mount` program.
//!
//! Deliberately not stowd's own mount code: what judges it must not be made of it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;
use stowd_core::mount::Mount;

use crate::process::Run;

/// Mounts at a folder, undone when this is dropped.
#[derive(Debug)]
pub struct Mounted {
    target: PathBuf,
    count: usize,
}

impl Mounted {
    /// Performs mounts in order at `target`, which is made if it is not there.
    ///
    /// # Panics
    /// When a mount fails.
    pub fn at(target: &Path, mounts: &[Mount]) -> Self {
        fs::create_dir_all(target).expect("a mount point");
        let mut mounted = Self { target: target.to_path_buf(), count: 0 };
        for mount in mounts {
            let place = target.join(mount.target.trim_start_matches('/'));
            let mut args: Vec<String> = Vec::new();
            if mount.kind != "bind" {
                args.extend(["-t".to_owned(), mount.kind.clone()]);
            } else if !mount.options.iter().any(|option| option == "bind" || option == "rbind") {
                args.push("--bind".to_owned());
            }
            if !mount.options.is_empty() {
                args.extend(["-o".to_owned(), mount.options.join(",")]);
            }
            args.extend([mount.source.clone(), place.to_string_lossy().into_owned()]);
            Run::program("mount").args(args).ok();
            mounted.count += 1;
        }
        mounted
    }

    /// Returns the folder that shows the mounted files.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Undoes the mounts now.
    ///
    /// # Panics
    /// When something still uses them.
    pub fn unmount(mut self) {
        while self.count > 0 {
            rustix::mount::unmount(&self.target, UnmountFlags::empty()).expect("unmounting");
            self.count -= 1;
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        while self.count > 0 {
            // Detached, so that a failing test does not leave it; a passing one calls `unmount`.
            let _ = rustix::mount::unmount(&self.target, UnmountFlags::DETACH);
            self.count -= 1;
        }
    }
}
