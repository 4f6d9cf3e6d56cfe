//! Answers that we make ourselves: TCP resets and ICMP errors. Never silence, never a flood.

use crate::family::Family;
use crate::headers::{ETH_LEN, Ip4Header, Ip6Header, TcpHeader};
use crate::maps::REPLY_TOKENS;
use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::steps::jiffies;
use crate::steps::parse::Parsed;
use crate::config;
use shunt_common::{Ip4, Ip6, Proto, Reason, csum, tcp};

/// Answers that one CPU makes in a second, and at once (its bucket's depth).
const REPLIES_PER_SECOND: u32 = 1000;

/// An ICMP error; the numbers differ between the families.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Nobody listens (RFC 792 type 3 code 3, RFC 4443 type 1 code 4).
    PortUnreachable,
    /// Time exceeded (type 11 code 0, type 3 code 0).
    TtlExceeded,
    /// Too big for the next link, with its MTU (RFC 1191: type 3 code 4; RFC 4443: type 2).
    TooBig(u32),
}

/// Families know how to answer.
pub trait Reject: Family {
    /// Turns the packet into an ICMP error to its sender.
    fn icmp<P: Packet>(pkt: P, error: Error) -> bool;
    /// Turns a TCP segment into the reset that answers it (RFC 9293 3.5.2).
    fn reset<P: Packet>(pkt: P, l4: u32) -> bool;
}

/// The frontend has no backend: a reset for TCP, port unreachable for UDP.
#[inline(always)]
pub fn no_backend<P: Packet, A: Reject>(pkt: P, p: &Parsed<A>) -> Outcome {
    if p.is_udp() {
        return answer(pkt, Reason::NoBackend, A::icmp(pkt, Error::PortUnreachable));
    }
    if p.tcp & tcp::RST != 0 {
        return Outcome::Drop(Reason::NoBackend);
    }
    answer(pkt, Reason::NoBackend, A::reset(pkt, p.l4))
}

/// The hop limit ran out at this node.
#[inline(always)]
pub fn ttl_exceeded<P: Packet, A: Reject>(pkt: P) -> Outcome {
    answer(pkt, Reason::TtlExceeded, A::icmp(pkt, Error::TtlExceeded))
}

/// The packet does not fit the link that it must take.
#[inline(always)]
pub fn too_big<P: Packet, A: Reject>(pkt: P, mtu: u32) -> Outcome {
    answer(pkt, Reason::TooBig, A::icmp(pkt, Error::TooBig(mtu)))
}

/// Sends a packet that was turned into an answer back where it came from.
#[inline(always)]
fn answer<P: Packet>(pkt: P, reason: Reason, built: bool) -> Outcome {
    if !take_token() {
        return Outcome::Drop(Reason::RateLimited);
    }
    if built && swap_macs(pkt) && pkt.send(pkt.ifindex()) {
        Outcome::Answered(reason)
    } else {
        Outcome::Drop(reason)
    }
}

