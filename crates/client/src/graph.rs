//! An image's manifest graph, read from the daemon's content store.

use serde::{Deserialize, Deserializer};
use stowd_core::content::{Blob, Store as _};
use stowd_core::descriptor::media_type;
use stowd_core::platform::{Matcher, Platform};
use stowd_core::{Descriptor, Digest, Error, Result};
use stowd_spec::ImageConfig;

use crate::Client;

/// The longest manifest, index or config that is read: containerd's limit.
const LIMIT: u64 = 8 << 20;

/// An image manifest.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// The image's config.
    pub config: Descriptor,
    /// Its layers, lowest first.
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default, deserialize_with = "or_default")]
    manifests: Vec<Descriptor>,
}

/// What is read of an image's config beside what shapes containers.
#[derive(Clone, Debug, Deserialize)]
pub struct ImageConfigFile {
    /// The platform that it runs on.
    #[serde(flatten)]
    pub platform: Platform,
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

/// An image's manifest and config, read once for several uses.
pub(crate) struct Contents {
    pub(crate) manifest: Manifest,
    pub(crate) file: ImageConfigFile,
    pub(crate) config: ImageConfig,
}

/// How much of an image is there.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// The manifest is there, so that it is known what belongs to the image.
    pub available: bool,
    /// What belongs to it: config and layers.
    pub required: Vec<Descriptor>,
    /// What of that is there.
    pub present: Vec<Descriptor>,
    /// What of that is not.
    pub missing: Vec<Descriptor>,
}

/// Go's encoders write `null` for an empty list.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl ImageConfigFile {
    /// Returns the digests of the uncompressed layers, lowest first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.rootfs.diff_ids
    }

    /// Returns the name under which each layer's snapshot is known, lowest first.
    pub fn chain_ids(&self) -> Vec<Digest> {
        let mut chain: Vec<Digest> = Vec::with_capacity(self.rootfs.diff_ids.len());
        for diff_id in &self.rootfs.diff_ids {
            let next = match chain.last() {
                None => diff_id.clone(),
                Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
            };
            chain.push(next);
        }
        chain
    }
}

