//! A test's own folder and names, cleaned up whatever happens.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::leaks;

/// A folder below the system's temporary directory, with names that no other test has.
///
/// When it is dropped, processes, mounts and cgroups that belong to it are removed, and then the
/// folder. Where the test passed until then but left some of these behind, the drop panics and
/// names them.
#[derive(Debug)]
pub struct Scratch {
    folder: Option<TempDir>,
    path: PathBuf,
    names: Mutex<leaks::Names>,
}

impl Scratch {
    /// Makes a folder for a test.
    ///
    /// # Panics
    /// When the temporary directory cannot be written to.
    pub fn new() -> Self {
        // Short, because a socket's path has room for 107 bytes only.
        let folder = tempfile::Builder::new().prefix("stowt-").tempdir().expect("a scratch folder");
        let path = folder.path().canonicalize().expect("the scratch folder's path");
        Self { folder: Some(folder), path, names: Mutex::default() }
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a path below the folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a folder below the folder.
    ///
    /// # Panics
    /// When that fails.
    pub fn folder(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).expect("a folder below the scratch folder");
        path
    }

    /// Makes up a name that nobody else uses, for a cgroup or a container.
    ///
    /// Processes in cgroups of that name count as this test's, and so do the cgroups.
    pub fn name(&self, stem: &str) -> String {
        let name = format!("{stem}-{}", unique());
        self.names().cgroups.push(name.clone());
        name
    }

    /// Makes up a namespace that nobody else uses.
    ///
    /// Processes in cgroups below one of that name count as this test's, and so do those cgroups.
    pub fn namespace(&self) -> String {
        let name = format!("t-{}", unique());
        self.names().namespaces.push(name.clone());
        name
    }

    fn names(&self) -> MutexGuard<'_, leaks::Names> {
        self.names.lock().expect("no test panics with it")
    }

    /// Returns what belongs to this test and is still there.
    pub fn leaks(&self) -> Vec<leaks::Leak> {
        leaks::find(&self.path, &self.names())
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A process that was told to end may need a moment more than its parent.
        let mut left = self.leaks();
        if !left.is_empty() && !std::thread::panicking() {
            crate::process::wait_briefly(|| {
                left = self.leaks();
                left.is_empty()
            });
        }
        leaks::remove(&self.path, &self.names());
        if let Some(folder) = self.folder.take() {
            let removed = folder.close();
            if !std::thread::panicking() {
                removed.expect("removing the scratch folder");
            }
        }
        assert!(left.is_empty() || std::thread::panicking(), "the test left behind {left:#?}");
    }
}

/// A short word that differs between processes, calls and runs.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_micros());
    format!("{}x{}x{now}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_folders_differ() {
        let (one, other) = (Scratch::new(), Scratch::new());
        assert_ne!(one.path(), other.path());
        assert_ne!(one.name("n"), one.name("n"));
    }

    #[test]
    fn the_folder_goes_with_the_value() {
        let scratch = Scratch::new();
        let path = scratch.folder("a/b");
        std::fs::write(path.join("c"), "x").unwrap();
        let top = scratch.path().to_path_buf();
        drop(scratch);
        assert!(!top.exists());
    }

    #[test]
    #[should_panic(expected = "left behind")]
    fn a_process_left_behind_is_reported() {
        let scratch = Scratch::new();
        let child = std::process::Command::new("sleep")
            .arg("1000")
            .current_dir(scratch.path())
            .spawn()
            .unwrap();
        drop(scratch);
        drop(child);
    }
}
