use super::*;

/// Runs a program as the kernel would.
fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
    let context = [kind | (access << 16), major, minor];
    let mut registers = [0u32; 6];
    let mut at = 0;
    loop {
        let Instruction { code, registers: pair, offset, constant } = program[at];
        let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
        let constant = constant.cast_unsigned();
        at += 1;
        let jump = match code {
            LOAD_WORD => {
                registers[to] = context[usize::try_from(offset).unwrap() / 4];
                false
            }
            AND => {
                registers[to] &= constant;
                false
            }
            SHIFT_RIGHT => {
                registers[to] >>= constant;
                false
            }
            MOVE => {
                registers[to] = constant;
                false
            }
            MOVE_REGISTER => {
                registers[to] = registers[from];
                false
            }
            JUMP_UNEQUAL => registers[to] != constant,
            JUMP_UNEQUAL_REGISTER => registers[to] != registers[from],
            0x95 => return registers[0] == 1,
            other => panic!("unknown instruction {other:#x}"),
        };
        if jump {
            at += usize::try_from(offset).unwrap();
        }
    }
}

const BLOCK: u32 = 1;
const CHAR: u32 = 2;
const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;

#[test]
fn defaults_allow_what_runc_allows() {
    let mut rules = vec![DeviceRule::DENY_ALL];
    rules.extend(DeviceRule::DEFAULTS);
    let program = filter_program(&rules).unwrap();
    assert!(run(&program, CHAR, READ | WRITE, 1, 3));
    assert!(run(&program, CHAR, READ | WRITE, 136, 77));
    assert!(run(&program, CHAR, MAKE, 99, 99));
    assert!(run(&program, BLOCK, MAKE, 8, 0));
    assert!(!run(&program, BLOCK, READ, 8, 0));
    assert!(!run(&program, CHAR, READ | MAKE, 99, 99));
    assert!(!run(&program, CHAR, READ, 1, 1));
}

#[test]
fn partial_access_needs_all_that_is_asked() {
    let rule = |access| DeviceRule {
        kind: DeviceKind::Block,
        major: Some(8),
        minor: None,
        access,
        allow: true,
    };
    let program = filter_program(&[rule(Access::READ)]).unwrap();
    assert!(run(&program, BLOCK, READ, 8, 1));
    assert!(!run(&program, BLOCK, READ | WRITE, 8, 1));
    assert!(!run(&program, CHAR, READ, 8, 1));
}

#[test]
fn allow_all_with_an_exception() {
    let all = DeviceRule { allow: true, ..DeviceRule::DENY_ALL };
    let hole = DeviceRule {
        kind: DeviceKind::Char,
        major: Some(u32::MAX),
        minor: Some(1 << 31),
        access: Access::WRITE,
        allow: false,
    };
    let program = filter_program(&[all, hole]).unwrap();
    assert!(run(&program, CHAR, WRITE, 1, 1));
    assert!(!run(&program, CHAR, WRITE, u32::MAX, 1 << 31));
    assert!(run(&program, CHAR, READ, u32::MAX, 1 << 31));
}

#[test]
fn the_encoding_is_the_kernels() {
    let code = constant(JUMP_UNEQUAL, KIND, 2);
    let code = Instruction { offset: 3, ..code };
    #[cfg(target_endian = "little")]
    assert_eq!(code.encode(), 0x0000_0002_0003_0256);
    assert_eq!(load(MAJOR, 4).registers, 0x14);
}
