//! Making a container.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, MemfdFlags, Mode, OFlags, chmodat, memfd_create, mknodat, open};
use rustix::process::Pid;
use stowd_cgroups::{Cgroup, CgroupsPath, Driver, Layout};
use stowd_sys::clone::Namespaces;

use crate::error::{Error, Result};
use crate::hooks;
use crate::launch::{Attend, Birth, launch, set_limits};
use crate::options::{CreateOptions, Created, Keyring, RootSwitch};
use crate::plan::idmap::write_mappings;
use crate::plan::namespaces::{KINDS, NamespacePlan};
use crate::plan::process::ProcessPlan;
use crate::plan::resources::{Devices, resources};
use crate::plan::rootfs::{self, RootContext};
use crate::plan::streams::{Streams, above};
use crate::plan::sysctls::sysctls;
use crate::plan::{InitPlan, Plan, c_string, seccomp, wrong};
use crate::saved::{Saved, SavedConfig, SavedNamespace, start_time};
use crate::spec::{Hooks, Linux, Process, Spec};
use crate::state::{State, Status};
use crate::{Container, spec};

/// Makes a container below `root`.
pub(crate) fn create(root: &Path, driver: Driver, mut options: CreateOptions) -> Result<Created> {
    check_id(&options.id)?;
    let bundle = std::path::absolute(&options.bundle)
        .map_err(|source| Error::file("resolve", &options.bundle, source))?;
    let spec = match options.spec.take() {
        Some(spec) => spec,
        None => Spec::load(&bundle)?,
    };
    let Some(process) = &spec.process else { return Err(wrong("process must be specified")) };
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    refuse(linux)?;
    let mut warnings = Vec::new();
    let dir = StateDir::make(root, &options.id)?;
    let namespaces = NamespacePlan::new(linux)?;
    if !spec.hostname.is_empty() && !namespaces.has(Namespaces::UTS) {
        return Err(wrong("unable to set hostname without a private UTS namespace"));
    }
    let cgroup = NewCgroup::make(linux, &options.id, driver)?;
    let plan = plan(
        &mut options,
        &spec,
        linux,
        process,
        &bundle,
        &cgroup.cgroup,
        &namespaces,
        &dir.path,
        &mut warnings,
    )?;
    let mut saved = saved(&options, &spec, linux, &bundle, &cgroup.cgroup);
    saved.config.capabilities = Some(plan.process.capabilities.into());
    let birth = Birth {
        new: namespaces.new.without(late(&namespaces).union(Namespaces::TIME)),
        pid: namespaces.pid.as_ref().map(|join| join.fd.as_fd()),
        user: namespaces
            .joins
            .iter()
            .find(|join| join.kind == Namespaces::USER)
            .map(|join| join.fd.as_fd()),
    };
    let plan = Plan { joins: other_joins(&namespaces)?, ..plan };
    let hooks = spec.hooks.clone().unwrap_or_default();
    let state_text = plan.init.as_ref().and_then(|init| init.state_text.as_ref());
    let mut attend = Creator {
        linux,
        process: &plan.process,
        hooks: &hooks,
        namespaces: &namespaces,
        state_text,
        state: State {
            oci_version: oci_version(&spec),
            id: options.id.clone(),
            status: Status::Creating,
            pid: 0,
            bundle: bundle.clone(),
            annotations: spec.annotations.clone(),
        },
        warnings: &mut warnings,
    };
    let launched = launch(&plan, &birth, &mut attend)?;
    finish_saved(&mut saved, launched.pid);
    let saving = saved.write(&dir.path).and_then(|()| save_filter(&plan.process, &dir.path));
    if let Err(error) = saving {
        _ = stowd_sys::signal::send(&launched.pidfd, 9);
        _ = rustix::process::waitpid(Some(launched.pid), rustix::process::WaitOptions::empty());
        return Err(error);
    }
    let container = Container::made(
        dir.keep(),
        saved,
        cgroup.keep(),
        launched.pid,
        launched.pidfd,
        launched.socket,
        plan.process.name,
    );
    Ok(Created { container, console: launched.console, warnings })
}

