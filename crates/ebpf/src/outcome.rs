//! What a hook decided, and the one place where that becomes a kernel action and a counter.

use crate::headers::ETH_LEN;
use crate::maps::COUNTER;
use crate::packet::{Packet, xdp::Xdp};
use shunt_common::{Direction, Reason};

/// The end of a packet's way through a hook.
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Not ours: the next program, and the stack, see it untouched.
    Pass,
    /// Not ours, and tc need not look again.
    Settled,
    /// Not ours either, for a reason worth counting.
    Left(Reason),
    /// Rewritten; goes on to the next program and up or down the stack.
    Stack,
    /// Rewritten and handed to another device.
    Redirected,
    /// Rewritten and sent back out of the device that it came in by.
    Turned,
    /// Turned into an answer to its sender, because of the reason.
    Answered(Reason),
    /// Dropped.
    Drop(Reason),
}

impl Outcome {
    /// Whether the packet goes on, to where its flow leads.
    #[inline(always)]
    pub fn is_translated(self) -> bool {
        matches!(self, Self::Stack | Self::Redirected | Self::Turned)
    }
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
        Outcome::Pass | Outcome::Settled => return NEXT,
        Outcome::Left(reason) => (NEXT, reason),
        Outcome::Stack => (NEXT, Reason::Forwarded),
        Outcome::Redirected | Outcome::Turned => (REDIRECT, Reason::Forwarded),
        Outcome::Answered(reason) => (REDIRECT, reason),
        Outcome::Drop(reason) => (SHOT, reason),
    };
    count(reason, direction, pkt.len().wrapping_sub(ETH_LEN));
    action
}

/// `XDP_DROP`.
const XDP_DROP: i32 = 1;
/// `XDP_PASS`.
pub const XDP_PASS: i32 = 2;
/// `XDP_TX`.
const XDP_TX: i32 = 3;
/// `XDP_REDIRECT`.
const XDP_REDIRECT: i32 = 4;

/// Counts an outcome and names the XDP action for it. What passes is not counted: tc does, by what becomes of it there.
#[inline(always)]
pub fn xdp_verdict(pkt: Xdp, outcome: Outcome) -> i32 {
    let (action, reason) = match outcome {
        Outcome::Pass | Outcome::Left(_) => return XDP_PASS,
        Outcome::Settled => {
            pkt.settle();
            return XDP_PASS;
        }
        Outcome::Stack => (XDP_PASS, Reason::ForwardedByXdp),
        Outcome::Redirected => (XDP_REDIRECT, Reason::ForwardedByXdp),
        Outcome::Turned => (XDP_TX, Reason::ForwardedByXdp),
        Outcome::Answered(reason) => (XDP_TX, reason),
        Outcome::Drop(reason) => (XDP_DROP, reason),
    };
    count(reason, Direction::Ingress, pkt.len().wrapping_sub(ETH_LEN));
    action
}

/// Adds one packet to a reason's counter; `bytes` from its IP header on.
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
