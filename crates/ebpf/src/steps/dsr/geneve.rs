//! What the client asked for, in an option of a tunnel's header: `loadBalancer.dsrDispatch: geneve` (RFC 8926).
//!
//! It says what `opt` says, of the same packets, where the network drops IP options but passes UDP: the packet is rewritten
//! for its backend, and travels inside UDP from the node to the backend's own address. Class and type of the option are
//! Cilium's, so that captures read the same. What is inside is the IP packet itself, no Ethernet frame (RFC 8926 3.4).

use crate::family::Family;
use crate::headers::{ETH_LEN, UdpHeader};
use crate::packet::Packet;
use crate::steps::dsr::info::{longer, segments};
use crate::steps::dsr::wrap::Wrap;
use crate::steps::parse::{Parsed, reach};
use shunt_common::{PortBe, csum};

/// The port that Geneve has been given, as it stands in memory.
const PORT: u16 = 6081u16.to_be();
/// Protocol number.
pub const UDP: u8 = 17;
/// Critical options are present: whoever does not know them must drop the packet.
const CRITICAL: u8 = 0x40;
/// Cilium's option class, as it stands in memory.
const CLASS: u16 = 0x014bu16.to_be();
/// A service's address and port; the first bit makes it critical.
const SERVICE: u8 = 0x81;

/// A header with one option that fills it: the address, the port and two bytes of zero.
#[repr(C)]
#[derive(Clone, Copy)]
struct Tunnel<A> {
    /// Version zero, and the length of the options in 32-bit words.
    words: u8,
    flags: u8,
    /// EtherType of what is inside.
    protocol: u16,
    /// The virtual network, and a byte of zero.
    network: u32,
    class: u16,
    kind: u8,
    /// In 32-bit words, beyond the first.
    len: u8,
    addr: A,
    port: PortBe,
    pad: u16,
}

/// Everything in front of the packet.
#[repr(C)]
#[derive(Clone, Copy)]
struct Envelope<A: Family> {
    ip: A::Header,
    udp: UdpHeader,
    tunnel: Tunnel<A>,
}

impl<A: Family> Tunnel<A> {
    /// Bytes of the fixed header.
    const FIXED: usize = 8;
    const WORDS: u8 = ((size_of::<Self>() - Self::FIXED) / 4) as u8;

    #[inline(always)]
    fn new(addr: A, port: PortBe) -> Self {
        Self {
            words: Self::WORDS,
            flags: CRITICAL,
            protocol: A::ETHERTYPE,
            network: 0,
            class: CLASS,
            kind: SERVICE,
            len: Self::WORDS - 1,
            addr,
            port,
            pad: 0,
        }
    }

    /// Whether it is one of ours. Other networks, and other options, are other people's tunnels.
    #[inline(always)]
    fn is_ours(&self) -> bool {
        self.words == Self::WORDS
            && self.flags == CRITICAL
            && self.protocol == A::ETHERTYPE
            && self.network == 0
            && self.class == CLASS
            && self.kind == SERVICE
            && self.len == Self::WORDS - 1
    }
}

/// Bytes between the outer IP header and the packet.
const fn between<A: Family>() -> u32 {
    (size_of::<UdpHeader>() + size_of::<Tunnel<A>>()) as u32
}

/// Bytes by which a packet grows: 48 and 80.
pub const fn envelope<A: Family>() -> u32 {
    size_of::<Envelope<A>>() as u32
}

/// Where the packet inside begins.
pub const fn inside<A: Family>() -> u32 {
    ETH_LEN + envelope::<A>()
}

/// A source port that differs between flows, so that equal paths and receive queues share them (RFC 8926 3.3).
#[inline(always)]
fn source<A: Family>(p: &Parsed<A>) -> u16 {
    let ports = u32::from(p.key.sport.0) | u32::from(p.key.dport.0) << 16;
    (csum::fold(csum::add(csum::delta_words(p.key.dst.words(), p.key.src.words()), ports)) | 0xc000).to_be()
}

/// Puts a packet that is rewritten already into another, from this node to `dst`, and says what it was for; `p` is the packet
/// as it came.
///
/// The outer UDP has no sum, over IPv6 neither (RFC 6935, RFC 6936 4): a tunnel that does without needs no look at the
/// payload. A header damaged on the way names no service, or another pod than the packet inside does, and is not
/// believed; the packet inside has its own sum.
#[inline(never)]
pub fn enclose<P: Packet, A: Wrap>(pkt: P, p: &Parsed<A>, dst: A) -> bool {
    let Some(h) = pkt.at::<A::Header>(ETH_LEN) else { return false };
    // SAFETY: `at` checked the bounds.
    let h = unsafe { &*h };
    let len = longer(A::whole(h), between::<A>() as i16);
    let envelope = Envelope {
        ip: A::outer(h, dst, UDP, len),
        udp: UdpHeader { sport: source(p), dport: PORT, len: len.to_be(), check: 0 },
        tunnel: Tunnel::new(p.key.dst, p.key.dport),
    };
    pkt.cover(self::envelope::<A>(), A::IN_UDP, segments(p)) && pkt.store_summed(ETH_LEN, &envelope)
}

/// Whether the packet is Geneve without a sum, the cheap look.
#[inline(always)]
pub fn is_enclosed<P: Packet, A: Wrap>(pkt: P) -> bool {
    if !A::is_plain(pkt, UDP) {
        return false;
    }
    let Some(udp) = reach::<P, UdpHeader>(pkt, ETH_LEN + A::HEADER) else { return false };
    // SAFETY: `reach` gave a pointer to a whole header.
    unsafe { (*udp).dport == PORT && (*udp).check == 0 }
}

/// Whether the UDP header at an offset is Geneve's.
#[inline(always)]
pub fn is_port<P: Packet>(pkt: P, at: u32) -> bool {
    let mut dport = 0u16;
    pkt.load(at + core::mem::offset_of!(UdpHeader, dport) as u32, &mut dport) && dport == PORT
}

/// What the option says that follows the UDP header at an offset; `None` when it is none of ours.
#[inline(always)]
pub fn told<P: Packet, A: Wrap>(pkt: P, at: u32) -> Option<(A, PortBe)> {
    let mut tunnel = Tunnel::new(A::ZERO, PortBe(0));
    (pkt.load(at + size_of::<UdpHeader>() as u32, &mut tunnel) && tunnel.is_ours())
        .then_some((tunnel.addr, tunnel.port))
}
