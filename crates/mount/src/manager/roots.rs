//! The directories below which transformers may make files.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use stowd_core::{Error, Result};

/// Directories below which files may be made, for callers who may say where.
#[derive(Debug)]
pub(crate) struct Roots(Vec<PathBuf>);

/// Where something is to be made: a name in a directory that is held open.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory that it is in.
    pub(crate) parent: OwnedFd,
    /// Its name there.
    pub(crate) name: PathBuf,
}

impl Roots {
    pub(crate) fn new(roots: Vec<PathBuf>) -> Self {
        Self(roots)
    }

    /// Finds a place without ever leaving the root that it is below, whatever symbolic links there
    /// are on the way. The directories down to it must be there.
    ///
    /// # Errors
    /// `NotImplemented`, as containerd has it, when the path is below no root.
    pub(crate) fn find(&self, path: &str, what: &str) -> Result<Place> {
        let below = |root: &&PathBuf| Path::new(path).starts_with(root);
        let Some(root) = self.0.iter().filter(below).max_by_key(|root| root.as_os_str().len())
        else {
            return Err(Error::not_implemented(format_args!(
                "no root {path:?} configured for {what}"
            )));
        };
        let wrong = || Error::invalid(format_args!("{what} of {path:?}: no name below a root"));
        let inside = Path::new(path).strip_prefix(root).map_err(|_| wrong())?;
        let Some(Component::Normal(name)) = inside.components().next_back() else {
            return Err(wrong());
        };
        let parent = inside.parent().filter(|parent| !parent.as_os_str().is_empty());
        let failed = |error: Errno| match error {
            Errno::XDEV => {
                Error::invalid(format_args!("{what} of {path:?}: leads out of its root"))
            }
            error => Error::io(format_args!("{what} of {path:?}"), &io::Error::from(error)),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, root, flags, Mode::empty()).map_err(failed)?;
        let parent = parent.unwrap_or(Path::new("."));
        let parent =
            rustix::fs::openat2(&root, parent, flags, Mode::empty(), INSIDE).map_err(failed)?;
        Ok(Place { parent, name: PathBuf::from(name) })
    }
}

impl Place {
    /// Opens what is there; a link is not followed.
    pub(crate) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty()) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Mount points may be crossed: what was just mounted lies below the root.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

#[cfg(test)]
mod tests {
    use super::*;
    use stowd_core::ErrorKind;

    #[test]
    fn nothing_outside_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("in")).unwrap();
        std::fs::create_dir_all(folder.path().join("root-beside")).unwrap();
        std::os::unix::fs::symlink(folder.path(), root.join("out")).unwrap();
        std::os::unix::fs::symlink("in", root.join("inside")).unwrap();
        let roots = Roots::new(vec![root.clone()]);
        let find = |path: &str| {
            let found = roots.find(&path.replace('R', root.to_str().unwrap()), "x");
            found.map(|place| place.name).map_err(|error| error.kind())
        };
        assert_eq!(find("R/a"), Ok("a".into()));
        assert_eq!(find("R/in/a/"), Ok("a".into()));
        assert_eq!(find("R/inside/a"), Ok("a".into()));
        for (path, kind) in [
            ("R", ErrorKind::InvalidArgument),
            ("R/..", ErrorKind::InvalidArgument),
            ("R/in/..", ErrorKind::InvalidArgument),
            ("R/../a", ErrorKind::InvalidArgument),
            ("R/out/a", ErrorKind::InvalidArgument),
            ("R-beside/a", ErrorKind::NotImplemented),
            ("/a", ErrorKind::NotImplemented),
            ("a", ErrorKind::NotImplemented),
            ("", ErrorKind::NotImplemented),
            ("R/not-there/a", ErrorKind::Unknown),
        ] {
            assert_eq!(find(path), Err(kind), "{path}");
        }
    }
}
