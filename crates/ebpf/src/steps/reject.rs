//! Answers that we make ourselves: TCP resets and ICMP errors. Never silence, never a flood.

use crate::config;
use crate::family::Family;
use crate::headers::{ETH_LEN, TcpHeader};
use crate::maps::REPLY_TOKENS;
use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::steps::jiffies;
use crate::steps::parse::Parsed;
use shunt_common::{Ip4, Ip6, Proto, Reason, csum, tcp};

/// Answers that one CPU makes in a second, and at once (its bucket's depth).
const REPLIES_PER_SECOND: u32 = 1000;

/// An ICMP error; the numbers differ between the families.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Error {
    /// Nobody listens (RFC 792 type 3 code 3, RFC 4443 type 1 code 4).
    PortUnreachable,
    /// Time exceeded (type 11 code 0, type 3 code 0).
    TtlExceeded,
    /// Too big for the next link (RFC 1191: type 3 code 4; RFC 4443: type 2).
    TooBig,
}

/// Families know how to answer.
pub trait Reject: Family {
    /// Turns the packet into an ICMP error to its sender. `mtu` is for [`Error::TooBig`] alone.
    fn icmp<P: Packet>(pkt: P, p: &Parsed<Self>, error: Error, mtu: u32) -> bool;
    /// Turns a TCP segment into the reset that answers it (RFC 9293 3.5.2).
    fn reset<P: Packet>(pkt: P, l4: u32) -> bool;
}

/// As if nobody listened: a reset for TCP, port unreachable for all else.
#[inline(always)]
pub fn nobody_listens<P: Packet, A: Reject>(pkt: P, p: &Parsed<A>, reason: Reason) -> Outcome {
    if p.tcp & tcp::RST != 0 {
        return Outcome::Drop(reason);
    }
    if p.is_udp() || p.is_sctp() {
        return answer(pkt, reason, || A::icmp(pkt, p, Error::PortUnreachable, 0));
    }
    answer(pkt, reason, || A::reset(pkt, p.l4))
}

/// The hop limit ran out at this node.
#[inline(always)]
pub fn ttl_exceeded<P: Packet, A: Reject>(pkt: P, p: &Parsed<A>) -> Outcome {
    answer(pkt, Reason::TtlExceeded, || A::icmp(pkt, p, Error::TtlExceeded, 0))
}

/// The packet does not fit the link that it must take.
#[inline(always)]
pub fn too_big<P: Packet, A: Reject>(pkt: P, p: &Parsed<A>, mtu: u32) -> Outcome {
    answer(pkt, Reason::TooBig, || A::icmp(pkt, p, Error::TooBig, mtu))
}

/// Sends a packet that `build` turns into an answer back where it came from.
#[inline(always)]
pub fn answer<P: Packet>(pkt: P, reason: Reason, build: impl FnOnce() -> bool) -> Outcome {
    if !take_token() {
        return Outcome::Drop(Reason::RateLimited);
    }
    if build() && send_back(pkt) {
        Outcome::Answered(reason)
    } else if P::AT_DRIVER {
        // The driver's buffer has no room for the answer, which is seen before anything is written.
        Outcome::Pass
    } else {
        Outcome::Drop(reason)
    }
}

/// Out of the device that it came in by, to the neighbour that it came from.
#[inline(always)]
pub fn send_back<P: Packet>(pkt: P) -> bool {
    pkt.swap_macs() && pkt.send(pkt.ifindex())
}

/// One of this CPU's tokens, if there is one left. High half: jiffies of the last refill; low half: tokens.
#[inline(always)]
pub fn take_token() -> bool {
    let Some(bucket) = REPLY_TOKENS.get_ptr_mut(0) else { return false };
    let now = jiffies();
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    unsafe {
        let (stamp, mut tokens) = ((*bucket >> 32) as u32, *bucket as u32);
        let mut since = stamp;
        if now.wrapping_sub(stamp) >= config::hz() || *bucket == 0 {
            tokens = REPLIES_PER_SECOND;
            since = now;
        }
        if tokens == 0 {
            return false;
        }
        *bucket = u64::from(since) << 32 | u64::from(tokens - 1);
    }
    true
}

/// Room for an answer, in words from its IP header on.
type Answer = [u32; 25];

#[inline(always)]
fn room<A: Family>() -> Option<&'static mut Answer> {
    let scratch = A::scratch()?;
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    Some(unsafe { &mut (*scratch).answer })
}