/// One of this CPU's tokens, if there is one left. High half: jiffies of the last refill; low half: tokens.
#[inline(always)]
fn take_token() -> bool {
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

#[inline(always)]
fn swap_macs<P: Packet>(pkt: P) -> bool {
    let Some(macs) = pkt.at::<[[u8; 6]; 2]>(0) else { return false };
    // SAFETY: `at` checked the bounds.
    unsafe { *macs = [(*macs)[1], (*macs)[0]] };
    true
}

/// Sum of 32-bit words.
#[inline(always)]
fn sum<const N: usize>(words: &[u32; N]) -> u32 {
    let mut total = 0;
    let mut i = 0;
    while i < N {
        total = csum::add(total, words[i]);
        i += 1;
    }
    total
}

/// Length of an offset-free answer: what precedes its payload is always 20 or 40 bytes of IP header.
const RST_LEN: u32 = size_of::<TcpHeader>() as u32;

/// The words of a reset that answers a segment, with its checksum for a pseudo-header that sums to `pseudo`.
///
/// `offloaded`: the segment's own sum was left to the NIC (CHECKSUM_PARTIAL), and the kernel will complete ours as well:
/// then the field must hold the pseudo-header's sum only.
#[inline(always)]
fn reset_words(t: &TcpHeader, payload: u32, pseudo: u32, offloaded: bool) -> [u32; 5] {
    let (seq, ack, flags) = if t.flags & tcp::ACK != 0 {
        (t.ack, 0, tcp::RST)
    } else {
        let length = payload + u32::from(t.flags & tcp::SYN != 0) + u32::from(t.flags & tcp::FIN != 0);
        (0, u32::from_be(t.seq).wrapping_add(length).to_be(), tcp::RST | tcp::ACK)
    };
    let ports = u32::from(t.dport) | u32::from(t.sport) << 16;
    // Data offset 5 in the high nibble of byte 12, flags in byte 13, window 0.
    let mut words = [ports, seq, ack, 0x50 | u32::from(flags) << 8, 0];
    words[4] = u32::from(if offloaded { csum::fold(pseudo) } else { !csum::fold(csum::add(sum(&words), pseudo)) });
    words
}

/// Sum of a pseudo-header's length and protocol, in memory order.
#[inline(always)]
fn pseudo_tail(len: u32, proto: Proto) -> u32 {
    u32::from((len as u16).to_be()) + u32::from((proto as u16).to_be())
}

impl Reject for Ip4 {
    #[inline(never)]
    fn icmp<P: Packet>(pkt: P, error: Error) -> bool {
        let mut quoted = [0u32; 7];
        if !pkt.load(ETH_LEN, &mut quoted) {
            return false;
        }
        let (kind, rest) = match error {
            Error::PortUnreachable => (0x0303, 0),
            Error::TtlExceeded => (0x000b, 0),
            Error::TooBig(mtu) => (0x0403, u32::from((mtu as u16).to_be()) << 16),
        };
        let check = !csum::fold(csum::add(sum(&quoted), csum::add(kind, rest)));
        let (src, dst) = (quoted[4], quoted[3]);
        let mut packet = [0u32; 14];
        packet[..5].copy_from_slice(&ip4_header(src, dst, 36, Proto::Icmp));
        packet[5] = kind | u32::from(check) << 16;
        packet[6] = rest;
        packet[7..].copy_from_slice(&quoted);
        pkt.resize(ETH_LEN + 56) && pkt.store(ETH_LEN, &packet)
    }

    #[inline(never)]
    fn reset<P: Packet>(pkt: P, l4: u32) -> bool {
        let mut ip = Ip4Header { version_ihl: 0, tos: 0, total_len: 0, id: 0, frag: 0, ttl: 0, proto: 0, check: 0, src: 0, dst: 0 };
        let mut t = TcpHeader { sport: 0, dport: 0, seq: 0, ack: 0, offset: 0, flags: 0, window: 0, check: 0, urgent: 0 };
        if !pkt.load(ETH_LEN, &mut ip) || !pkt.load(l4, &mut t) {
            return false;
        }
        let segment = u32::from(u16::from_be(ip.total_len)).wrapping_sub(l4 - ETH_LEN);
        let addresses = csum::add(ip.src, ip.dst);
        let offloaded = t.check == csum::fold(csum::add(addresses, pseudo_tail(segment, Proto::Tcp)));
        let payload = segment.wrapping_sub(u32::from(t.offset >> 4) * 4);
        let mut packet = [0u32; 10];
        packet[..5].copy_from_slice(&ip4_header(ip.dst, ip.src, RST_LEN, Proto::Tcp));
        let pseudo = csum::add(addresses, pseudo_tail(RST_LEN, Proto::Tcp));
        packet[5..].copy_from_slice(&reset_words(&t, payload, pseudo, offloaded));
        pkt.resize(ETH_LEN + 40) && pkt.store(ETH_LEN, &packet)
    }
}

/// An IPv4 header without options, do not fragment, TTL 64.
#[inline(always)]
fn ip4_header(src: u32, dst: u32, payload: u32, proto: Proto) -> [u32; 5] {
    let total = u32::from(((payload + 20) as u16).to_be()) << 16;
    let mut words = [0x45 | total, 0x0040_0000, 64 | (proto as u32) << 8, src, dst];
    let check = !csum::fold(sum(&words));
    words[2] |= u32::from(check) << 16;
    words
}

impl Reject for Ip6 {
    #[inline(never)]
    fn icmp<P: Packet>(pkt: P, error: Error) -> bool {
        let mut quoted = [0u32; 12];
        if !pkt.load(ETH_LEN, &mut quoted) {
            return false;
        }
        let (kind, rest) = match error {
            Error::PortUnreachable => (0x0401, 0),
            Error::TtlExceeded => (0x0003, 0),
            Error::TooBig(mtu) => (0x0002, mtu.to_be()),
        };
        let mut packet = [0u32; 24];
        ip6_header(&mut packet, 56, Proto::Icmp6);
        let mut addresses = 0;
        let mut i = 0;
        while i < 4 {
            packet[2 + i] = quoted[6 + i];
            packet[6 + i] = quoted[2 + i];
            addresses = csum::add(addresses, csum::add(quoted[2 + i], quoted[6 + i]));
            i += 1;
        }
        let pseudo = csum::add(addresses, pseudo_tail(56, Proto::Icmp6));
        let check = !csum::fold(csum::add(csum::add(sum(&quoted), pseudo), csum::add(kind, rest)));
        packet[10] = kind | u32::from(check) << 16;
        packet[11] = rest;
        packet[12..].copy_from_slice(&quoted);
        pkt.resize(ETH_LEN + 96) && pkt.store(ETH_LEN, &packet)
    }

    #[inline(never)]
    fn reset<P: Packet>(pkt: P, l4: u32) -> bool {
        let mut ip = Ip6Header { version_flow: 0, payload_len: 0, next: 0, hop_limit: 0, src: [0; 4], dst: [0; 4] };
        let mut t = TcpHeader { sport: 0, dport: 0, seq: 0, ack: 0, offset: 0, flags: 0, window: 0, check: 0, urgent: 0 };
        if !pkt.load(ETH_LEN, &mut ip) || !pkt.load(l4, &mut t) {
            return false;
        }
        let segment = u32::from(u16::from_be(ip.payload_len)).wrapping_sub(l4 - ETH_LEN - Self::HEADER);
        let mut packet = [0u32; 15];
        ip6_header(&mut packet, RST_LEN, Proto::Tcp);
        let mut addresses = 0;
        let mut i = 0;
        while i < 4 {
            packet[2 + i] = ip.dst[i];
            packet[6 + i] = ip.src[i];
            addresses = csum::add(addresses, csum::add(ip.src[i], ip.dst[i]));
            i += 1;
        }
        let offloaded = t.check == csum::fold(csum::add(addresses, pseudo_tail(segment, Proto::Tcp)));
        let payload = segment.wrapping_sub(u32::from(t.offset >> 4) * 4);
        let pseudo = csum::add(addresses, pseudo_tail(RST_LEN, Proto::Tcp));
        packet[10..].copy_from_slice(&reset_words(&t, payload, pseudo, offloaded));
        pkt.resize(ETH_LEN + 60) && pkt.store(ETH_LEN, &packet)
    }
}

/// The first two words of an IPv6 header, hop limit 64; addresses are the caller's.
#[inline(always)]
fn ip6_header<const N: usize>(packet: &mut [u32; N], payload: u32, proto: Proto) {
    packet[0] = 0x60;
    packet[1] = u32::from((payload as u16).to_be()) | (proto as u32) << 16 | 64 << 24;
}
