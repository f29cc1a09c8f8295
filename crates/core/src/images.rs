//! Images: names for manifests and indexes in the content store.
//!
//! An image is a mutable name for an immutable target. It keeps its target, and what that refers
//! to by `containerd.io/gc.ref.*` labels, from garbage collection. It says nothing of whether the
//! content is complete.
//!
//! # Errors
//!
//! `NotFound`: no image of that name here, or its target is not the one demanded at delete.
//! `AlreadyExists`: create of a name in use. `InvalidArgument`: empty name, missing target.

use std::borrow::Cow;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::filters::{self, Adaptor, Filters};
use crate::{Descriptor, Digest, Labels, Result, Scope};

/// A name for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The name: by custom a full reference, but any text will do.
    pub name: String,
    /// What it stands for.
    pub target: Descriptor,
    /// Its labels.
    pub labels: Labels,
    /// When it was created.
    pub created: SystemTime,
    /// When it was last changed.
    pub updated: SystemTime,
}

/// What a delete can ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delete {
    /// When the call returns.
    pub collect: Collect,
    /// Deletes only while the image has this target.
    pub target: Option<Digest>,
}

/// Whether a delete waits for what it set free to be gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Collect {
    /// Garbage collection runs some time after.
    #[default]
    Later,
    /// The call returns after a garbage collection that began after the delete.
    BeforeReturn,
}

/// The namespaced store of images.
#[async_trait]
pub trait Store: Send + Sync {
    /// Returns an image.
    async fn get(&self, scope: &Scope, name: &str) -> Result<Image>;

    /// Lists the namespace's images in the order of their names.
    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Image>>;

    /// Creates an image; its times are set here unless `created` was given by the client as a
    /// reproducible time, which `updated` then carries.
    async fn create(&self, scope: &Scope, image: Image) -> Result<Image>;

    /// Changes what `fieldpaths` name (`target`, `labels`, `labels.<key>`, `annotations…` of the
    /// target), or all but the name when empty.
    async fn update(&self, scope: &Scope, image: Image, fieldpaths: &[String]) -> Result<Image>;

    /// Deletes an image.
    async fn delete(&self, scope: &Scope, name: &str, delete: Delete) -> Result<()>;
}

impl Adaptor for Image {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name"] => Some(self.name.as_str().into()),
            ["target", "digest"] => Some(self.target.digest.as_str().into()),
            ["target", "mediatype"] => Some(self.target.media_type.as_str().into()),
            ["labels", rest @ ..] => filters::label(&self.labels, rest),
            ["annotations", rest @ ..] => filters::label(&self.target.annotations, rest),
            _ => None,
        }
    }
}
