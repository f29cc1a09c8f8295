//! The last steps: giving up rights, waiting for the start, becoming the program.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, fchown, fstat, makedev, open, openat,
    statat,
};
use rustix::io::{Errno, write};
use rustix::process::chdir;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use stowd_sys::exec::{close_from, cwd_is_below_root, execve, reset_signals};
use stowd_sys::{sched, seccomp};

use super::{During, Failure, Never, Outcome, Step, hooks, own};
use crate::capabilities::single;
use crate::plan::Plan;
use crate::plan::process::ProcessPlan;
use crate::sync::Caller;

const LAST_CAPABILITY: u32 = 63;

/// Opens what a security label is written to, as the container's `/proc` may not have it.
pub(super) fn open_label(plan: &Plan) -> Outcome<Option<OwnedFd>> {
    let Some((file, _)) = &plan.process.label else { return Ok(None) };
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    openat(CWD, file.as_c_str(), flags, Mode::empty()).during(Step::Label).map(Some)
}

/// Becomes the program.
pub(super) fn finish(plan: &Plan, label: Option<OwnedFd>, caller: Caller<'_>) -> Outcome<Never> {
    let process = &plan.process;
    if let (Some(file), Some((_, label))) = (&label, &process.label) {
        write(file, label.to_bytes()).during(Step::Label)?;
    }
    drop(label);
    if let Some(attr) = &process.scheduler {
        sched::set_scheduler(attr).during(Step::Scheduler)?;
    }
    if let Some((class, priority)) = process.io_priority {
        sched::set_io_priority(class, priority).during(Step::IoPriority)?;
    }
    if let Some(domain) = process.personality {
        sched::set_personality(domain).during(Step::Personality)?;
    }
    give_streams(process)?;
    reset_signals();
    if process.no_new_privileges {
        set_no_new_privs(true).during(Step::NoNewPrivileges)?;
    } else {
        // Without it, loading a filter is a privilege, which is about to be given up.
        load_filter(process)?;
    }
    become_user(process)?;
    let mut home = [0u8; 512];
    let home = if process.needs_home { find_home(process, &mut home) } else { None };
    let program = find_program(process)?;
    wait_for_start(plan, caller)?;
    if process.no_new_privileges {
        load_filter(process)?;
    }
    let errno = execve(program, &process.args, &process.env, home);
    complain(program, errno);
    Err(Failure { step: Step::Exec, index: 0, errno })
}

/// Says on standard error what kept the program from running, in the words that logs of containers
/// have for it: a script whose interpreter is missing, a program for another machine.
fn complain(program: &CStr, errno: Errno) {
    let reason: &[u8] = match errno {
        Errno::NOENT => b"no such file or directory",
        Errno::NOEXEC => b"exec format error",
        Errno::ACCESS => b"permission denied",
        Errno::PERM => b"operation not permitted",
        Errno::TOOBIG => b"argument list too long",
        Errno::TXTBSY => b"text file busy",
        Errno::NOMEM => b"cannot allocate memory",
        Errno::LOOP => b"too many levels of symbolic links",
        Errno::NOTDIR => b"not a directory",
        Errno::ISDIR => b"is a directory",
        Errno::INVAL => b"invalid argument",
        Errno::IO => b"input/output error",
        _ => b"cannot be run",
    };
    // Whether anybody reads it changes nothing.
    for part in [b"exec ", program.to_bytes(), b": ", reason, b"\n"] {
        _ = write(stderr(), part);
    }
}

fn load_filter(process: &ProcessPlan) -> Outcome {
    let Some(filter) = &process.seccomp else { return Ok(()) };
    seccomp::load(&filter.code, filter.flags).map(drop).during(Step::Seccomp)
}

/// Makes the standard streams the user's, so that it can open them again by `/dev/stdout`.
fn give_streams(process: &ProcessPlan) -> Outcome {
    let null = makedev(1, 3);
    for fd in [stdin(), stdout(), stderr()] {
        let Ok(stat) = fstat(fd) else { continue };
        let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == null;
        if is_null || stat.st_uid == process.uid.as_raw() {
            continue;
        }
        match fchown(fd, Some(process.uid), None) {
            // An owner that the user namespace has no name for, or a stream that has none.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::OPNOTSUPP) => {}
            Err(errno) => Err(errno).during(Step::StreamOwner)?,
        }
    }
    Ok(())
}

