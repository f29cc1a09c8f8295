//! The seccomp profile that containers get by default.

use crate::{Process, Seccomp, Syscall, SyscallArg};

/// Builds the default profile for `process` on this machine's processor: calls that no container
/// needs are refused, and some only those with the capability for them may make.
pub fn default_profile(process: &Process) -> Seccomp {
    profile(process, std::env::consts::ARCH)
}

fn profile(process: &Process, arch: &str) -> Seccomp {
    let mut rules = vec![allow(ALWAYS)];
    // All address families but AF_ALG and AF_VSOCK, which reach around the network namespace. One
    // rule for each range: runtimes take several conditions on one argument as alternatives.
    let families =
        [("SCMP_CMP_LT", AF_ALG), ("SCMP_CMP_EQ", AF_ALG + 1), ("SCMP_CMP_GT", AF_VSOCK)];
    rules.extend(families.map(|(op, value)| allow_if("socket", op, value)));
    rules.extend(PERSONALITIES.map(|value| allow_if("personality", "SCMP_CMP_EQ", value)));
    // Safe since Linux 4.8: before, tracing could get around the filter.
    rules.push(allow("process_vm_readv process_vm_writev ptrace"));
    rules.extend(of_arch(arch).map(allow));
    let bounding = process.capabilities.as_ref().map(|sets| sets.bounding.as_slice());
    let bounding = bounding.unwrap_or_default();
    rules.extend(bounding.iter().filter_map(|capability| of_capability(capability)).map(allow));
    if !bounding.iter().any(|capability| capability == "CAP_SYS_ADMIN") {
        let index = if arch == "s390x" { 1 } else { 0 };
        let flags = SyscallArg {
            index,
            value: NAMESPACE_FLAGS,
            value_two: 0,
            op: "SCMP_CMP_MASKED_EQ".into(),
        };
        rules.push(Syscall { args: vec![flags], ..allow("clone") });
        // Its flags are in memory, out of a filter's reach; this error makes callers use `clone`.
        rules.push(Syscall {
            names: vec!["clone3".into()],
            action: "SCMP_ACT_ERRNO".into(),
            errno_ret: Some(ENOSYS),
            args: Vec::new(),
        });
    }
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        architectures: architectures(arch).iter().map(|name| format!("SCMP_ARCH_{name}")).collect(),
        syscalls: rules,
        ..Seccomp::default()
    }
}

const AF_VSOCK: u64 = 40;
const AF_ALG: u64 = 38;
const ENOSYS: u32 = 38;
/// `CLONE_NEW*`: mounts, cgroup, UTS, IPC, user, PID, network.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
/// Linux and Linux32, each also with the UTS version 2.6 flag, and "tell me".
const PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x20000, 0x20008, 0xffff_ffff];

/// What every program may call, whatever its arguments.
const ALWAYS: &str = "\
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown \
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect \
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old \
    epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit \
    exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir \
    fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr \
    flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 \
    fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv \
    futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 \
    getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid \
    getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit \
    get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid \
    gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init \
    inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents \
    io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule \
    landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat \
    listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr \
    lsm_get_self_attr lsm_list_modules lsm_set_self_attr lstat lstat64 madvise membarrier \
    memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall \
    map_shadow_stack mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl \
    msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep \
    newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 \
    pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 \
    prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read \
    readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg \
    remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir \
    rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend \
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr \
    sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler \
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr \
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop \
    semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid \
    setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid \
    setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid \
    setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address \
    setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack \
    signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs \
    statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill \
    time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 \
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 \
    timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname \
    unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 \
    waitid waitpid write writev";

