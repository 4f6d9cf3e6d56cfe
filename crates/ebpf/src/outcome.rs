//! What a hook decided, and the one place where that becomes a kernel action and a counter.

use crate::{maps::COUNTER, packet::Packet};
use shunt_common::{Direction, Reason};

/// The end of a packet's way through a hook.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Not ours: the next program, and the stack, see it untouched.
    Pass,
    /// Not ours either, for a reason worth counting.
    Left(Reason),
    /// Rewritten; goes on to the next program and up or down the stack.
    Stack,
    /// Rewritten and handed to another device.
    Redirected,
    /// Turned into an answer to its sender, because of the reason.
    Answered(Reason),
    /// Dropped.
    Drop(Reason),
}

/// `TCX_NEXT` and `TC_ACT_UNSPEC`: the next program decides.
pub const NEXT: i32 = -1;
/// `TC_ACT_SHOT`.
const SHOT: i32 = 2;
/// `TC_ACT_REDIRECT`.
pub const REDIRECT: i32 = 7;

/// Counts an outcome and names the tc action for it.
#[inline(always)]
pub fn tc_verdict<P: Packet>(pkt: P, outcome: Outcome, direction: Direction) -> i32 {
    let (action, reason) = match outcome {
        Outcome::Pass => return NEXT,
        Outcome::Left(reason) => (NEXT, reason),
        Outcome::Stack => (NEXT, Reason::Forwarded),
        Outcome::Redirected => (REDIRECT, Reason::Forwarded),
        Outcome::Answered(reason) => (REDIRECT, reason),
        Outcome::Drop(reason) => (SHOT, reason),
    };
    count(reason, direction, pkt.len());
    action
}

/// Adds one packet to a reason's counter.
#[inline(always)]
pub fn count(reason: Reason, direction: Direction, bytes: u32) {
    if let Some(counter) = COUNTER.get_ptr_mut(reason.index(direction)) {
        // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += u64::from(bytes);
        }
    }
}
