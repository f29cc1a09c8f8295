//! From flags to a container.

use std::path::Path;

use stowd_client::spec::{Capabilities, RootFiles, Seccomp, Spec};
use stowd_client::{Client, Container, Image, RuncOptions, TaskOptions, runtime_config};
use stowd_core::{Any, Error, Labels, Result};

use super::flags;

/// The runtime whose options are runc's.
const RUNC: &str = "io.containerd.runc.v2";
/// ctr's weight where none is given.
const CTR_SHARES: u64 = 1024;

/// How arguments and the image's entrypoint go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// Arguments take the place of both entrypoint and command, as in ctr.
    ReplaceAll,
    /// Arguments take the place of the command only.
    FollowEntrypoint,
}

/// What a container is made from.
pub(crate) enum Root {
    /// An image.
    Image(Box<Image>),
    /// A folder.
    Folder(String),
    /// What a spec file says.
    SpecFile,
}

/// A container to be, as the flags describe it.
pub(crate) struct Creation<'a> {
    pub(crate) id: String,
    pub(crate) args: Vec<String>,
    pub(crate) arguments: Arguments,
    pub(crate) flags: &'a flags::Container,
    pub(crate) placement: &'a flags::Placement,
}

impl Creation<'_> {
    /// Refuses what cannot be done, before anything is.
    pub(crate) fn check(&self) -> Result<()> {
        let (flags, placement) = (self.flags, self.placement);
        let mapped = !placement.uidmap.is_empty() && !placement.gidmap.is_empty();
        let is_cdi = |device: &String| !device.starts_with('/') && device.contains('=');
        let refused = [
            (
                placement.cni,
                "--cni",
                "join a network that is set up with --with-ns network:PATH, or share the host's with --net-host",
            ),
            (!flags.gpus.is_empty(), "--gpus", "add the device nodes with --device"),
            (
                flags.blockio_class.is_some() || flags.blockio_config_file.is_some(),
                "--blockio-class",
                "write the limits into a spec file and use --config",
            ),
            (
                flags.apparmor_default_profile.is_some(),
                "--apparmor-default-profile",
                "load a profile and name it with --apparmor-profile",
            ),
            (
                mapped && !placement.remap_labels && !flags.rootfs,
                "a user namespace without --remap-labels",
                "add --remap-labels, for which the snapshotter must be able to remap ids",
            ),
            (
                flags.device.iter().any(is_cdi),
                "--device with a CDI name",
                "name the device by its path",
            ),
        ];
        for (asked, what, hint) in refused {
            if asked {
                return Err(Error::not_implemented(what).hint(hint));
            }
        }
        let invalid = |text: &str| Err(Error::invalid(text));
        if placement.privileged_without_host_devices && !flags.privileged {
            return invalid(
                "can't use 'privileged-without-host-devices' without 'privileged' specified",
            );
        }
        if flags.seccomp_profile.is_some() && !flags.seccomp {
            return invalid("seccomp must be set to true, if using a custom seccomp-profile");
        }
        if placement.cpus > 0.0 && (flags.cpu_quota != -1 || flags.cpu_period != 0) {
            return invalid("cpus and quota/period should be used separately");
        }
        if flags.runtime.runc_systemd_cgroup
            && placement.cgroup.as_deref().unwrap_or_default().is_empty()
        {
            return Err(Error::invalid("option --runc-systemd-cgroup requires --cgroup to be set")
                .hint("write SLICE:PREFIX:NAME, for example \"machine.slice:default:web\""));
        }
        flags.runtime.check()?;
        Capabilities::check_names(&flags.cap_add)?;
        Capabilities::check_names(&flags.cap_drop)?;
        Ok(())
    }

    /// Makes it.
    pub(crate) async fn create(mut self, client: &Client, root: Root) -> Result<Container> {
        let flags = self.flags;
        let own: Labels = flags.label.iter().cloned().collect();
        let (runtime, options) = flags.runtime.pack();
        let mut builder = client
            .new_container(self.id.clone())
            .runtime(runtime, options)
            .snapshotter(flags.snapshotter.clone())
            .sandbox(flags.sandbox.clone());
        let mut labels = own.clone();
        match &root {
            Root::Image(image) => {
                // The image's own labels go along; those that are given win.
                labels = valid(&image.record().labels);
                labels.extend(own.clone());
                builder = builder.image(image).snapshot_labels(self.snapshot_labels());
                if self.arguments == Arguments::FollowEntrypoint {
                    builder = builder.args(std::mem::take(&mut self.args));
                }
            }
            Root::Folder(_) => {}
            Root::SpecFile => {
                let path = flags.config.as_deref().unwrap_or(Path::new("config.json"));
                builder = builder.spec(Spec::parse(&read(path)?)?);
            }
        }
        let adjusted = !matches!(root, Root::SpecFile);
        let builder = builder.labels(labels).adjust(move |spec, files| {
            if let Root::Folder(path) = &root {
                spec.set_root_path(path.clone());
            }
            if adjusted {
                self.adjust(spec, files)?;
            }
            spec.add_annotations(own);
            Ok(())
        });
        builder.create().await
    }

    /// What the task of such a container is made with.
    pub(crate) fn task_options(&self) -> TaskOptions {
        let placement = self.placement;
        let first = |of: &[stowd_client::spec::IdMapping]| of.first().map(|range| range.host_id);
        let owner = match (first(&placement.uidmap), first(&placement.gidmap)) {
            (Some(uid), Some(gid)) => Some((uid, gid)),
            _ => None,
        };
        TaskOptions { no_pivot_root: self.flags.no_pivot, io_owner: owner }
    }

    fn snapshot_labels(&self) -> Labels {
        let mut labels: Labels = self.flags.snapshotter_label.iter().cloned().collect();
        let placement = self.placement;
        if placement.remap_labels {
            let ranges = |of: &[stowd_client::spec::IdMapping]| {
                let range = |range: &stowd_client::spec::IdMapping| {
                    format!("{}:{}:{}", range.container_id, range.host_id, range.size)
                };
                of.iter().map(range).collect::<Vec<_>>().join(",")
            };
            labels.insert("containerd.io/snapshot/uidmapping".into(), ranges(&placement.uidmap));
            labels.insert("containerd.io/snapshot/gidmapping".into(), ranges(&placement.gidmap));
        }
        labels
    }

    /// Changes the spec in ctr's order, as later changes see earlier ones.
    fn adjust(&mut self, spec: &mut Spec, files: &dyn RootFiles) -> Result<()> {
        let (flags, placement) = (self.flags, self.placement);
        if let Some(path) = &flags.env_file {
            let text = String::from_utf8_lossy(&read(path)?).into_owned();
            let lines: Vec<String> =
                text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
            spec.add_env(&lines);
        }
        spec.add_env(&flags.env);
        spec.replace_mounts(flags.mount.clone());
        if !placement.uidmap.is_empty() && !placement.gidmap.is_empty() {
            spec.map_users(&placement.uidmap, &placement.gidmap);
        }
        if flags.read_only {
            spec.make_root_readonly();
        }
        if !self.args.is_empty() {
            spec.set_args(std::mem::take(&mut self.args));
        }
        if let Some(cwd) = &flags.cwd {
            spec.set_cwd(cwd.clone());
        }
        if let Some(user) = &flags.user {
            spec.set_user(user, files)?;
            spec.set_additional_gids(user, files)?;
        }
        if flags.tty {
            spec.use_terminal();
        }
        self.adjust_privileges(spec)?;
        self.adjust_limits(spec);
        for namespace in &flags.with_ns {
            spec.set_namespace(namespace.clone());
        }
        if flags.allow_new_privs {
            spec.allow_new_privileges();
        }
        if let Some(path) = &placement.cgroup {
            spec.set_cgroup(path.clone());
        }
        for device in &flags.device {
            spec.add_devices(Path::new(device), "", "rwm")?;
        }
        if let Some(kind) = &flags.rootfs_propagation {
            spec.set_root_propagation(kind.clone());
        }
        if let Some(name) = &flags.hostname {
            spec.set_hostname(name.clone());
        }
        Ok(())
    }

    fn adjust_privileges(&self, spec: &mut Spec) -> Result<()> {
        let flags = self.flags;
        if flags.privileged {
            spec.make_privileged()?;
            if !self.placement.privileged_without_host_devices {
                spec.allow_all_devices();
                spec.add_host_devices()?;
            }
        }
        if flags.net_host {
            spec.share_network(&rustix::system::uname().nodename().to_string_lossy());
        }
        spec.add_annotations(flags.annotation.iter().cloned());
        spec.add_capabilities(&flags.cap_add);
        spec.drop_capabilities(&flags.cap_drop);
        match (&flags.seccomp_profile, flags.seccomp) {
            (Some(path), _) => spec.set_seccomp(read_seccomp(path)?),
            (None, true) => spec.set_default_seccomp(),
            (None, false) => {}
        }
        if let Some(profile) = &flags.apparmor_profile {
            spec.set_apparmor_profile(profile.clone());
        }
        Ok(())
    }

    fn adjust_limits(&self, spec: &mut Spec) {
        let (flags, placement) = (self.flags, self.placement);
        if placement.cpus > 0.0 {
            spec.set_cpus(placement.cpus);
        }
        if let Some(cpus) = &placement.cpuset_cpus {
            spec.set_cpuset_cpus(cpus.clone());
        }
        if let Some(mems) = &placement.cpuset_mems {
            spec.set_cpuset_mems(mems.clone());
        }
        if let Some(shares) = placement.cpu_shares.filter(|shares| *shares > 0) {
            spec.set_cpu_shares(shares);
        }
        if flags.cpu_quota != -1 || flags.cpu_period != 0 {
            spec.set_cpu_quota(flags.cpu_quota, flags.cpu_period);
        }
        if flags.cpu_burst != 0 {
            spec.set_cpu_burst(flags.cpu_burst);
        }
        if flags.memory_limit != 0 {
            spec.set_memory_limit(i64::try_from(flags.memory_limit).unwrap_or(i64::MAX));
        }
        if let Some(class) = &flags.rdt_class {
            spec.set_rdt_class(class.clone());
        }
        if let Some(limit) = &placement.rlimit_nofile {
            spec.set_rlimit(limit.clone());
        }
    }
}