/// What exists on one kind of processor only.
fn of_arch(arch: &str) -> Option<&'static str> {
    match arch {
        "powerpc64" => Some("sync_file_range2 swapcontext"),
        "arm" | "aarch64" => Some(
            "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        ),
        "x86_64" => Some("arch_prctl modify_ldt"),
        "x86" => Some("modify_ldt"),
        "s390x" => Some("s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
        "riscv64" => Some("riscv_flush_icache riscv_hwprobe"),
        _ => None,
    }
}

/// What a capability is good for nothing without.
fn of_capability(capability: &str) -> Option<&'static str> {
    Some(match capability {
        "CAP_DAC_READ_SEARCH" => "open_by_handle_at",
        "CAP_SYS_ADMIN" => {
            "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
             mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
             sethostname setns syslog umount umount2 unshare"
        }
        "CAP_SYS_BOOT" => "reboot",
        "CAP_SYS_CHROOT" => "chroot",
        "CAP_SYS_MODULE" => "delete_module init_module finit_module",
        "CAP_SYS_PACCT" => "acct",
        "CAP_SYS_PTRACE" => {
            "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"
        }
        "CAP_SYS_RAWIO" => "iopl ioperm",
        "CAP_SYS_TIME" => "settimeofday stime clock_settime clock_settime64",
        "CAP_SYS_TTY_CONFIG" => "vhangup",
        "CAP_SYS_NICE" => "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
        "CAP_SYSLOG" => "syslog",
        "CAP_BPF" => "bpf",
        "CAP_PERFMON" => "perf_event_open",
        _ => return None,
    })
}

/// The calling conventions that one kind of processor has.
fn architectures(arch: &str) -> &'static [&'static str] {
    match arch {
        "x86_64" => &["X86_64", "X86", "X32"],
        "aarch64" => &["ARM", "AARCH64"],
        "s390x" => &["S390", "S390X"],
        "riscv64" => &["RISCV64"],
        "loongarch64" => &["LOONGARCH64"],
        "mips64" if cfg!(target_endian = "little") => &["MIPSEL", "MIPSEL64", "MIPSEL64N32"],
        "mips64" => &["MIPS", "MIPS64", "MIPS64N32"],
        // None: the filter then knows the one it runs on.
        _ => &[],
    }
}

fn allow(names: &str) -> Syscall {
    Syscall {
        names: names.split_ascii_whitespace().map(str::to_owned).collect(),
        action: "SCMP_ACT_ALLOW".into(),
        ..Syscall::default()
    }
}

fn allow_if(name: &str, op: &str, value: u64) -> Syscall {
    let condition = SyscallArg { index: 0, value, value_two: 0, op: op.into() };
    Syscall { args: vec![condition], ..allow(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;

    fn names(capabilities: &[&str]) -> Vec<String> {
        let mut process = Spec::linux_default("a", "b").process.unwrap();
        process.capabilities.as_mut().unwrap().bounding =
            capabilities.iter().map(|name| (*name).to_owned()).collect();
        profile(&process, "x86_64").syscalls.into_iter().flat_map(|rule| rule.names).collect()
    }

    #[test]
    fn capabilities_open_calls() {
        let has = |capabilities: &[&str], name: &str| names(capabilities).iter().any(|n| n == name);
        assert!(has(&[], "read") && has(&[], "arch_prctl"));
        assert!(!has(&[], "mount") && has(&["CAP_SYS_ADMIN"], "mount"));
        assert!(!has(&[], "chroot") && has(&["CAP_SYS_CHROOT"], "chroot"));
        assert!(!has(&[], "io_uring_setup"));
    }

    #[test]
    fn without_admin_new_namespaces_are_refused() {
        let process = Spec::linux_default("a", "b").process.unwrap();
        let rules = profile(&process, "x86_64").syscalls;
        let last = &rules[rules.len() - 2..];
        assert_eq!(last[0].names, ["clone"]);
        assert_eq!(last[0].args[0].value, 2_114_060_288);
        assert_eq!((last[1].names[0].as_str(), last[1].errno_ret), ("clone3", Some(38)));
        let mainframe = profile(&process, "s390x").syscalls;
        assert_eq!(mainframe[mainframe.len() - 2].args[0].index, 1);
    }
}
