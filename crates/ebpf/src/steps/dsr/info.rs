//! What the client asked for, inside the IP header: `loadBalancer.dsrDispatch: opt`.
//!
//! The layouts are Cilium's, so that captures read the same: an IPv4 option of type 0x9a (copied, class 0, number 26, which
//! nobody has been given), and an IPv6 destination option of type 0x1b (whoever does not know it skips it, RFC 8200 4.2).

use crate::family::Family;
use crate::headers::{ETH_LEN, Ip4Header, Ip6Header};
use crate::packet::{Packet, Segments};
use crate::steps::parse::Parsed;
use shunt_common::{Ip4, Ip6, PortBe, csum};

/// Families know how to carry the information.
pub trait Info: Family {
    /// Bytes that it adds to a packet.
    const INFO: u32;
    /// Whether it may stand behind the packet's fixed IP header.
    fn has_room<P: Packet>(pkt: P) -> bool;
    /// Adds it behind the fixed IP header, where there is room; `p` is the packet as it came. `false` when the kernel refuses.
    fn inform<P: Packet>(pkt: P, p: &Parsed<Self>) -> bool;
    /// Reads it where it would stand, at offset `at`; `None` when it is none.
    fn informed<P: Packet>(pkt: P, at: u32) -> Option<(Self, PortBe)>;
    /// Takes it away.
    fn disinform<P: Packet>(pkt: P) -> bool;
    /// Whether an address can be a service's at all: one host's, and reachable from elsewhere.
    fn is_possible(self) -> bool;
}

/// Type and length of the IPv4 option, as they stand in memory.
const OPTION4: u16 = u16::from_ne_bytes([0x9a, 8]);
/// The most 32-bit words that an IPv4 header has.
const WORDS4: u8 = 15;

/// RFC 791 3.1: type, length, port, address.
#[repr(C)]
#[derive(Clone, Copy)]
struct Option4 {
    kind: u16,
    port: u16,
    addr: u32,
}

/// RFC 8200 4.6: a header with one option that fills it: the address, the port and two bytes of zero.
#[repr(C)]
#[derive(Clone, Copy)]
struct Option6 {
    next: u8,
    /// In units of 8 bytes beyond the first.
    len: u8,
    kind: u16,
    addr: [u32; 4],
    port: u16,
    pad: u16,
}

/// Type and length of the IPv6 option, as they stand in memory.
const OPTION6: u16 = u16::from_ne_bytes([0x1b, 20]);
/// Next headers: hop-by-hop options, destination options.
const HOP_BY_HOP: u8 = 0;
const DESTINATION: u8 = 60;
const LEN4: u32 = size_of::<Option4>() as u32;
const LEN6: u32 = size_of::<Option6>() as u32;
const _: () = assert!(LEN4 == 8 && LEN6 == 24);

/// Where the information stands.
pub const fn at<A: Family>() -> u32 {
    ETH_LEN + A::HEADER
}

/// What the packet's segments are, if it has any.
#[inline(always)]
pub fn segments<A>(p: &Parsed<A>) -> Segments {
    if p.is_udp() { Segments::Datagrams } else { Segments::Stream }
}

/// The length in the IP header of a packet that becomes longer (or, negative, shorter) by `by` bytes. Zero stays, and stands for
/// more than the field can tell, too: only what will be cut into segments is that long, and the kernel then takes the packet's
/// own length (BIG TCP; Linux 6.3 for IPv4).
#[inline(always)]
pub fn longer(len: u16, by: i16) -> u16 {
    if len == 0 { 0 } else { len.checked_add_signed(by).unwrap_or(0) }
}

/// Changes the IPv4 header for `words` words more (or, negative, fewer) that sum up to `sum`.
#[inline(always)]
fn stretch4<P: Packet>(pkt: P, words: i8, sum: u32) -> bool {
    let mut h = Ip4Header {
        version_ihl: 0,
        tos: 0,
        total_len: 0,
        id: 0,
        frag: 0,
        ttl: 0,
        proto: 0,
        check: 0,
        src: 0,
        dst: 0,
    };
    if !pkt.load(ETH_LEN, &mut h) {
        return false;
    }
    let first =
        |h: &Ip4Header| u32::from_ne_bytes([h.version_ihl, h.tos, 0, 0]) | u32::from(h.total_len) << 16;
    let before = first(&h);
    h.version_ihl = h.version_ihl.wrapping_add_signed(words);
    h.total_len = longer(u16::from_be(h.total_len), i16::from(words) * 4).to_be();
    h.check = csum::update(h.check, csum::add(csum::delta(before, first(&h)), sum));
    pkt.store_summed(ETH_LEN, &h)
}

#[inline(always)]
fn sum4(option: &Option4) -> u32 {
    csum::add(u32::from(option.kind) | u32::from(option.port) << 16, option.addr)
}

