//! Makes another image of one: its layers uncompressed, its media types OCI's.
//!
//! What comes out has the digests that containerd's own converter gives it: documents are encoded
//! as Go's encoder writes them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stowd_core::content::{Commit, Store as _, WriterOptions};
use stowd_core::descriptor::media_type as known;
use stowd_core::images::{Collect, Delete, Store as _};
use stowd_core::platform::Matcher;
use stowd_core::{Descriptor, Digest, Error, ErrorKind, Labels, Platform, Result, labels};

use crate::plain::read_plain;
use crate::{Client, Image};

/// What is done to an image.
#[derive(Clone, Debug, Default)]
pub struct Convert {
    /// Layers are stored as plain tars.
    pub uncompress: bool,
    /// Media types of Docker's become OCI's.
    pub oci: bool,
    /// The platforms that an index keeps; empty means this machine's.
    pub platforms: Vec<Platform>,
    /// An index keeps all platforms.
    pub all_platforms: bool,
}

/// An index or a manifest: the same fields, in the order in which they are written.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    media_type: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    artifact_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Descriptor>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<std::collections::BTreeMap<String, Value>>,
}

/// Media types of Docker's, and OCI's for the same.
const OCI: [(&str, &str); 7] = [
    (known::DOCKER_INDEX, known::INDEX),
    (known::DOCKER_MANIFEST, known::MANIFEST),
    (known::DOCKER_CONFIG, known::CONFIG),
    (known::DOCKER_LAYER_GZIP, known::LAYER_GZIP),
    (known::DOCKER_LAYER, known::LAYER),
    (known::DOCKER_LAYER_FOREIGN_GZIP, NONDISTRIBUTABLE_GZIP),
    (known::DOCKER_LAYER_FOREIGN, known::LAYER_NONDISTRIBUTABLE),
];

/// Compressed layers, and the same uncompressed.
const PLAIN: [(&str, &str); 6] = [
    (known::DOCKER_LAYER_GZIP, known::DOCKER_LAYER),
    (known::DOCKER_LAYER_FOREIGN_GZIP, known::DOCKER_LAYER_FOREIGN),
    (known::LAYER_GZIP, known::LAYER),
    (known::LAYER_ZSTD, known::LAYER),
    (NONDISTRIBUTABLE_GZIP, known::LAYER_NONDISTRIBUTABLE),
    (NONDISTRIBUTABLE_ZSTD, known::LAYER_NONDISTRIBUTABLE),
];

const NONDISTRIBUTABLE_GZIP: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
const NONDISTRIBUTABLE_ZSTD: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";

/// A conversion under way.
struct Job<'a> {
    client: &'a Client,
    what: &'a Convert,
    wanted: Matcher,
}

impl Client {
    /// Converts an image into another, or the same one when the names are equal. An image that has
    /// the new name is replaced.
    ///
    /// # Errors
    /// `NotFound` when there is no such image, or not all of its content is here.
    pub async fn convert(&self, source: &str, target: &str, what: &Convert) -> Result<Image> {
        let (leased, lease) = self.lease().await?;
        let converted = leased.convert_leased(source, target, what).await;
        let released = self.release(&lease).await;
        converted?;
        released?;
        self.image(target).await
    }

    async fn convert_leased(&self, source: &str, target: &str, what: &Convert) -> Result<()> {
        let images = self.connection().images();
        let mut image = images.get(self.scope(), source).await?;
        let wanted = match (what.all_platforms, what.platforms.is_empty()) {
            (true, _) => Matcher::all(),
            (false, true) => Matcher::host(),
            (false, false) => Matcher::any_of(&what.platforms),
        };
        let job = Job { client: self, what, wanted };
        if let Some(made) = job.convert(&image.target).await? {
            image.target = made;
        }
        if target == source {
            images.update(self.scope(), image, &[]).await?;
            return Ok(());
        }
        image.name = target.to_owned();
        let delete = Delete { collect: Collect::Later, ..Delete::default() };
        match images.delete(self.scope(), target, delete).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        images.create(self.scope(), image).await?;
        Ok(())
    }
}

