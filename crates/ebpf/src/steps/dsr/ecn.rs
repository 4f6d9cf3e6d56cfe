//! Congestion that a router has marked on a header of ours lives on in the packet that we take out of it (ECN, RFC 6040 4.2).
//!
//! On the way in, headers get the inner packet's own codepoint (RFC 6040 4.1), as part of the octet that is copied.

use crate::headers::{ETH_LEN, Ip4Header};
use crate::packet::Packet;
use crate::steps::dsr::wrap::Wrap;
use shunt_common::csum;

/// Congestion experienced (RFC 3168 5): both bits.
const CE: u8 = 3;

/// Where the header's own sum stands (IPv4).
const CHECK: u32 = core::mem::offset_of!(Ip4Header, check) as u32;

/// The two bits in the first word of an IP header.
#[inline(always)]
const fn codepoint<A: Wrap>(word: [u8; 4]) -> u8 {
    word[1] >> A::ECN_SHIFT & CE
}

/// Marks the packet whose IP header is at `inside` when the one around it is marked. `false` when its ends do not know of such
/// marks and so nobody may have made one: such a packet is not believed. ECT(1) is not carried over to ECT(0): nothing marks so.
#[inline(always)]
pub fn carry_over<P: Packet, A: Wrap>(pkt: P, inside: u32) -> bool {
    let mut word = [0; 4];
    if !pkt.load(ETH_LEN, &mut word) {
        return false;
    }
    if codepoint::<A>(word) != CE {
        return true;
    }
    pkt.load(inside, &mut word) && codepoint::<A>(word) != 0 && mark::<P, A>(pkt, inside, word)
}

/// Writes the mark, and keeps the header's own sum right.
#[inline(always)]
fn mark<P: Packet, A: Wrap>(pkt: P, at: u32, word: [u8; 4]) -> bool {
    let mut marked = word;
    marked[1] |= CE << A::ECN_SHIFT;
    if !pkt.store_summed(at, &marked) {
        return false;
    }
    if !A::HEADER_HAS_SUM {
        return true;
    }
    let mut check = 0u16;
    if !pkt.load(at + CHECK, &mut check) {
        return false;
    }
    let delta = csum::delta(u32::from_ne_bytes(word), u32::from_ne_bytes(marked));
    pkt.store_summed(at + CHECK, &csum::update(check, delta))
}
