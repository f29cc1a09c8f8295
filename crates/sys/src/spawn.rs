//! `posix_spawn(3)`: another program in the background, without copying the caller.
//!
//! The C library clones with `CLONE_VM | CLONE_VFORK`: what a start costs does not grow with the
//! caller's memory, and no code of the caller runs in the child. `std::process::Command` falls back
//! to `fork(2)` where a session or descriptors above 2 are asked for.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::process::{Pid, PidfdFlags};

use crate::exec::ExecStrings;

/// A program to start.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Its path.
    pub program: &'a CStr,
    /// Its arguments, its own name first.
    pub args: &'a ExecStrings,
    /// Its environment.
    pub env: &'a ExecStrings,
    /// Its working directory.
    pub cwd: &'a CStr,
    /// Its descriptors 0, 1, 2 and so on. It gets no others but those that are not close-on-exec.
    pub fds: &'a [BorrowedFd<'a>],
}

/// Starts a program in a session of its own, with no signal blocked and `SIGPIPE` not ignored.
/// Returns once it runs, with its id and a close-on-exec pidfd. It is the caller's to wait for.
pub fn spawn(spawn: &Spawn<'_>) -> Result<(Pid, OwnedFd)> {
    // Out of the way of the numbers that they are copied to.
    let lowest = spawn.fds.len() as i32 + 3;
    let sources = spawn.fds.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, lowest));
    let sources = sources.collect::<Result<Vec<_>>>()?;
    let mut actions = Actions::new()?;
    actions.change_dir(spawn.cwd)?;
    for (number, source) in sources.iter().enumerate() {
        actions.copy(source, number as i32)?;
    }
    let attributes = Attributes::new()?;
    let mut pid = 0;
    // SAFETY: both objects are initialised; the tables are null-terminated and their strings alive
    // (`ExecStrings` owns them), as are path and `pid`. The C library writes to none but `pid`.
    check(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            spawn.program.as_ptr(),
            actions.0.as_ptr(),
            attributes.0.as_ptr(),
            spawn.args.table().cast(),
            spawn.env.table().cast(),
        )
    })?;
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    // Nobody else waits for it, so the number still means it.
    Ok((pid, rustix::process::pidfd_open(pid, PidfdFlags::empty())?))
}

/// What the child does before it becomes the program.
struct Actions(MaybeUninit<libc::posix_spawn_file_actions_t>);

impl Actions {
    fn new() -> Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: initialises the object, which is large enough by its type.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        Ok(Self(actions))
    }

    fn change_dir(&mut self, path: &CStr) -> Result<()> {
        // SAFETY: the object is initialised; the C library copies the path.
        check(unsafe {
            libc::posix_spawn_file_actions_addchdir_np(self.0.as_mut_ptr(), path.as_ptr())
        })
    }

    fn copy(&mut self, source: &OwnedFd, number: i32) -> Result<()> {
        // SAFETY: the object is initialised; a wrong number would be refused, in the child.
        check(unsafe {
            libc::posix_spawn_file_actions_adddup2(self.0.as_mut_ptr(), source.as_raw_fd(), number)
        })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(self.0.as_mut_ptr()) };
    }
}

/// How the child differs from its parent.
struct Attributes(MaybeUninit<libc::posix_spawnattr_t>);

impl Attributes {
    fn new() -> Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises the object, which is large enough by its type.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        let mut made = Self(attributes);
        let object = made.0.as_mut_ptr();
        let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID;
        // SAFETY: `object` is initialised and stays where it is; `signals` is initialised by
        // sigemptyset before it is read, and copied.
        unsafe {
            libc::sigemptyset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(object, signals.as_ptr()))?;
            libc::sigaddset(signals.as_mut_ptr(), libc::SIGPIPE);
            check(libc::posix_spawnattr_setsigdefault(object, signals.as_ptr()))?;
            check(libc::posix_spawnattr_setflags(object, flags as libc::c_short))?;
        }
        Ok(made)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(self.0.as_mut_ptr()) };
    }
}

const POSIX_SPAWN_SETSID: libc::c_int = libc::POSIX_SPAWN_SETSID as libc::c_int;

/// These functions return error numbers instead of setting `errno`.
fn check(result: libc::c_int) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(result)) }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::io::Read;
    use std::os::fd::AsFd;

    use rustix::process::{WaitId, WaitIdOptions, waitid};

    use super::*;

    fn strings(all: &[&str]) -> ExecStrings {
        ExecStrings::new(all.iter().map(|one| CString::new(*one).unwrap()).collect())
    }

    #[test]
    fn starts_a_program_with_its_own_surroundings() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let script = "{ pwd; echo $NAME; cut -d' ' -f1,6 /proc/self/stat; echo $$; } >&3";
        let fds = [null.as_fd(), null.as_fd(), null.as_fd(), writer.as_fd()];
        let (pid, pidfd) = spawn(&Spawn {
            program: c"/bin/sh",
            args: &strings(&["sh", "-c", script]),
            env: &strings(&["NAME=value", "PATH=/usr/bin:/bin"]),
            cwd: c"/proc",
            fds: &fds,
        })
        .unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["/proc", "value"]);
        let session = lines[2].split(' ').nth(1).unwrap();
        assert_eq!((session, lines[3]), (lines[3], &*pid.as_raw_nonzero().to_string()));
        let ended = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap();
        assert_eq!(ended.and_then(|status| status.exit_status()), Some(0));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let result = spawn(&Spawn {
            program: c"/no/such/program",
            args: &strings(&["program"]),
            env: &strings(&[]),
            cwd: c"/",
            fds: &[],
        });
        assert_eq!(result.unwrap_err(), Errno::NOENT);
    }
}
