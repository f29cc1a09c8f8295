//! Layers that must be refused or kept inside their target.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use stowd_core::mount::Mount;
use stowd_core::{Descriptor, Error, ErrorKind, Labels};

use super::super::{Must as _, refused};
use super::{Subject, apply, apply_active, apply_blob, look, plain};
use crate::image::entry::{Entry, Kind};
use crate::image::malformed::{Case, ESCAPED, Verdict};
use crate::image::{Layer, malformed};
use crate::mounts::Mounted;

pub(super) async fn missing_layers_are_not_found(it: &Subject) {
    let mounts =
        it.snapshotter.prepare(&it.scope, "k", None, Labels::new()).await.must("preparing");
    let layer = plain(&Layer::new().file("never", "stored"));
    refused(apply_blob(it, &layer.blob, &mounts).await, &[ErrorKind::NotFound]);
}

pub(super) async fn unknown_media_types_are_refused(it: &Subject) {
    let mut layer = plain(&Layer::new().file("f", "x"));
    "application/x-cargo-manifest".clone_into(&mut layer.blob.media_type);
    refused(
        apply_active(it, "k", None, &layer).await,
        // containerd knows no better kind for a type that it has no stream processor for.
        &[ErrorKind::InvalidArgument, ErrorKind::NotImplemented, ErrorKind::Unknown],
    );
}

pub(super) async fn broken_layers_are_refused(it: &Subject) {
    for case in malformed::broken() {
        let outcome = apply_active(it, case.name, None, &case.layer).await;
        assert!(outcome.is_err(), "{}: applied without complaint", case.name);
    }
}

pub(super) async fn no_layer_reaches_outside(it: &Subject) {
    let victim = Path::new("/tmp/stowd-whiteout-victim");
    fs::write(victim, "still here").unwrap();
    for case in malformed::escapes() {
        let outcome = apply_active(it, case.name, None, &case.layer).await;
        judge(it, &case, &outcome);
    }
    let left = fs::read(victim);
    let _ = fs::remove_file(victim);
    assert_eq!(left.unwrap(), b"still here", "a whiteout reached outside");
}

fn judge(it: &Subject, case: &Case, outcome: &Result<(Descriptor, Vec<Mount>), Error>) {
    let outside = [
        PathBuf::from("/tmp").join(ESCAPED),
        PathBuf::from("/").join(ESCAPED),
        it.folder.join(ESCAPED),
        std::env::temp_dir().join(ESCAPED),
    ];
    for path in outside {
        let escaped = fs::symlink_metadata(&path).is_ok();
        if escaped {
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
        assert!(!escaped, "{}: made {}", case.name, path.display());
    }
    if case.verdict == Verdict::Refused {
        assert!(outcome.is_err(), "{}: applied without complaint", case.name);
    }
    let Ok((_, mounts)) = outcome else { return };
    // What was applied must not have linked anything in that lies outside.
    let target = it.folder.join("judge").join(case.name.replace(' ', "-"));
    let mounted = Mounted::at(&target, mounts);
    if let Ok(meta) = fs::symlink_metadata(mounted.path().join("h"))
        && meta.is_file()
    {
        for secret in ["/etc/passwd", "/etc/passwd-", "/etc/hostname"] {
            let same = fs::metadata(secret)
                .is_ok_and(|it| it.ino() == meta.ino() && it.dev() == meta.dev());
            assert!(!same, "{}: linked {secret} in", case.name);
        }
    }
    mounted.unmount();
}

pub(super) async fn bombs_are_survived(it: &Subject) {
    for case in malformed::bombs(64) {
        // Applied or refused, but answered.
        let outcome = apply_active(it, case.name, None, &case.layer).await;
        if let Ok((applied, _)) = &outcome {
            assert_eq!(applied.digest, case.layer.diff_id, "{}", case.name);
        }
        it.snapshotter.remove(&it.scope, case.name).await.must("removing");
    }
    // And everything still works.
    apply(it, "after", None, &plain(&Layer::new().file("f", "x"))).await;
}

/// containerd writes a sparse file's holes as zeros and is not asked.
pub(super) async fn holes_cost_nothing(it: &Subject) {
    let hole = Entry::new("hole", Kind::Sparse(vec![(0, vec![1])], 1 << 40));
    apply(it, "n", None, &plain(&Layer::new().entry(hole))).await;
    look(it, "n", |top| {
        let told = fs::metadata(top.join("hole")).unwrap();
        assert_eq!(told.len(), 1 << 40);
        assert!(told.blocks() < 1000, "{} blocks", told.blocks());
    })
    .await;
}
