//! One layer: kinds of entries, compressions, names.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::getxattr;
use stowd_core::Digest;
use stowd_core::descriptor::media_type;

use super::{CAPABILITY, Subject, apply, entries, look, plain};
use crate::image::entry::{Entry, Kind};
use crate::image::{Compression, Layer};

pub(super) async fn every_compression_applies(it: &Subject) {
    for compression in Compression::ALL {
        let layer = Layer::new().file("f", vec![b'x'; 200_000]).pack(compression);
        let name = format!("{compression:?}");
        let applied = apply(it, &name, None, &layer).await;
        assert_eq!(applied.digest, layer.diff_id, "{compression:?}");
        look(it, &name, |top| assert_eq!(fs::read(top.join("f")).unwrap().len(), 200_000)).await;
    }
}

pub(super) async fn dockers_media_types_apply(it: &Subject) {
    let types = [
        (Compression::Plain, media_type::DOCKER_LAYER),
        (Compression::Gzip, media_type::DOCKER_LAYER_GZIP),
        (Compression::Gzip, media_type::DOCKER_LAYER_FOREIGN_GZIP),
    ];
    for (number, (compression, media_type)) in types.into_iter().enumerate() {
        let mut layer = Layer::new().file("f", "x").pack(compression);
        media_type.clone_into(&mut layer.blob.media_type);
        let applied = apply(it, &format!("docker-{number}"), None, &layer).await;
        assert_eq!(applied.digest, layer.diff_id, "{media_type}");
    }
}

pub(super) async fn the_answer_names_the_tar(it: &Subject) {
    let layer = Layer::new().file("f", "x");
    let applied = apply(it, "n", None, &layer.pack(Compression::Gzip)).await;
    assert_eq!(applied.media_type, media_type::LAYER);
    assert_eq!(applied.digest, Digest::of(&layer.tar()));
    assert_eq!(applied.size, layer.tar().len() as u64);
}

pub(super) async fn all_kinds_of_entries_apply(it: &Subject) {
    let layer = Layer::new()
        .directory("d")
        .file("d/file", "hello")
        .file("empty", "")
        .hard_link("d/hard", "d/file")
        .symlink("soft", "d/file")
        .symlink("dangling", "/no/where")
        .entry(Entry::new("null", Kind::CharDevice(1, 3)).mode(0o666))
        .entry(Entry::new("disk", Kind::BlockDevice(7, 99)).mode(0o600))
        .entry(Entry::new("pipe", Kind::Fifo));
    apply(it, "n", None, &plain(&layer)).await;
    look(it, "n", |top| {
        assert_eq!(entries(top), ["d", "dangling", "disk", "empty", "null", "pipe", "soft"]);
        assert_eq!(fs::read(top.join("d/hard")).unwrap(), b"hello");
        assert_eq!(fs::metadata(top.join("d/file")).unwrap().nlink(), 2);
        assert_eq!(fs::read_link(top.join("soft")).unwrap(), Path::new("d/file"));
        assert_eq!(fs::read(top.join("empty")).unwrap(), b"");
        let null = fs::metadata(top.join("null")).unwrap();
        assert!(null.file_type().is_char_device());
        assert_eq!((null.rdev(), null.mode() & 0o777), (0x103, 0o666));
        let disk = fs::metadata(top.join("disk")).unwrap();
        assert!(disk.file_type().is_block_device());
        assert!(fs::metadata(top.join("pipe")).unwrap().file_type().is_fifo());
    })
    .await;
}

pub(super) async fn attributes_apply(it: &Subject) {
    let layer = Layer::new()
        .entry(
            Entry::new("f", Kind::File(b"x".to_vec()))
                .mode(0o4755)
                .owner(1000, 2000)
                .time(1_234_567_890, 123_456_789)
                .xattr("user.example", b"value\0with\nodd bytes")
                .xattr("security.capability", &CAPABILITY),
        )
        .entry(Entry::new("d", Kind::Directory).mode(0o1777).owner(5, 6).time(1_000_000_000, 0))
        .file("d/later", "x")
        .entry(Entry::new("l", Kind::Symlink("f".to_owned())).owner(7, 8));
    apply(it, "n", None, &plain(&layer)).await;
    look(it, "n", |top| {
        let file = fs::metadata(top.join("f")).unwrap();
        assert_eq!((file.mode() & 0o7777, file.uid(), file.gid()), (0o4755, 1000, 2000));
        assert_eq!((file.mtime(), file.mtime_nsec()), (1_234_567_890, 123_456_789));
        let folder = fs::metadata(top.join("d")).unwrap();
        assert_eq!((folder.mode() & 0o7777, folder.uid(), folder.gid()), (0o1777, 5, 6));
        assert_eq!(folder.mtime(), 1_000_000_000, "a folder's time, after files went into it");
        let link = fs::symlink_metadata(top.join("l")).unwrap();
        assert_eq!((link.uid(), link.gid()), (7, 8));
        let mut value = [0; 64];
        let length = getxattr(top.join("f"), "user.example", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"value\0with\nodd bytes");
        let length = getxattr(top.join("f"), "security.capability", &mut value[..]).unwrap();
        assert_eq!(&value[..length], CAPABILITY);
    })
    .await;
}

