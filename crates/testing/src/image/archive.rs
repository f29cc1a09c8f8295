//! The two archives that images travel in.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stowd_core::descriptor::media_type;

use super::entry::{Entry, Kind, finish};
use super::{Blob, Image};

/// An OCI image layout as a tar (OCI image-spec, image-layout.md).
pub(super) fn oci(blobs: &[Blob], tops: &[Value]) -> Vec<u8> {
    tar(oci_files(blobs, tops))
}

/// The files of an OCI image layout.
pub(super) fn oci_files(blobs: &[Blob], tops: &[Value]) -> BTreeMap<String, Vec<u8>> {
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": tops });
    let mut files: BTreeMap<String, Vec<u8>> = blobs
        .iter()
        .map(|blob| (format!("blobs/sha256/{}", blob.digest.hex()), blob.data.clone()))
        .collect();
    files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files.insert("index.json".to_owned(), index.to_string().into_bytes());
    files
}

/// What `docker save` wrote before it learned OCI: `manifest.json`, a config, plain layers.
///
/// Layers that are compressed stay so; loaders look at their first bytes.
pub(super) fn docker(image: &Image, name: &str) -> Vec<u8> {
    let config = image.config();
    let mut files = BTreeMap::new();
    let mut layers = Vec::new();
    for layer in &image.layers {
        let path = format!("{}/layer.tar", layer.diff_id.hex());
        files.insert(path.clone(), layer.blob.data.clone());
        layers.push(path);
    }
    let config_name = format!("{}.json", config.digest.hex());
    let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": layers }]);
    files.insert(config_name, config.data);
    files.insert("manifest.json".to_owned(), manifest.to_string().into_bytes());
    tar(files)
}

fn tar(files: BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, data) in files {
        Entry::new(name, Kind::File(data)).write(&mut archive);
    }
    finish(&mut archive);
    archive
}
