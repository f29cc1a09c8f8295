//! Archives that images travel in: OCI layouts (OCI image-spec, image-layout.md) and what
//! `docker save` writes, as tar, plain or compressed.
//!
//! Both are streams that are read or written once, from the first byte to the last: blobs go
//! straight into the content store and come straight out of it.

mod docker;
mod export;
mod import;
mod inflate;
mod names;
mod pax;
mod tape;

pub use export::{Exported, export};
pub use import::import;
pub use names::{IMAGE_NAME, REF_NAME, named, names_for};

use serde::{Deserialize, Serialize};
use stowd_core::Digest;

/// The file that tells an OCI layout.
const LAYOUT_FILE: &str = "oci-layout";
/// The one version of the layout.
const LAYOUT_VERSION: &str = "1.0.0";
/// The file that leads to all else in an OCI layout.
const INDEX_FILE: &str = "index.json";
/// The file that leads to all else in what `docker save` writes.
const DOCKER_FILE: &str = "manifest.json";

/// What stands in [`LAYOUT_FILE`].
#[derive(Serialize, Deserialize)]
struct Layout {
    #[serde(rename = "imageLayoutVersion", default)]
    version: String,
}

/// One image in [`DOCKER_FILE`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Returns where a blob lies in an OCI layout.
fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}
