//! First step: who talks to whom.

use crate::family::Family;
use crate::headers::{ETH_LEN, IcmpHeader, Ip4Header, Ip6Header, SctpHeader, TcpHeader, UdpHeader};
use crate::packet::Packet;
use core::ptr::read_volatile;
use shunt_common::{FlowKey, Ip4, Ip6, PortBe, Proto, tcp};

/// What the later steps need to know of a packet.
#[derive(Clone, Copy)]
pub struct Parsed<A> {
    /// Its tuple.
    pub key: FlowKey<A>,
    /// Offset of the transport header.
    pub l4: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Length of the transport's packet, as the IP header tells it.
    pub l4_len: u32,
    /// TCP flags; for SCTP those that mean the same as its first chunk; zero for UDP. For ICMP its type.
    pub tcp: u8,
    /// It is a first fragment: its ports are known, those of the fragments behind it are not.
    pub fragment: bool,
    /// It is a later fragment: of what is here, only addresses, TTL and [`Self::datagram`] are its own.
    pub later: bool,
    /// What the fragments of a datagram share beside the addresses: identification, and for IPv4 the protocol (RFC 791
    /// 3.2, RFC 8200 4.5).
    pub datagram: [u32; 2],
}

impl<A> Parsed<A> {
    /// Whether it is UDP.
    #[inline(always)]
    pub fn is_udp(&self) -> bool {
        self.key.proto == Proto::Udp as u32
    }
    /// Whether it is ICMP or ICMPv6.
    #[inline(always)]
    pub fn is_icmp(&self) -> bool {
        self.key.proto == Proto::Icmp as u32 || self.key.proto == Proto::Icmp6 as u32
    }
    /// Whether it is SCTP.
    #[inline(always)]
    pub fn is_sctp(&self) -> bool {
        self.key.proto == Proto::Sctp as u32
    }
}

/// What an IP header says about what follows it.
pub struct Network {
    pub proto: u8,
    pub l4: u32,
    end: u32,
    pub fragment: Fragment,
}

/// Whether a packet is whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    Whole,
    First,
    Later,
}

/// Families know how to read their own header.
pub trait Parse: Family {
    /// Reads the IP header at offset `at`, addresses and TTL into `parsed`; `None` when it is cut short, not this family's,
    /// or carries what is not looked into.
    fn network<P: Packet>(pkt: P, at: u32, parsed: &mut Parsed<Self>) -> Option<Network>;
}

/// How far into a packet a transport header may begin; all ones in binary.
const FARTHEST: u32 = 0x7ff;

/// Later IPv4 fragments have an offset, all but the last have this bit (RFC 791 3.1).
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

impl Parse for Ip4 {
    #[inline(always)]
    fn network<P: Packet>(pkt: P, at: u32, parsed: &mut Parsed<Self>) -> Option<Network> {
        let header = reach::<P, Ip4Header>(pkt, at)?;
        // SAFETY: `reach` gave a pointer to a whole header.
        let h = unsafe { &*header };
        let words = u32::from(h.version_ihl & 0x0f);
        if h.version_ihl >> 4 != 4 || words < 5 {
            return None;
        }
        let frag = u16::from_be(h.frag);
        let fragment = if frag & FRAGMENT_OFFSET != 0 {
            Fragment::Later
        } else if frag & MORE_FRAGMENTS != 0 {
            Fragment::First
        } else {
            Fragment::Whole
        };
        parsed.key.src = Self([h.src]);
        parsed.key.dst = Self([h.dst]);
        parsed.ttl = h.ttl;
        parsed.datagram = [u32::from(h.id), u32::from(h.proto)];
        let end = at + u32::from(u16::from_be(h.total_len));
        Some(Network { proto: h.proto, l4: at + words * 4, end, fragment })
    }
}

/// Extension headers (RFC 8200 4) that are walked through, and how many at the most.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const EXTENSIONS: u32 = 4;

