//! The whole packet inside another IP header: `loadBalancer.dsrDispatch: ipip` (RFC 2003, RFC 2473).
//!
//! The outer header goes from the node to the backend's own address, which any CNI routes; the inner packet is the client's
//! as it came, and so names the service by itself.

use crate::family::Family;
use crate::headers::{ETH_LEN, Ip4Header, Ip6Header};
use crate::packet::{Outer, Packet};
use crate::steps::dsr::info::segments;
use crate::steps::parse::{Parsed, bounded};
use shunt_common::{FlowKey, Ip4, Ip6, PortBe, csum};

/// Families know how to carry a packet of their own.
pub trait Wrap: Family {
    /// The protocol number of this family inside an IP header.
    const CARRIED: u8;
    /// Whether the packet carries one of its own family and no more can be said without a look into that.
    fn is_wrapped<P: Packet>(pkt: P) -> bool;
    /// Puts a header in front, from this node to `dst`, and takes a hop off the inner one; `p` is the packet as it came.
    fn wrap<P: Packet>(pkt: P, p: &Parsed<Self>, dst: Self) -> bool;
    /// The tuple of the carried packet, and who its carrier is for; `None` when it cannot be ours.
    fn peek<P: Packet>(pkt: P, key: &mut FlowKey<Self>) -> Option<Self>;
}

/// Takes the outer header away.
#[inline(always)]
pub fn unwrap<P: Packet, A: Wrap>(pkt: P) -> bool {
    pkt.uncover(A::HEADER)
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
/// Where the carried packet begins.
const fn inner<A: Family>() -> u32 {
    ETH_LEN + A::HEADER
}

impl Wrap for Ip4 {
    const CARRIED: u8 = 4;

    #[inline(always)]
    fn is_wrapped<P: Packet>(pkt: P) -> bool {
        let Some(h) = pkt.at::<Ip4Header>(ETH_LEN) else { return false };
        // SAFETY: `at` checked the bounds.
        let h = unsafe { &*h };
        h.version_ihl == 0x45 && h.proto == Self::CARRIED && h.frag & FRAGMENT == 0
    }

    #[inline(never)]
    fn wrap<P: Packet>(pkt: P, p: &Parsed<Self>, dst: Self) -> bool {
        let Some(h) = pkt.at::<Ip4Header>(ETH_LEN) else { return false };
        // SAFETY: `at` checked the bounds.
        let h = unsafe { &mut *h };
        Self::write_header(h, p.key.src, p.key.dst, 0, 1);
        let len = u16::from_be(h.total_len).wrapping_add(Self::HEADER as u16).to_be();
        let mut outer = Ip4Header {
            version_ihl: 0x45,
            tos: h.tos,
            total_len: len,
            id: 0,
            frag: DF,
            ttl: 64,
            proto: Self::CARRIED,
            check: 0,
            src: Self::node_addr().0[0],
            dst: dst.0[0],
        };
        let words = [
            u32::from_ne_bytes([0x45, outer.tos, 0, 0]) | u32::from(len) << 16,
            u32::from(DF) << 16,
            u32::from_ne_bytes([outer.ttl, outer.proto, 0, 0]),
            outer.src,
            outer.dst,
        ];
        let mut sum = 0;
        let mut i = 0;
        while i < words.len() {
            sum = csum::add(sum, words[i]);
            i += 1;
        }
        outer.check = !csum::fold(sum);
        pkt.cover(Self::HEADER, Outer::Ip4, segments(p)) && pkt.store_summed(ETH_LEN, &outer)
    }

    #[inline(always)]
    fn peek<P: Packet>(pkt: P, key: &mut FlowKey<Self>) -> Option<Self> {
        let mut addrs = [0u32; 2];
        let mut first = [0u8; 10];
        let mut dst = 0u32;
        if !pkt.load(ETH_LEN + 16, &mut dst)
            || !pkt.load(inner::<Self>(), &mut first)
            || !pkt.load(inner::<Self>() + 12, &mut addrs)
        {
            return None;
        }
        let later = u16::from_be_bytes([first[6], first[7]]) & 0x1fff != 0;
        if first[0] >> 4 != 4 || later || !has_ports(first[9]) {
            return None;
        }
        let words = u32::from(first[0] & 0x0f);
        (key.src, key.dst, key.proto) = (Self([addrs[0]]), Self([addrs[1]]), u32::from(first[9]));
        (key.sport, key.dport) = ports(pkt, bounded(inner::<Self>() + words * 4))?;
        Some(Self([dst]))
    }
}

impl Wrap for Ip6 {
    const CARRIED: u8 = 41;

    #[inline(always)]
    fn is_wrapped<P: Packet>(pkt: P) -> bool {
        let Some(h) = pkt.at::<Ip6Header>(ETH_LEN) else { return false };
        // SAFETY: `at` checked the bounds.
        unsafe { (*h).next == Self::CARRIED }
    }

    #[inline(never)]
    fn wrap<P: Packet>(pkt: P, p: &Parsed<Self>, dst: Self) -> bool {
        let Some(h) = pkt.at::<Ip6Header>(ETH_LEN) else { return false };
        // SAFETY: `at` checked the bounds.
        let h = unsafe { &mut *h };
        Self::write_header(h, p.key.src, p.key.dst, 0, 1);
        let outer = Ip6Header {
            version_flow: h.version_flow,
            payload_len: u16::from_be(h.payload_len).wrapping_add(Self::HEADER as u16).to_be(),
            next: Self::CARRIED,
            hop_limit: 64,
            src: Self::node_addr().0,
            dst: dst.0,
        };
        pkt.cover(Self::HEADER, Outer::Ip6, segments(p)) && pkt.store_summed(ETH_LEN, &outer)
    }

    #[inline(always)]
    fn peek<P: Packet>(pkt: P, key: &mut FlowKey<Self>) -> Option<Self> {
        let mut dst = [0u32; 4];
        let mut addrs = [[0u32; 4]; 2];
        let mut first = [0u8; 8];
        if !pkt.load(ETH_LEN + 24, &mut dst)
            || !pkt.load(inner::<Self>(), &mut first)
            || !pkt.load(inner::<Self>() + 8, &mut addrs)
        {
            return None;
        }
        if first[0] >> 4 != 6 || !has_ports(first[6]) {
            return None;
        }
        (key.src, key.dst, key.proto) = (Self(addrs[0]), Self(addrs[1]), u32::from(first[6]));
        (key.sport, key.dport) = ports(pkt, inner::<Self>() + Self::HEADER)?;
        Some(Self(dst))
    }
}
