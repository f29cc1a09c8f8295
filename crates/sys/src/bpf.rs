//! Cgroup device filters: the one kind of BPF program a container runtime needs.
//!
//! All functions are for v2 cgroups (also the v2 tree beside v1) and need `CAP_BPF` and
//! `CAP_NET_ADMIN`, or `CAP_SYS_ADMIN`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};

use crate::clone::last_error;

/// Has the kernel check and load a device filter; `program` is its instructions, 8 bytes each.
pub fn load_device_filter(program: &[u64]) -> Result<OwnedFd> {
    let count = u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let mut attributes = ProgramLoad {
        kind: TYPE_CGROUP_DEVICE,
        instruction_count: count,
        instructions: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // A signal that arrives while the kernel checks the program ends the check with EAGAIN.
    for _ in 0..30 {
        match call(PROGRAM_LOAD, &mut attributes) {
            Err(Errno::AGAIN) => {}
            result => return result.and_then(descriptor),
        }
    }
    Err(Errno::AGAIN)
}

/// Attaches `filter` to `cgroup` beside those that are there; all of them must allow.
pub fn attach_device_filter(cgroup: BorrowedFd<'_>, filter: BorrowedFd<'_>) -> Result<()> {
    let mut attributes = Attach::new(cgroup, filter, ALLOW_MULTI);
    call(PROGRAM_ATTACH, &mut attributes).map(drop)
}

/// Attaches `filter` to `cgroup` in place of `old`, in one step (Linux 5.6).
pub fn replace_device_filter(
    cgroup: BorrowedFd<'_>,
    filter: BorrowedFd<'_>,
    old: BorrowedFd<'_>,
) -> Result<()> {
    let mut attributes = Attach::new(cgroup, filter, ALLOW_MULTI | REPLACE);
    attributes.replaced = old.as_raw_fd().cast_unsigned();
    call(PROGRAM_ATTACH, &mut attributes).map(drop)
}

/// Detaches `filter` from `cgroup`.
pub fn detach_device_filter(cgroup: BorrowedFd<'_>, filter: BorrowedFd<'_>) -> Result<()> {
    let mut attributes = Attach::new(cgroup, filter, 0);
    call(PROGRAM_DETACH, &mut attributes).map(drop)
}

/// The ids of the filters attached to `cgroup` itself.
pub fn attached_device_filters(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>> {
    let mut ids = vec![0u32; 64];
    loop {
        let mut attributes = Query {
            cgroup: cgroup.as_raw_fd().cast_unsigned(),
            attach_type: ATTACH_CGROUP_DEVICE,
            query_flags: 0,
            attach_flags: 0,
            ids: ids.as_mut_ptr() as u64,
            count: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            pad: 0,
        };
        match call(PROGRAM_QUERY, &mut attributes) {
            Ok(_) => {
                ids.truncate(attributes.count as usize);
                return Ok(ids);
            }
            // The kernel sets the count to what there are.
            Err(Errno::NOSPC) if ids.len() < 1 << 16 => {
                let len = (attributes.count as usize).max(ids.len() * 2);
                ids.resize(len, 0);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens a loaded program by the id that [`attached_device_filters`] gave.
pub fn program_by_id(id: u32) -> Result<OwnedFd> {
    let mut attributes = ById { id, next: 0, open_flags: 0 };
    call(PROGRAM_BY_ID, &mut attributes).and_then(descriptor)
}

// Numbers and layouts from linux/bpf.h.
const PROGRAM_LOAD: libc::c_int = 5;
const PROGRAM_ATTACH: libc::c_int = 8;
const PROGRAM_DETACH: libc::c_int = 9;
const PROGRAM_BY_ID: libc::c_int = 13;
const PROGRAM_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;
const LICENSE: &std::ffi::CStr = c"Apache-2.0";

/// A prefix of the kernel's `union bpf_attr`.
///
/// # Safety
/// The type must be `repr(C)` without padding, laid out as the kernel documents for the command it is
/// used with, and every address in it must be valid for what the command does there.
unsafe trait Attributes {}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

#[repr(C)]
struct Attach {
    cgroup: u32,
    filter: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

#[repr(C)]
struct Query {
    cgroup: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    pad: u32,
}

#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    open_flags: u32,
}

// SAFETY: repr(C), fields fill it without gaps; `instructions` and `license` point to what outlives the
// call in `load_device_filter`, which is only read, and the log's size is zero.
unsafe impl Attributes for ProgramLoad {}
// SAFETY: repr(C), five words without gaps and without addresses.
unsafe impl Attributes for Attach {}
// SAFETY: repr(C), fields fill it without gaps; `ids` points to `count` writable words in
// `attached_device_filters`.
unsafe impl Attributes for Query {}
// SAFETY: repr(C), three words without gaps and without addresses.
unsafe impl Attributes for ById {}

impl Attach {
    fn new(cgroup: BorrowedFd<'_>, filter: BorrowedFd<'_>, flags: u32) -> Attach {
        Attach {
            cgroup: cgroup.as_raw_fd().cast_unsigned(),
            filter: filter.as_raw_fd().cast_unsigned(),
            attach_type: ATTACH_CGROUP_DEVICE,
            flags,
            replaced: 0,
        }
    }
}

fn call<A: Attributes>(command: libc::c_int, attributes: &mut A) -> Result<libc::c_long> {
    // SAFETY: `A: Attributes` promises that the kernel may read and write size_of::<A>() bytes here as
    // `command`'s attributes; the kernel takes the rest of the union as zero.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<A>())
    };
    if result < 0 { Err(last_error()) } else { Ok(result) }
}

fn descriptor(number: libc::c_long) -> Result<OwnedFd> {
    let number = libc::c_int::try_from(number).map_err(|_| Errno::BADF)?;
    // SAFETY: only called with the result of a successful PROGRAM_LOAD or PROGRAM_BY_ID, which is a new
    // descriptor (close-on-exec) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
