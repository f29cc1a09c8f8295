//! Rules of `stowd_core::diff`, tried on snapshots with real mounts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{XattrFlags, getxattr, listxattr, setxattr};
use stowd_core::descriptor::media_type;
use stowd_core::diff::{Applier, Apply, Compare, Comparer, Placement, Source, Sync};
use stowd_core::mount::Mount;
use stowd_core::snapshots::{Commit, Snapshotter};
use stowd_core::{Descriptor, Digest, Error, ErrorKind, Labels, Scope, content};

use super::{Must as _, get, labels, put, refused};
use crate::image::entry::{Entry, Kind};
use crate::image::malformed::{self, Case, ESCAPED, Verdict};
use crate::image::{Blob, Compression, Layer, PackedLayer};
use crate::mounts::Mounted;

/// A differ, with a snapshotter and a content store to work on.
pub struct Subject {
    /// Applies layers.
    pub applier: Arc<dyn Applier>,
    /// Computes layers.
    pub comparer: Arc<dyn Comparer>,
    /// Where layers are.
    pub content: Arc<dyn content::Store>,
    /// Where they are applied.
    pub snapshotter: Arc<dyn Snapshotter>,
    /// A namespace, under a lease that keeps garbage collection away.
    pub scope: Scope,
    /// A folder for mount points.
    pub folder: PathBuf,
}

super::checks!(Subject:
    every_compression_applies,
    dockers_media_types_apply,
    the_answer_names_the_tar,
    all_kinds_of_entries_apply,
    attributes_apply,
    sparse_files_apply,
    very_long_names_apply,
    odd_names_apply,
    missing_folders_are_made,
    the_last_of_equal_names_wins,
    whiteouts_remove,
    opaque_folders_hide,
    a_whiteout_may_name_nothing,
    layers_stack,
    missing_layers_are_not_found,
    unknown_media_types_are_refused,
    broken_layers_are_refused,
    no_layer_reaches_outside,
    bombs_are_survived,
    a_comparison_leads_from_lower_to_upper,
    deletions_become_whiteouts,
    nothing_changed_is_an_empty_layer,
    comparisons_have_the_type_asked_for,
    comparisons_are_labelled,
    comparisons_keep_links_and_attributes,
    comparisons_refuse_unknown_types,
);

/// `cap_net_raw+ep`, as the kernel stores it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn give_capability(path: &Path) {
    setxattr(path, "security.capability", &CAPABILITY, XattrFlags::empty()).unwrap();
}

/// Stores a layer and applies it to a new snapshot; leaves the snapshot active.
async fn apply_active(
    it: &Subject,
    key: &str,
    parent: Option<&str>,
    layer: &PackedLayer,
) -> Result<(Descriptor, Vec<Mount>), Error> {
    put(&*it.content, &it.scope, &layer.blob.data, Labels::new()).await;
    let mounts = it
        .snapshotter
        .prepare(&it.scope, key, parent, Labels::new())
        .await
        .must(format_args!("preparing {key}"));
    apply_blob(it, &layer.blob, &mounts).await.map(|applied| (applied, mounts))
}

async fn apply_blob(it: &Subject, blob: &Blob, mounts: &[Mount]) -> Result<Descriptor, Error> {
    let size = blob.data.len() as u64;
    let apply = Apply {
        layer: Descriptor::new(&*blob.media_type, blob.digest.clone(), size),
        mounts: mounts.to_vec(),
        placement: Placement::OnParents,
        sync: Sync::Later,
        payloads: BTreeMap::new(),
    };
    it.applier.apply(&it.scope, apply, Source::Stored).await
}

/// Applies a layer and commits the result under a name.
async fn apply(it: &Subject, name: &str, parent: Option<&str>, layer: &PackedLayer) -> Descriptor {
    let key = format!("{name}-active");
    let (applied, _) = apply_active(it, &key, parent, layer).await.must("applying");
    it.snapshotter
        .commit(&it.scope, name, &key, Commit::default())
        .await
        .must(format_args!("committing {name}"));
    applied
}

async fn view(it: &Subject, name: &str) -> Vec<Mount> {
    let key = format!("{name}-view-{}", Digest::of(name.as_bytes()).hex().len());
    match it.snapshotter.view(&it.scope, &key, Some(name), Labels::new()).await {
        Err(error) if error.is_already_exists() => {
            it.snapshotter.mounts(&it.scope, &key).await.must("mounts of a view")
        }
        other => other.must("viewing"),
    }
}