impl Job<'_> {
    /// Returns what takes a descriptor's place, if anything does.
    async fn convert(&self, from: &Descriptor) -> Result<Option<Descriptor>> {
        let mut made = if known::is_layer(&from.media_type) {
            self.layer(from).await?
        } else if known::is_manifest(&from.media_type) {
            self.manifest(from).await?
        } else if known::is_index(&from.media_type) {
            // An index leads to manifests, and in rare cases to another index.
            Box::pin(self.index(from)).await?
        } else {
            None
        };
        if from.media_type.starts_with("application/vnd.docker.") {
            if self.what.oci {
                let made = made.get_or_insert_with(|| from.clone());
                made.media_type = replaced(&OCI, &made.media_type);
            } else if !made.as_ref().unwrap_or(from).annotations.is_empty() {
                // Docker's descriptors have none.
                made.get_or_insert_with(|| from.clone()).annotations.clear();
            }
        }
        Ok(made)
    }

    async fn layer(&self, from: &Descriptor) -> Result<Option<Descriptor>> {
        let plain = PLAIN.iter().any(|(_, plain)| *plain == from.media_type);
        if !self.what.uncompress || plain {
            return Ok(None);
        }
        let (content, scope) = (self.client.connection().content(), self.client.scope());
        let info = content.info(scope, &from.digest).await?;
        let blob = content.open(scope, &from.digest).await?;
        let mut labels = info.labels;
        // Of what is not compressed that is the digest itself.
        labels.remove(labels::UNCOMPRESSED);
        let reference = format!("convert-uncompress-from-{}", from.digest);
        let options = WriterOptions { reference, ..WriterOptions::default() };
        let mut writer = content.writer(scope, options).await?;
        // Left by one that was interrupted.
        if writer.status().offset > 0 {
            writer.truncate(0).await?;
        }
        let (size, digest) = read_plain(blob, async |pieces| {
            let mut hasher = from.digest.algorithm().hasher();
            let mut size = 0;
            while let Some(piece) = pieces.recv().await {
                hasher.update(&piece);
                size += piece.len() as u64;
                writer.write(piece).await?;
            }
            Ok((size, hasher.digest()))
        })
        .await?;
        let commit = Commit { size: Some(size), expected: Some(digest.clone()), labels };
        match writer.commit(commit).await {
            Err(error) if !error.is_already_exists() => return Err(error),
            _ => {}
        }
        let media_type = replaced(&PLAIN, &from.media_type);
        Ok(Some(Descriptor { media_type, digest, size, ..from.clone() }))
    }

    async fn manifest(&self, from: &Descriptor) -> Result<Option<Descriptor>> {
        let (mut document, mut labels) = self.read(from).await?;
        let mut changed = self.retype(&mut document);
        for (number, layer) in document.layers.iter_mut().flatten().enumerate() {
            let Some(made) = Box::pin(self.convert(layer)).await? else { continue };
            relabel(&mut labels, layer, &made, &format!("l.{number}"));
            *layer = made;
            changed = true;
        }
        if let Some(config) = &mut document.config
            && let Some(made) = Box::pin(self.convert(config)).await?
        {
            relabel(&mut labels, config, &made, "config");
            *config = made;
            changed = true;
        }
        self.write(changed, from, &document, labels).await
    }

    async fn index(&self, from: &Descriptor) -> Result<Option<Descriptor>> {
        let (mut document, mut labels) = self.read(from).await?;
        let mut changed = self.retype(&mut document);
        let mut kept = Vec::new();
        for (number, child) in document.manifests.take().into_iter().flatten().enumerate() {
            if child.platform.as_ref().is_some_and(|platform| !self.wanted.matches(platform)) {
                forget(&mut labels, &child.digest);
                changed = true;
                continue;
            }
            match self.convert(&child).await? {
                None => kept.push(child),
                Some(made) => {
                    relabel(&mut labels, &child, &made, &format!("m.{number}"));
                    kept.push(made);
                    changed = true;
                }
            }
        }
        document.manifests = Some(kept);
        self.write(changed, from, &document, labels).await
    }

    fn retype(&self, document: &mut Document) -> bool {
        let media_type = replaced(&OCI, &document.media_type);
        let changes = self.what.oci && media_type != document.media_type;
        if changes {
            document.media_type = media_type;
        }
        changes
    }

    async fn read(&self, from: &Descriptor) -> Result<(Document, Labels)> {
        let content = self.client.connection().content();
        let info = content.info(self.client.scope(), &from.digest).await?;
        let data = self.client.read_blob(&from.digest).await?;
        let document = serde_json::from_slice(&data)
            .map_err(|error| Error::invalid(format_args!("{}: {error}", from.digest)))?;
        Ok((document, info.labels))
    }

    async fn write(
        &self,
        changed: bool,
        from: &Descriptor,
        document: &Document,
        labels: Labels,
    ) -> Result<Option<Descriptor>> {
        if !changed {
            return Ok(None);
        }
        let data = encode(document)?;
        let (digest, size) = (Digest::of(&data), data.len() as u64);
        let options = WriterOptions {
            reference: format!("converter-write-json-{digest}"),
            total: Some(size),
            expected: Some(digest.clone()),
        };
        let (content, scope) = (self.client.connection().content(), self.client.scope());
        let written = async {
            let mut writer = content.writer(scope, options).await?;
            if writer.status().offset > 0 {
                writer.truncate(0).await?;
            }
            writer.write(data).await?;
            let expected = Some(digest.clone());
            writer.commit(Commit { size: Some(size), expected, labels }).await
        };
        match written.await {
            Err(error) if !error.is(ErrorKind::AlreadyExists) => return Err(error),
            _ => {}
        }
        Ok(Some(Descriptor { digest, size, ..from.clone() }))
    }
}