/// What the creator does while init waits.
struct Creator<'a> {
    linux: &'a Linux,
    process: &'a ProcessPlan,
    hooks: &'a Hooks,
    namespaces: &'a NamespacePlan,
    state_text: Option<&'a OwnedFd>,
    state: State,
    warnings: &'a mut Vec<String>,
}

impl Attend for Creator<'_> {
    fn maps(&mut self, pid: Pid) -> Result<()> {
        if self.namespaces.new.contains(Namespaces::USER) {
            write_mappings(pid, &self.linux.uid_mappings, &self.linux.gid_mappings)?;
        }
        if !self.linux.time_offsets.is_empty() {
            let text: String = self
                .linux
                .time_offsets
                .iter()
                .map(|(clock, offset)| format!("{clock} {} {}\n", offset.secs, offset.nanosecs))
                .collect();
            let path = PathBuf::from(format!("/proc/{}/timens_offsets", pid.as_raw_nonzero()));
            std::fs::write(&path, text).map_err(|source| Error::file("write", &path, source))?;
        }
        Ok(())
    }

    fn ready(&mut self, pid: Pid, pidfd: BorrowedFd<'_>) -> Result<()> {
        set_limits(self.process, pid, self.warnings)?;
        self.state.pid = pid.as_raw_nonzero().get();
        hooks::run("prestart", &self.hooks.prestart, &self.state, None)?;
        hooks::run("createRuntime", &self.hooks.create_runtime, &self.state, None)?;
        let mut inside = Namespaces::NONE;
        for (_, kind, ..) in KINDS {
            // Its pid namespace is for children only, and its user namespace would take rights.
            if kind != Namespaces::PID && kind != Namespaces::USER && self.namespaces.has(kind) {
                inside = inside | kind;
            }
        }
        let inside = (!inside.is_empty()).then_some((pidfd, inside));
        hooks::run("createContainer", &self.hooks.create_container, &self.state, inside)?;
        if let Some(text) = self.state_text {
            let state = State { status: Status::Created, ..self.state.clone() };
            let json = serde_json::to_vec(&state).unwrap_or_default();
            let mut file = File::from(
                text.try_clone()
                    .map_err(|source| Error::file("dup", Path::new("memfd:state"), source))?,
            );
            file.write_all(&json)
                .and_then(|()| file.rewind())
                .map_err(|source| Error::file("write", Path::new("memfd:state"), source))?;
        }
        Ok(())
    }
}

