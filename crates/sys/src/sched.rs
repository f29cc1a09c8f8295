//! Scheduling, I/O priority, NUMA policy and execution domain of the calling process.

use rustix::io::Result;

use crate::namespace::check;

/// `sched_setattr(2)`'s arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedAttr {
    size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Nanoseconds in each period.
    pub runtime: u64,
    /// Nanoseconds until done.
    pub deadline: u64,
    /// Length of a period in nanoseconds.
    pub period: u64,
    util_min: u32,
    util_max: u32,
}

impl Default for SchedAttr {
    fn default() -> SchedAttr {
        SchedAttr {
            size: size_of::<SchedAttr>() as u32,
            policy: 0,
            flags: 0,
            nice: 0,
            priority: 0,
            runtime: 0,
            deadline: 0,
            period: 0,
            util_min: 0,
            util_max: 0,
        }
    }
}

/// Sets the calling thread's scheduling.
pub fn set_scheduler(attr: &SchedAttr) -> Result<()> {
    // SAFETY: `attr` tells its own size, which only this module can set, and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attr), 0) })
}

/// Sets the calling thread's I/O class (1 real-time, 2 best effort, 3 idle) and priority (0 to 7).
pub fn set_io_priority(class: u32, priority: u32) -> Result<()> {
    const WHO_PROCESS: u32 = 1;
    const CLASS_SHIFT: u32 = 13;
    // SAFETY: plain numbers.
    check(unsafe {
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class << CLASS_SHIFT | priority)
    })
}

/// Sets the execution domain: 0 is `LINUX`, 8 is `LINUX32`.
pub fn set_personality(domain: u32) -> Result<()> {
    // SAFETY: a plain number.
    check(unsafe { libc::syscall(libc::SYS_personality, domain) })
}

/// Sets the NUMA policy (`MPOL_*` with `MPOL_F_*` or-ed in) for the first 1024 nodes in `nodes`.
pub fn set_memory_policy(mode: i32, nodes: &[u64; 16]) -> Result<()> {
    let used = nodes.iter().any(|&word| word != 0);
    let (mask, length) =
        if used { (nodes.as_ptr(), nodes.len() * 64 + 1) } else { (std::ptr::null(), 0) };
    // SAFETY: the mask, where given, has the number of bits told (the kernel reads one less).
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, length) })
}
