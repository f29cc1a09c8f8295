//! What `docker save` wrote before it wrote OCI layouts: a config and layers, no manifest.

use stowd_core::content::Store;
use stowd_core::descriptor::media_type;
use stowd_core::{Descriptor, Digest, Error, Result, Scope};

use super::import::Found;
use super::inflate::Compression;
use super::{DockerImage, names};
use crate::config::Config;
use crate::document::{Index, Manifest};
use crate::{links, put};

/// Makes manifests for images and an index over them.
pub(super) async fn index(
    store: &dyn Store,
    scope: &Scope,
    run: &str,
    images: &[DockerImage],
    found: &Found,
) -> Result<Descriptor> {
    let mut manifests = Vec::new();
    for image in images {
        let manifest = manifest(store, scope, run, image, found).await?;
        let tags = image.repo_tags.as_deref().unwrap_or_default();
        if tags.is_empty() {
            manifests.push(manifest);
            continue;
        }
        for tag in tags {
            manifests.push(names::named(manifest.clone(), &names::full(tag)?));
        }
    }
    let labels = links::to(&manifests);
    let index = Index {
        schema_version: 2,
        media_type: media_type::INDEX.to_owned(),
        manifests,
        annotations: Default::default(),
    };
    write(store, scope, run, media_type::INDEX, &index, labels).await
}

async fn manifest(
    store: &dyn Store,
    scope: &Scope,
    run: &str,
    image: &DockerImage,
    found: &Found,
) -> Result<Descriptor> {
    let absent = |what: &str, name: &str| {
        Error::invalid(format_args!("{what} {name:?} not found in the archive"))
    };
    let mut config =
        found.blob(&image.config).ok_or_else(|| absent("image config", &image.config))?.clone();
    media_type::DOCKER_CONFIG.clone_into(&mut config.media_type);
    let platform = Config::read(store, scope, &config).await?.platform();
    let mut layers = Vec::new();
    for name in image.layers.as_deref().unwrap_or_default() {
        let mut layer = found.blob(name).ok_or_else(|| absent("layer", name))?.clone();
        layer.media_type = layer_type(store, scope, &layer).await?.to_owned();
        layers.push(layer);
    }
    let children: Vec<Descriptor> =
        std::iter::once(config.clone()).chain(layers.iter().cloned()).collect();
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::DOCKER_MANIFEST.to_owned(),
        config,
        layers,
        annotations: Default::default(),
    };
    let labels = links::to(&children);
    let mut made = write(store, scope, run, media_type::DOCKER_MANIFEST, &manifest, labels).await?;
    made.platform = Some(platform).filter(|platform| !platform.os.is_empty());
    Ok(made)
}

async fn layer_type(store: &dyn Store, scope: &Scope, layer: &Descriptor) -> Result<&'static str> {
    let start = store.open(scope, &layer.digest).await?.read_at(0, 16).await?;
    Ok(match Compression::of(&start) {
        Compression::Plain => media_type::DOCKER_LAYER,
        Compression::Gzip => media_type::DOCKER_LAYER_GZIP,
        Compression::Zstd => media_type::DOCKER_LAYER_ZSTD,
    })
}

async fn write(
    store: &dyn Store,
    scope: &Scope,
    run: &str,
    media_type: &str,
    document: &(impl serde::Serialize + Sync),
    labels: stowd_core::Labels,
) -> Result<Descriptor> {
    let data = serde_json::to_vec(document)
        .map_err(|error| Error::internal(format_args!("write {media_type}: {error}")))?;
    let made = Descriptor::new(media_type, Digest::of(&data), data.len() as u64);
    let reference = format!("{run}-{}", made.digest);
    put(store, scope, &reference, &made.digest, data.into(), labels).await?;
    Ok(made)
}