#[allow(clippy::too_many_arguments, reason = "one call, which gathers what the plan is made from")]
fn plan(
    options: &mut CreateOptions,
    spec: &Spec,
    linux: &Linux,
    process: &Process,
    bundle: &Path,
    cgroup: &Cgroup,
    namespaces: &NamespacePlan,
    dir: &Path,
    warnings: &mut Vec<String>,
) -> Result<Plan> {
    let size = process.console_size.map(|size| (size.height, size.width));
    let streams = Streams::new(
        std::mem::take(&mut options.stdio),
        std::mem::take(&mut options.extra_fds),
        process.terminal,
        size,
    )?;
    let mut program = ProcessPlan::new(process, None, warnings)?;
    if let Some(profile) = &linux.seccomp {
        program.seccomp = seccomp::compile(profile.get())?;
    }
    program.personality = match linux.personality.as_ref().map(|one| one.domain.as_str()) {
        None | Some("") => None,
        Some("LINUX") => Some(0),
        Some("LINUX32") => Some(8),
        Some(other) => {
            return Err(wrong(&format!("personality domain {other:?} is not supported")));
        }
    };
    let root = match namespaces.new.contains(Namespaces::MOUNT) {
        true => Some(rootfs::plan(&RootContext {
            spec,
            linux,
            bundle,
            cgroup: cgroup.paths(),
            namespaces,
            switch: options.root_switch,
        })?),
        false if namespaces.has(Namespaces::MOUNT) => None,
        false => return Err(wrong("a container without a mount namespace of its own")),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let state_dir = open(dir, flags, Mode::empty()).map_err(|e| Error::file("open", dir, e))?;
    let start_hooks = match &spec.hooks {
        Some(hooks) => hooks.start_container.iter().map(hooks::plan).collect::<Result<Vec<_>>>()?,
        None => Vec::new(),
    };
    let state_text = match start_hooks.is_empty() {
        true => None,
        false => {
            let text = memfd_create("state", MemfdFlags::CLOEXEC)
                .map_err(Error::system("memfd_create"))?;
            Some(above(text, streams.lowest())?)
        }
    };
    let user_namespace = namespaces.has(Namespaces::USER);
    let init = InitPlan {
        asks_for_maps: namespaces.new.contains(Namespaces::USER) || !linux.time_offsets.is_empty(),
        new_time: namespaces.new.contains(Namespaces::TIME),
        late: late(namespaces),
        new_network: namespaces.new.contains(Namespaces::NETWORK),
        keyring: match options.keyring {
            Keyring::New => Some(c_string("id", &format!("_ses.{}", options.id))?),
            Keyring::Inherit => None,
        },
        sysctls: sysctls(linux, namespaces)?,
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        root,
        state_dir: above(state_dir, streams.lowest())?,
        own_program: program.own_program,
        start_hooks,
        state_text,
    };
    Ok(Plan {
        joiner: cgroup.joiner().map_err(Error::cgroup("open cgroup"))?,
        joins: Vec::new(),
        user_namespace,
        streams,
        process: program,
        init: Some(init),
    })
}

/// What of the new namespaces init makes itself: that of cgroups when it is in its own, and that of
/// IPC when it is root of its user namespace, as whose else its message queues would be.
fn late(namespaces: &NamespacePlan) -> Namespaces {
    let mut late = Namespaces::CGROUP;
    if namespaces.has(Namespaces::USER) {
        late = late | Namespaces::IPC;
    }
    namespaces.new.intersection(late)
}

/// The namespaces to join other than the user namespace, which comes first and elsewhere.
fn other_joins(namespaces: &NamespacePlan) -> Result<Vec<crate::plan::namespaces::Join>> {
    namespaces
        .joins
        .iter()
        .filter(|join| join.kind != Namespaces::USER)
        .map(|join| {
            Ok(crate::plan::namespaces::Join {
                fd: join.fd.try_clone().map_err(|e| Error::file("dup", join.path.as_ref(), e))?,
                kind: join.kind,
                path: join.path.clone(),
            })
        })
        .collect()
}

/// Says what of a specification is not done, before anything is.
fn refuse(linux: &Linux) -> Result<()> {
    let intel = linux.intel_rdt.is_some();
    for (asked, what) in [
        (intel, "linux.intelRdt"),
        (linux.memory_policy.is_some(), "linux.memoryPolicy"),
        (!linux.net_devices.is_empty(), "linux.netDevices"),
    ] {
        if asked {
            return Err(Error::Unimplemented(what.into()));
        }
    }
    Ok(())
}

fn check_id(id: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || id.len() > 1024 || !id.chars().all(good) {
        return Err(Error::InvalidId { id: id.into() });
    }
    Ok(())
}

fn oci_version(spec: &Spec) -> String {
    if spec.oci_version.is_empty() { spec::VERSION.into() } else { spec.oci_version.clone() }
}

fn saved(
    options: &CreateOptions,
    spec: &Spec,
    linux: &Linux,
    bundle: &Path,
    cgroup: &Cgroup,
) -> Saved {
    let mut labels: Vec<String> =
        spec.annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.push(format!("bundle={}", bundle.display()));
    let kind = |name: &str| KINDS.iter().find(|(known, ..)| *known == name);
    let root = spec.root.clone().unwrap_or_default();
    Saved {
        id: options.id.clone(),
        created: jiff::Timestamp::now().to_string(),
        config: SavedConfig {
            no_pivot_root: options.root_switch == RootSwitch::Move,
            rootfs: bundle.join(&root.path),
            readonlyfs: root.readonly,
            hostname: spec.hostname.clone(),
            namespaces: linux
                .namespaces
                .iter()
                .filter_map(|one| {
                    let (_, _, name, _) = kind(&one.kind)?;
                    Some(SavedNamespace { kind: (*name).into(), path: one.path.clone() })
                })
                .collect(),
            capabilities: None,
            uid_mappings: linux.uid_mappings.clone(),
            gid_mappings: linux.gid_mappings.clone(),
            oom_score_adj: spec.process.as_ref().and_then(|process| process.oom_score_adj),
            hooks: spec.hooks.clone().unwrap_or_default(),
            version: oci_version(spec),
            labels,
            no_new_keyring: options.keyring == Keyring::Inherit,
            umask: spec.process.as_ref().and_then(|process| process.user.umask),
        },
        cgroup_paths: cgroup
            .paths()
            .iter()
            .map(|(name, path)| (name.to_owned(), path.to_owned()))
            .collect::<BTreeMap<_, _>>(),
        ..Saved::default()
    }
}

fn finish_saved(saved: &mut Saved, pid: Pid) {
    let pid = pid.as_raw_nonzero().get();
    saved.init_process_pid = pid;
    saved.init_process_start = start_time(pid).map_or(0, |(start, _)| start);
    saved.namespace_paths = KINDS
        .iter()
        .filter(|(kind, ..)| *kind != "time" || Path::new("/proc/self/ns/time").exists())
        .map(|(_, _, name, file)| ((*name).to_owned(), format!("/proc/{pid}/ns/{file}")))
        .collect();
}

/// Keeps the compiled filter, which an `exec` by another process needs.
fn save_filter(process: &ProcessPlan, dir: &Path) -> Result<()> {
    let Some(filter) = &process.seccomp else { return Ok(()) };
    let path = dir.join("seccomp.bpf");
    let mut bytes = filter.flags.to_ne_bytes().to_vec();
    bytes.extend(&filter.code);
    std::fs::write(&path, bytes).map_err(|source| Error::file("write", &path, source))
}

/// A container's new directory, removed again unless it is kept.
struct StateDir {
    path: PathBuf,
    kept: bool,
}

impl StateDir {
    fn make(root: &Path, id: &str) -> Result<StateDir> {
        let mut builder = DirBuilder::new();
        builder.mode(0o711);
        let path = root.join(id);
        let made = builder.create(&path).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                builder.recursive(true).create(root)?;
                builder.recursive(false).create(&path)
            }
            _ => Err(error),
        });
        made.map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => Error::AlreadyExists { id: id.into() },
            _ => Error::file("mkdir", &path, source),
        })?;
        let dir = StateDir { path, kept: false };
        let fifo = dir.path.join("exec.fifo");
        // Writable for any user that init may become; the directory shows it to nobody else.
        let mode = Mode::from_raw_mode(0o622);
        mknodat(CWD, &fifo, FileType::Fifo, mode, 0)
            .and_then(|()| chmodat(CWD, &fifo, mode, rustix::fs::AtFlags::empty()))
            .map_err(|errno| Error::file("mkfifo", &fifo, errno))?;
        Ok(dir)
    }

    fn keep(mut self) -> PathBuf {
        self.kept = true;
        std::mem::take(&mut self.path)
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if !self.kept {
            _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A container's new cgroup, removed again unless it is kept.
struct NewCgroup {
    cgroup: Cgroup,
    kept: bool,
}

impl NewCgroup {
    fn make(linux: &Linux, id: &str, driver: Driver) -> Result<NewCgroup> {
        let layout = Layout::get().map_err(Error::cgroup("cgroups"))?;
        let path = CgroupsPath::parse(&linux.cgroups_path, id, driver)
            .map_err(Error::cgroup("cgroupsPath"))?;
        let none = spec::Resources::default();
        let limits = resources(linux.resources.as_ref().unwrap_or(&none), Devices::Set)?;
        if !limits.unified.is_empty() && layout.mode() != stowd_cgroups::Mode::Unified {
            return Err(wrong("invalid configuration: cannot use unified on cgroup v1"));
        }
        let cgroup = Cgroup::create(layout, &path, &limits).map_err(Error::cgroup(
            "unable to start container process: unable to apply cgroup configuration",
        ))?;
        Ok(NewCgroup { cgroup, kept: false })
    }

    fn keep(mut self) -> Cgroup {
        self.kept = true;
        self.cgroup.clone()
    }
}

impl Drop for NewCgroup {
    fn drop(&mut self) {
        if !self.kept {
            _ = self.cgroup.kill();
            _ = self.cgroup.delete();
        }
    }
}