async fn look<T>(it: &Subject, name: &str, look: impl FnOnce(&Path) -> T) -> T {
    let mounts = view(it, name).await;
    let mounted = Mounted::at(&it.folder.join(format!("look-{name}")), &mounts);
    let seen = look(mounted.path());
    mounted.unmount();
    seen
}

/// Makes a change in an active snapshot, commits it, and returns nothing but its name's existence.
async fn change(it: &Subject, name: &str, parent: Option<&str>, change: impl FnOnce(&Path)) {
    let key = format!("{name}-active");
    let mounts =
        it.snapshotter.prepare(&it.scope, &key, parent, Labels::new()).await.must("preparing");
    let mounted = Mounted::at(&it.folder.join(format!("change-{name}")), &mounts);
    change(mounted.path());
    mounted.unmount();
    it.snapshotter.commit(&it.scope, name, &key, Commit::default()).await.must("committing");
}

fn plain(layer: &Layer) -> PackedLayer {
    layer.pack(Compression::Plain)
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Describes what a comparison must carry over: not the times of folders, which depend on the order
/// of work, nor parts of a second and attributes of users, which containerd leaves out of layers.
fn describe(top: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    describe_below(top, top, &mut all);
    all
}

fn describe_below(top: &Path, folder: &Path, all: &mut BTreeMap<String, String>) {
    for name in entries(folder) {
        let path = folder.join(name);
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let mut text =
            format!("{:o} {}:{} links {}", meta.mode(), meta.uid(), meta.gid(), meta.nlink());
        if kind.is_symlink() {
            text.push_str(&format!(" -> {}", fs::read_link(&path).unwrap().display()));
        } else if kind.is_file() {
            let digest = Digest::of(&fs::read(&path).unwrap());
            text.push_str(&format!(" {digest} at {}", meta.mtime()));
        } else if kind.is_char_device() || kind.is_block_device() {
            text.push_str(&format!(" device {:x}", meta.rdev()));
        }
        if kind.is_dir() {
            text = text.split(" links").next().unwrap_or_default().to_owned();
        }
        for name in attributes(&path) {
            let mut value = vec![0; 4096];
            let length = getxattr(&path, &*name, &mut value[..]).unwrap_or(0);
            text.push_str(&format!(" {name}={:?}", &value[..length]));
        }
        let shown = path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
        all.insert(shown, text);
        if kind.is_dir() {
            describe_below(top, &path, all);
        }
    }
}

/// Names of the attributes that every layer carries.
fn attributes(path: &Path) -> Vec<String> {
    if fs::symlink_metadata(path).unwrap().is_symlink() {
        return Vec::new();
    }
    let mut list = vec![0; 4096];
    let length = listxattr(path, &mut list[..]).unwrap_or(0);
    let mut names: Vec<String> = list[..length]
        .split(|byte| *byte == 0)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|name| name == "security.capability")
        .collect();
    names.sort();
    names
}

async fn every_compression_applies(it: &Subject) {
    for compression in Compression::ALL {
        let layer = Layer::new().file("f", vec![b'x'; 200_000]).pack(compression);
        let name = format!("{compression:?}");
        let applied = apply(it, &name, None, &layer).await;
        assert_eq!(applied.digest, layer.diff_id, "{compression:?}");
        look(it, &name, |top| assert_eq!(fs::read(top.join("f")).unwrap().len(), 200_000)).await;
    }
}