impl Client {
    /// Reads a small blob whole.
    ///
    /// # Errors
    /// `NotFound` when it is not there, `FailedPrecondition` when it is not small.
    pub async fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let blob = self.connection().content().open(self.scope(), digest).await?;
        read_all(digest, &*blob).await
    }

    /// Reads what a descriptor names, without asking for its size first.
    async fn read_described(&self, what: &Descriptor) -> Result<Vec<u8>> {
        if what.size == 0 {
            // Some tools leave it out.
            return self.read_blob(&what.digest).await;
        }
        let content = self.connection().content();
        let blob = content.open_sized(self.scope(), &what.digest, what.size);
        read_all(&what.digest, &*blob).await
    }

    async fn read_json<T: for<'de> Deserialize<'de>>(&self, what: &Descriptor) -> Result<T> {
        parse(&what.digest, &self.read_described(what).await?)
    }

    pub(crate) async fn config_file(&self, config: &Descriptor) -> Result<ImageConfigFile> {
        self.read_json(config).await
    }

    /// Reads all that making a container of an image needs, each blob once.
    pub(crate) async fn contents(&self, target: &Descriptor, wanted: &Matcher) -> Result<Contents> {
        let (_, manifest) = self.find_manifest(target, wanted).await?;
        let data = self.read_described(&manifest.config).await?;
        let file = parse(&manifest.config.digest, &data)?;
        let config = ImageConfig::parse(&data)?;
        Ok(Contents { manifest, file, config })
    }

    /// Finds the manifests below `target` that run on the wanted platforms, best first, each with
    /// the indexes that lead to it.
    async fn candidates(
        &self,
        target: &Descriptor,
        wanted: &Matcher,
    ) -> Result<Vec<(usize, Vec<Descriptor>)>> {
        if !media_type::is_index(&target.media_type) {
            return Ok(vec![(0, vec![target.clone()])]);
        }
        let index: Index = self.read_json(target).await?;
        let mut found = Vec::new();
        for child in index.manifests {
            let rank = match &child.platform {
                Some(platform) => wanted.rank(platform),
                None => Some(usize::MAX),
            };
            let Some(rank) = rank else { continue };
            if media_type::is_index(&child.media_type) {
                // An index in an index is rare and one level deep.
                if let Ok(nested) = self.read_json::<Index>(&child).await {
                    for manifest in nested.manifests {
                        let rank = manifest.platform.as_ref().map(|p| wanted.rank(p));
                        if let Some(rank) = rank.unwrap_or(Some(usize::MAX)) {
                            found.push((rank, vec![target.clone(), child.clone(), manifest]));
                        }
                    }
                }
                continue;
            }
            found.push((rank, vec![target.clone(), child]));
        }
        found.sort_by_key(|(rank, _)| *rank);
        Ok(found)
    }

    /// Finds the best manifest for the wanted platforms, with all descriptors on the way to it.
    pub(crate) async fn find_manifest(
        &self,
        target: &Descriptor,
        wanted: &Matcher,
    ) -> Result<(Vec<Descriptor>, Manifest)> {
        let mut failed = None;
        for (_, path) in self.candidates(target, wanted).await? {
            let Some(last) = path.last() else { continue };
            let manifest: Manifest = match self.read_json(last).await {
                Ok(manifest) => manifest,
                Err(error) => {
                    failed.get_or_insert(error);
                    continue;
                }
            };
            if last.platform.is_none() && path.len() > 1 {
                // The index does not tell; the config does.
                match self.config_file(&manifest.config).await {
                    Ok(config) if wanted.matches(&config.platform) => {}
                    Ok(_) => continue,
                    Err(error) => {
                        failed.get_or_insert(error);
                        continue;
                    }
                }
            }
            return Ok((path, manifest));
        }
        Err(failed.unwrap_or_else(|| {
            Error::not_found(format_args!("no match for platform in manifest {}", target.digest))
        }))
    }

    /// Lists the platforms that an image was made for, as far as its content is here to tell.
    pub(crate) async fn platforms_of(&self, target: &Descriptor) -> Result<Vec<Platform>> {
        let mut platforms = Vec::new();
        let known =
            |platform: &Platform| platform.os != "unknown" && platform.architecture != "unknown";
        for (_, path) in self.candidates(target, &Matcher::all()).await? {
            let Some(last) = path.last() else { continue };
            let platform = match &last.platform {
                Some(platform) => platform.clone(),
                None => {
                    let manifest: Manifest = self.read_json(last).await?;
                    self.config_file(&manifest.config).await?.platform.normalized()
                }
            };
            if known(&platform) {
                platforms.push(platform);
            }
        }
        Ok(platforms)
    }

    /// Finds out what of an image is here.
    pub(crate) async fn check_image(&self, target: &Descriptor, wanted: &Matcher) -> Result<Check> {
        let manifest = match self.find_manifest(target, wanted).await {
            Ok((_, manifest)) => manifest,
            Err(error) if error.is_not_found() => {
                return Ok(Check { missing: vec![target.clone()], ..Check::default() });
            }
            Err(error) => return Err(error),
        };
        let mut check = Check { available: true, ..Check::default() };
        let content = self.connection().content();
        for descriptor in std::iter::once(manifest.config).chain(manifest.layers) {
            match content.info(self.scope(), &descriptor.digest).await {
                Ok(_) => check.present.push(descriptor.clone()),
                Err(error) if error.is_not_found() => check.missing.push(descriptor.clone()),
                Err(error) => return Err(error),
            }
            check.required.push(descriptor);
        }
        Ok(check)
    }
}

async fn read_all(digest: &Digest, blob: &dyn Blob) -> Result<Vec<u8>> {
    let size = blob.size();
    if size > LIMIT {
        return Err(Error::failed_precondition(format_args!(
            "{digest} has {size} bytes, more than the {LIMIT} that a manifest may have"
        )));
    }
    let mut data = Vec::new();
    while (data.len() as u64) < size {
        let rest = usize::try_from(size).unwrap_or(usize::MAX) - data.len();
        let piece = blob.read_at(data.len() as u64, rest).await?;
        if piece.is_empty() {
            return Err(Error::data_loss(format_args!("{digest} ends early")));
        }
        data.extend_from_slice(&piece);
    }
    Ok(data)
}

fn parse<T: for<'de> Deserialize<'de>>(digest: &Digest, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| Error::invalid(format_args!("{digest}: {error}")))
}
