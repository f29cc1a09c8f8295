//! Device rules as a BPF program for v2.
//!
//! The kernel runs the program on every open and `mknod` with a context of three 32-bit words: the
//! access asked for (upper half) and the kind of device (lower half), the major and the minor number;
//! it allows what returns 1. Ours tests one exception after the other and returns at the first that
//! covers the request.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use stowd_sys::bpf;

use super::{Access, DeviceKind, DeviceRule, Emulator};
use crate::{Error, Result};

/// One BPF instruction in the kernel's encoding: code, registers, jump offset, constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    code: u8,
    /// Destination in the lower four bits, source in the upper.
    registers: u8,
    offset: i16,
    constant: i32,
}

/// The program that allows what `rules`, in the spec's order, allow.
pub fn filter_program(rules: &[DeviceRule]) -> Result<Vec<Instruction>> {
    let state = Emulator::from_rules(rules)?;
    let default = i32::from(state.allows_by_default());
    let mut program = Vec::with_capacity(64);
    program.extend([
        load(KIND, 0),
        constant(AND, KIND, 0xffff),
        load(ACCESS, 0),
        constant(SHIFT_RIGHT, ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ]);
    for rule in state.exceptions() {
        append(&mut program, &rule);
    }
    program.extend([constant(MOVE, RESULT, default), RETURN]);
    Ok(program)
}

/// Puts the program for `rules` in charge of the cgroup at `path`, in place of the one that is there.
pub(crate) fn attach(path: &Path, rules: &[DeviceRule]) -> Result<()> {
    let program: Vec<u64> = filter_program(rules)?.iter().map(Instruction::encode).collect();
    let failed = |op| move |source| Error::DeviceFilter { path: path.into(), op, source };
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let cgroup = openat(CWD, path, flags, Mode::empty()).map_err(|source| Error::Io {
        op: "open",
        path: path.into(),
        source,
    })?;
    let result = bpf::load_device_filter(&program).map_err(failed("load")).and_then(|filter| {
        replace(cgroup.as_fd(), filter.as_fd()).map_err(|(op, source)| failed(op)(source))
    });
    match result {
        // A kernel without BPF takes nothing away from a container that may use everything anyway.
        Err(_) if rules.iter().all(|rule| rule.allow && rule.access == Access::ALL) => Ok(()),
        result => result,
    }
}

impl Instruction {
    /// The instruction as the 8 bytes the kernel reads, in this machine's byte order.
    pub fn encode(&self) -> u64 {
        let mut bytes = [self.code, self.registers, 0, 0, 0, 0, 0, 0];
        bytes[2..4].copy_from_slice(&self.offset.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.constant.to_ne_bytes());
        u64::from_ne_bytes(bytes)
    }
}

type Step = (&'static str, Errno);

/// Attaches `filter`; no request is ever judged by neither the old program nor the new.
fn replace(cgroup: BorrowedFd<'_>, filter: BorrowedFd<'_>) -> Result<(), Step> {
    let old = bpf::attached_device_filters(cgroup).map_err(|error| ("query", error))?;
    let mut programs = Vec::with_capacity(old.len());
    for id in old {
        match bpf::program_by_id(id) {
            Ok(program) => programs.push(program),
            // Detached meanwhile.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(("find the attached program", error)),
        }
    }
    if let [one] = programs.as_slice()
        && bpf::replace_device_filter(cgroup, filter, one.as_fd()).is_ok()
    {
        return Ok(());
    }
    // Several programs must all allow, so the new one beside the old ones is never too lenient.
    bpf::attach_device_filter(cgroup, filter).map_err(|error| ("attach", error))?;
    for program in programs {
        bpf::detach_device_filter(cgroup, program.as_fd()).map_err(|error| ("detach", error))?;
    }
    Ok(())
}

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
/// The context pointer's register serves for scratch once all is loaded.
const SCRATCH: u8 = CONTEXT;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// Instruction class, source and operation, or'ed as linux/bpf.h has them.
const LOAD_WORD: u8 = 0x61; // LDX | MEM | W
const AND: u8 = 0x54; // ALU | AND | K
const SHIFT_RIGHT: u8 = 0x74; // ALU | RSH | K
const MOVE: u8 = 0xb4; // ALU | MOV | K
const MOVE_REGISTER: u8 = 0xbc; // ALU | MOV | X
// The 32-bit jumps: device numbers can have the top bit set, which 64-bit jumps would sign-extend.
const JUMP_UNEQUAL: u8 = 0x56; // JMP32 | JNE | K
const JUMP_UNEQUAL_REGISTER: u8 = 0x5e; // JMP32 | JNE | X
const RETURN: Instruction = Instruction { code: 0x95, registers: 0, offset: 0, constant: 0 };

/// Appends "if the request is covered by `rule`, answer what it says".
fn append(program: &mut Vec<Instruction>, rule: &DeviceRule) {
    let start = program.len();
    let kind = match rule.kind {
        DeviceKind::Block => 1,
        DeviceKind::Char => 2,
        // An emulator turns these into its default.
        DeviceKind::All => return,
    };
    program.push(constant(JUMP_UNEQUAL, KIND, kind));
    if rule.access != Access::ALL {
        let scratch = Instruction {
            code: MOVE_REGISTER,
            registers: SCRATCH | (ACCESS << 4),
            offset: 0,
            constant: 0,
        };
        let compare = Instruction {
            code: JUMP_UNEQUAL_REGISTER,
            registers: SCRATCH | (ACCESS << 4),
            offset: 0,
            constant: 0,
        };
        program.extend([scratch, constant(AND, SCRATCH, kernel_access(rule.access)), compare]);
    }
    if let Some(major) = rule.major {
        program.push(constant(JUMP_UNEQUAL, MAJOR, major.cast_signed()));
    }
    if let Some(minor) = rule.minor {
        program.push(constant(JUMP_UNEQUAL, MINOR, minor.cast_signed()));
    }
    program.extend([constant(MOVE, RESULT, i32::from(rule.allow)), RETURN]);
    let end = program.len();
    for (at, instruction) in program.iter_mut().enumerate().skip(start) {
        if matches!(instruction.code, JUMP_UNEQUAL | JUMP_UNEQUAL_REGISTER) {
            // At most nine instructions per rule, so this always fits.
            instruction.offset = i16::try_from(end - at - 1).unwrap_or(0);
        }
    }
}

fn load(register: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD_WORD, registers: register | (CONTEXT << 4), offset, constant: 0 }
}

fn constant(code: u8, register: u8, constant: i32) -> Instruction {
    Instruction { code, registers: register, offset: 0, constant }
}

fn kernel_access(access: Access) -> i32 {
    let bits = [(Access::MAKE, 1), (Access::READ, 2), (Access::WRITE, 4)];
    bits.iter().filter(|(member, _)| !access.intersection(*member).is_empty()).map(|(_, b)| b).sum()
}

#[cfg(test)]
mod tests;
