//! What runs between `clone3` and `execve`.
//!
//! Nothing in here allocates, takes a lock or panics: the child is a copy of a process that may have
//! had other threads. It walks through a [`Plan`], and reports a failure as a step, an index and an
//! error number, which the creator puts into words.

mod console;
mod finish;
mod hooks;
mod inside;
mod mounts;
pub(crate) mod own;
mod rootfs;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Uid, set_dumpable_behavior, setsid, umask};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use stowd_sys::clone::Namespaces;
use stowd_sys::exec::place_fd;
use stowd_sys::{keyring, namespace};

use crate::plan::{InitPlan, Plan};
use crate::sync::Caller;

/// What a child was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Step {
    Unknown,
    Sync,
    JoinCgroup,
    /// Of the plan's `joins`.
    JoinNamespace,
    NewNamespace,
    BecomeRoot,
    Session,
    Keyring,
    Streams,
    Loopback,
    HostPropagation,
    AttachRoot,
    /// Of the root's `mounts`: its target.
    MountTarget,
    /// Of the root's `mounts`.
    Mount,
    /// Of the root's `devices`.
    Device,
    DeviceLinks,
    MakeCwd,
    /// Of the plan's `sysctls`.
    Sysctl,
    HostName,
    DomainName,
    SwitchRoot,
    RootPropagation,
    ReadOnlyRoot,
    /// Of the root's `read_only_paths`.
    ReadOnlyPath,
    /// Of the root's `masked_paths`.
    MaskedPath,
    Console,
    Label,
    NoNewPrivileges,
    Seccomp,
    Scheduler,
    IoPriority,
    Personality,
    StreamOwner,
    Cwd,
    CwdOutside,
    Bounding,
    Groups,
    Gid,
    Uid,
    Capabilities,
    Ambient,
    Program,
    Descriptors,
    Barrier,
    /// Of the plan's `start_hooks`.
    StartHook,
    /// Never told to the caller.
    Exec,
}

/// What went wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) index: usize,
    pub(crate) errno: Errno,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Says which step an error number belongs to.
trait During<T> {
    fn during(self, step: Step) -> Outcome<T>;
    fn during_nth(self, step: Step, index: usize) -> Outcome<T>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, step: Step) -> Outcome<T> {
        self.during_nth(step, 0)
    }

    fn during_nth(self, step: Step, index: usize) -> Outcome<T> {
        self.map_err(|errno| Failure { step, index, errno })
    }
}

impl Step {
    /// The step that a number stands for.
    pub(crate) fn from_number(number: u32) -> Step {
        STEPS.get(number as usize).copied().unwrap_or(Step::Unknown)
    }
}

/// By number.
const STEPS: [Step; 46] = [
    Step::Unknown,
    Step::Sync,
    Step::JoinCgroup,
    Step::JoinNamespace,
    Step::NewNamespace,
    Step::BecomeRoot,
    Step::Session,
    Step::Keyring,
    Step::Streams,
    Step::Loopback,
    Step::HostPropagation,
    Step::AttachRoot,
    Step::MountTarget,
    Step::Mount,
    Step::Device,
    Step::DeviceLinks,
    Step::MakeCwd,
    Step::Sysctl,
    Step::HostName,
    Step::DomainName,
    Step::SwitchRoot,
    Step::RootPropagation,
    Step::ReadOnlyRoot,
    Step::ReadOnlyPath,
    Step::MaskedPath,
    Step::Console,
    Step::Label,
    Step::NoNewPrivileges,
    Step::Seccomp,
    Step::Scheduler,
    Step::IoPriority,
    Step::Personality,
    Step::StreamOwner,
    Step::Cwd,
    Step::CwdOutside,
    Step::Bounding,
    Step::Groups,
    Step::Gid,
    Step::Uid,
    Step::Capabilities,
    Step::Ambient,
    Step::Program,
    Step::Descriptors,
    Step::Barrier,
    Step::StartHook,
    Step::Exec,
];

/// Becomes the plan's program. Returns the status to exit with if that fails.
pub(crate) fn run(plan: &Plan, caller: Caller<'_>) -> i32 {
    let failure = match walk(plan, caller) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    if failure.step == Step::Exec {
        // Told on its standard error already. It was started, as far as the caller is concerned, and
        // ends as programs of runc's do that turn out not to be any.
        return 255;
    }
    // If nobody listens any more, nobody wants to know.
    _ = caller.failed(failure);
    1
}

