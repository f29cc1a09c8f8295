//! Labels that say what a blob leads to, as garbage collection follows them.
//!
//! An index or manifest carries one label per child: `containerd.io/gc.ref.content.m.<n>` for
//! manifests, `….config` for the config, `….l.<n>` for layers, `….<n>` for anything else. Clients
//! look for exactly these.

use std::collections::HashMap;

use stowd_core::content::{Info, Store};
use stowd_core::descriptor::media_type;
use stowd_core::{Descriptor, Digest, Labels, Result, Scope, labels};

use crate::document::is_known_config;

/// On a descriptor: the blob is about another, whose digest this is.
const SUBJECT: &str = "io.containerd.manifest.subject";

/// Returns the labels for a blob that leads to these.
pub fn to(children: &[Descriptor]) -> Labels {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut made = Labels::new();
    for child in children {
        let stem = stem(child);
        let number = counts.entry(stem.clone()).or_default();
        let key = if stem.ends_with(".sha256.") {
            let hex = child.digest.hex();
            format!("{stem}{}", hex.get(..12).unwrap_or(hex))
        } else if stem.ends_with('.') || *number > 0 {
            format!("{stem}{number}")
        } else {
            stem
        };
        *number += 1;
        made.insert(key, child.digest.to_string());
    }
    made
}

/// Writes labels onto a blob that is in the store, unless it has them.
///
/// # Errors
/// Those of the store.
pub async fn write(
    store: &dyn Store,
    scope: &Scope,
    digest: &Digest,
    wanted: &Labels,
) -> Result<()> {
    let info = store.info(scope, digest).await?;
    let missing: Labels = wanted
        .iter()
        .filter(|&(key, value)| info.labels.get(key) != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let paths: Vec<String> = missing.keys().map(|key| format!("labels.{key}")).collect();
    store.update(scope, Info { labels: missing, ..info }, &paths).await?;
    Ok(())
}

fn stem(child: &Descriptor) -> String {
    let end = if child.annotations.contains_key(SUBJECT) {
        ".referrer.sha256."
    } else if is_known_config(&child.media_type) {
        ".config"
    } else if media_type::is_manifest(&child.media_type) {
        ".m."
    } else if media_type::is_layer(&child.media_type) {
        ".l."
    } else {
        "."
    };
    format!("{}{end}", labels::GC_REF_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_each_kind() {
        let blob = |media_type: &str, data: &[u8]| Descriptor::new(media_type, Digest::of(data), 1);
        let made = to(&[
            blob(media_type::CONFIG, b"c"),
            blob(media_type::LAYER_GZIP, b"0"),
            blob(media_type::DOCKER_LAYER_GZIP, b"1"),
            blob("text/plain", b"x"),
            blob(media_type::MANIFEST, b"m"),
            blob(media_type::INDEX, b"i"),
        ]);
        let keys: Vec<&str> = made.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "containerd.io/gc.ref.content.0",
                "containerd.io/gc.ref.content.1",
                "containerd.io/gc.ref.content.config",
                "containerd.io/gc.ref.content.l.0",
                "containerd.io/gc.ref.content.l.1",
                "containerd.io/gc.ref.content.m.0",
            ]
        );
        assert_eq!(made["containerd.io/gc.ref.content.l.1"], Digest::of(b"1").as_str());
    }
}
