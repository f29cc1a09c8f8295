//! Unpacks an image layer by layer, where the daemon did not do it while pulling.

use stowd_core::content::Store as _;
use stowd_core::diff::{Applier as _, Apply, Placement, Source, Sync};
use stowd_core::snapshots::{Commit, Snapshotter as _};
use stowd_core::{Descriptor, Digest, Error, Labels, Result, labels};
use stowd_proxy::snapshots::Snapshots;

use crate::Client;
use crate::fifo::random_name;
use crate::graph::Contents;

/// Unpacks all layers that are not unpacked yet, under a lease of its own.
pub(crate) async fn unpack(client: &Client, image: &Contents, snapshotter: &str) -> Result<()> {
    let (leased, lease) = client.lease().await?;
    let done = unpack_under_lease(&leased, image, snapshotter).await;
    let released = client.release(&lease).await;
    done.and(released)
}

/// Does the same with a client that has a lease already.
pub(crate) async fn unpack_under_lease(
    client: &Client,
    image: &Contents,
    snapshotter: &str,
) -> Result<()> {
    let manifest = &image.manifest;
    let (diff_ids, chain_ids) = (image.file.diff_ids(), image.file.chain_ids());
    if diff_ids.len() != manifest.layers.len() {
        return Err(Error::failed_precondition(format_args!(
            "the image's config has {} layers, its manifest {}",
            diff_ids.len(),
            manifest.layers.len()
        )));
    }
    let snapshots = client.connection().snapshotter(snapshotter);
    let mut parent = None;
    for ((layer, diff_id), chain_id) in manifest.layers.iter().zip(diff_ids).zip(&chain_ids) {
        match snapshots.stat(client.scope(), chain_id.as_str()).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {
                unpack_layer(client, &snapshots, parent, layer, diff_id, chain_id).await?;
            }
            Err(error) => return Err(error),
        }
        parent = Some(chain_id);
    }
    let Some(top) = parent else { return Ok(()) };
    // From now on the snapshots live as long as the image does.
    let label = format!("{}{snapshotter}", labels::GC_REF_SNAPSHOT);
    set_label(client, &manifest.config.digest, label, top.to_string()).await
}

async fn unpack_layer(
    client: &Client,
    snapshots: &Snapshots,
    parent: Option<&Digest>,
    layer: &Descriptor,
    diff_id: &Digest,
    chain_id: &Digest,
) -> Result<()> {
    let scope = client.scope();
    let key = format!("extract-{} {chain_id}", random_name()?);
    let parent = parent.map(Digest::as_str);
    let mounts = snapshots.prepare(scope, &key, parent, Labels::new()).await?;
    let apply = Apply {
        layer: layer.clone(),
        mounts,
        placement: Placement::OnParents,
        sync: Sync::Later,
        payloads: Default::default(),
    };
    let applied = async {
        let made = client.connection().diff().apply(scope, apply, Source::Stored).await?;
        if made.digest != *diff_id {
            return Err(Error::failed_precondition(format_args!(
                "layer {} unpacks to {}, the image's config says {diff_id}",
                layer.digest, made.digest
            )));
        }
        match snapshots.commit(scope, chain_id.as_str(), &key, Commit::default()).await {
            // Somebody else unpacked it meanwhile.
            Err(error) if error.is_already_exists() => Err(error),
            done => done,
        }
    };
    match applied.await {
        Ok(()) => {}
        Err(error) => {
            // Garbage collection would find it, too, only later.
            let _ = snapshots.remove(scope, &key).await;
            if !error.is_already_exists() {
                return Err(error);
            }
        }
    }
    if layer.digest == *diff_id {
        return Ok(());
    }
    set_label(client, &layer.digest, labels::UNCOMPRESSED.to_owned(), diff_id.to_string()).await
}

async fn set_label(client: &Client, digest: &Digest, key: String, value: String) -> Result<()> {
    let content = client.connection().content();
    let mut info = content.info(client.scope(), digest).await?;
    let path = format!("labels.{key}");
    info.labels = Labels::from([(key, value)]);
    content.update(client.scope(), info, &[path]).await?;
    Ok(())
}
