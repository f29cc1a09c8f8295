//! Layers upon layers: whiteouts and opaque folders.

use std::fs;

use super::{Subject, apply, base, entries, look, plain};
use crate::image::{Compression, Layer};

pub(super) async fn whiteouts_remove(it: &Subject) {
    apply(it, "a", None, &base()).await;
    let layer = Layer::new().whiteout("d/a").whiteout("d/sub").whiteout("top").file("new", "n");
    apply(it, "b", Some("a"), &plain(&layer)).await;
    look(it, "b", |top| {
        assert_eq!(entries(top), ["d", "new"]);
        assert_eq!(entries(&top.join("d")), ["b"]);
    })
    .await;
    look(it, "a", |top| assert_eq!(entries(&top.join("d")), ["a", "b", "sub"])).await;
}

pub(super) async fn opaque_folders_hide(it: &Subject) {
    apply(it, "a", None, &base()).await;
    let layer = Layer::new().opaque("d").file("d/only", "this");
    apply(it, "b", Some("a"), &plain(&layer)).await;
    look(it, "b", |top| {
        assert_eq!(entries(&top.join("d")), ["only"]);
        assert_eq!(entries(top), ["d", "top"]);
    })
    .await;
    // The mark may come after what it must not hide.
    let late = Layer::new().directory("d").file("d/kept", "x").file("d/.wh..wh..opq", "");
    apply(it, "c", Some("a"), &plain(&late)).await;
    look(it, "c", |top| assert_eq!(entries(&top.join("d")), ["kept"])).await;
}

pub(super) async fn a_whiteout_may_name_nothing(it: &Subject) {
    apply(it, "a", None, &base()).await;
    let layer = Layer::new().whiteout("d/never-there").whiteout("nor-this").file("f", "x");
    apply(it, "b", Some("a"), &plain(&layer)).await;
    look(it, "b", |top| assert_eq!(entries(top), ["d", "f", "top"])).await;
}

pub(super) async fn layers_stack(it: &Subject) {
    let mut parent: Option<String> = None;
    for number in 0..12 {
        let layer = Layer::new()
            .file(&format!("f{number}"), "x")
            .file("last", number.to_string())
            .whiteout(&format!("f{}", number - 1));
        let name = format!("layer-{number}");
        apply(it, &name, parent.as_deref(), &layer.pack(Compression::Gzip)).await;
        parent = Some(name);
    }
    look(it, "layer-11", |top| {
        assert_eq!(entries(top), ["f11", "last"]);
        assert_eq!(fs::read(top.join("last")).unwrap(), b"11");
    })
    .await;
}