pub(super) async fn sparse_files_apply(it: &Subject) {
    let pieces: Vec<(u64, Vec<u8>)> =
        (0..7).map(|number| (number << 20, vec![number as u8 + 1; 512])).collect();
    let layer =
        Layer::new().entry(Entry::new("hole", Kind::Sparse(pieces, 10 << 20))).file("after", "x");
    let packed = plain(&layer);
    let applied = apply(it, "n", None, &packed).await;
    assert_eq!(applied.digest, packed.diff_id);
    look(it, "n", |top| {
        let data = fs::read(top.join("hole")).unwrap();
        assert_eq!(data.len(), 10 << 20);
        for number in 0..7_usize {
            assert_eq!(data[number << 20], number as u8 + 1);
            assert_eq!(data[(number << 20) + 512], 0);
        }
        assert_eq!(fs::read(top.join("after")).unwrap(), b"x");
    })
    .await;
}

pub(super) async fn very_long_names_apply(it: &Subject) {
    let long = format!("{}/{}/{}", "a".repeat(200), "b".repeat(255), "c".repeat(250));
    let target = "t/".repeat(400);
    let layer = Layer::new()
        .file(&long, "deep")
        .hard_link("hard", &long)
        .symlink("soft", &target)
        .file(&"e".repeat(100), "exactly a hundred")
        .file(&"f".repeat(101), "one more");
    apply(it, "n", None, &plain(&layer)).await;
    look(it, "n", |top| {
        assert_eq!(fs::read(top.join(&long)).unwrap(), b"deep");
        assert_eq!(fs::read(top.join("hard")).unwrap(), b"deep");
        assert_eq!(fs::read_link(top.join("soft")).unwrap(), Path::new(&target));
        assert_eq!(fs::read(top.join("e".repeat(100))).unwrap(), b"exactly a hundred");
        assert_eq!(fs::read(top.join("f".repeat(101))).unwrap(), b"one more");
    })
    .await;
}

pub(super) async fn odd_names_apply(it: &Subject) {
    let odd = [" leading", "new\nline", "back\\slash", "ünïcode", "-dash", "..dots", "a.wh.b"];
    let layer = odd.iter().fold(Layer::new(), |layer, name| layer.file(&format!("./{name}"), name));
    apply(it, "n", None, &plain(&layer)).await;
    look(it, "n", |top| {
        for name in odd {
            assert_eq!(fs::read(top.join(name)).unwrap(), name.as_bytes());
        }
    })
    .await;
}

pub(super) async fn missing_folders_are_made(it: &Subject) {
    let layer = Layer::new().file("a/b/c", "x");
    apply(it, "n", None, &plain(&layer)).await;
    look(it, "n", |top| {
        assert_eq!(fs::read(top.join("a/b/c")).unwrap(), b"x");
        assert_eq!(fs::metadata(top.join("a")).unwrap().mode() & 0o777, 0o755);
    })
    .await;
}

pub(super) async fn the_last_of_equal_names_wins(it: &Subject) {
    let layer = Layer::new()
        .file("f", "first, and longer")
        .file("f", "last")
        .symlink("x", "f")
        .file("x", "a file now")
        .file("y", "a file")
        .directory("y")
        .file("y/inside", "z");
    apply(it, "n", None, &plain(&layer)).await;
    look(it, "n", |top| {
        assert_eq!(fs::read(top.join("f")).unwrap(), b"last");
        assert_eq!(fs::read(top.join("x")).unwrap(), b"a file now");
        assert!(!fs::symlink_metadata(top.join("x")).unwrap().is_symlink());
        assert_eq!(entries(&top.join("y")), ["inside"]);
    })
    .await;
}