/// Encodes as Go does, which escapes what HTML would stumble over.
fn encode(document: &Document) -> Result<Bytes> {
    let text = serde_json::to_string(document)
        .map_err(|error| Error::internal(format_args!("encode JSON: {error}")))?;
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    Ok(text.into())
}

fn replaced(pairs: &[(&str, &str)], media_type: &str) -> String {
    let found = pairs.iter().find(|(from, _)| *from == media_type);
    found.map_or(media_type, |(_, to)| *to).to_owned()
}

/// Makes a document's labels hold another blob in the place of one.
fn relabel(labels: &mut Labels, from: &Descriptor, to: &Descriptor, what: &str) {
    forget(labels, &from.digest);
    labels.insert(format!("{}.{what}", labels::GC_REF_CONTENT), to.digest.to_string());
}

fn forget(labels: &mut Labels, digest: &Digest) {
    labels.retain(|key, value| {
        !key.starts_with(labels::GC_REF_CONTENT) || value.as_str() != digest.as_str()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_gos_order() {
        let text = r#"{"schemaVersion":2,"mediaType":"a","config":{"mediaType":"c","digest":"DIGEST","size":1},"layers":[],"annotations":{"k":"a\u003cb"}}"#;
        let text = text.replace("DIGEST", Digest::of(b"x").as_str());
        let document: Document = serde_json::from_str(&text).unwrap();
        assert_eq!(encode(&document).unwrap(), text);
    }

    #[test]
    fn labels_follow() {
        let of = |data: &[u8]| Descriptor::new("t", Digest::of(data), 1);
        let old = ("containerd.io/gc.ref.content.l.0".to_owned(), Digest::of(b"a").to_string());
        let mut labels = Labels::from([old]);
        relabel(&mut labels, &of(b"a"), &of(b"b"), "l.1");
        assert_eq!(labels.len(), 1);
        assert_eq!(labels["containerd.io/gc.ref.content.l.1"], Digest::of(b"b").as_str());
    }
}