async fn dockers_media_types_apply(it: &Subject) {
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

async fn the_answer_names_the_tar(it: &Subject) {
    let layer = Layer::new().file("f", "x");
    let applied = apply(it, "n", None, &layer.pack(Compression::Gzip)).await;
    assert_eq!(applied.media_type, media_type::LAYER);
    assert_eq!(applied.digest, Digest::of(&layer.tar()));
    assert_eq!(applied.size, layer.tar().len() as u64);
}

async fn all_kinds_of_entries_apply(it: &Subject) {
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

async fn attributes_apply(it: &Subject) {
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

async fn sparse_files_apply(it: &Subject) {
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

async fn very_long_names_apply(it: &Subject) {
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

async fn odd_names_apply(it: &Subject) {
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

async fn missing_folders_are_made(it: &Subject) {
    let layer = Layer::new().file("a/b/c", "x");
    apply(it, "n", None, &plain(&layer)).await;
    look(it, "n", |top| {
        assert_eq!(fs::read(top.join("a/b/c")).unwrap(), b"x");
        assert_eq!(fs::metadata(top.join("a")).unwrap().mode() & 0o777, 0o755);
    })
    .await;
}

async fn the_last_of_equal_names_wins(it: &Subject) {
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

fn base() -> PackedLayer {
    plain(
        &Layer::new()
            .directory("d")
            .file("d/a", "a")
            .file("d/b", "b")
            .directory("d/sub")
            .file("d/sub/c", "c")
            .file("top", "t"),
    )
}

async fn whiteouts_remove(it: &Subject) {
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

async fn opaque_folders_hide(it: &Subject) {
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

async fn a_whiteout_may_name_nothing(it: &Subject) {
    apply(it, "a", None, &base()).await;
    let layer = Layer::new().whiteout("d/never-there").whiteout("nor-this").file("f", "x");
    apply(it, "b", Some("a"), &plain(&layer)).await;
    look(it, "b", |top| assert_eq!(entries(top), ["d", "f", "top"])).await;
}

async fn layers_stack(it: &Subject) {
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

async fn missing_layers_are_not_found(it: &Subject) {
    let mounts =
        it.snapshotter.prepare(&it.scope, "k", None, Labels::new()).await.must("preparing");
    let layer = plain(&Layer::new().file("never", "stored"));
    refused(apply_blob(it, &layer.blob, &mounts).await, &[ErrorKind::NotFound]);
}

async fn unknown_media_types_are_refused(it: &Subject) {
    let mut layer = plain(&Layer::new().file("f", "x"));
    "application/x-cargo-manifest".clone_into(&mut layer.blob.media_type);
    refused(
        apply_active(it, "k", None, &layer).await,
        // containerd knows no better kind for a type that it has no stream processor for.
        &[ErrorKind::InvalidArgument, ErrorKind::NotImplemented, ErrorKind::Unknown],
    );
}

async fn broken_layers_are_refused(it: &Subject) {
    for case in malformed::broken() {
        let outcome = apply_active(it, case.name, None, &case.layer).await;
        assert!(outcome.is_err(), "{}: applied without complaint", case.name);
    }
}

async fn no_layer_reaches_outside(it: &Subject) {
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

async fn bombs_are_survived(it: &Subject) {
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

async fn a_comparison_leads_from_lower_to_upper(it: &Subject) {
    changed(it).await;
    let layer = compare(it, "lower", "upper", Compare::default()).await;
    let packed = fetch(it, &layer).await;
    let applied = apply(it, "again", Some("lower"), &packed).await;
    assert_eq!(applied.digest, packed.diff_id);
    let wanted = look(it, "upper", describe).await;
    let got = look(it, "again", describe).await;
    assert_eq!(got, wanted);
}

async fn deletions_become_whiteouts(it: &Subject) {
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

async fn nothing_changed_is_an_empty_layer(it: &Subject) {
    apply(it, "lower", None, &base()).await;
    change(it, "upper", Some("lower"), |_| {}).await;
    let kind = media_type::LAYER.to_owned();
    let layer =
        compare(it, "lower", "upper", Compare { media_type: kind, ..Default::default() }).await;
    let packed = fetch(it, &layer).await;
    assert!(packed.blob.data.iter().all(|byte| *byte == 0), "the layer has entries");
}

async fn comparisons_have_the_type_asked_for(it: &Subject) {
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

async fn comparisons_are_labelled(it: &Subject) {
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

async fn comparisons_keep_links_and_attributes(it: &Subject) {
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

async fn comparisons_refuse_unknown_types(it: &Subject) {
    apply(it, "lower", None, &base()).await;
    let (lower, upper) = (view(it, "lower").await, view(it, "lower").await);
    let wanted = Compare { media_type: "application/x-cargo".to_owned(), ..Default::default() };
    refused(
        it.comparer.compare(&it.scope, &lower, &upper, wanted).await,
        &[ErrorKind::InvalidArgument, ErrorKind::NotImplemented],
    );
}
