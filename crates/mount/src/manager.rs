//! Makes and undoes the mounts of activations: the hands of the mount manager.
//!
//! [`Activator`] is the [`Mounter`] over the kernel. Names, labels, leases and collection are the
//! caller's; here an activation is a numbered folder (`folder`) whose content says by itself how to
//! undo it, so that a process that is killed at any instruction leaves nothing that the next one
//! cannot take off.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use stowd_core::mount::Mount;
use stowd_core::mounts::{ActivationId, ActiveMount, Extent, Found, Made, Mounter, Options};
use stowd_core::{Error, Result};

mod folder;
mod format;
mod mkdir;
mod mkfs;
mod plan;
mod roots;

use self::folder::Folder;
use self::plan::{Handler, Plan};
use self::roots::Roots;

/// What the folders of activations are called before their number. containerd's are called by the
/// number alone, and leave these in peace, as these do them.
const PREFIX: &str = "stowd-";
/// The file that says in which run of the machine the folders were made.
const BOOT: &str = "stowd-boot";

/// Where an [`Activator`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory of mount points, made when missing. In the daemon
    /// `<state>/io.containerd.mount-manager.v1.bolt/t`.
    pub targets: PathBuf,
    /// Directories below which `mkfs/` and `mkdir/` may work, beside `targets`.
    pub roots: Vec<PathBuf>,
}

/// Makes mounts at mount points of its own.
#[derive(Debug)]
pub struct Activator {
    targets: PathBuf,
    roots: Roots,
}

impl Activator {
    /// Opens the directory of mount points. What is left there from before the machine's last restart
    /// lets go of its loop devices, which may be another's now.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(config: Config) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let Config { targets, roots } = config;
        let failed = |act: &str, path: &Path, error: &io::Error| {
            Error::io(format_args!("{act} {}", path.display()), error)
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&targets)
            .map_err(|error| failed("make folder", &targets, &error))?;
        // As the kernel's table of mounts has it.
        let targets =
            fs::canonicalize(&targets).map_err(|error| failed("find folder", &targets, &error))?;
        let mut all = vec![targets.clone()];
        all.extend(roots);
        let activator = Self { targets, roots: Roots::new(all) };
        let file = activator.targets.join(BOOT);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(|error| failed("read", Path::new("boot_id"), &error))?;
        match fs::read_to_string(&file) {
            Ok(before) if before == boot => return Ok(activator),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("read", &file, &error));
            }
            _ => {}
        }
        for id in activator.ids()? {
            activator.folder(id).forget_devices()?;
        }
        fs::write(&file, boot).map_err(|error| failed("write", &file, &error))?;
        Ok(activator)
    }

    /// Returns the directory of mount points.
    pub fn targets(&self) -> &Path {
        &self.targets
    }

    fn folder(&self, id: ActivationId) -> Folder {
        Folder::new(self.targets.join(format!("{PREFIX}{}", id.0)))
    }

    fn ids(&self) -> Result<Vec<ActivationId>> {
        let failed = |error: &io::Error| {
            Error::io(format_args!("read folder {}", self.targets.display()), error)
        };
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.targets).map_err(|error| failed(&error))? {
            let name = entry.map_err(|error| failed(&error))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            ids.extend(number.and_then(|number| number.parse().ok()).map(ActivationId));
        }
        Ok(ids)
    }

    fn make_all(&self, folder: &Folder, plan: Plan, extent: Extent) -> Result<Made> {
        let count = plan.made;
        let mut made = Made::default();
        folder.create()?;
        for (index, step) in plan.steps.into_iter().enumerate() {
            if index > count {
                made.system.push(step.mount);
                continue;
            }
            let handler = step.handler;
            let mount = step.transform(&made.active, &self.roots)?;
            if index == count {
                made.system.push(mount);
                continue;
            }
            let number = count - index;
            let point = match handler {
                Handler::System => {
                    let point = folder.point(number, &mount.kind)?;
                    crate::mount(&mount, &point)?;
                    point
                }
                Handler::Loop => folder.bind(number, &mount.kind, Path::new(&mount.source))?,
            };
            let point = point.into_os_string().into_string().map_err(|point| {
                Error::failed_precondition(format_args!("mount point {point:?} is not UTF-8"))
            })?;
            let mounted = Some(SystemTime::now());
            made.active.push(ActiveMount { mount, mounted, point, ..ActiveMount::default() });
        }
        if extent == Extent::All
            && let Some(last) = made.active.last()
        {
            made.system.push(Mount {
                kind: "bind".to_owned(),
                source: last.point.clone(),
                target: String::new(),
                options: vec!["rbind".to_owned()],
            });
        }
        Ok(made)
    }
}

impl Mounter for Activator {
    fn check(&self, mounts: &[Mount], options: &Options) -> Result<()> {
        Plan::new(mounts.to_vec(), options).map(drop)
    }

    fn make(&self, id: ActivationId, mounts: Vec<Mount>, options: &Options) -> Result<Made> {
        let plan = Plan::new(mounts, options)?;
        let folder = self.folder(id);
        let made = self.make_all(&folder, plan, options.extent);
        if made.is_err() {
            // The first error is the one that matters; what stays is undone by the next collection.
            let _ = folder.undo();
        }
        made
    }

    fn undo(&self, id: ActivationId) -> Result<()> {
        Ok(self.folder(id).undo()?)
    }

    fn list(&self) -> Result<Vec<Found>> {
        let ids = self.ids()?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let table = fs::read("/proc/self/mountinfo")
            .map_err(|error| Error::io("read the table of mounts", &error))?;
        let mounted: BTreeSet<PathBuf> = crate::temporary::targets(&table).into_iter().collect();
        let found = |id| Found { id, state: self.folder(id).state(&mounted) };
        Ok(ids.into_iter().map(found).collect())
    }
}
