//! Rules of `stowd_core::mounts`, tried with mounts, loop devices and file systems of the kernel.
//!
//! containerd has the service since 2.2. Where its answers carry less than the contract's (it does not
//! store what a mount was made of) the rules do not look.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stowd_core::mount::Mount;
use stowd_core::mounts::{Activation, Extent, Manager, Options};
use stowd_core::snapshots::Snapshotter;
use stowd_core::{ErrorKind, Labels, Scope, containers, content, images, leases};

use super::{Must as _, collect, labels, refused};

mod activate;
mod collected;
mod transform;

/// A manager of mounts with what keeps activations beside it, seen from two empty namespaces.
pub struct Subject {
    /// The manager.
    pub mounts: Arc<dyn Manager>,
    /// Leases that keep activations.
    pub leases: Arc<dyn leases::Store>,
    /// Containers that keep activations.
    pub containers: Arc<dyn containers::Store>,
    /// Blobs that keep activations.
    pub content: Arc<dyn content::Store>,
    /// Images that keep activations.
    pub images: Arc<dyn images::Store>,
    /// Snapshots that keep activations.
    pub snapshotter: Arc<dyn Snapshotter>,
    /// The snapshotter's name.
    pub snapshotter_name: String,
    /// A namespace, under a lease: garbage collection may come at any time.
    pub scope: Scope,
    /// Another namespace, under a lease.
    pub other: Scope,
    /// An empty folder below which transformers may work.
    pub folder: PathBuf,
}

super::checks!(Subject:
    activate {
        what_the_caller_can_mount_is_not_activated,
        an_activation_needs_a_name,
        all_mounts_are_made_for_a_temporary_one,
        mounts_behind_the_last_needed_one_are_left_to_the_caller,
        loop_devices_live_as_long_as_their_activation,
        a_name_is_taken_once,
        of_many_at_once_one_gets_the_name,
        what_fails_is_undone,
        deactivation_undoes_and_frees_the_name,
        a_mount_in_use_is_undone_later,
        unknown_names_are_not_found,
        activations_are_told_of,
        activations_belong_to_their_namespace,
    }
    transform {
        formats_are_filled_in,
        formats_that_make_no_sense_are_refused,
        file_systems_are_made_once,
        options_of_file_systems_are_checked,
        directories_are_made,
        nothing_is_made_outside_of_the_roots,
        transformers_can_be_chained,
    }
    collected {
        an_activation_without_a_friend_is_collected,
        a_lease_keeps_activations,
        an_expired_lease_keeps_no_activation,
        a_failed_activation_is_not_leased,
        containers_keep_activations,
        images_and_content_keep_activations,
        snapshots_keep_activations,
        objects_keep_the_activations_they_name,
        what_is_collected_is_unmounted,
    }
);

fn mount(kind: &str, source: impl AsRef<Path>, options: &[&str]) -> Mount {
    Mount {
        kind: kind.to_owned(),
        source: source.as_ref().to_str().expect("a path in UTF-8").to_owned(),
        target: String::new(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
    }
}

fn temporary() -> Options {
    Options { extent: Extent::All, ..Options::default() }
}

fn labelled<const N: usize>(pairs: [(&str, &str); N]) -> Options {
    Options { labels: labels(pairs), extent: Extent::All, ..Options::default() }
}

impl Subject {
    /// Makes a folder with a file in it that is called as the folder.
    fn source(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        std::fs::write(path.join(name), name).expect("a file");
        path
    }

    /// Activates a bind mount of a folder of that name.
    /// The subject's namespace without its lease, for activations that may be collected.
    fn free(&self) -> Scope {
        Scope::new(self.scope.namespace.clone())
    }

    async fn bind(&self, scope: &Scope, name: &str, options: Options) -> Activation {
        let mounts = vec![mount("bind", self.source(name), &["rbind", "ro"])];
        self.mounts.activate(scope, name, mounts, options).await.must("activating a bind mount")
    }

    async fn is_active(&self, name: &str) -> bool {
        match self.mounts.info(&self.scope, name).await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                false
            }
        }
    }

    async fn names(&self, scope: &Scope) -> Vec<String> {
        let listed = self.mounts.list(scope).await.must("listing");
        collect(listed).await.into_iter().map(|activation| activation.name).collect()
    }

    /// Counts the mounts of the machine whose source lies in the subject's folder, or is an image in it.
    fn mounted(&self) -> usize {
        // The table has sources from the top of their file systems on: what is told apart by chance
        // is in the last of the names.
        let names: Vec<_> = self.folder.iter().map(|name| name.to_str().expect("a name")).collect();
        let last = names.len().saturating_sub(3);
        let needle = format!("{}/", names[last..].join("/"));
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the table of mounts");
        table.lines().filter(|line| line.contains(&needle)).count()
    }

    /// Counts the loop devices that are bound to a file in the subject's folder.
    fn devices(&self) -> usize {
        std::fs::read_dir("/sys/block")
            .expect("block devices")
            .flatten()
            .filter_map(|entry| {
                std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()
            })
            .filter(|file| Path::new(file.trim_end()).starts_with(&self.folder))
            .count()
    }

    async fn collect_garbage(&self) {
        super::collect_garbage(&*self.leases, &self.scope).await;
    }
}
