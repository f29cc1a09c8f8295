//! A child's failure in words.

use rustix::io::Errno;

use crate::child::{Failure, Step};
use crate::error::{Error, StartError, errno_text};
use crate::plan::Plan;

/// Puts a failure into the words that runc's callers know.
pub(crate) fn error(plan: &Plan, failure: Failure) -> Error {
    text(&plan.process.name, Some(plan), failure)
}

/// The same for what fails between the start and the program, when the plan is gone.
pub(crate) fn late(program: &str, failure: Failure) -> Error {
    text(program, None, failure)
}

fn text(name: &str, plan: Option<&Plan>, failure: Failure) -> Error {
    let Failure { step, index, errno } = failure;
    let cause = errno_text(errno);
    let init = plan.and_then(|plan| plan.init.as_ref());
    if step == Step::Program {
        let text = match errno {
            _ if plan.is_some_and(|plan| plan.process.searched) && errno == Errno::NOENT => {
                format!("exec: {name:?}: executable file not found in $PATH")
            }
            Errno::NOENT | Errno::NOTDIR => {
                format!("exec: {name:?}: stat {name}: {cause}")
            }
            _ => format!("exec: {name:?}: {cause}"),
        };
        return Error::Start(StartError { text, errno: Some(errno), program: true });
    }
    let root = init.and_then(|init| init.root.as_ref());
    let nth = |list: &[std::ffi::CString]| {
        list.get(index).map_or_else(String::new, |path| path.to_string_lossy().into_owned())
    };
    let text = match step {
        Step::JoinNamespace => {
            let join = plan.and_then(|plan| plan.joins.get(index));
            let path = join.map_or("", |join| join.path.as_str());
            format!("unable to join namespace {path:?}: {cause}")
        }
        Step::MountTarget | Step::Mount => match root.and_then(|root| root.mounts.get(index)) {
            Some(mount) => {
                let act = if step == Step::Mount { "mount" } else { "create mountpoint" };
                format!(
                    "error mounting {:?} to rootfs at {:?}: {act} {}: {cause}",
                    mount.source, mount.destination, mount.destination
                )
            }
            None => format!("error mounting: {cause}"),
        },
        Step::Device => {
            let devices = root.map_or(&[][..], |root| &root.devices);
            let path = devices.get(index).map(|device| device.path.to_string_lossy());
            format!("error creating device nodes: mknod {}: {cause}", path.unwrap_or_default())
        }
        Step::ReadOnlyPath => {
            let path = root.map_or_else(String::new, |root| nth(&root.read_only_paths));
            format!("can't make {path:?} read-only: {cause}")
        }
        Step::MaskedPath => {
            let path = root.map_or_else(String::new, |root| nth(&root.masked_paths));
            format!("can't mask path {path:?}: {cause}")
        }
        Step::Sysctl => {
            let sysctls = init.map_or(&[][..], |init| &init.sysctls);
            let file = sysctls.get(index).map(|(file, _)| file.to_string_lossy());
            format!("open /proc/{}: {cause}", file.unwrap_or_default())
        }
        Step::StartHook => {
            let reason = match errno {
                Errno::CANCELED => "exit status is not 0".to_owned(),
                Errno::TIMEDOUT => "it did not end in time".to_owned(),
                _ => cause,
            };
            return Error::Hook { point: "startContainer", index, reason };
        }
        Step::Cwd => {
            let cwd =
                plan.map_or_else(String::new, |plan| plan.process.cwd.to_string_lossy().into());
            format!("chdir to cwd ({cwd:?}) set in config.json failed: {cause}")
        }
        Step::CwdOutside => {
            "current working directory is outside of container mount namespace root -- possible \
             container breakout detected"
                .to_owned()
        }
        Step::MakeCwd => {
            let cwd = root.map_or_else(String::new, |root| root.cwd.to_string_lossy().into());
            format!("mkdir {cwd}: {cause}")
        }
        step => format!("{}: {cause}", act(step)),
    };
    Error::Start(StartError { errno: Some(errno), ..StartError::in_init(text) })
}

/// What a step does, for those without more to tell.
fn act(step: Step) -> &'static str {
    match step {
        Step::Sync => "talk to the creator",
        Step::JoinCgroup => "unable to join cgroup",
        Step::NewNamespace => "make namespaces",
        Step::BecomeRoot => "become root of the user namespace",
        Step::Session => "setsid",
        Step::Keyring => "unable to join session keyring",
        Step::Streams => "set up the standard streams",
        Step::Loopback => "set up the loopback interface",
        Step::HostPropagation => "error preparing rootfs: change propagation of /",
        Step::AttachRoot => "error preparing rootfs: attach the root",
        Step::DeviceLinks => "error creating links in /dev",
        Step::HostName => "sethostname",
        Step::DomainName => "setdomainname",
        Step::SwitchRoot => "error jailing process inside rootfs: pivot_root",
        Step::RootPropagation => "unable to apply root propagation flags",
        Step::ReadOnlyRoot => "error setting rootfs as readonly",
        Step::Console => "open a terminal",
        Step::Label => "unable to apply the security label",
        Step::NoNewPrivileges => "set no_new_privs",
        Step::Seccomp => "error loading seccomp filter",
        Step::Scheduler => "error setting scheduler",
        Step::IoPriority => "failed to set io priority",
        Step::Personality => "set personality",
        Step::StreamOwner => "fchown the standard streams",
        Step::Bounding => "unable to drop a capability from the bounding set",
        Step::Groups => "unable to setgroups",
        Step::Gid => "unable to setgid",
        Step::Uid => "unable to setuid",
        Step::Capabilities => "unable to apply caps",
        Step::Ambient => "unable to raise an ambient capability",
        Step::Descriptors => "close descriptors",
        Step::Barrier => "open exec fifo",
        _ => "unknown step",
    }
}
