//! Pull, push, import, export and tag: the daemon does them, progress comes back as it goes.

use std::io::{Read, Write};
use std::sync::Arc;

use stowd_core::progress::{Silent, Sink};
use stowd_core::transfer::{
    self, Destination, NameRule, RegistryRef, Source, Store, Transfer as _, Unpack,
};
use stowd_core::{Labels, Platform, Result};

use crate::{Client, Image};

/// An image to pull.
#[derive(Clone, Default)]
pub struct Pull {
    /// The image on its registry, and how to get at it.
    pub from: RegistryRef,
    /// The platforms to fetch; empty means this machine's.
    pub platforms: Vec<Platform>,
    /// Fetches all platforms' content.
    pub all_platforms: bool,
    /// Fetches the manifests and configs of the other platforms, too.
    pub all_metadata: bool,
    /// Labels for the image.
    pub labels: Labels,
    /// Where to unpack it: empty means into the default snapshotter, none not at all.
    pub unpack: Option<String>,
}

/// Archives to import.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// How images are named; none means by the full names that the archive gives, and as
    /// `import-DATE:TAG` where it gives a tag alone.
    pub names: Vec<NameRule>,
    /// The platforms to import; empty means this machine's.
    pub platforms: Vec<Platform>,
    /// Imports all platforms.
    pub all_platforms: bool,
    /// Labels for the images.
    pub labels: Labels,
    /// A name for the archive's index as a whole; empty means none.
    pub index_name: String,
    /// Where to unpack: empty means into the default snapshotter, none not at all.
    pub unpack: Option<String>,
}

/// Images to export.
pub type Export = transfer::Export;

/// An image to push.
#[derive(Clone, Default)]
pub struct Push {
    /// Its name in the image store.
    pub image: String,
    /// Where it goes, and how to get at that.
    pub to: RegistryRef,
}

impl Pull {
    /// Makes a pull of a full reference, unpacked into the default snapshotter.
    pub fn of(reference: impl Into<String>) -> Self {
        let from = RegistryRef { reference: reference.into(), ..RegistryRef::default() };
        Self { from, unpack: Some(String::new()), ..Self::default() }
    }
}

impl Client {
    /// Pulls an image.
    ///
    /// # Errors
    /// `NotFound`, `Unauthenticated`, `Unavailable` as the registry answers.
    pub async fn pull(&self, pull: Pull) -> Result<Image> {
        self.pull_with(pull, Arc::new(Silent)).await
    }

    /// Pulls an image and reports how far it has come.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    pub async fn pull_with(&self, pull: Pull, progress: Arc<dyn Sink>) -> Result<Image> {
        let name = pull.from.reference.clone();
        let platforms = chosen(pull.platforms, pull.all_platforms);
        let unpack = self.unpacks(pull.unpack, &platforms).await?;
        let store = Store {
            name: name.clone(),
            labels: pull.labels,
            platforms,
            all_metadata: pull.all_metadata,
            unpack,
            ..Store::default()
        };
        let (from, to) = (Source::Registry(pull.from), Destination::Images(store));
        self.transfer(from, to, progress).await?;
        self.image(&name).await
    }

    /// Pushes an image.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    pub async fn push_with(&self, push: Push, progress: Arc<dyn Sink>) -> Result<()> {
        let from = Source::Images(vec![push.image]);
        self.transfer(from, Destination::Registry(push.to), progress).await
    }

    /// Imports the images of an archive: OCI or Docker, compressed or not.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no such archive.
    pub async fn import_with(
        &self,
        archive: Box<dyn Read + Send>,
        import: Import,
        progress: Arc<dyn Sink>,
    ) -> Result<()> {
        let platforms = chosen(import.platforms, import.all_platforms);
        let unpack = self.unpacks(import.unpack, &platforms).await?;
        let mut names = import.names;
        if names.is_empty() {
            // Without any rule the daemon would store content and name none of it.
            names.push(names_of_archive());
        }
        let store = Store {
            name: import.index_name,
            labels: import.labels,
            platforms,
            extra_names: names,
            unpack,
            ..Store::default()
        };
        self.transfer(Source::Archive(archive), Destination::Images(store), progress).await
    }

    /// Exports images into one archive.
    ///
    /// # Errors
    /// `NotFound` for a name that is none or content that is not here.
    pub async fn export_with(
        &self,
        names: Vec<String>,
        archive: Box<dyn Write + Send>,
        export: Export,
        progress: Arc<dyn Sink>,
    ) -> Result<()> {
        let to = Destination::Archive(archive, export);
        self.transfer(Source::Images(names), to, progress).await
    }

    /// Gives an image a further name, in the place of any image that has it.
    ///
    /// # Errors
    /// `NotFound` when there is no image of the old name.
    pub async fn tag(&self, old: &str, new: &str) -> Result<()> {
        let store = Store { name: new.to_owned(), ..Store::default() };
        let (from, to) = (Source::Images(vec![old.to_owned()]), Destination::Images(store));
        self.transfer(from, to, Arc::new(Silent)).await
    }

    async fn transfer(&self, from: Source, to: Destination, progress: Arc<dyn Sink>) -> Result<()> {
        if self.scope().lease.is_some() {
            return self.connection().transfer().transfer(self.scope(), from, to, progress).await;
        }
        // containerd's garbage collection also takes streams that no lease holds, in the middle of
        // what goes over them.
        let (leased, lease) = self.lease().await?;
        let transfers = leased.connection().transfer();
        let done = transfers.transfer(leased.scope(), from, to, progress).await;
        let released = self.release(&lease).await;
        done.and(released)
    }

    async fn unpacks(&self, into: Option<String>, platforms: &[Platform]) -> Result<Vec<Unpack>> {
        let Some(snapshotter) = into else { return Ok(Vec::new()) };
        // A snapshotter cannot be left to the daemon here: containerd looks up the empty name.
        let snapshotter = self.snapshotter_or_default(&snapshotter).await?;
        let host = [Platform::host()];
        let platforms = if platforms.is_empty() { &host } else { platforms };
        let unpack = |platform: &Platform| Unpack {
            platform: Some(platform.clone()),
            snapshotter: snapshotter.clone(),
        };
        Ok(platforms.iter().map(unpack).collect())
    }
}

/// The platforms to ask for, of which none means all.
fn chosen(platforms: Vec<Platform>, all: bool) -> Vec<Platform> {
    match (all, platforms.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => vec![Platform::host()],
        (false, false) => platforms,
    }
}

/// Takes an archive's own names, as ctr does.
fn names_of_archive() -> NameRule {
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d");
    NameRule {
        name: format!("import-{today}"),
        is_prefix: true,
        allow_overwrite: true,
        ..NameRule::default()
    }
}