/// A value that cannot be: the program has taken over.
pub(crate) enum Never {}

fn walk(plan: &Plan, caller: Caller<'_>) -> Outcome<Never> {
    // Before anything else: others in a joined pid namespace must not look into this copy of the
    // creator's memory, nor open its program.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during(Step::Session)?;
    plan.joiner.join().map_err(|error| error.errno).during(Step::JoinCgroup)?;
    let label = finish::open_label(plan)?;
    for (index, join) in plan.joins.iter().enumerate() {
        namespace::enter(&join.fd, join.kind).during_nth(Step::JoinNamespace, index)?;
    }
    let root = match &plan.init {
        Some(init) => {
            enter_new(plan, init, caller)?;
            init.root.as_ref()
        }
        None => {
            if plan.user_namespace {
                become_root()?;
            }
            None
        }
    };
    // Changes of identity may have undone it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during(Step::Session)?;
    setsid().during(Step::Session)?;
    if let Some(standard) = &plan.streams.standard {
        for (fd, number) in standard.iter().zip(0..) {
            place_fd(fd, number).during(Step::Streams)?;
        }
    }
    for (fd, number) in plan.streams.extra.iter().zip(3..) {
        place_fd(fd, number).during(Step::Streams)?;
    }
    match &plan.init {
        None => caller.ready().during(Step::Sync)?,
        Some(init) => {
            set_up(init)?;
            match root {
                Some(root) => rootfs::build(root, init, caller)?,
                None => {
                    caller.ready().during(Step::Sync)?;
                    rootfs::set_sysctls(init)?;
                }
            }
        }
    }
    if plan.streams.terminal {
        let is_init = root.is_some();
        console::open(plan, is_init, caller)?;
    }
    if let Some(root) = root {
        rootfs::protect(root)?;
    }
    umask(Mode::from_raw_mode(plan.process.umask));
    finish::finish(plan, label, caller)
}

/// Into the namespaces that are the container's own.
fn enter_new(plan: &Plan, init: &InitPlan, caller: Caller<'_>) -> Outcome {
    if init.new_time {
        namespace::unshare(Namespaces::TIME).during(Step::NewNamespace)?;
    }
    if init.asks_for_maps {
        caller.needs_maps().during(Step::Sync)?;
    }
    if plan.user_namespace {
        become_root()?;
    }
    if init.new_time {
        // The offsets are settled by entering it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let own = openat(CWD, c"/proc/self/ns/time_for_children", flags, Mode::empty())
            .during(Step::NewNamespace)?;
        namespace::enter(own, Namespaces::TIME).during(Step::NewNamespace)?;
    }
    if !init.late.is_empty() {
        namespace::unshare(init.late).during(Step::NewNamespace)?;
    }
    Ok(())
}

/// What belongs to the process and its namespaces other than that of mounts.
fn set_up(init: &InitPlan) -> Outcome {
    if let Some(name) = &init.keyring {
        match keyring::join_session(name) {
            // The owner may search it, as its user may join it later.
            Ok(ring) => _ = ring.permit(0x0008_0000),
            // No keyrings in this kernel, or a filter around us.
            Err(Errno::NOSYS | Errno::PERM) => {}
            // Users' quota is full: the caller's keyring is not what a container may have.
            Err(errno) => Err(errno).during(Step::Keyring)?,
        }
    }
    if init.new_network {
        stowd_sys::netif::set_up(c"lo").during(Step::Loopback)?;
    }
    if !init.hostname.is_empty() {
        rustix::system::sethostname(init.hostname.as_bytes()).during(Step::HostName)?;
    }
    if !init.domainname.is_empty() {
        rustix::system::setdomainname(init.domainname.as_bytes()).during(Step::DomainName)?;
    }
    Ok(())
}

fn become_root() -> Outcome {
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).during(Step::BecomeRoot)?;
    match set_thread_groups(&[]) {
        // Mappings can forbid it; then the groups are those of an unprivileged caller.
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => Err(errno).during(Step::BecomeRoot)?,
    }
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).during(Step::BecomeRoot)
}
