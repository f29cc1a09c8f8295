//! Rules of `stowd_core::snapshots`, tried with real mounts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stowd_core::mount::Mount;
use stowd_core::snapshots::{Commit, Info, Snapshotter};
use stowd_core::{Labels, Scope};

use super::Must as _;
use crate::mounts::Mounted;

mod lifecycle;
mod records;
mod trees;

/// A snapshotter, seen from two namespaces that start empty.
pub struct Subject {
    /// The snapshotter.
    pub snapshotter: Arc<dyn Snapshotter>,
    /// A namespace, under a lease that keeps garbage collection away.
    pub scope: Scope,
    /// Another namespace, likewise.
    pub other: Scope,
    /// A folder for mount points.
    pub folder: PathBuf,
}

super::checks!(Subject:
    lifecycle {
        prepare_makes_an_active_snapshot,
        commit_makes_a_committed_one_and_frees_the_key,
        view_makes_a_read_only_one,
        a_view_cannot_be_written,
        times_are_set,
        names_are_taken_once,
        a_parent_must_exist,
        a_parent_must_be_committed,
        commit_needs_an_active_snapshot,
        committed_snapshots_have_no_mounts,
        unknown_snapshots_are_not_found,
        a_parent_cannot_be_removed,
        removal_goes_from_the_leaves_down,
        a_removed_key_can_be_used_again,
        removed_changes_are_gone,
        snapshots_belong_to_their_namespace,
        a_prepared_target_that_exists_is_refused,
    }
    records {
        labels_are_kept,
        labels_of_the_active_snapshot_end_with_it,
        labels_change_one_by_one,
        labels_change_together,
        update_of_an_unknown_snapshot_is_not_found,
        snapshots_are_listed_in_order_and_by_filter,
        mounts_stay_the_same,
        usage_counts_what_was_written,
        usage_is_without_parents,
        cleanup_keeps_what_is_used,
    }
    trees {
        the_first_tree_is_empty_and_open_to_all,
        a_child_shows_its_parents_files,
        changes_of_a_child_stay_in_the_child,
        siblings_do_not_see_each_other,
        deleted_files_stay_deleted,
        a_removed_folder_comes_back_empty,
        a_file_can_replace_a_folder,
        renamed_files_have_moved,
        permissions_and_owners_are_kept,
        hard_links_are_kept,
        symbolic_links_are_kept,
        extended_attributes_are_kept,
        time_stamps_are_kept,
        a_file_of_a_lower_tree_can_be_changed,
        many_trees_stack,
    }
);

fn view_of(it: &Subject, name: &str, mounts: &[Mount]) -> Mounted {
    Mounted::at(&it.folder.join(name.replace('/', "_")), mounts)
}

async fn prepare(it: &Subject, key: &str, parent: Option<&str>) -> Vec<Mount> {
    it.snapshotter
        .prepare(&it.scope, key, parent, Labels::new())
        .await
        .must(format_args!("preparing {key}"))
}

async fn commit(it: &Subject, name: &str, key: &str) {
    it.snapshotter
        .commit(&it.scope, name, key, Commit::default())
        .await
        .must(format_args!("committing {key} as {name}"));
}

async fn stat(it: &Subject, key: &str) -> Info {
    it.snapshotter.stat(&it.scope, key).await.must(format_args!("stat of {key}"))
}

/// Makes a committed tree upon another, with what `change` does in it.
async fn layer(it: &Subject, name: &str, parent: Option<&str>, change: impl FnOnce(&Path)) {
    let key = format!("{name}-active");
    let mounts = prepare(it, &key, parent).await;
    let mounted = view_of(it, &key, &mounts);
    change(mounted.path());
    mounted.unmount();
    commit(it, name, &key).await;
}

/// Looks at a committed tree.
async fn look(it: &Subject, name: &str, look: impl FnOnce(&Path)) {
    let key = format!("{name}-look");
    let mounts =
        it.snapshotter.view(&it.scope, &key, Some(name), Labels::new()).await.must("viewing");
    let mounted = view_of(it, &key, &mounts);
    look(mounted.path());
    mounted.unmount();
    it.snapshotter.remove(&it.scope, &key).await.must("removing the view");
}

fn write(path: PathBuf, text: &str) {
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
