//! Where a layer is written to, told by the mounts that show the tree.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use stowd_core::diff::Placement;
use stowd_core::mount::Mount;
use stowd_core::{Error, Result};
use stowd_mount::lowers::Lowers;
use stowd_mount::overlay::Layers;

/// A tree to write a layer into.
pub(crate) struct Target {
    top: PathBuf,
    /// How what is deleted is told.
    pub(super) deletes: Deletes,
}

/// What a whiteout becomes.
pub(super) enum Deletes {
    /// The named thing goes for real: the tree shows all layers.
    Real,
    /// A mark in the form of overlayfs: the tree holds this layer alone.
    Marks(Below),
}

/// The layers below one that is written on its own.
pub(super) enum Below {
    Known(Lowers, Vec<PathBuf>),
    /// They are bound later, by the snapshot's commit.
    Later,
}

impl Target {
    /// Finds the directory to write to.
    pub(crate) fn of(mounts: &[Mount], placement: Placement) -> Result<Self> {
        let [mount] = mounts else {
            return Err(Error::not_implemented(format_args!(
                "apply a layer to {} mounts",
                mounts.len()
            )));
        };
        if mount.is_read_only() || !mount.target.is_empty() {
            return Err(Error::failed_precondition("the tree is mounted read-only"));
        }
        match mount.kind.as_str() {
            "bind" => Ok(Self {
                top: PathBuf::from(&mount.source),
                deletes: match placement {
                    Placement::OnParents => Deletes::Real,
                    Placement::Detached => Deletes::Marks(Below::Later),
                },
            }),
            "overlay" => Self::upper(&Layers::of(mount), placement),
            other => Err(Error::not_implemented(format_args!("apply a layer to {other:?} mounts"))),
        }
    }

    fn upper(layers: &Layers, placement: Placement) -> Result<Self> {
        let Some(upper) = &layers.upper else {
            return Err(Error::failed_precondition("the overlay has no upper directory"));
        };
        let lowers = match placement {
            Placement::Detached => Below::Later,
            Placement::OnParents => {
                let paths: Vec<PathBuf> = layers.lower.iter().map(PathBuf::from).collect();
                let opened = Lowers::open(&paths)
                    .map_err(|error| Error::io("open the overlay's lower directories", &error))?;
                Below::Known(opened, paths)
            }
        };
        Ok(Self { top: PathBuf::from(upper), deletes: Deletes::Marks(lowers) })
    }

    pub(super) fn open_root(&self) -> Result<OwnedFd> {
        open(&self.top)
    }
}

/// Opens a directory of the machine.
pub(super) fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| {
        Error::io(format_args!("open directory {}", path.display()), &error.into())
    })
}
