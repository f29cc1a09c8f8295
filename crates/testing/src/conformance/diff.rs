//! Rules of `stowd_core::diff`, tried on snapshots with real mounts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{XattrFlags, getxattr, listxattr, setxattr};
use stowd_core::diff::{Applier, Apply, Comparer, Placement, Source, Sync};
use stowd_core::mount::Mount;
use stowd_core::snapshots::{Commit, Snapshotter};
use stowd_core::{Descriptor, Digest, Error, Labels, Scope, content};

use super::{Must as _, put};
use crate::image::{Blob, Compression, Layer, PackedLayer};
use crate::mounts::Mounted;

mod apply;
mod compare;
mod refuse;
mod stack;

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
    apply {
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
    }
    stack {
        whiteouts_remove,
        opaque_folders_hide,
        a_whiteout_may_name_nothing,
        layers_stack,
    }
    refuse {
        missing_layers_are_not_found,
        unknown_media_types_are_refused,
        broken_layers_are_refused,
        no_layer_reaches_outside,
        bombs_are_survived,
        holes_cost_nothing,
    }
    compare {
        a_comparison_leads_from_lower_to_upper,
        deletions_become_whiteouts,
        nothing_changed_is_an_empty_layer,
        comparisons_have_the_type_asked_for,
        comparisons_are_labelled,
        comparisons_keep_links_and_attributes,
        comparisons_refuse_unknown_types,
    }
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
