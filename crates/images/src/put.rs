//! Writing documents into a content store.

use bytes::Bytes;
use stowd_core::content::{Commit, Store, WriterOptions};
use stowd_core::{Digest, ErrorKind, Labels, Result, Scope};

use crate::links;

/// Writes a whole blob under a digest and with labels; one that is there only gets the labels.
///
/// # Errors
/// `FailedPrecondition` when the data has another digest; else those of the store.
pub async fn put(
    store: &dyn Store,
    scope: &Scope,
    reference: &str,
    digest: &Digest,
    data: Bytes,
    labels: Labels,
) -> Result<()> {
    let size = data.len() as u64;
    let options = WriterOptions {
        reference: reference.to_owned(),
        total: Some(size),
        expected: Some(digest.clone()),
    };
    let commit =
        Commit { size: Some(size), expected: Some(digest.clone()), labels: labels.clone() };
    let done = async {
        let mut writer = store.writer(scope, options).await?;
        // A whole ingest may be shared with another namespace; part of one is not worth keeping.
        if writer.status().offset != size {
            if writer.status().offset > 0 {
                writer.truncate(0).await?;
            }
            if !data.is_empty() {
                writer.write(data).await?;
            }
        }
        writer.commit(commit).await
    };
    match done.await {
        Ok(_) => Ok(()),
        Err(error) if error.is(ErrorKind::AlreadyExists) => {
            links::write(store, scope, digest, &labels).await
        }
        Err(error) => Err(error),
    }
}
