//! Trees that are whole copies of their parents.
//!
//! Works on every file system and needs no overlay; takes the space of a copy, except where the file
//! system shares blocks between copies (btrfs, xfs).
//!
//! ```text
//! <root>/snapshots/7/        the tree; a view of a parent has none of its own
//! ```

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use stowd_core::mount::Mount;
use stowd_core::snapshots::{Driver, Kind, Tree, TreeId, Usage};
use stowd_core::{Error, Result};
use stowd_sys::tree;

use crate::trees::Trees;
use crate::{blocking, copy};

/// The native driver.
#[derive(Clone, Debug)]
pub struct Native {
    trees: Arc<Trees>,
}

impl Native {
    /// Opens the driver's trees below `root`, by custom
    /// `<daemon root>/io.containerd.snapshotter.v1.native`, and removes what a crash left there half
    /// made or half removed.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(root: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self { trees: Arc::new(Trees::open(root.into())?) })
    }

    fn measure(trees: &Trees, id: TreeId) -> Result<Usage> {
        let dir = trees.open_in(id, "")?;
        tree::usage(dir.as_fd()).map(crate::usage).map_err(|error| {
            Error::io(format_args!("measure snapshot tree {}", trees.path(id).display()), &error)
        })
    }
}

#[async_trait]
impl Driver for Native {
    fn name(&self) -> &str {
        "native"
    }

    fn root(&self) -> &Path {
        self.trees.root()
    }

    async fn make(&self, tree: &Tree) -> Result<()> {
        let (trees, tree) = (Arc::clone(&self.trees), tree.clone());
        blocking(move || {
            let parent = match tree.parents.first() {
                // It shows the parent itself.
                Some(_) if tree.kind == Kind::View => return Ok(()),
                Some(parent) => Some(trees.open_in(*parent, "")?),
                None => None,
            };
            trees.make(tree.id, 0o755, |dir| match &parent {
                Some(parent) => copy::tree(parent.as_fd(), dir),
                None => Ok(()),
            })
        })
        .await
    }

    fn mounts(&self, tree: &Tree) -> Result<Vec<Mount>> {
        let (shown, access) = match (tree.kind, tree.parents.first()) {
            (Kind::Committed, _) => {
                return Err(Error::failed_precondition(format_args!(
                    "snapshot tree {} is committed and cannot be mounted",
                    tree.id.0
                )));
            }
            (Kind::View, Some(parent)) => (*parent, "ro"),
            (Kind::View, None) => (tree.id, "ro"),
            (Kind::Active, _) => (tree.id, "rw"),
        };
        let path = self.trees.path(shown);
        let source = path.to_str().ok_or_else(|| {
            Error::invalid(format_args!("snapshot directory {} is not UTF-8", path.display()))
        })?;
        Ok(vec![Mount {
            kind: "bind".to_owned(),
            source: source.to_owned(),
            target: String::new(),
            options: vec!["rbind".to_owned(), access.to_owned()],
        }])
    }

    async fn commit(&self, tree: &Tree) -> Result<Usage> {
        let (trees, id) = (Arc::clone(&self.trees), tree.id);
        blocking(move || {
            trees.flush()?;
            Self::measure(&trees, id)
        })
        .await
    }

    async fn usage(&self, tree: &Tree) -> Result<Usage> {
        let (trees, id) = (Arc::clone(&self.trees), tree.id);
        blocking(move || Self::measure(&trees, id)).await
    }

    async fn remove(&self, id: TreeId) -> Result<()> {
        let trees = Arc::clone(&self.trees);
        blocking(move || match trees.retire(id)? {
            Some(rest) => trees.dispose(&rest),
            None => Ok(()),
        })
        .await
    }

    async fn list(&self) -> Result<Vec<TreeId>> {
        let trees = Arc::clone(&self.trees);
        blocking(move || trees.list()).await
    }
}