impl flags::Runtime {
    /// Fills in what ctr takes where nothing is given.
    pub(crate) fn with_ctr_default(mut self) -> Self {
        self.name.get_or_insert_with(|| RUNC.to_owned());
        self
    }

    /// Refuses options that the runtime does not have.
    pub(crate) fn check(&self) -> Result<()> {
        let runc = self.name.as_deref().is_none_or(|name| name == RUNC);
        if !runc && (!self.runc_binary.is_empty() || self.runc_systemd_cgroup) {
            return Err(Error::unknown(
                "specifying runc-binary and runc-systemd-cgroup is only supported for \"io.containerd.runc.v2\" runtime",
            ));
        }
        Ok(())
    }

    /// Returns the runtime's name, which is empty for the default one, and its options.
    pub(crate) fn pack(&self) -> (String, Option<Any>) {
        let name = self.name.clone().unwrap_or_default();
        if name.is_empty() || name == RUNC {
            let options = RuncOptions {
                binary: self.runc_binary.clone(),
                root: self.runc_root.clone(),
                systemd_cgroup: self.runc_systemd_cgroup,
            };
            // Where the namespace names another runtime, runc's options would confuse it.
            let asked = !name.is_empty() || options != RuncOptions::default();
            return (name, asked.then(|| options.pack()));
        }
        (name, self.runtime_config_path.clone().map(runtime_config))
    }
}

impl flags::Container {
    /// Fills in what ctr takes where nothing is given.
    pub(crate) fn with_ctr_defaults(mut self) -> Self {
        self.runtime = self.runtime.with_ctr_default();
        self
    }
}

impl flags::Placement {
    /// Fills in what ctr takes where nothing is given.
    pub(crate) fn with_ctr_defaults(mut self) -> Self {
        self.cpu_shares.get_or_insert(CTR_SHARES);
        self
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| Error::invalid(format_args!("read {}: {error}", path.display())))
}

fn read_seccomp(path: &Path) -> Result<Seccomp> {
    serde_json::from_slice(&read(path)?).map_err(|error| {
        Error::invalid(format_args!("seccomp profile {}: {error}", path.display()))
    })
}

fn valid(labels: &Labels) -> Labels {
    let kept = labels.iter().filter(|(key, value)| stowd_core::labels::check(key, value).is_ok());
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}
