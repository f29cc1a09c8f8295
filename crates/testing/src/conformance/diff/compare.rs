//! Layers computed from two trees.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use stowd_core::descriptor::media_type;
use stowd_core::diff::Compare;
use stowd_core::{Descriptor, ErrorKind};

use super::super::{Must as _, get, labels, refused};
use super::{Subject, apply, attributes, base, change, describe, give_capability, look, view};
use crate::image::{Blob, PackedLayer};

/// A tree upon [`base`] that differs from it in every way.
async fn changed(it: &Subject) {
    apply(it, "lower", None, &base()).await;
    change(it, "upper", Some("lower"), |top| {
        fs::write(top.join("top"), "changed").unwrap();
        fs::remove_file(top.join("d/a")).unwrap();
        fs::remove_dir_all(top.join("d/sub")).unwrap();
        fs::create_dir_all(top.join("new/deep")).unwrap();
        fs::write(top.join("new/deep/file"), vec![b'x'; 100_000]).unwrap();
        symlink("deep/file", top.join("new/link")).unwrap();
        fs::hard_link(top.join("new/deep/file"), top.join("new/hard")).unwrap();
        std::os::unix::fs::chown(top.join("d/b"), Some(11), Some(12)).unwrap();
        give_capability(&top.join("new/deep/file"));
    })
    .await;
}

async fn compare(it: &Subject, lower: &str, upper: &str, compare: Compare) -> Descriptor {
    let (lower, upper) = (view(it, lower).await, view(it, upper).await);
    it.comparer.compare(&it.scope, &lower, &upper, compare).await.must("comparing")
}

async fn fetch(it: &Subject, layer: &Descriptor) -> PackedLayer {
    let data = get(&*it.content, &it.scope, &layer.digest).await;
    assert_eq!(data.len() as u64, layer.size);
    let info = it.content.info(&it.scope, &layer.digest).await.must("info");
    let diff_id = info.labels.get(stowd_core::labels::UNCOMPRESSED);
    let diff_id = diff_id.map_or_else(|| layer.digest.clone(), |it| it.parse().unwrap());
    PackedLayer { blob: Blob::new(&layer.media_type, data), diff_id }
}

pub(super) async fn a_comparison_leads_from_lower_to_upper(it: &Subject) {
    changed(it).await;
    let layer = compare(it, "lower", "upper", Compare::default()).await;
    let packed = fetch(it, &layer).await;
    let applied = apply(it, "again", Some("lower"), &packed).await;
    assert_eq!(applied.digest, packed.diff_id);
    let wanted = look(it, "upper", describe).await;
    let got = look(it, "again", describe).await;
    assert_eq!(got, wanted);
}

pub(super) async fn deletions_become_whiteouts(it: &Subject) {
    changed(it).await;
    let kind = media_type::LAYER.to_owned();
    let layer = compare(it, "lower", "upper", Compare { media_type: kind, ..Default::default() });
    let packed = fetch(it, &layer.await).await;
    let archive = it.folder.join("layer.tar");
    fs::write(&archive, &packed.blob.data).unwrap();
    let listed =
        crate::process::Run::program("tar").args(["-tf".as_ref(), archive.as_os_str()]).ok();
    let names: Vec<&str> = listed.lines().map(|line| line.trim_start_matches("./")).collect();
    assert!(names.contains(&"d/.wh.a"), "{names:?}");
    assert!(names.contains(&"d/.wh.sub"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("d/sub")), "{names:?}");
    assert!(names.contains(&"top") && names.contains(&"new/deep/file"), "{names:?}");
}

pub(super) async fn nothing_changed_is_an_empty_layer(it: &Subject) {
    apply(it, "lower", None, &base()).await;
    change(it, "upper", Some("lower"), |_| {}).await;
    let kind = media_type::LAYER.to_owned();
    let layer =
        compare(it, "lower", "upper", Compare { media_type: kind, ..Default::default() }).await;
    let packed = fetch(it, &layer).await;
    assert!(packed.blob.data.iter().all(|byte| *byte == 0), "the layer has entries");
}

pub(super) async fn comparisons_have_the_type_asked_for(it: &Subject) {
    changed(it).await;
    for (asked, starts) in [
        ("", &[0x1f, 0x8b][..]),
        (media_type::LAYER_GZIP, &[0x1f, 0x8b]),
        (media_type::LAYER_ZSTD, &[0x28, 0xb5, 0x2f, 0xfd]),
        (media_type::LAYER, b""),
    ] {
        let wanted = Compare { media_type: asked.to_owned(), ..Default::default() };
        let layer = compare(it, "lower", "upper", wanted).await;
        let expected = if asked.is_empty() { media_type::LAYER_GZIP } else { asked };
        assert_eq!(layer.media_type, expected);
        let packed = fetch(it, &layer).await;
        assert!(packed.blob.data.starts_with(starts), "{asked}: {:?}", &packed.blob.data[..4]);
    }
}

pub(super) async fn comparisons_are_labelled(it: &Subject) {
    changed(it).await;
    let wanted = Compare {
        reference: "my-ingest".to_owned(),
        labels: labels([("example.org/a", "b")]),
        ..Default::default()
    };
    let layer = compare(it, "lower", "upper", wanted).await;
    let info = it.content.info(&it.scope, &layer.digest).await.must("info");
    assert_eq!(info.labels.get("example.org/a").map(String::as_str), Some("b"));
    let uncompressed = info.labels.get(stowd_core::labels::UNCOMPRESSED);
    let packed = fetch(it, &layer).await;
    let applied = apply(it, "again", Some("lower"), &packed).await;
    assert_eq!(uncompressed.map(String::as_str), Some(applied.digest.as_str()));
    refused(it.content.status(&it.scope, "my-ingest").await, &[ErrorKind::NotFound]);
}

pub(super) async fn comparisons_keep_links_and_attributes(it: &Subject) {
    apply(it, "lower", None, &base()).await;
    change(it, "upper", Some("lower"), |top| {
        fs::write(top.join("one"), "same file").unwrap();
        fs::hard_link(top.join("one"), top.join("two")).unwrap();
        give_capability(&top.join("one"));
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_111_111_111, 222_333_444);
        fs::File::options().write(true).open(top.join("one")).unwrap().set_modified(time).unwrap();
    })
    .await;
    let layer = compare(it, "lower", "upper", Compare::default()).await;
    apply(it, "again", Some("lower"), &fetch(it, &layer).await).await;
    look(it, "again", |top| {
        let (one, two) = (fs::metadata(top.join("one")), fs::metadata(top.join("two")));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.ino(), two.ino());
        assert_eq!(one.mtime(), 1_111_111_111);
        assert_eq!(attributes(&top.join("one")), ["security.capability"]);
    })
    .await;
}

pub(super) async fn comparisons_refuse_unknown_types(it: &Subject) {
    apply(it, "lower", None, &base()).await;
    let (lower, upper) = (view(it, "lower").await, view(it, "lower").await);
    let wanted = Compare { media_type: "application/x-cargo".to_owned(), ..Default::default() };
    refused(
        it.comparer.compare(&it.scope, &lower, &upper, wanted).await,
        &[ErrorKind::InvalidArgument, ErrorKind::NotImplemented],
    );
}
