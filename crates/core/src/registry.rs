//! Registries: where other machines keep images.
//!
//! A [`Registries`] turns a [`RegistryRef`] into a [`Repository`]: one repository on one registry,
//! with its mirrors, its connections and the tokens it was given. It lives for one pull or push
//! and takes all of that with it when it is dropped.
//!
//! # Lifecycle of a pull
//!
//! [`Resolver::resolve`] asks what the reference's tag or digest stands for; then
//! [`Fetcher::fetch`] is called for that descriptor and for all that it leads to, several at a
//! time. A [`Download`] yields exactly the bytes that were asked for or ends with an error: it
//! reconnects and resumes by itself where the transport breaks. It does not check the digest;
//! whoever stores the bytes does.
//!
//! # Errors
//!
//! `NotFound`: no such repository, tag or blob. `Unauthenticated`: credentials are missing or
//! wrong. `PermissionDenied`: they are not enough. `Unavailable`: the registry cannot be reached,
//! fails, or asks to be left alone, also after several tries. `FailedPrecondition`: it sends
//! something else than the descriptor promises. `InvalidArgument`: the reference, the
//! configuration of the host or what a client sent is wrong.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use crate::transfer::RegistryRef;
use crate::{Descriptor, Digest, Reference, Result, content};

/// A blob's bytes as they arrive.
pub type Download = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Is told how many bytes of an upload have gone out so far; starts again from 0 on a retry.
pub type Sent = Arc<dyn Fn(u64) + Send + Sync>;

/// How a blob came to be on a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it over from another of its repositories.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// Says what a reference or a digest stands for.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// Returns the descriptor of what the reference names.
    async fn resolve(&self) -> Result<Descriptor>;

    /// Returns the descriptor of a blob or manifest of the repository, whatever its reference says.
    /// A media type tells where to look first; without one that is among blobs.
    async fn find(&self, digest: &Digest, media_type: &str) -> Result<Descriptor>;
}

/// Gets blobs.
#[async_trait]
pub trait Fetcher: Send + Sync {
    /// Opens the blob of a descriptor from `offset` to the length that the descriptor promises.
    /// Manifests and indexes are asked for as such, by their digest.
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> Result<Download>;
}

/// Sends blobs.
#[async_trait]
pub trait Pusher: Send + Sync {
    /// Sends a blob, unless the registry has it. `mount_from` names repositories of the same
    /// registry that are known to have it. A manifest or index is sent after all that it refers
    /// to; `tagged` then says under which name.
    async fn push(
        &self,
        descriptor: &Descriptor,
        blob: Arc<dyn content::Blob>,
        mount_from: &[String],
        tagged: Tagged,
        sent: Sent,
    ) -> Result<Pushed>;
}

/// Under which name a manifest is pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tagged {
    /// By its digest only.
    #[default]
    No,
    /// As the tag of the repository's reference, if that has one.
    Yes,
}

/// One repository on one registry.
pub trait Repository: Resolver + Fetcher + Pusher {
    /// Returns the reference that it was opened for.
    fn reference(&self) -> &Reference;
}

/// Opens repositories.
pub trait Registries: Send + Sync {
    /// Opens a repository; nothing is sent yet.
    ///
    /// # Errors
    /// `InvalidArgument` when the reference or the host's configuration makes no sense.
    fn repository(&self, image: &RegistryRef) -> Result<Arc<dyn Repository>>;
}
