//! Our own shim's program, opened so that nothing can write to it.
//!
//! Processes of containers are cloned from the shim, and one that gets hold of `/proc/PID/exe` must not
//! be able to change what the next shim is started from (CVE-2019-5736). Opening costs a look through
//! all mounts of the host, so it is done once for each file, not for each start.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use stowd_sys::own_program;

/// The programs that were opened so far.
#[derive(Debug, Default)]
pub(crate) struct Sealed(Mutex<HashMap<PathBuf, Opened>>);

#[derive(Debug)]
struct Opened {
    /// Device and inode: an upgrade puts another file in the same place.
    file: (u64, u64),
    /// None where mounts cannot be copied; then the file itself is started.
    program: Option<Arc<OwnedFd>>,
}

/// By what a program is started; good for as long as it lives.
pub(crate) struct Start {
    _program: Option<Arc<OwnedFd>>,
    /// The path to start.
    pub(crate) path: CString,
}

impl Sealed {
    /// Returns by what to start the program at a path.
    ///
    /// # Errors
    /// When there is no such program.
    pub(crate) fn open(&self, path: &Path) -> io::Result<Start> {
        let metadata = path.metadata()?;
        let file = (metadata.dev(), metadata.ino());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match all.entry(path.to_owned()) {
            Entry::Occupied(entry) if entry.get().file == file => entry.into_mut(),
            entry => entry.insert_entry(Opened { file, program: seal(path) }).into_mut(),
        };
        let path = match &opened.program {
            Some(program) => own_program::path(program),
            None => CString::new(path.as_os_str().as_encoded_bytes())?,
        };
        Ok(Start { _program: opened.program.clone(), path })
    }
}

fn seal(path: &Path) -> Option<Arc<OwnedFd>> {
    match path.canonicalize().and_then(|path| own_program::open_program(&path)) {
        Ok(program) => Some(Arc::new(program)),
        Err(error) => {
            tracing::warn!(program = %path.display(), %error, "the shim's program is not protected from containers");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_opened_again_when_it_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shim");
        std::fs::copy("/bin/true", &path).unwrap();
        let sealed = Sealed::default();
        let first = sealed.open(&path).unwrap().path;
        assert_eq!(sealed.open(&path).unwrap().path, first);
        let beside = folder.path().join("new");
        std::fs::copy("/bin/true", &beside).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        let again = sealed.open(&path).unwrap();
        let started = std::process::Command::new(again.path.to_str().unwrap()).status();
        assert!(started.unwrap().success());
        assert!(sealed.open(&folder.path().join("absent")).is_err());
    }
}
