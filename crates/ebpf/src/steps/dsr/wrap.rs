//! The whole packet inside another IP header: `loadBalancer.dsrDispatch: ipip` (RFC 2003, RFC 2473).
//!
//! The outer header goes from the node to the backend's own address, which any CNI routes; the inner packet is the client's
//! as it came, and so names the service by itself.

use crate::family::Family;
use crate::headers::{ETH_LEN, Ip4Header, Ip6Header};
use crate::packet::{Outer, Packet};
use crate::steps::dsr::info::{longer, segments};
use crate::steps::parse::{Parsed, bounded};
use shunt_common::{FlowKey, Ip4, Ip6, PortBe, csum};

/// Families know how to carry a packet of their own.
pub trait Wrap: Family {
    /// The protocol number of this family inside an IP header.
    const CARRIED: u8;
    /// How far the congestion codepoint is from the low end of the header's second octet.
    const ECN_SHIFT: u32;
    /// Whether the header has a sum of its own.
    const HEADER_HAS_SUM: bool;
    /// What the kernel must know of a header of this family that is put in front.
    const IN_IP: Outer;
    /// The same, with UDP behind it.
    const IN_UDP: Outer;
    /// Whether the packet carries a protocol right behind its fixed IP header, and is whole.
    fn is_plain<P: Packet>(pkt: P, proto: u8) -> bool;
    /// A packet's length by its header, in bytes, the header's own included; zero where that is not told ([`longer`]).
    fn whole(header: &Self::Header) -> u16;
    /// A header to put in front of a packet, from this node to `dst`; `len` bytes of `proto` will follow it.
    fn outer(inner: &Self::Header, dst: Self, proto: u8, len: u16) -> Self::Header;
    /// Who the packet is for.
    fn target<P: Packet>(pkt: P) -> Option<Self>;
    /// Reads the tuple of the packet whose IP header is at `at`; `false` when it has none or cannot be ours.
    fn peek<P: Packet>(pkt: P, at: u32, key: &mut FlowKey<Self>) -> bool;
}

/// Whether the packet carries one of its own family and no more can be said without a look into that.
#[inline(always)]
pub fn is_wrapped<P: Packet, A: Wrap>(pkt: P) -> bool {
    A::is_plain(pkt, A::CARRIED)
}

/// Where the carried packet begins.
pub const fn inside<A: Family>() -> u32 {
    ETH_LEN + A::HEADER
}

/// Puts a header in front, from this node to `dst`, and takes a hop off the inner one; `p` is the packet as it came.
#[inline(never)]
pub fn wrap<P: Packet, A: Wrap>(pkt: P, p: &Parsed<A>, dst: A) -> bool {
    let Some(h) = pkt.at::<A::Header>(ETH_LEN) else { return false };
    // SAFETY: `at` checked the bounds.
    let h = unsafe { &mut *h };
    A::write_header(h, p.key.src, p.key.dst, 0, 1);
    let outer = A::outer(h, dst, A::CARRIED, A::whole(h));
    pkt.cover(A::HEADER, A::IN_IP, segments(p)) && pkt.store_summed(ETH_LEN, &outer)
}

/// Protocols that have ports where TCP has them.
#[inline(always)]
const fn has_ports(proto: u8) -> bool {
    matches!(proto, 6 | 17 | 132)
}

/// The ports at an offset.
#[inline(always)]
fn ports<P: Packet>(pkt: P, at: u32) -> Option<(PortBe, PortBe)> {
    let mut ports = [0u16; 2];
    pkt.load(at, &mut ports).then_some((PortBe(ports[0]), PortBe(ports[1])))
}

/// Do not fragment (RFC 791 3.1), as it stands in memory: whether it fits has been looked at.
const DF: u16 = 0x4000u16.to_be();
/// Everything in the fragment field but that flag.
const FRAGMENT: u16 = 0x3fffu16.to_be();

impl Wrap for Ip4 {
    const CARRIED: u8 = 4;
    const ECN_SHIFT: u32 = 0;
    const HEADER_HAS_SUM: bool = true;
    const IN_IP: Outer = Outer::Ip4;
    const IN_UDP: Outer = Outer::Udp4;

    #[inline(always)]
    fn is_plain<P: Packet>(pkt: P, proto: u8) -> bool {
        let Some(h) = pkt.at::<Ip4Header>(ETH_LEN) else { return false };
        // SAFETY: `at` checked the bounds.
        let h = unsafe { &*h };
        h.version_ihl == 0x45 && h.proto == proto && h.frag & FRAGMENT == 0
    }

