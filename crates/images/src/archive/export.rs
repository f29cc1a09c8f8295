//! From the content store into a stream.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use stowd_core::content::{Blob, Store};
use stowd_core::descriptor::media_type;
use stowd_core::digest::Hasher;
use stowd_core::transfer::Export;
use stowd_core::{Descriptor, Error, Platform, Result, Scope, labels};
use tar::{EntryType, Header};
use tokio::runtime::Handle;

use super::names::{IMAGE_NAME, familiar, named};
use super::{DOCKER_FILE, DockerImage, INDEX_FILE, LAYOUT_FILE, LAYOUT_VERSION, Layout, blob_path};
use crate::choice::Choice;
use crate::document::{Document, Index};
use crate::graph;

/// How much of a blob is read at a time.
const PIECE: usize = 1 << 20;

/// An image to export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The name that it has in the archive; empty for none.
    pub name: String,
    /// What is exported.
    pub target: Descriptor,
}

/// Writes images as an OCI layout in a tar, its files in the order of their names and without
/// times, so that the same images give the same bytes. Each blob's digest is checked on the way.
///
/// An index is written as it is, whatever part of what it leads to is in the archive. With
/// platforms only what fits them is; without, all that is in the store, or all there should be
/// when `all_platforms` is set.
///
/// # Errors
/// `NotFound`: content is missing, or no manifest fits. `InvalidArgument`: an image is neither
/// index nor manifest. `DataLoss`: a blob is not what its digest says. Else those of the stores
/// and the stream.
pub async fn export(
    store: Arc<dyn Store>,
    scope: &Scope,
    images: &[Exported],
    options: &Export,
    stream: Box<dyn Write + Send>,
) -> Result<()> {
    let mut plan =
        Plan { store: &*store, scope, options, blobs: BTreeMap::new(), docker: Vec::new() };
    let mut tops = Vec::new();
    for image in images {
        tops.push(plan.add(image).await?);
    }
    let (blobs, docker) = (plan.blobs, plan.docker);
    let files = files(tops, &docker, options)?;
    let scope = scope.clone();
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || write(&*store, &scope, &handle, files, blobs, stream))
        .await
        .map_err(|error| Error::internal(format_args!("export ended: {error}")))?
}

struct Plan<'a> {
    store: &'a dyn Store,
    scope: &'a Scope,
    options: &'a Export,
    blobs: BTreeMap<String, Descriptor>,
    /// Manifests for [`DOCKER_FILE`] with the names they go by.
    docker: Vec<(Descriptor, DockerImage)>,
}

