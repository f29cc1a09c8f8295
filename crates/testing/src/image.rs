//! Images made in code: layers described entry by entry, and the formats they travel in.
//!
//! [`Layer`] describes a layer, [`Image`] puts layers and a config together, [`Index`] several
//! images for several platforms. [`malformed`] holds what no honest tool would write.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stowd_core::Digest;
use stowd_core::descriptor::media_type;

use crate::clients;

mod archive;
pub mod entry;
mod layer;
pub mod malformed;

pub use entry::Entry;
pub use layer::{Compression, Layer};

/// Some bytes with their media type and digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What the bytes are.
    pub media_type: String,
    /// Their digest.
    pub digest: Digest,
    /// The bytes.
    pub data: Vec<u8>,
}

impl Blob {
    /// Takes bytes and computes their digest.
    pub fn new(media_type: &str, data: Vec<u8>) -> Self {
        Self { media_type: media_type.to_owned(), digest: Digest::of(&data), data }
    }

    /// Returns the descriptor as it stands in a manifest.
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest.as_str(), "size": self.data.len() })
    }
}

/// A layer as an image holds it: the blob, and the digest of its tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedLayer {
    /// The blob, compressed or not.
    pub blob: Blob,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct Image {
    /// The layers, lowest first.
    pub layers: Vec<PackedLayer>,
    /// What a container of it starts.
    pub command: Vec<String>,
    /// The environment of its containers.
    pub environment: Vec<String>,
    /// The machine it is for, in Go's words: `amd64`.
    pub architecture: String,
}

/// Returns the machine's architecture in the field's words.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Image {
    /// Makes an image for this machine of gzip layers.
    pub fn of(layers: &[Layer]) -> Self {
        Self::packed(layers.iter().map(|layer| layer.pack(Compression::Gzip)).collect())
    }

    /// Makes an image for this machine of layers as they are.
    pub fn packed(layers: Vec<PackedLayer>) -> Self {
        Self {
            layers,
            command: vec!["/bin/sh".to_owned()],
            environment: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            architecture: host_architecture().to_owned(),
        }
    }

    /// Makes the smallest image that can run something: busybox under its usual names, in one layer.
    pub fn busybox() -> Self {
        Self::of(&[Layer::busybox()])
    }

    /// Sets what a container of the image starts.
    #[must_use]
    pub fn command<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command = words.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the architecture.
    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// Returns the config.
    pub fn config(&self) -> Blob {
        let diff_ids: Vec<&str> = self.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": { "Cmd": self.command, "Env": self.environment },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        Blob::new(media_type::CONFIG, config.to_string().into_bytes())
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> Blob {
        let layers: Vec<Value> = self.layers.iter().map(|layer| layer.blob.descriptor()).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::MANIFEST,
            "config": self.config().descriptor(),
            "layers": layers,
        });
        Blob::new(media_type::MANIFEST, manifest.to_string().into_bytes())
    }

    /// Returns all blobs: layers, config, manifest.
    pub fn blobs(&self) -> Vec<Blob> {
        let mut blobs: Vec<Blob> = self.layers.iter().map(|layer| layer.blob.clone()).collect();
        blobs.push(self.config());
        blobs.push(self.manifest());
        blobs
    }

    /// Writes the image as an OCI layout in a tar, under a name.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_oci_archive(&self, path: &Path, name: &str) {
        let mut top = self.manifest().descriptor();
        top["annotations"] = annotations(name);
        top["platform"] = json!({ "os": "linux", "architecture": self.architecture });
        fs::write(path, archive::oci(&self.blobs(), &[top])).expect("writing the archive");
    }

    /// Writes the image as `docker save` does, under a name.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_docker_archive(&self, path: &Path, name: &str) {
        fs::write(path, archive::docker(self, name)).expect("writing the archive");
    }

    /// Writes the image as an OCI layout into a folder, under a name.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn write_oci_layout(&self, folder: &Path, name: &str) -> PathBuf {
        let mut top = self.manifest().descriptor();
        top["annotations"] = annotations(name);
        for (file, data) in archive::oci_files(&self.blobs(), &[top]) {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder");
            fs::File::create(path).and_then(|mut it| it.write_all(&data)).expect("the file");
        }
        folder.to_path_buf()
    }
}

/// Images for several platforms under one name.
#[derive(Clone, Debug)]
pub struct Index {
    /// The images, each with its variant (`v7`), which is mostly empty.
    pub images: Vec<(String, Image)>,
}

impl Index {
    /// Makes an index of images that name their platforms themselves.
    pub fn of(images: impl IntoIterator<Item = Image>) -> Self {
        Self { images: images.into_iter().map(|image| (String::new(), image)).collect() }
    }

    /// Returns the index itself.
    pub fn blob(&self) -> Blob {
        let manifests: Vec<Value> = self
            .images
            .iter()
            .map(|(variant, image)| {
                let mut platform = BTreeMap::from([
                    ("os", "linux".to_owned()),
                    ("architecture", image.architecture.clone()),
                ]);
                if !variant.is_empty() {
                    platform.insert("variant", variant.clone());
                }
                let mut descriptor = image.manifest().descriptor();
                descriptor["platform"] = json!(platform);
                descriptor
            })
            .collect();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::INDEX,
            "manifests": manifests,
        });
        Blob::new(media_type::INDEX, index.to_string().into_bytes())
    }

    /// Writes the index and its images as an OCI layout in a tar, under a name.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_oci_archive(&self, path: &Path, name: &str) {
        let mut blobs: Vec<Blob> =
            self.images.iter().flat_map(|(_, image)| image.blobs()).collect();
        blobs.push(self.blob());
        let mut top = self.blob().descriptor();
        top["annotations"] = annotations(name);
        fs::write(path, archive::oci(&blobs, &[top])).expect("writing the archive");
    }
}

/// The two annotations by which importers learn an image's name.
fn annotations(name: &str) -> Value {
    let tag = name.rsplit(':').next().unwrap_or(name);
    json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag })
}

/// Returns the commands that images made here offer, each a link to busybox.
fn applets() -> &'static [&'static str] {
    &[
        "sh", "cat", "chmod", "cp", "date", "dd", "df", "echo", "env", "false", "grep", "head",
        "hostname", "id", "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "nproc", "ps",
        "pwd", "readlink", "rm", "sed", "sleep", "sort", "stat", "stty", "tail", "tar", "test",
        "top", "touch", "trap", "true", "tty", "umount", "uname", "usleep", "wc", "whoami", "yes",
    ]
}

fn busybox_program() -> Vec<u8> {
    let path = clients::busybox();
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