    #[inline(always)]
    fn whole(header: &Ip4Header) -> u16 {
        u16::from_be(header.total_len)
    }

    #[inline(always)]
    fn outer(inner: &Ip4Header, dst: Self, proto: u8, len: u16) -> Ip4Header {
        let total_len = longer(len, Self::HEADER as i16).to_be();
        let (tos, src, dst) = (inner.tos, Self::node_addr().0[0], dst.0[0]);
        let ttl = 64;
        let words = [
            u32::from_ne_bytes([0x45, tos, 0, 0]) | u32::from(total_len) << 16,
            u32::from(DF) << 16,
            u32::from_ne_bytes([ttl, proto, 0, 0]),
            src,
            dst,
        ];
        let mut sum = 0;
        let mut i = 0;
        while i < words.len() {
            sum = csum::add(sum, words[i]);
            i += 1;
        }
        let check = !csum::fold(sum);
        Ip4Header { version_ihl: 0x45, tos, total_len, id: 0, frag: DF, ttl, proto, check, src, dst }
    }

    #[inline(always)]
    fn target<P: Packet>(pkt: P) -> Option<Self> {
        let mut dst = 0u32;
        pkt.load(ETH_LEN + 16, &mut dst).then_some(Self([dst]))
    }

    #[inline(always)]
    fn peek<P: Packet>(pkt: P, at: u32, key: &mut FlowKey<Self>) -> bool {
        let mut addrs = [0u32; 2];
        let mut first = [0u8; 10];
        if !pkt.load(at, &mut first) || !pkt.load(at + 12, &mut addrs) {
            return false;
        }
        let later = u16::from_be_bytes([first[6], first[7]]) & 0x1fff != 0;
        if first[0] >> 4 != 4 || later || !has_ports(first[9]) {
            return false;
        }
        let words = u32::from(first[0] & 0x0f);
        (key.src, key.dst, key.proto) = (Self([addrs[0]]), Self([addrs[1]]), u32::from(first[9]));
        let Some(ports) = ports(pkt, bounded(at + words * 4)) else { return false };
        (key.sport, key.dport) = ports;
        true
    }
}

impl Wrap for Ip6 {
    const CARRIED: u8 = 41;
    const ECN_SHIFT: u32 = 4;
    const HEADER_HAS_SUM: bool = false;
    const IN_IP: Outer = Outer::Ip6;
    const IN_UDP: Outer = Outer::Udp6;

    #[inline(always)]
    fn is_plain<P: Packet>(pkt: P, proto: u8) -> bool {
        let Some(h) = pkt.at::<Ip6Header>(ETH_LEN) else { return false };
        // SAFETY: `at` checked the bounds.
        unsafe { (*h).next == proto }
    }

    #[inline(always)]
    fn whole(header: &Ip6Header) -> u16 {
        longer(u16::from_be(header.payload_len), Self::HEADER as i16)
    }

    #[inline(always)]
    fn outer(inner: &Ip6Header, dst: Self, proto: u8, len: u16) -> Ip6Header {
        Ip6Header {
            version_flow: inner.version_flow,
            payload_len: len.to_be(),
            next: proto,
            hop_limit: 64,
            src: Self::node_addr().0,
            dst: dst.0,
        }
    }

    #[inline(always)]
    fn target<P: Packet>(pkt: P) -> Option<Self> {
        let mut dst = [0u32; 4];
        pkt.load(ETH_LEN + 24, &mut dst).then_some(Self(dst))
    }

    #[inline(always)]
    fn peek<P: Packet>(pkt: P, at: u32, key: &mut FlowKey<Self>) -> bool {
        let mut addrs = [[0u32; 4]; 2];
        let mut first = [0u8; 8];
        if !pkt.load(at, &mut first) || !pkt.load(at + 8, &mut addrs) {
            return false;
        }
        if first[0] >> 4 != 6 || !has_ports(first[6]) {
            return false;
        }
        (key.src, key.dst, key.proto) = (Self(addrs[0]), Self(addrs[1]), u32::from(first[6]));
        let Some(ports) = ports(pkt, at + Self::HEADER) else { return false };
        (key.sport, key.dport) = ports;
        true
    }
}
