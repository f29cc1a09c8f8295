//! Who may use a blob that another namespace has.

use std::sync::Arc;

use bytes::Bytes;
use stowd_core::content::{Commit, Writer, WriterOptions};
use stowd_core::{Digest, ErrorKind, Namespace, Result, Scope};
use stowd_metadata::{Config, Metadata, Sharing};

use crate::bench::{Heard, labels, on_disk, open_with, put};

const BYTES: &str = "what another namespace has";

async fn writer(metadata: &Metadata, scope: &Scope, reference: &str) -> Result<Box<dyn Writer>> {
    let options = WriterOptions {
        reference: reference.to_owned(),
        expected: Some(Digest::of(BYTES.as_bytes())),
        ..WriterOptions::default()
    };
    metadata.content().writer(scope, options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolated_namespaces_send_every_byte_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        Config { sharing: Sharing::Isolated, ..Config::new(folder.path().join("metadata")) };
    let metadata = open_with(config, folder.path(), Arc::new(Heard::default())).await.unwrap();
    let scope = |name: &str| Scope::new(Namespace::new(name).unwrap());
    let root = [("containerd.io/gc.root", "1")];
    let digest = put(&metadata, &scope("has"), BYTES, &root).await.unwrap();

    // Who has not got them cannot get them by their digest alone.
    let wants = scope("wants");
    let mut guess = writer(&metadata, &wants, "guess").await.unwrap();
    assert_eq!(guess.status().offset, 0);
    let error = guess.commit(Commit::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    drop(guess);
    let mut wrong = writer(&metadata, &wants, "wrong").await.unwrap();
    wrong.write(Bytes::from(vec![b'x'; BYTES.len()])).await.unwrap();
    let error = wrong.commit(Commit::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    drop(wrong);
    assert!(metadata.content().info(&wants, &digest).await.is_err());

    let mut right = writer(&metadata, &wants, "right").await.unwrap();
    right.write(Bytes::from_static(BYTES.as_bytes())).await.unwrap();
    let commit = Commit { labels: labels(&root), ..Commit::default() };
    assert_eq!(right.commit(commit).await.unwrap(), digest);
    assert_eq!(on_disk(folder.path()).await.0, std::slice::from_ref(&digest), "stored once");

    // A namespace may offer what it has to all.
    let offer = labels(&[("containerd.io/namespace.shareable", "true")]);
    let has = Namespace::new("has").unwrap();
    metadata.namespaces().update(&has, offer, &[]).await.unwrap();
    let mut shared = writer(&metadata, &scope("takes"), "shared").await.unwrap();
    assert_eq!(shared.status().offset, BYTES.len() as u64);
    assert_eq!(shared.commit(Commit::default()).await.unwrap(), digest);
}