impl Info for Ip4 {
    const INFO: u32 = LEN4;

    /// Other options may leave none.
    #[inline(always)]
    fn has_room<P: Packet>(pkt: P) -> bool {
        let Some(h) = pkt.at::<Ip4Header>(ETH_LEN) else { return false };
        // SAFETY: `at` checked the bounds.
        unsafe { (*h).version_ihl & 0x0f <= WORDS4 - 2 }
    }

    #[inline(never)]
    fn inform<P: Packet>(pkt: P, p: &Parsed<Self>) -> bool {
        let option = Option4 { kind: OPTION4, port: p.key.dport.0, addr: p.key.dst.0[0] };
        pkt.open::<Self>(LEN4, segments(p))
            && pkt.store_summed(at::<Self>(), &option)
            && stretch4(pkt, 2, sum4(&option))
    }

    #[inline(always)]
    fn informed<P: Packet>(pkt: P, at: u32) -> Option<(Self, PortBe)> {
        let option = pkt.at::<Option4>(at)?;
        // SAFETY: `at` checked the bounds.
        let option = unsafe { *option };
        (option.kind == OPTION4).then_some((Self([option.addr]), PortBe(option.port)))
    }

    #[inline(never)]
    fn disinform<P: Packet>(pkt: P) -> bool {
        let Some(option) = pkt.at::<Option4>(at::<Self>()) else { return false };
        // SAFETY: `at` checked the bounds.
        let sum = sum4(unsafe { &*option });
        pkt.close(LEN4) && stretch4(pkt, -2, !sum)
    }

    #[inline(always)]
    fn is_possible(self) -> bool {
        let first = self.0[0].to_ne_bytes()[0];
        first != 0 && first != 127 && first < 224
    }
}

/// Changes the IPv6 header: payload longer (or shorter) by `by` bytes, and another next header.
#[inline(always)]
fn stretch6<P: Packet>(pkt: P, by: i16, next: u8) -> bool {
    let Some(h) = pkt.at::<Ip6Header>(ETH_LEN) else { return false };
    // SAFETY: `at` checked the bounds.
    let (len, hops) = unsafe { (u16::from_be((*h).payload_len), (*h).hop_limit) };
    let [high, low] = longer(len, by).to_be_bytes();
    pkt.store_summed(ETH_LEN + core::mem::offset_of!(Ip6Header, payload_len) as u32, &[high, low, next, hops])
}

impl Info for Ip6 {
    const INFO: u32 = LEN6;

    /// Nothing may stand before a hop-by-hop header (RFC 8200 4.1).
    #[inline(always)]
    fn has_room<P: Packet>(pkt: P) -> bool {
        let Some(h) = pkt.at::<Ip6Header>(ETH_LEN) else { return false };
        // SAFETY: `at` checked the bounds.
        unsafe { (*h).next != HOP_BY_HOP }
    }

    #[inline(never)]
    fn inform<P: Packet>(pkt: P, p: &Parsed<Self>) -> bool {
        let Some(h) = pkt.at::<Ip6Header>(ETH_LEN) else { return false };
        // SAFETY: `at` checked the bounds.
        let next = unsafe { (*h).next };
        let option = Option6 {
            next,
            len: (LEN6 / 8 - 1) as u8,
            kind: OPTION6,
            addr: p.key.dst.0,
            port: p.key.dport.0,
            pad: 0,
        };
        pkt.open::<Self>(LEN6, segments(p))
            && pkt.store_summed(at::<Self>(), &option)
            && stretch6(pkt, LEN6 as i16, DESTINATION)
    }

    #[inline(always)]
    fn informed<P: Packet>(pkt: P, at: u32) -> Option<(Self, PortBe)> {
        let h = pkt.at::<Ip6Header>(at - Self::HEADER)?;
        // SAFETY: `at` checked the bounds.
        if unsafe { (*h).next } != DESTINATION {
            return None;
        }
        let option = pkt.at::<Option6>(at)?;
        // SAFETY: as above.
        let option = unsafe { &*option };
        let ours = option.kind == OPTION6 && u32::from(option.len) == LEN6 / 8 - 1;
        ours.then_some((Self(option.addr), PortBe(option.port)))
    }

    #[inline(never)]
    fn disinform<P: Packet>(pkt: P) -> bool {
        let Some(option) = pkt.at::<Option6>(at::<Self>()) else { return false };
        // SAFETY: `at` checked the bounds.
        let next = unsafe { (*option).next };
        pkt.close(LEN6) && stretch6(pkt, -(LEN6 as i16), next)
    }

    #[inline(always)]
    fn is_possible(self) -> bool {
        let first = self.0[0].to_ne_bytes();
        let reserved = self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0;
        !reserved && first[0] != 0xff && !(first[0] == 0xfe && first[1] & 0xc0 == 0x80)
    }
}