/// Copies `N` words of the packet's IP header and beyond to word `AT`.
#[inline(always)]
fn load_at<P: Packet, const AT: usize, const N: usize>(pkt: P, answer: &mut Answer) -> bool {
    const { assert!(AT + N <= 25) };
    // SAFETY: the words lie within the answer.
    pkt.load(ETH_LEN, unsafe { &mut *answer.as_mut_ptr().add(AT).cast::<[u32; N]>() })
}

/// Writes the first `N` words over the packet from its IP header on.
#[inline(always)]
fn store<P: Packet, const N: usize>(pkt: P, answer: &Answer) -> bool {
    const { assert!(N <= 25) };
    // SAFETY: the words lie within the answer.
    pkt.store(ETH_LEN, unsafe { &*answer.as_ptr().cast::<[u32; N]>() })
}

/// Sum of `N` words from word `AT` on.
#[inline(always)]
fn sum<const AT: usize, const N: usize>(answer: &Answer) -> u32 {
    let mut total = 0;
    let mut i = AT;
    while i < AT + N {
        total = csum::add(total, answer[i]);
        i += 1;
    }
    total
}

/// Bytes of a reset: a TCP header without options.
const RST_LEN: u32 = size_of::<TcpHeader>() as u32;

const NO_SEGMENT: TcpHeader =
    TcpHeader { sport: 0, dport: 0, seq: 0, ack: 0, offset: 0, flags: 0, window: 0, check: 0, urgent: 0 };

/// Writes the reset that answers a segment of `length` bytes at word `AT`; `addresses` is the sum of both addresses.
///
/// When the segment's own sum was left to the NIC (CHECKSUM_PARTIAL: the field holds the pseudo-header's sum only), the
/// kernel will complete ours as well, so the field must hold no more than that either.
#[inline(always)]
fn reset_words<const AT: usize>(answer: &mut Answer, t: &TcpHeader, length: u32, addresses: u32) {
    let offloaded = t.check == csum::fold(csum::add(addresses, pseudo_tail(length, Proto::Tcp)));
    let (seq, ack, flags) = if t.flags & tcp::ACK != 0 {
        (t.ack, 0, tcp::RST)
    } else {
        let payload = length.wrapping_sub(u32::from(t.offset >> 4) * 4);
        let space = payload + u32::from(t.flags & tcp::SYN != 0) + u32::from(t.flags & tcp::FIN != 0);
        (0, u32::from_be(t.seq).wrapping_add(space).to_be(), tcp::RST | tcp::ACK)
    };
    answer[AT] = u32::from(t.dport) | u32::from(t.sport) << 16;
    answer[AT + 1] = seq;
    answer[AT + 2] = ack;
    // Data offset 5 in the high nibble of byte 12, flags in byte 13, window 0.
    answer[AT + 3] = 0x50 | u32::from(flags) << 8;
    answer[AT + 4] = 0;
    let pseudo = csum::add(addresses, pseudo_tail(RST_LEN, Proto::Tcp));
    let whole = !csum::fold(csum::add(sum::<AT, 5>(answer), pseudo));
    answer[AT + 4] = u32::from(if offloaded { csum::fold(pseudo) } else { whole });
}

/// Sum of a pseudo-header's length and protocol, in memory order.
#[inline(always)]
fn pseudo_tail(len: u32, proto: Proto) -> u32 {
    u32::from((len as u16).to_be()) + u32::from((proto as u16).to_be())
}

/// A word to put behind an ICMP message, beyond the length that its IP header tells.
///
/// When the packet's own sum was left to the NIC (CHECKSUM_PARTIAL), the kernel or the NIC will still sum up everything
/// from the transport header to the end of the frame, and write the result where the sum of that transport stood: on
/// octet 6 (UDP) or 16 (TCP) of our message; `udp` and `tcp` are what stands there. The message and its `pseudo`-header
/// sum up to zero, so with this word behind it the result is what stands there already. Receivers cut the word off.
#[inline(always)]
fn settle<A>(p: &Parsed<A>, udp: u32, tcp: u32, pseudo: u32) -> u32 {
    let stands = if p.is_udp() { udp } else { tcp };
    u32::from(csum::fold(csum::add(!stands & 0xffff, pseudo)))
}

