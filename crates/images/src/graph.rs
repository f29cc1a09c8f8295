//! Walking an image's blobs.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use stowd_core::content::Store;
use stowd_core::descriptor::media_type;
use stowd_core::platform::Matcher;
use stowd_core::{Descriptor, Digest, Error, Platform, Result, Scope};

use crate::choice::Choice;
use crate::config::Config;
use crate::document::{Document, MAX_SIZE, Manifest, kind};

/// How deep indexes may be nested in each other; honest ones are not nested at all.
pub const MAX_DEPTH: usize = 16;
/// How many blobs one image may have.
pub const MAX_BLOBS: usize = 1 << 17;

/// Reads a whole document or config.
///
/// # Errors
/// `NotFound`: the blob is not here. `InvalidArgument`: it is longer than [`MAX_SIZE`] or has
/// another length than the descriptor says.
pub async fn read(store: &dyn Store, scope: &Scope, descriptor: &Descriptor) -> Result<Bytes> {
    let name = || format!("{} {}", kind(&descriptor.media_type), descriptor.digest);
    let blob = store.open(scope, &descriptor.digest).await?;
    let size = blob.size();
    if size > MAX_SIZE {
        return Err(Error::invalid(format_args!(
            "{} has {size} bytes, more than the {MAX_SIZE} that are read",
            name()
        )));
    }
    // Descriptors made from a digest alone say 0.
    if descriptor.size != 0 && descriptor.size != size {
        return Err(Error::invalid(format_args!(
            "{} has {size} bytes and not the {} that it should have",
            name(),
            descriptor.size
        )));
    }
    let first = blob.read_at(0, length(size)).await?;
    if first.len() as u64 == size {
        return Ok(first);
    }
    let mut all = BytesMut::from(&first[..]);
    while (all.len() as u64) < size {
        let piece = blob.read_at(all.len() as u64, length(size - all.len() as u64)).await?;
        if piece.is_empty() {
            return Err(Error::data_loss(format_args!("{} ends early", name())));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// Returns what a blob leads to; nothing for one that is neither index nor manifest.
///
/// # Errors
/// As [`read`], and `InvalidArgument` when the document is malformed.
pub async fn children(
    store: &dyn Store,
    scope: &Scope,
    descriptor: &Descriptor,
) -> Result<Vec<Descriptor>> {
    if !Document::is_one(&descriptor.media_type) {
        return Ok(Vec::new());
    }
    let data = read(store, scope, descriptor).await?;
    Ok(Document::parse(descriptor, &data)?.into_children())
}

/// Lists the blobs of an image that a choice takes whole, each once, what leads before what it
/// leads to.
/// Only documents are read; whether the rest is here is not looked at.
///
/// # Errors
/// As [`children`]; `NotFound` when the choice takes no manifest of an index.
pub async fn reachable(
    store: &dyn Store,
    scope: &Scope,
    root: &Descriptor,
    choice: &Choice,
) -> Result<Vec<Descriptor>> {
    let mut walk = Walk::new(root.clone());
    while let Some((descriptor, depth)) = walk.next()? {
        let mut found = children(store, scope, &descriptor).await?;
        if media_type::is_index(&descriptor.media_type) {
            found = choice.take(&descriptor.digest, found)?.whole;
        }
        walk.found(found, depth);
    }
    Ok(walk.order)
}

/// Keeps the order of a walk and its limits; the walker reads the blobs.
pub struct Walk {
    /// What was visited so far.
    pub order: Vec<Descriptor>,
    seen: HashSet<Digest>,
    waiting: Vec<(Descriptor, usize)>,
}

impl Walk {
    /// Starts at a root.
    pub fn new(root: Descriptor) -> Self {
        Self { order: Vec::new(), seen: HashSet::new(), waiting: vec![(root, 0)] }
    }

    /// Returns the next blob and its depth.
    ///
    /// # Errors
    /// `InvalidArgument` when the tree is too deep or too large.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator's next cannot fail, and the walker adds to what is left"
    )]
    pub fn next(&mut self) -> Result<Option<(Descriptor, usize)>> {
        while let Some((descriptor, depth)) = self.waiting.pop() {
            if !self.seen.insert(descriptor.digest.clone()) {
                continue;
            }
            if depth > MAX_DEPTH {
                return Err(Error::invalid(format_args!(
                    "{} is nested more than {MAX_DEPTH} deep",
                    descriptor.digest
                )));
            }
            if self.order.len() >= MAX_BLOBS {
                return Err(Error::invalid(format_args!("image has more than {MAX_BLOBS} blobs")));
            }
            self.order.push(descriptor.clone());
            return Ok(Some((descriptor, depth)));
        }
        Ok(None)
    }

    /// Adds what a blob of this depth leads to.
    pub fn found(&mut self, children: Vec<Descriptor>, depth: usize) {
        self.waiting.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
    }
}

/// Returns the manifest of an image that fits best, with its descriptor.
///
/// # Errors
/// `NotFound` when none fits, naming the platforms that there are; else as [`children`].
pub async fn manifest(
    store: &dyn Store,
    scope: &Scope,
    target: &Descriptor,
    matcher: &Matcher,
) -> Result<(Descriptor, Manifest)> {
    let mut at = target.clone();
    for _ in 0..=MAX_DEPTH {
        let data = read(store, scope, &at).await?;
        match Document::parse(&at, &data)? {
            Document::Manifest(manifest) => return Ok((at, *manifest)),
            Document::Index(index) => {
                at = best(store, scope, &at, index.manifests, matcher).await?;
            }
        }
    }
    Err(Error::invalid(format_args!("{} is nested more than {MAX_DEPTH} deep", target.digest)))
}

/// Returns the manifest of an index that fits best. One without a platform in the index is taken
/// for what its config says.
async fn best(
    store: &dyn Store,
    scope: &Scope,
    index: &Descriptor,
    manifests: Vec<Descriptor>,
    matcher: &Matcher,
) -> Result<Descriptor> {
    let mut found: Option<(usize, Descriptor)> = None;
    let mut offered = Vec::new();
    for manifest in manifests {
        let platform = match &manifest.platform {
            Some(platform) => platform.clone(),
            None => match platform(store, scope, &manifest).await {
                Ok(Some(platform)) => platform,
                // Without a platform it could be anything, nested indexes included.
                Ok(None) => Platform::default(),
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            },
        };
        let unnamed = platform.os.is_empty() && media_type::is_index(&manifest.media_type);
        let rank = if unnamed { Some(usize::MAX) } else { matcher.rank(&platform) };
        match rank {
            Some(rank) if found.as_ref().is_none_or(|(least, _)| rank < *least) => {
                found = Some((rank, manifest));
            }
            Some(_) => {}
            None => offered.push(platform.to_string()),
        }
    }
    found.map(|(_, manifest)| manifest).ok_or_else(|| no_match(&index.digest, &offered))
}

/// Returns the platform that a manifest's config says it is for.
///
/// # Errors
/// As [`read`].
pub async fn platform(
    store: &dyn Store,
    scope: &Scope,
    manifest: &Descriptor,
) -> Result<Option<Platform>> {
    if !media_type::is_manifest(&manifest.media_type) {
        return Ok(None);
    }
    let data = read(store, scope, manifest).await?;
    let Document::Manifest(manifest) = Document::parse(manifest, &data)? else { return Ok(None) };
    if !media_type::is_config(&manifest.config.media_type) {
        return Ok(None);
    }
    let config = Config::read(store, scope, &manifest.config).await?;
    Ok(Some(config.platform()).filter(|platform| !platform.os.is_empty()))
}

pub(crate) fn no_match(index: &Digest, offered: &[String]) -> Error {
    let error = Error::not_found(format_args!("no match for platform in manifest {index}"));
    if offered.is_empty() {
        return error;
    }
    error.hint(format_args!("it has {}", offered.join(", ")))
}

fn length(size: u64) -> usize {
    usize::try_from(size.min(MAX_SIZE)).unwrap_or(usize::MAX)
}