impl Plan<'_> {
    /// Adds an image's blobs and returns its entry in the index.
    async fn add(&mut self, image: &Exported) -> Result<Descriptor> {
        let target = &image.target;
        if !Document::is_one(&target.media_type) {
            return Err(Error::invalid(format_args!(
                "only manifests may be exported, not {:?}",
                target.media_type
            )));
        }
        let mut top = target.clone();
        let info = self.store.info(self.scope, &target.digest).await?;
        let sources =
            info.labels.iter().filter(|(k, _)| k.starts_with(labels::DISTRIBUTION_SOURCE));
        top.annotations.extend(sources.map(|(key, value)| (key.clone(), value.clone())));
        if !image.name.is_empty() {
            top = named(top, &image.name);
        }
        let best = self.walk(target).await?;
        if let Some(best) = best {
            self.add_docker(best, top.annotations.get(IMAGE_NAME)).await?;
        }
        Ok(top)
    }

    /// Collects the blobs of an image; returns the manifest that Docker should see.
    async fn walk(&mut self, root: &Descriptor) -> Result<Option<Descriptor>> {
        let choice = if self.options.all_platforms {
            Choice::everything()
        } else {
            Choice::of(&self.options.platforms)
        };
        // Whoever asks for platforms gets them whole or an error.
        let strict = self.options.all_platforms || !self.options.platforms.is_empty();
        let mut manifests = Vec::new();
        let mut missing = None;
        let mut walk = graph::Walk::new(root.clone());
        while let Some((descriptor, depth)) = walk.next()? {
            if self.options.skip_non_distributable
                && media_type::is_nondistributable(&descriptor.media_type)
            {
                continue;
            }
            let children = match graph::children(self.store, self.scope, &descriptor).await {
                Ok(children) if media_type::is_index(&descriptor.media_type) => {
                    choice.take(&descriptor.digest, children)?.whole
                }
                Ok(children) => children,
                Err(error) if error.is_not_found() && !strict && depth > 0 => {
                    missing = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.blobs.insert(blob_path(&descriptor.digest), descriptor.clone());
            if !media_type::is_manifest(&descriptor.media_type) {
                walk.found(children, depth);
                continue;
            }
            // Part of an image helps nobody: a manifest comes with all that it needs, or alone.
            match self.first_missing(&children).await? {
                None => {
                    manifests.push(descriptor);
                    walk.found(children, depth);
                }
                Some(error) if strict => return Err(error),
                Some(error) => missing = Some(error),
            }
        }
        if manifests.is_empty()
            && let Some(error) = missing
        {
            return Err(error);
        }
        Ok(best(manifests, &self.options.platforms))
    }

    async fn first_missing(&self, blobs: &[Descriptor]) -> Result<Option<Error>> {
        for blob in blobs {
            if self.options.skip_non_distributable
                && media_type::is_nondistributable(&blob.media_type)
            {
                continue;
            }
            match self.store.info(self.scope, &blob.digest).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => return Ok(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn add_docker(&mut self, manifest: Descriptor, name: Option<&String>) -> Result<()> {
        let tag = name.map(|name| familiar(name)).transpose().unwrap_or_default();
        if let Some((_, there)) =
            self.docker.iter_mut().find(|(it, _)| it.digest == manifest.digest)
        {
            if let Some(tag) = tag {
                there.repo_tags.get_or_insert_default().push(tag);
            }
            return Ok(());
        }
        let children = graph::children(self.store, self.scope, &manifest).await?;
        let Some((config, layers)) = children.split_first() else { return Ok(()) };
        let image = DockerImage {
            config: blob_path(&config.digest),
            repo_tags: tag.map(|tag| vec![tag]),
            layers: Some(layers.iter().map(|layer| blob_path(&layer.digest)).collect()),
        };
        self.docker.push((manifest, image));
        Ok(())
    }
}

/// Returns the manifest that fits the platforms best, or without any this host.
fn best(manifests: Vec<Descriptor>, platforms: &[Platform]) -> Option<Descriptor> {
    let host = [Platform::host()];
    let wanted = if platforms.is_empty() { &host[..] } else { platforms };
    let matcher = stowd_core::platform::Matcher::any_of(wanted);
    manifests.into_iter().min_by_key(|it| {
        it.platform
            .as_ref()
            .map_or(Some(usize::MAX - 1), |it| matcher.rank(it))
            .unwrap_or(usize::MAX)
    })
}

fn files(
    tops: Vec<Descriptor>,
    docker: &[(Descriptor, DockerImage)],
    options: &Export,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let index = Index {
        schema_version: 2,
        media_type: media_type::INDEX.to_owned(),
        manifests: tops,
        annotations: BTreeMap::new(),
    };
    let layout = Layout { version: LAYOUT_VERSION.to_owned() };
    let mut files = BTreeMap::from([
        (INDEX_FILE.to_owned(), json(&index)?),
        (LAYOUT_FILE.to_owned(), json(&layout)?),
    ]);
    if !options.skip_compatibility_manifest && !docker.is_empty() {
        let images: Vec<&DockerImage> = docker.iter().map(|(_, image)| image).collect();
        files.insert(DOCKER_FILE.to_owned(), json(&images)?);
    }
    Ok(files)
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::internal(format_args!("export: {error}")))
}

fn write(
    store: &dyn Store,
    scope: &Scope,
    handle: &Handle,
    files: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, Descriptor>,
    stream: Box<dyn Write + Send>,
) -> Result<()> {
    let fault = |error: io::Error| Error::io("write archive", &error);
    let mut tar = tar::Builder::new(io::BufWriter::with_capacity(PIECE, stream));
    let mut folders: Vec<&str> = blobs.values().map(|it| it.digest.algorithm().name()).collect();
    folders.sort_unstable();
    folders.dedup();
    let mut put = |path: &str, kind: EntryType, mode: u32, size: u64, data: &mut dyn Read| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(0);
        tar.append_data(&mut header, path, data)
    };
    put("blobs/", EntryType::Directory, 0o755, 0, &mut io::empty()).map_err(fault)?;
    for folder in folders {
        let path = format!("blobs/{folder}/");
        put(&path, EntryType::Directory, 0o755, 0, &mut io::empty()).map_err(fault)?;
    }
    for (path, descriptor) in &blobs {
        let blob = handle.block_on(store.open(scope, &descriptor.digest))?;
        let mut reader = Checked {
            size: blob.size(),
            hasher: descriptor.digest.algorithm().hasher(),
            blob,
            handle,
            at: 0,
            piece: Bytes::new(),
            fault: None,
        };
        let size = reader.size;
        let written = put(path, EntryType::Regular, 0o444, size, &mut reader);
        if let Some(error) = reader.fault.take() {
            return Err(error);
        }
        written.map_err(fault)?;
        if reader.at != size || reader.hasher.digest() != descriptor.digest {
            return Err(Error::data_loss(format_args!(
                "blob {} is not what its digest says",
                descriptor.digest
            )));
        }
    }
    for (path, data) in &files {
        let mode = if path == LAYOUT_FILE { 0o444 } else { 0o644 };
        put(path, EntryType::Regular, mode, data.len() as u64, &mut &data[..]).map_err(fault)?;
    }
    tar.into_inner().and_then(|mut stream| stream.flush()).map_err(fault)
}

/// Reads a blob and computes the digest of what was read.
struct Checked<'a> {
    blob: Arc<dyn Blob>,
    size: u64,
    handle: &'a Handle,
    hasher: Hasher,
    at: u64,
    piece: Bytes,
    /// Why the store could not be read.
    fault: Option<Error>,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            match self.handle.block_on(self.blob.read_at(self.at, PIECE)) {
                Ok(piece) => self.piece = piece,
                Err(error) => {
                    let text = error.to_string();
                    self.fault = Some(error);
                    return Err(io::Error::other(text));
                }
            }
            self.at += self.piece.len() as u64;
            self.hasher.update(&self.piece);
        }
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}