impl Reject for Ip4 {
    #[inline(never)]
    fn icmp<P: Packet>(pkt: P, p: &Parsed<Self>, error: Error, mtu: u32) -> bool {
        let Some(answer) = room::<Self>() else { return false };
        // Quoted from word 7 on: the IP header and 8 bytes of what it carried.
        if !load_at::<P, 7, 7>(pkt, answer) {
            return false;
        }
        let (kind, rest) = match error {
            Error::PortUnreachable => (0x0303, 0),
            Error::TtlExceeded => (0x000b, 0),
            Error::TooBig => (0x0403, u32::from((mtu as u16).to_be()) << 16),
        };
        let check = !csum::fold(csum::add(sum::<7, 7>(answer), csum::add(kind, rest)));
        let (src, dst) = (answer[11], answer[10]);
        ip4_header(answer, src, dst, 36, Proto::Icmp);
        answer[5] = kind | u32::from(check) << 16;
        answer[6] = rest;
        answer[14] = settle(p, answer[6] >> 16, answer[9], 0);
        pkt.resize(ETH_LEN + 60) && store::<P, 15>(pkt, answer)
    }

    #[inline(never)]
    fn reset<P: Packet>(pkt: P, l4: u32) -> bool {
        let Some(answer) = room::<Self>() else { return false };
        let mut t = NO_SEGMENT;
        if !load_at::<P, 0, 5>(pkt, answer) || !pkt.load(l4, &mut t) {
            return false;
        }
        let segment = u32::from(u16::from_be((answer[0] >> 16) as u16)).wrapping_sub(l4 - ETH_LEN);
        let (src, dst) = (answer[4], answer[3]);
        ip4_header(answer, src, dst, RST_LEN, Proto::Tcp);
        reset_words::<5>(answer, &t, segment, csum::add(src, dst));
        pkt.resize(ETH_LEN + 40) && store::<P, 10>(pkt, answer)
    }
}

/// An IPv4 header without options, do not fragment, TTL 64.
#[inline(always)]
fn ip4_header(answer: &mut Answer, src: u32, dst: u32, payload: u32, proto: Proto) {
    answer[0] = 0x45 | u32::from(((payload + 20) as u16).to_be()) << 16;
    answer[1] = 0x40 << 16;
    answer[2] = 64 | (proto as u32) << 8;
    answer[3] = src;
    answer[4] = dst;
    answer[2] |= u32::from(!csum::fold(sum::<0, 5>(answer))) << 16;
}

impl Reject for Ip6 {
    #[inline(never)]
    fn icmp<P: Packet>(pkt: P, p: &Parsed<Self>, error: Error, mtu: u32) -> bool {
        let Some(answer) = room::<Self>() else { return false };
        // Quoted from word 12 on: the IP header and 8 bytes of what it carried.
        if !load_at::<P, 12, 12>(pkt, answer) {
            return false;
        }
        let (kind, rest) = match error {
            Error::PortUnreachable => (0x0401, 0),
            Error::TtlExceeded => (0x0003, 0),
            Error::TooBig => (0x0002, mtu.to_be()),
        };
        ip6_header::<14>(answer, 56, Proto::Icmp6);
        let pseudo = csum::add(sum::<2, 8>(answer), pseudo_tail(56, Proto::Icmp6));
        let check = !csum::fold(csum::add(csum::add(sum::<12, 12>(answer), pseudo), csum::add(kind, rest)));
        answer[10] = kind | u32::from(check) << 16;
        answer[11] = rest;
        answer[24] = settle(p, answer[11] >> 16, answer[14], pseudo);
        pkt.resize(ETH_LEN + 100) && store::<P, 25>(pkt, answer)
    }

    #[inline(never)]
    fn reset<P: Packet>(pkt: P, l4: u32) -> bool {
        let Some(answer) = room::<Self>() else { return false };
        let mut t = NO_SEGMENT;
        // The segment's own header goes where the answer has room for it, behind what is written.
        if !load_at::<P, 12, 10>(pkt, answer) || !pkt.load(l4, &mut t) {
            return false;
        }
        let segment = u32::from(u16::from_be(answer[13] as u16)).wrapping_sub(l4 - ETH_LEN - Self::HEADER);
        ip6_header::<14>(answer, RST_LEN, Proto::Tcp);
        let addresses = sum::<2, 8>(answer);
        reset_words::<10>(answer, &t, segment, addresses);
        pkt.resize(ETH_LEN + 60) && store::<P, 15>(pkt, answer)
    }
}

/// An IPv6 header, hop limit 64, from the target of the one whose addresses begin at word `FROM` back to its source.
#[inline(always)]
fn ip6_header<const FROM: usize>(answer: &mut Answer, payload: u32, proto: Proto) {
    answer[0] = 0x60;
    answer[1] = u32::from((payload as u16).to_be()) | (proto as u32) << 16 | 64 << 24;
    let mut i = 0;
    while i < 4 {
        answer[2 + i] = answer[FROM + 4 + i];
        answer[6 + i] = answer[FROM + i];
        i += 1;
    }
}
