//! System call filters, compiled.

use std::ffi::CString;

use stowd_sys::seccomp::{Action, Arch, Comparison, Filter};

use super::{c_string, wrong};
use crate::error::{Error, Result};
use crate::spec::{Seccomp, SeccompSyscall};

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Instructions.
    pub(crate) code: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(crate) flags: u32,
}

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u32 = 8;
const ENOSYS: u16 = 38;

/// Compiles a profile; `None` for one that allows everything.
pub(crate) fn compile(json: &str) -> Result<Option<Program>> {
    let profile: Seccomp = serde_json::from_str(json)
        .map_err(|error| wrong(&format!("unable to parse the seccomp profile: {error}")))?;
    if profile.default_action.is_empty() {
        return Ok(None);
    }
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let failed = |what: &str, errno: rustix::io::Errno| {
        wrong(&format!("error {what} seccomp filter: {}", crate::error::errno_text(errno)))
    };
    let mut filter = Filter::new(default).map_err(|errno| failed("creating", errno))?;
    let mut arches = vec![Arch::native()];
    for name in &profile.architectures {
        let arch = arch(name)?;
        filter.add_arch(arch).map_err(|errno| failed("adding an architecture to the", errno))?;
        if !arches.contains(&arch) {
            arches.push(arch);
        }
    }
    let mut flags = 0;
    for flag in &profile.flags {
        flags |= match flag.as_str() {
            "SECCOMP_FILTER_FLAG_TSYNC" => 1,
            "SECCOMP_FILTER_FLAG_LOG" => 2,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 4,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => 32,
            other => return Err(wrong(&format!("seccomp flag {other:?} not known"))),
        };
    }
    let mut newest = vec![0; arches.len()];
    for rule in &profile.syscalls {
        let act = action(&rule.action, rule.errno_ret)?;
        for name in &rule.names {
            let c_name = c_string("seccomp", name)?;
            for (newest, arch) in newest.iter_mut().zip(&arches) {
                *newest = arch.syscall(&c_name).unwrap_or(0).max(*newest);
            }
            if act == default {
                continue;
            }
            if act == Action::NOTIFY {
                flags |= NEW_LISTENER;
            }
            add(&mut filter, &c_name, act, rule)
                .map_err(|errno| failed("adding a rule to the", errno))?;
        }
    }
    if flags & NEW_LISTENER != 0 {
        return Err(Error::Unimplemented("seccomp action SCMP_ACT_NOTIFY".into()));
    }
    let mut code = Vec::new();
    if matches!(default.0 & 0xffff_0000, 0x0005_0000 | 0 | 0x8000_0000 | 0x0003_0000) {
        code = unknown_calls(&arches, &newest);
    }
    code.extend(filter.compile().map_err(|errno| failed("compiling the", errno))?);
    Ok(Some(Program { code, flags }))
}

/// One rule for one call. Conditions on different arguments must all hold; several on the same
/// argument are alternatives, as the specification has it.
fn add(
    filter: &mut Filter,
    name: &CString,
    act: Action,
    rule: &SeccompSyscall,
) -> rustix::io::Result<()> {
    let Some(number) = Filter::resolve(name) else { return Ok(()) };
    let mut comparisons = Vec::with_capacity(rule.args.len());
    let mut repeated = false;
    for arg in &rule.args {
        let operator = match arg.op.as_str() {
            "SCMP_CMP_NE" => 1,
            "SCMP_CMP_LT" => 2,
            "SCMP_CMP_LE" => 3,
            "SCMP_CMP_EQ" => 4,
            "SCMP_CMP_GE" => 5,
            "SCMP_CMP_GT" => 6,
            "SCMP_CMP_MASKED_EQ" => 7,
            _ => return Err(rustix::io::Errno::INVAL),
        };
        repeated |= comparisons.iter().any(|known: &Comparison| known.argument == arg.index);
        comparisons.push(Comparison {
            argument: arg.index,
            operator,
            first: arg.value,
            second: arg.value_two,
        });
    }
    if repeated {
        return comparisons
            .iter()
            .try_for_each(|one| filter.add_rule(act, number, std::slice::from_ref(one)));
    }
    filter.add_rule(act, number, &comparisons)
}

/// Instructions that answer `ENOSYS` to calls newer than any that the profile knows, so that
/// programs fall back as they do on an older kernel; a profile's `EPERM` would stop them.
fn unknown_calls(arches: &[Arch], newest: &[i32]) -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_GREATER: u16 = 0x25;
    const RETURN: u16 = 0x06;
    const X32_BIT: u32 = 0x4000_0000;
    const X32_TOKEN: u32 = 0x4000_003e;
    const NUMBER_AT: u32 = 0;
    const ARCH_AT: u32 = 4;
    let mut code = Vec::new();
    let mut push = |op: u16, yes: u8, no: u8, value: u32| {
        code.extend(op.to_ne_bytes());
        code.extend([yes, no]);
        code.extend(value.to_ne_bytes());
    };
    // Calls of x32 come under the native number with a bit set, and are left to the filter proper.
    for (arch, newest) in arches.iter().zip(newest) {
        if *newest <= 0 || arch.token() == X32_TOKEN {
            continue;
        }
        push(LOAD, 0, 0, ARCH_AT);
        push(JUMP_EQUAL, 0, 4, arch.token());
        push(LOAD, 0, 0, NUMBER_AT);
        push(JUMP_GREATER, 2, 0, X32_BIT - 1);
        push(JUMP_GREATER, 0, 1, *newest as u32);
        push(RETURN, 0, 0, Action::errno(ENOSYS).0);
    }
    code
}

fn arch(name: &str) -> Result<Arch> {
    let short = name.strip_prefix("SCMP_ARCH_").unwrap_or("").to_ascii_lowercase();
    Arch::named(&c_string("seccomp", &short)?)
        .ok_or_else(|| wrong(&format!("string {name} is not a valid arch for seccomp")))
}

fn action(name: &str, errno: Option<u32>) -> Result<Action> {
    const EPERM: u32 = 1;
    let number = u16::try_from(errno.unwrap_or(EPERM))
        .map_err(|_| wrong("a seccomp errnoRet is too large"))?;
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => Action::KILL_PROCESS,
        "SCMP_ACT_TRAP" => Action::TRAP,
        "SCMP_ACT_ERRNO" => Action::errno(number),
        "SCMP_ACT_TRACE" => Action::trace(number),
        "SCMP_ACT_ALLOW" => Action::ALLOW,
        "SCMP_ACT_LOG" => Action::LOG,
        "SCMP_ACT_NOTIFY" => Action::NOTIFY,
        other => return Err(wrong(&format!("string {other} is not a valid action for seccomp"))),
    })
}
