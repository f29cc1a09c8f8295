//! Fifos: how a process's streams pass between a program and a shim that do not know each other.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use stowd_core::tasks::Stdio;
use stowd_core::{Error, Result};

/// Where fifos are made unless said otherwise: containerd's clients use the same place.
pub const DEFAULT_FIFO_ROOT: &str = "/run/containerd/fifo";

/// The fifos of one process, in a folder of their own.
#[derive(Debug)]
pub(crate) struct Fifos {
    folder: PathBuf,
    stdio: Stdio,
}

impl Fifos {
    /// Makes fifos for stdin, stdout and, unless there is a terminal, stderr.
    pub(crate) fn make(root: &Path, id: &str, terminal: bool) -> Result<Self> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| Error::io(format_args!("make {path}"), &error)
        };
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        builder.recursive(true).create(root).map_err(failed(root))?;
        let folder = root.join(random_name()?);
        builder.recursive(false).create(&folder).map_err(failed(&folder))?;
        let made = Self { stdio: Stdio::default(), folder };
        let make = |name: &str| {
            let path = made.folder.join(format!("{id}-{name}"));
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o700), 0)
                .map_err(|errno| failed(&path)(errno.into()))?;
            Ok::<_, Error>(path.display().to_string())
        };
        let stdio = Stdio {
            stdin: make("stdin")?,
            stdout: make("stdout")?,
            stderr: if terminal { String::new() } else { make("stderr")? },
            terminal,
        };
        Ok(Self { folder: made.folder, stdio })
    }

    /// Finds the fifos that a process was made with.
    pub(crate) fn of(stdio: Stdio) -> Self {
        let folder = Path::new(&stdio.stdout).parent().map(Path::to_owned).unwrap_or_default();
        Self { folder, stdio }
    }

    /// Returns the fifos' paths as the daemon is told them.
    pub(crate) fn stdio(&self) -> &Stdio {
        &self.stdio
    }

    /// Removes the fifos and their folder. What is not a fifo, or not ours, stays.
    pub(crate) fn remove(&self) {
        use std::os::unix::fs::FileTypeExt;
        for path in [&self.stdio.stdin, &self.stdio.stdout, &self.stdio.stderr] {
            let is_fifo = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_fifo());
            if is_fifo {
                let _ = fs::remove_file(path);
            }
        }
        // Fails, as it should, when there is something else in it.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Makes a name that nobody else has.
pub(crate) fn random_name() -> Result<String> {
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::io("get random bytes", &errno.into()))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
