//! Images.

use stowd_core::filters::Filters;
use stowd_core::images::{Delete, Store as _};
use stowd_core::platform::{Matcher, Platform};
use stowd_core::snapshots::Snapshotter as _;
use stowd_core::{Digest, Error, Result, images};
use stowd_spec::ImageConfig;

use crate::graph::{Check, Contents, ImageConfigFile, Manifest};
use crate::{Client, unpack};

/// An image of the client's namespace, seen for some platform.
#[derive(Clone, Debug)]
pub struct Image {
    client: Client,
    record: images::Image,
    wanted: Matcher,
}

impl Client {
    /// Finds an image by its full name, for this machine's platform.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn image(&self, name: &str) -> Result<Image> {
        let record = self.connection().images().get(self.scope(), name).await?;
        Ok(Image::new(self.clone(), record))
    }

    /// Lists the namespace's images; a filter list that is empty lets all pass.
    ///
    /// # Errors
    /// Those of the daemon.
    pub async fn images(&self, filters: &Filters) -> Result<Vec<Image>> {
        let records = self.connection().images().list(self.scope(), filters).await?;
        Ok(records.into_iter().map(|record| Image::new(self.clone(), record)).collect())
    }

    /// Deletes an image's name; its content goes with garbage collection.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    pub async fn delete_image(&self, name: &str, delete: Delete) -> Result<()> {
        self.connection().images().delete(self.scope(), name, delete).await
    }
}

impl Image {
    pub(crate) fn new(client: Client, record: images::Image) -> Self {
        Self { client, record, wanted: Matcher::host() }
    }

    /// Returns the same image seen for another platform.
    #[must_use]
    pub fn for_platform(mut self, platform: &Platform) -> Self {
        self.wanted = Matcher::only(platform);
        self
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Returns its record as it was when the handle was made.
    pub fn record(&self) -> &images::Image {
        &self.record
    }

    /// Reads its manifest.
    ///
    /// # Errors
    /// `NotFound` when the manifest is not here, or none is for the platform.
    pub async fn manifest(&self) -> Result<Manifest> {
        Ok(self.client.find_manifest(&self.record.target, &self.wanted).await?.1)
    }

    /// Adds up the lengths of its index, manifest, config and layers.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub async fn size(&self) -> Result<u64> {
        let (path, manifest) = self.client.find_manifest(&self.record.target, &self.wanted).await?;
        let parts = path.iter().chain([&manifest.config]).chain(&manifest.layers);
        Ok(parts.map(|descriptor| descriptor.size).sum())
    }

    /// Lists the platforms that it was made for.
    ///
    /// # Errors
    /// `NotFound` when the content that tells is not here.
    pub async fn platforms(&self) -> Result<Vec<Platform>> {
        self.client.platforms_of(&self.record.target).await
    }

    /// Finds out what of it is here.
    ///
    /// # Errors
    /// Those of the daemon.
    pub async fn check(&self) -> Result<Check> {
        self.client.check_image(&self.record.target, &self.wanted).await
    }

    /// Reads platform and layers' digests from its config.
    ///
    /// # Errors
    /// `NotFound` when manifest or config is not here.
    pub async fn config_file(&self) -> Result<ImageConfigFile> {
        let manifest = self.manifest().await?;
        self.client.config_file(&manifest.config).await
    }

    /// Reads what shapes the containers made from it.
    ///
    /// # Errors
    /// As [`config_file`](Self::config_file).
    pub async fn config(&self) -> Result<ImageConfig> {
        Ok(self.contents().await?.config)
    }

    /// Returns the name of the snapshot that shows the whole image once it is unpacked.
    ///
    /// # Errors
    /// As [`config_file`](Self::config_file); `FailedPrecondition` for an image without layers.
    pub async fn chain_id(&self) -> Result<Digest> {
        let chain = self.config_file().await?.chain_ids();
        chain.last().cloned().ok_or_else(|| {
            Error::failed_precondition(format_args!("image {:?} has no layers", self.name()))
        })
    }

    /// Says whether it is unpacked in a snapshotter; an empty name means the default one.
    ///
    /// # Errors
    /// As [`chain_id`](Self::chain_id).
    pub async fn is_unpacked(&self, snapshotter: &str) -> Result<bool> {
        let snapshotter = self.client.snapshotter_or_default(snapshotter).await?;
        let chain_id = self.chain_id().await?;
        let snapshots = self.client.connection().snapshotter(snapshotter);
        match snapshots.stat(self.client.scope(), chain_id.as_str()).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Unpacks it into a snapshotter; an empty name means the default one. What is there is kept.
    ///
    /// # Errors
    /// `NotFound` when content is missing, and those of snapshotter and applier.
    pub async fn unpack(&self, snapshotter: &str) -> Result<()> {
        let snapshotter = self.client.snapshotter_or_default(snapshotter).await?;
        let contents = self.contents().await?;
        unpack::unpack(&self.client, &contents, &snapshotter).await
    }

    pub(crate) async fn contents(&self) -> Result<Contents> {
        self.client.contents(&self.record.target, &self.wanted).await
    }
}
