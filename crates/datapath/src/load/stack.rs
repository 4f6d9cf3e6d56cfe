//! How much stack a program needs: what the verifier says only in its log, reckoned from the instructions that it left.

use std::collections::{BTreeMap, BTreeSet};

/// Function frames are rounded up to so many bytes, and an empty one too, by the oldest kernel that we promise; by newer
/// ones to 16, where programs are compiled (`round_up_stack_depth` in kernel/bpf/verifier.c). What fits there fits
/// everywhere, so that a newer kernel tells what the oldest would refuse.
const ROUNDED: u32 = 32;

const FRAME: u8 = 10;

/// An instruction, as `struct bpf_insn` has it.
#[derive(Clone, Copy)]
struct Insn {
    code: u8,
    dst: u8,
    src: u8,
    off: i16,
    imm: i32,
}

impl From<u64> for Insn {
    fn from(raw: u64) -> Self {
        let [code, regs, off @ .., _, _, _, _] = raw.to_le_bytes();
        let imm = (raw >> 32) as i32;
        Self { code, dst: regs & 15, src: regs >> 4, off: i16::from_le_bytes(off), imm }
    }
}

impl Insn {
    const CALL: u8 = 0x85;
    const MOV_REG: u8 = 0xbf;
    const ADD_IMM: u8 = 0x07;

    /// The function that it calls, for the instruction at `at`.
    fn callee(self, at: usize) -> Option<usize> {
        // A compiled program has the distance in `off`, and in `imm` the function's number.
        let distance = if self.off != 0 { i64::from(self.off) } else { i64::from(self.imm) };
        let to = usize::try_from(at as i64 + 1 + distance).ok();
        to.filter(|_| self.code == Self::CALL && self.src == 1)
    }

    /// The register that it reads or writes memory by.
    const fn base(self) -> Option<u8> {
        match self.code & 7 {
            // LDX
            1 => Some(self.src),
            // ST, STX
            2 | 3 => Some(self.dst),
            _ => None,
        }
    }

    /// Whether it is a jump, a call or the end.
    const fn jumps(self) -> bool {
        matches!(self.code & 7, 5 | 6)
    }

    /// Where it may jump to, in its function, for the instruction at `at`.
    fn target(self, at: usize) -> Option<usize> {
        let is_long = self.code == 0x06;
        let distance = if is_long { i64::from(self.imm) } else { i64::from(self.off) };
        let to = usize::try_from(at as i64 + 1 + distance).ok();
        to.filter(|_| self.jumps() && self.code != Self::CALL && self.code != 0x95)
    }

    /// Whether it leaves something in its `dst`: loads, and arithmetic.
    const fn writes(self) -> bool {
        matches!(self.code & 7, 0 | 1 | 4 | 7)
    }
}

/// Bytes of stack of the deepest chain of calls. Of at most 512 in all (`MAX_BPF_STACK`).
pub(super) fn depth(instructions: &[u64]) -> u32 {
    let code: Vec<Insn> = instructions.iter().map(|raw| Insn::from(*raw)).collect();
    let mut starts = vec![0];
    starts.extend(code.iter().enumerate().filter_map(|(at, insn)| insn.callee(at)));
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([code.len()]);
    let functions: BTreeMap<usize, &[Insn]> =
        starts.iter().zip(ends).filter_map(|(start, end)| Some((*start, code.get(*start..end)?))).collect();
    below(0, &functions, &mut BTreeMap::new())
}

/// Of a function and what it calls. No function calls itself: the verifier sees to that.
fn below(start: usize, functions: &BTreeMap<usize, &[Insn]>, known: &mut BTreeMap<usize, u32>) -> u32 {
    if let Some(depth) = known.get(&start) {
        return *depth;
    }
    let Some(body) = functions.get(&start) else { return 0 };
    let callees = body.iter().enumerate().filter_map(|(at, insn)| insn.callee(start + at));
    let deepest = callees.map(|callee| below(callee, functions, known)).max().unwrap_or(0);
    let depth = frame(body).max(1).next_multiple_of(ROUNDED) + deepest;
    known.insert(start, depth);
    depth
}

/// The lowest byte of its frame that a function names. The lowest byte of a buffer is named where its address is made, in one
/// straight line, so what registers hold is followed from one jump to the next only.
fn frame(body: &[Insn]) -> u32 {
    const NOWHERE: [Option<i32>; 16] = [None; 16];
    let targets: BTreeSet<usize> = body.iter().enumerate().filter_map(|(at, i)| i.target(at)).collect();
    // Registers that point into the frame, and where.
    let mut into = NOWHERE;
    let mut lowest = 0;
    for (at, insn) in body.iter().enumerate() {
        if targets.contains(&at) {
            into = NOWHERE;
        }
        into[usize::from(FRAME)] = Some(0);
        if let Some(at) = insn.base().and_then(|base| into[usize::from(base)]) {
            lowest = lowest.min(at + i32::from(insn.off));
        }
        let dst = usize::from(insn.dst);
        match insn.code {
            Insn::MOV_REG => into[dst] = into[usize::from(insn.src)],
            Insn::ADD_IMM => into[dst] = into[dst].map(|at| at + insn.imm),
            _ if insn.jumps() => into = NOWHERE,
            _ if insn.writes() => into[dst] = None,
            _ => {}
        }
        lowest = lowest.min(into[dst].unwrap_or(0));
    }
    lowest.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
        let off = u64::from(off as u16) << 16;
        u64::from(code) | u64::from(dst | src << 4) << 8 | off | u64::from(imm as u32) << 32
    }
    const EXIT: u64 = 0x95;

    #[test]
    fn a_frame_is_as_deep_as_the_lowest_byte_that_is_named() {
        assert_eq!(depth(&[EXIT]), 32);
        // *(u64 *)(r10 - 40) = r1
        assert_eq!(depth(&[insn(0x7b, 10, 1, -40, 0), EXIT]), 64);
        // r2 = r10; r2 += -100; and *(u32 *)(r2 - 4) = 0
        let pointer = [insn(0xbf, 2, 10, 0, 0), insn(0x07, 2, 0, 0, -100)];
        assert_eq!(depth(&[&pointer[..], &[EXIT]].concat()), 128);
        assert_eq!(depth(&[&pointer[..], &[insn(0x62, 2, 0, -40, 0), EXIT]].concat()), 160);
        // A register that holds something else meanwhile: r2 = *(u64 *)(r1 + 0).
        let other = [insn(0x79, 2, 1, 0, 0), insn(0x07, 2, 0, 0, -400), EXIT];
        assert_eq!(depth(&[&pointer[..], &other].concat()), 128);
    }

    #[test]
    fn calls_add_up_along_the_deepest_chain() {
        let store = |off| insn(0x7b, 10, 1, off, 0);
        // 0: calls 3 and 5; 3: 16 bytes; 5: 96 bytes.
        let call = |off| insn(Insn::CALL, 0, 1, off, 7);
        let program = [call(2), call(3), EXIT, store(-8), EXIT, store(-90), EXIT];
        assert_eq!(depth(&program), 128);
    }
}