impl Parse for Ip6 {
    #[inline(always)]
    fn network<P: Packet>(pkt: P, at: u32, parsed: &mut Parsed<Self>) -> Option<Network> {
        let header = reach::<P, Ip6Header>(pkt, at)?;
        // SAFETY: `reach` gave a pointer to a whole header.
        let h = unsafe { &*header };
        if h.version_flow & 0xf0 != 0x60 {
            return None;
        }
        parsed.key.src = Self(h.src);
        parsed.key.dst = Self(h.dst);
        parsed.ttl = h.hop_limit;
        let end = at + Self::HEADER + u32::from(u16::from_be(h.payload_len));
        let mut next = h.next;
        let mut l4 = at + Self::HEADER;
        let mut fragment = Fragment::Whole;
        for _ in 0..EXTENSIONS {
            if next != HOP_BY_HOP && next != ROUTING && next != DESTINATION && next != FRAGMENT {
                break;
            }
            let mut extension = [0u8; 8];
            if !pkt.load(l4, &mut extension) {
                return None;
            }
            // The addresses are those of one leg of its way, and its sum counts the last leg's.
            if next == ROUTING && extension[3] != 0 {
                return None;
            }
            if next == FRAGMENT {
                let offset = u16::from_be_bytes([extension[2], extension[3]]);
                let id = [extension[4], extension[5], extension[6], extension[7]];
                parsed.datagram = [u32::from_ne_bytes(id), 0];
                fragment = if offset & 0xfff8 != 0 {
                    Fragment::Later
                } else if offset & 1 != 0 {
                    Fragment::First
                } else {
                    Fragment::Whole
                };
                l4 += 8;
                // Behind the header of a later fragment there is data, not another header.
                if fragment == Fragment::Later {
                    break;
                }
            } else {
                l4 += (u32::from(extension[1]) + 1) * 8;
            }
            next = extension[0];
        }
        Some(Network { proto: next, l4, end, fragment })
    }
}

/// Reads a packet; `None` when it is none of our business: another protocol, cut short, or a later fragment, which
/// [`super::fragments::follow`] then takes up.
///
/// What was read goes through per-CPU room rather than registers: the verifier then forgets by which of many ways
/// through the headers it came to be known, and looks at all later steps once instead of once for each way.
#[inline(always)]
pub fn parse<P: Packet, A: Parse>(pkt: P) -> Option<&'static Parsed<A>> {
    let room = A::parsed()?;
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let parsed = unsafe { &mut *room };
    parsed.later = false;
    let n = A::network(pkt, ETH_LEN, parsed)?;
    if n.fragment == Fragment::Later {
        parsed.later = true;
        return None;
    }
    if n.l4 > FARTHEST {
        return None;
    }
    let (ports, tcp) = match n.proto {
        6 => {
            let tcp = reach::<P, TcpHeader>(pkt, n.l4)?;
            // SAFETY: `reach` gave a pointer to a whole header. Sport and dport are read as one word.
            unsafe { (read_volatile(tcp.cast::<u32>()), (*tcp).flags) }
        }
        17 => {
            let udp = reach::<P, UdpHeader>(pkt, n.l4)?;
            // SAFETY: as above.
            unsafe { (read_volatile(udp.cast::<u32>()), 0) }
        }
        132 => {
            let sctp = reach::<P, SctpHeader>(pkt, n.l4)?;
            // SAFETY: as above.
            unsafe { (read_volatile(sctp.cast::<u32>()), tcp::of_sctp((*sctp).chunk)) }
        }
        proto if proto == A::ICMP as u8 => {
            let icmp = reach::<P, IcmpHeader>(pkt, n.l4)?;
            // SAFETY: as above.
            unsafe { (0, (*icmp).kind) }
        }
        _ => return None,
    };
    parsed.key.sport = PortBe(ports as u16);
    parsed.key.dport = PortBe((ports >> 16) as u16);
    parsed.key.proto = u32::from(n.proto);
    parsed.l4 = n.l4;
    parsed.l4_len = n.end.wrapping_sub(n.l4);
    parsed.tcp = tcp;
    parsed.fragment = n.fragment == Fragment::First;
    // LLVM must not know what is in there either, or it keeps all of it in registers and on the stack.
    // SAFETY: as above.
    Some(unsafe { &*core::hint::black_box(room) })
}

/// A header that may lie beyond the linear part of the packet, which is then extended.
#[inline(always)]
pub fn reach<P: Packet, T>(pkt: P, offset: u32) -> Option<*mut T> {
    // The verifier wants a bound on a packet offset that came from the packet.
    let offset = bounded(offset);
    if let Some(header) = pkt.at::<T>(offset) {
        return Some(header);
    }
    let end = offset + size_of::<T>() as u32;
    if end > pkt.len() || !pkt.pull(end) {
        return None;
    }
    pkt.at::<T>(offset)
}

/// The same offset, with an upper bound that the compiler cannot reason away.
#[inline(always)]
pub fn bounded(offset: u32) -> u32 {
    let mut offset = offset;
    // SAFETY: a register move.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) offset, options(pure, nomem, nostack, preserves_flags))
    };
    offset & FARTHEST
}