fn become_user(process: &ProcessPlan) -> Outcome {
    // Before the change of user, who may not be allowed in, as on a share that trusts root; where
    // root is not, as on some network file systems, it is tried again afterwards.
    let entered = match chdir(process.cwd.as_c_str()) {
        Ok(()) => true,
        Err(Errno::ACCESS | Errno::PERM) => false,
        Err(errno) => return Err(errno).during(Step::Cwd),
    };
    for number in 0..=LAST_CAPABILITY {
        if process.capabilities.bounding & (1 << number) != 0 {
            continue;
        }
        match remove_capability_from_bounding_set(single(number)) {
            Ok(()) => {}
            // Past the kernel's last one.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno).during_nth(Step::Bounding, number as usize),
        }
    }
    set_keep_capabilities(true).during(Step::Capabilities)?;
    set_thread_groups(&process.groups).during(Step::Groups)?;
    let (uid, gid) = (process.uid, process.gid);
    set_thread_res_gid(gid, gid, gid).during(Step::Gid)?;
    set_thread_res_uid(uid, uid, uid).during(Step::Uid)?;
    set_keep_capabilities(false).during(Step::Capabilities)?;
    if !entered {
        chdir(process.cwd.as_c_str()).during(Step::Cwd)?;
    }
    if !cwd_is_below_root().during(Step::CwdOutside)? {
        return Err(Errno::ACCESS).during(Step::CwdOutside);
    }
    let masks = &process.capabilities;
    let set = CapabilitySet::from_bits_retain;
    let sets = CapabilitySets {
        effective: set(masks.effective),
        permitted: set(masks.permitted),
        inheritable: set(masks.inheritable),
    };
    set_capabilities(None, sets).during(Step::Capabilities)?;
    match clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno).during(Step::Ambient),
    }
    for number in 0..=LAST_CAPABILITY {
        if masks.ambient & (1 << number) != 0 {
            match configure_capability_in_ambient_set(single(number), true) {
                // Not permitted or not inheritable, so it cannot be passed on: runc goes on too.
                Ok(()) | Err(Errno::PERM) => {}
                Err(errno) => return Err(errno).during_nth(Step::Ambient, number as usize),
            }
        }
    }
    Ok(())
}

fn find_program(process: &ProcessPlan) -> Outcome<&CStr> {
    let mut worst = Errno::NOENT;
    for candidate in &process.candidates {
        match runnable(candidate) {
            Ok(()) => {
                return own::refuse(candidate, process.own_program)
                    .during(Step::Program)
                    .map(|()| candidate.as_c_str());
            }
            Err(Errno::NOENT | Errno::NOTDIR) if process.searched => {}
            Err(errno) => worst = errno,
        }
    }
    // What is found but cannot be run ends a search only when nothing else is found.
    if process.searched && worst != Errno::ACCESS {
        worst = Errno::NOENT;
    }
    Err(worst).during(Step::Program)
}

fn runnable(path: &CStr) -> Result<(), Errno> {
    let stat = statat(CWD, path, AtFlags::empty())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // The filter may not know faccessat2; the mode has to do then.
        Err(Errno::NOSYS | Errno::PERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => Err(Errno::ACCESS),
        result => result,
    }
}

/// `HOME=...` of the user, as the container's `/etc/passwd` has it; `/` if it has not.
fn find_home<'a>(process: &ProcessPlan, out: &'a mut [u8; 512]) -> Option<&'a CStr> {
    const NAME: &[u8] = b"HOME=";
    let mut text = [0u8; 32 * 1024];
    let mut length = 0;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    if let Ok(file) = open(c"/etc/passwd", flags, Mode::empty()) {
        while length < text.len() {
            match rustix::io::read(&file, &mut text[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
    }
    let is_user = |line: &&[u8]| {
        let id = line.split(|&byte| byte == b':').nth(2).unwrap_or_default();
        std::str::from_utf8(id).is_ok_and(|id| id.parse() == Ok(process.uid.as_raw()))
    };
    let mut lines = text[..length].split(|&byte| byte == b'\n');
    let home = lines.find(is_user).and_then(|line| line.split(|&byte| byte == b':').nth(5));
    let home = home.filter(|home| !home.is_empty()).unwrap_or(b"/");
    out.get_mut(..NAME.len())?.copy_from_slice(NAME);
    out[NAME.len()..].get_mut(..home.len())?.copy_from_slice(home);
    *out.get_mut(NAME.len() + home.len())? = 0;
    CStr::from_bytes_until_nul(&out[..]).ok()
}

/// Lets go of all that is not the program's and, in a container's first process, waits.
fn wait_for_start(plan: &Plan, caller: Caller<'_>) -> Outcome {
    let first = plan.streams.lowest();
    let Some(init) = &plan.init else {
        return close_from(first, &[caller.0]).during(Step::Descriptors);
    };
    let mut keep: [BorrowedFd<'_>; 3] = [caller.0, init.state_dir.as_fd(), init.state_dir.as_fd()];
    if let Some(text) = &init.state_text {
        keep[2] = text.as_fd();
    }
    close_from(first, &keep).during(Step::Descriptors)?;
    caller.waiting().during(Step::Sync)?;
    // Opening it waits for a reader, who is the one that starts the container.
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let fifo = loop {
        match openat(&init.state_dir, c"exec.fifo", flags, Mode::empty()) {
            Err(Errno::INTR) => {}
            result => break result.during(Step::Barrier)?,
        }
    };
    write(&fifo, b"0").during(Step::Barrier)?;
    drop(fifo);
    hooks::run(init)?;
    close_from(first, &[caller.0]).during(Step::Descriptors)
}
