//! Device rules as a BPF program (`BPF_PROG_TYPE_CGROUP_DEVICE`), which v2 runs for every access
//! to a device.
//!
//! The program tests the rules from the last to the first. It keeps the kinds of access that no
//! rule has decided yet. A rule that denies one of them ends the program, and so does a rule
//! that allows the last of them.

use super::devices::{Access, DeviceKind, Policy, Rule, Verdict};
use crate::sys::BpfInstruction;

// Classes, operations and sources of an instruction's code (linux/bpf.h).
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE: u8 = 0xb4; // BPF_ALU | BPF_MOV | BPF_K
const MOVE_REGISTER: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
// Comparisons of 32 bits (Linux 5.1). A 64-bit comparison would sign-extend its operand, and a
// device number may have the highest bit set.
const JUMP_EQUAL: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
const JUMP_UNEQUAL: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

// The registers. The kernel passes the context in r1 and takes the verdict from r0, where 0
// denies.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const WANTED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// The program for `policy`.
pub(in crate::cgroups) fn assemble(policy: &Policy) -> Vec<BpfInstruction> {
    // struct bpf_cgroup_dev_ctx: access_type (access << 16 | type), major, minor.
    let mut program = vec![
        BpfInstruction::new(LOAD_WORD, (KIND, CONTEXT), 0, 0),
        BpfInstruction::new(MOVE_REGISTER, (WANTED, KIND), 0, 0),
        immediate(AND, KIND, 0xffff),
        immediate(SHIFT_RIGHT, WANTED, 16),
        BpfInstruction::new(LOAD_WORD, (MAJOR, CONTEXT), 4, 0),
        BpfInstruction::new(LOAD_WORD, (MINOR, CONTEXT), 8, 0),
    ];
    for rule in policy.rules.iter().rev() {
        program.extend(rule_instructions(rule));
    }
    program.extend(return_verdict(policy.default));
    program
}

/// The instructions for one rule. When it decides nothing, execution continues after them.
fn rule_instructions(rule: &Rule) -> Vec<BpfInstruction> {
    let kind = match rule.devices.kind {
        DeviceKind::Block => 1, // BPF_DEVCG_DEV_BLOCK
        DeviceKind::Char => 2,  // BPF_DEVCG_DEV_CHAR
    };
    let mut code = vec![immediate(JUMP_UNEQUAL, KIND, kind)];
    if let Some(major) = rule.devices.major {
        code.push(immediate(JUMP_UNEQUAL, MAJOR, major.cast_signed()));
    }
    if let Some(minor) = rule.devices.minor {
        code.push(immediate(JUMP_UNEQUAL, MINOR, minor.cast_signed()));
    }
    match (rule.verdict, rule.access) {
        (_, Access::ALL) => {}
        (Verdict::Deny, access) => code.extend([
            BpfInstruction::new(MOVE_REGISTER, (SCRATCH, WANTED), 0, 0),
            immediate(AND, SCRATCH, access.0.into()),
            immediate(JUMP_EQUAL, SCRATCH, 0),
        ]),
        (Verdict::Allow, access) => code.extend([
            immediate(AND, WANTED, (!access).0.into()),
            immediate(JUMP_UNEQUAL, WANTED, 0),
        ]),
    }
    code.extend(return_verdict(rule.verdict));
    // All jumps go to the end of the rule, which has ten instructions at most.
    let end = code.len();
    for (position, instruction) in code.iter_mut().enumerate() {
        if matches!(instruction.code, JUMP_EQUAL | JUMP_UNEQUAL) {
            instruction.offset = (end - position - 1) as i16;
        }
    }
    code
}

fn return_verdict(verdict: Verdict) -> [BpfInstruction; 2] {
    let result = match verdict {
        Verdict::Allow => 1,
        Verdict::Deny => 0,
    };
    [
        immediate(MOVE, RESULT, result),
        BpfInstruction::new(EXIT, (0, 0), 0, 0),
    ]
}

fn immediate(code: u8, register: u8, value: i32) -> BpfInstruction {
    BpfInstruction::new(code, (register, 0), 0, value)
}

/// Interprets the instructions above, and panics at any other.
#[cfg(test)]
pub(in crate::cgroups) fn interpret(program: &[BpfInstruction], context: [u32; 3]) -> bool {
    let mut registers = [None::<u32>; 7];
    let mut position = 0usize;
    loop {
        let instruction = program[position];
        let (target, source) = instruction.registers();
        let (target, source) = (usize::from(target), usize::from(source));
        let value = instruction.immediate.cast_unsigned();
        position += 1;
        let jump = match instruction.code {
            LOAD_WORD => {
                assert_eq!(source, usize::from(CONTEXT));
                let offset = usize::try_from(instruction.offset).unwrap();
                registers[target] = Some(context[offset / 4]);
                false
            }
            MOVE => {
                registers[target] = Some(value);
                false
            }
            MOVE_REGISTER => {
                registers[target] = Some(registers[source].unwrap());
                false
            }
            AND => {
                registers[target] = Some(registers[target].unwrap() & value);
                false
            }
            SHIFT_RIGHT => {
                registers[target] = Some(registers[target].unwrap() >> value);
                false
            }
            JUMP_EQUAL => registers[target].unwrap() == value,
            JUMP_UNEQUAL => registers[target].unwrap() != value,
            EXIT => return registers[0].unwrap() == 1,
            code => panic!("instruction {code:#x}"),
        };
        if jump {
            position += usize::try_from(instruction.offset).unwrap();
        }
    }
}
