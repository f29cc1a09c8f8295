//! A disk without room: calls that need more of it fail with the reason, all else goes on.

use std::fs::{self, File};
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use stowd_core::ErrorKind;
use stowd_core::filters::Filters;
use stowd_core::mount::Mount;
use stowd_core::{Labels, Namespace, Scope};
use stowd_testing::mounts::Mounted;

use crate::bench::{Heard, container, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_the_call_and_keeps_what_was_there() {
    stowd_testing::need!(root);
    let folder = tempfile::tempdir().unwrap();
    let tmpfs = Mount {
        kind: "tmpfs".to_owned(),
        source: "tmpfs".to_owned(),
        target: String::new(),
        options: vec!["size=16m".to_owned()],
    };
    let disk = Mounted::at(folder.path(), &[tmpfs]);
    let metadata = open(disk.path(), Arc::new(Heard::default())).await.unwrap();
    let scope = Scope::new(Namespace::new("full").unwrap());
    let containers = metadata.containers();

    let filler = disk.path().join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    let mut made = Vec::new();
    let full = loop {
        let id = format!("c{}", made.len());
        let mut wanted = container(&id, Labels::new());
        wanted.spec.as_mut().unwrap().value = Bytes::from(vec![b' '; 64 << 10]);
        match containers.create(&scope, wanted).await {
            Ok(_) => made.push(id),
            Err(error) => break error,
        }
        assert!(made.len() < 1000, "the disk has no end");
    };
    assert_eq!(full.kind(), ErrorKind::ResourceExhausted, "{full}");

    // What was acknowledged is there, and nothing of the call that failed.
    let ids = async |containers: Arc<dyn stowd_core::containers::Store>| {
        let found = containers.list(&scope, &Filters::default()).await.unwrap();
        let mut ids: Vec<String> = found.into_iter().map(|found| found.id).collect();
        ids.sort_by_key(|id| id[1..].parse::<u32>().unwrap());
        ids
    };
    assert_eq!(ids(containers.clone()).await, made);
    // Opening it again needs no room, nor does a removal, which then makes some.
    metadata.shutdown().await;
    drop((metadata, containers));
    let metadata = open(disk.path(), Arc::new(Heard::default())).await.unwrap();
    let containers = metadata.containers();
    assert_eq!(ids(containers.clone()).await, made);
    while let Some(id) = made.pop() {
        containers.delete(&scope, &id).await.unwrap();
    }
    containers.create(&scope, container("small", Labels::new())).await.unwrap();
    fs::remove_file(&filler).unwrap();
    for index in 0..20 {
        let mut wanted = container(&format!("big{index}"), Labels::new());
        wanted.spec.as_mut().unwrap().value = Bytes::from(vec![b' '; 64 << 10]);
        containers.create(&scope, wanted).await.unwrap();
    }
    metadata.shutdown().await;
    drop((metadata, containers));
    disk.unmount();
}
