//! System call filters: compiled by libseccomp, loaded into the kernel.

use std::ffi::CStr;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, Result};

use crate::clone::last_error;

/// A filter being built. See `seccomp_init(3)`.
#[derive(Debug)]
pub struct Filter {
    context: NonNull<libc::c_void>,
}

/// An architecture by libseccomp's token, which is the kernel's audit number but for x32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arch(u32);

/// What happens to a system call: the kernel's `SECCOMP_RET_*` with its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action(pub u32);

/// A condition on an argument of a system call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Which argument, 0 to 5.
    pub argument: u32,
    /// 1 to 7: not equal, less, at most, equal, at least, greater, equal under a mask.
    pub operator: u32,
    /// What it is compared with, or the mask.
    pub first: u64,
    /// What the masked argument is compared with.
    pub second: u64,
}

/// A switch of the whole filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// How rules are searched: 1 one after the other, 2 by a binary tree.
    Optimize = 8,
}

impl Action {
    /// Ends the thread.
    pub const KILL_THREAD: Action = Action(0);
    /// Ends the process.
    pub const KILL_PROCESS: Action = Action(0x8000_0000);
    /// Sends `SIGSYS`.
    pub const TRAP: Action = Action(0x0003_0000);
    /// Asks the listener.
    pub const NOTIFY: Action = Action(0x7fc0_0000);
    /// Writes it to the log and lets it happen.
    pub const LOG: Action = Action(0x7ffc_0000);
    /// Lets it happen.
    pub const ALLOW: Action = Action(0x7fff_0000);

    /// Fails with an error number.
    pub const fn errno(number: u16) -> Action {
        Action(0x0005_0000 | number as u32)
    }

    /// Tells the tracer.
    pub const fn trace(message: u16) -> Action {
        Action(0x7ff0_0000 | message as u32)
    }
}

impl Arch {
    /// The architecture of libseccomp's lower-case name, such as `x86_64`.
    pub fn named(name: &CStr) -> Option<Arch> {
        // SAFETY: the name is a C string.
        let token = unsafe { seccomp_arch_resolve_name(name.as_ptr()) };
        (token != 0).then_some(Arch(token))
    }

    /// The machine's own.
    pub fn native() -> Arch {
        // SAFETY: no preconditions.
        Arch(unsafe { seccomp_arch_native() })
    }

    /// libseccomp's token.
    pub fn token(self) -> u32 {
        self.0
    }

    /// The number of a system call; `None` if the architecture lacks it.
    pub fn syscall(self, name: &CStr) -> Option<i32> {
        // SAFETY: the name is a C string.
        let number = unsafe { seccomp_syscall_resolve_name_arch(self.0, name.as_ptr()) };
        (number >= 0).then_some(number)
    }
}

impl Filter {
    /// A filter for the native architecture that does `default` with every system call.
    pub fn new(default: Action) -> Result<Filter> {
        // SAFETY: no preconditions; null means failure.
        let context = NonNull::new(unsafe { seccomp_init(default.0) }).ok_or(Errno::INVAL)?;
        Ok(Filter { context })
    }

    /// Covers one more architecture.
    pub fn add_arch(&mut self, arch: Arch) -> Result<()> {
        // SAFETY: the context is alive as long as `self`.
        match status(unsafe { seccomp_arch_add(self.context.as_ptr(), arch.0) }) {
            Err(Errno::EXIST) => Ok(()),
            result => result,
        }
    }

    /// Sets a switch.
    pub fn set(&mut self, attribute: Attribute, value: u32) -> Result<()> {
        // SAFETY: as above.
        status(unsafe { seccomp_attr_set(self.context.as_ptr(), attribute as u32, value) })
    }

    /// The native number, real or made up, by which [`Filter::add_rule`] knows a system call;
    /// `None` if no architecture has it.
    pub fn resolve(name: &CStr) -> Option<i32> {
        // SAFETY: the name is a C string.
        let number = unsafe { seccomp_syscall_resolve_name(name.as_ptr()) };
        (number != -1).then_some(number)
    }

    /// Does `action` with a system call when all comparisons hold.
    pub fn add_rule(
        &mut self,
        action: Action,
        syscall: i32,
        comparisons: &[Comparison],
    ) -> Result<()> {
        // SAFETY: the context is alive; the array has the length told and libseccomp copies it.
        status(unsafe {
            seccomp_rule_add_array(
                self.context.as_ptr(),
                action.0,
                syscall,
                comparisons.len() as u32,
                comparisons.as_ptr(),
            )
        })
    }

    /// Compiles to BPF: instructions of 8 bytes in the machine's byte order.
    pub fn compile(&self) -> Result<Vec<u8>> {
        let memory = memfd_create("seccomp", MemfdFlags::CLOEXEC)?;
        // SAFETY: the context is alive, the descriptor is open and writable.
        status(unsafe { seccomp_export_bpf(self.context.as_ptr(), memory.as_raw_fd()) })?;
        let mut file = std::fs::File::from(memory);
        let mut program = Vec::new();
        file.rewind()
            .and_then(|()| file.read_to_end(&mut program))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(program)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: the context came from seccomp_init and is released once.
        unsafe { seccomp_release(self.context.as_ptr()) }
    }
}

/// Puts the calling thread under a compiled filter for good. `flags` are the kernel's
/// `SECCOMP_FILTER_FLAG_*`; with `NEW_LISTENER` (8) gives the descriptor to listen on.
///
/// Needs `no_new_privs` or `CAP_SYS_ADMIN`. Does not allocate.
pub fn load(program: &[u8], flags: u32) -> Result<Option<OwnedFd>> {
    const SET_MODE_FILTER: u32 = 1;
    const NEW_LISTENER: u32 = 8;
    let length = u16::try_from(program.len() / 8).map_err(|_| Errno::TOOBIG)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies `len` instructions of 8 bytes each out of the program, for which it
    // needs no alignment, and verifies them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) };
    match result {
        -1 => Err(last_error()),
        // SAFETY: with this flag a success is a new descriptor that nobody else owns.
        fd if flags & NEW_LISTENER != 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        _ => Ok(None),
    }
}

fn status(result: libc::c_int) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(-result)) }
}

#[link(name = "seccomp", kind = "static")]
unsafe extern "C" {
    fn seccomp_init(default: u32) -> *mut libc::c_void;
    fn seccomp_release(context: *mut libc::c_void);
    fn seccomp_arch_native() -> u32;
    fn seccomp_arch_resolve_name(name: *const libc::c_char) -> u32;
    fn seccomp_arch_add(context: *mut libc::c_void, token: u32) -> libc::c_int;
    fn seccomp_attr_set(context: *mut libc::c_void, attribute: u32, value: u32) -> libc::c_int;
    fn seccomp_syscall_resolve_name(name: *const libc::c_char) -> libc::c_int;
    fn seccomp_syscall_resolve_name_arch(token: u32, name: *const libc::c_char) -> libc::c_int;
    fn seccomp_rule_add_array(
        context: *mut libc::c_void,
        action: u32,
        syscall: libc::c_int,
        count: libc::c_uint,
        comparisons: *const Comparison,
    ) -> libc::c_int;
    fn seccomp_export_bpf(context: *mut libc::c_void, fd: libc::c_int) -> libc::c_int;
}
