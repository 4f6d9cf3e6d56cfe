//! ICMP errors about packets that this node has dispatched, from routers on the way to the backend's node.
//!
//! By `ipip` and `geneve` they come to this node, since it is the sender of the outer header that they quote; by `opt` they go
//! to the client, and pass here only where that is the way. The client must hear of its own packet: what we put into or
//! around it is taken out of the quote, and an MTU is told without it (RFC 2003 4, RFC 2473 8). What is quoted must be a
//! flow of ours that goes there; anything else stays as it is.

use crate::config;
use crate::family::Family;
use crate::headers::{ETH_LEN, Ip4Header, Ip6Header};
use crate::maps::Scratch;
use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::steps::dsr::info::Info;
use crate::steps::dsr::{Dispatch, geneve};
use crate::steps::icmp_error::{self, BEFORE_QUOTE};
use crate::steps::parse::{Fragment, Network, Parse, Parsed, bounded};
use crate::steps::reject;
use shunt_common::{FlowKey, Ip4, Ip6, PortBe, Reason, csum, feature, flow_flag};

/// Families know what to tell of an error, and how their headers shrink.
pub trait Tell: Family {
    /// Type and code, as they stand in memory, of "too big".
    const TOO_BIG: u16;
    /// The same of "this host cannot be reached", which is what a broken way between the nodes is to a client.
    const UNREACHABLE: u16;
    /// The last type that says that a packet did not arrive; those above find fault with a header.
    const LAST: u8;
    /// The MTU in the word behind the sum, made smaller by `by`. No smaller than every link's is; zero, of routers older than
    /// RFC 1191, stays.
    fn less(rest: u32, by: u32) -> u32;
    /// Makes a header's packet `by` bytes shorter; what that adds to a sum that covers the length.
    fn shorten(header: &mut Self::Header, by: u16) -> u32;
    /// Takes dispatch `opt`'s information, of words that sum up to `sum`, the first of which is `first`, out of a header: what
    /// that adds to a sum over the fixed header.
    fn strip(header: &mut Self::Header, first: u32, sum: u32) -> u32;
}

/// What became of an error.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Revealed {
    /// It is about nothing that we dispatched.
    No,
    /// It quotes too little of what is inside.
    Lost,
    /// It finds fault with what is ours, which the client cannot mend.
    Own,
    /// There have been too many.
    Limited,
    /// It is half written.
    Failed,
    /// It is about the packet as it was before it was dispatched.
    Yes,
}

/// Sends an error about a packet of ours to the client; `None` when it is about none.
#[inline(always)]
pub fn relay<P: Packet, A: Parse + Dispatch + Tell>(pkt: P, p: &Parsed<A>) -> Option<Outcome> {
    if !config::has(feature::DSR_OPT | feature::DSR_IPIP | feature::DSR_GENEVE)
        || !icmp_error::is_error(p)
        || p.l4 != ETH_LEN + A::HEADER
    {
        return None;
    }
    match reveal::<P, A>(pkt) {
        Revealed::No => None,
        Revealed::Lost => Some(Outcome::Left(Reason::DsrErrorLost)),
        Revealed::Own => Some(Outcome::Pass),
        Revealed::Limited => Some(Outcome::Drop(Reason::RateLimited)),
        Revealed::Failed => Some(Outcome::Drop(Reason::RewriteFailed)),
        Revealed::Yes => {
            let (p, scratch) = (core::hint::black_box(A::parsed()?), A::scratch()?);
            // SAFETY: per-CPU values; programs of one CPU do not interleave at these hooks. `reveal` has changed them.
            Some(unsafe { icmp_error::by_route(pkt, &*p, &(*scratch).row) })
        }
    }
}

/// Bytes of ports.
const PORTS: u32 = 4;

/// Where the quoted packet begins, behind a header without options.
const fn quote<A: Family>() -> u32 {
    ETH_LEN + A::HEADER + BEFORE_QUOTE
}

/// What of a quote is not the client's: so many bytes, so far into it.
#[derive(Clone, Copy)]
struct Ours {
    at: u32,
    len: u32,
}

/// What this dispatch has added.
#[inline(always)]
fn ours<A: Dispatch>() -> Ours {
    if config::has(feature::DSR_IPIP) {
        Ours { at: 0, len: A::HEADER }
    } else if config::has(feature::DSR_GENEVE) {
        Ours { at: 0, len: geneve::envelope::<A>() }
    } else {
        Ours { at: A::HEADER, len: A::INFO }
    }
}

/// Makes an error about a packet that was dispatched one about the client's, on the spot. How its sender and receiver and the
/// quoted tuple are to be written is left in [`Scratch::row`].
#[inline(never)]
fn reveal<P: Packet, A: Parse + Dispatch + Tell>(pkt: P) -> Revealed {
    let (Some(scratch), Some(p)) = (A::scratch(), A::parsed()) else { return Revealed::No };
    // SAFETY: per-CPU values; programs of one CPU do not interleave at these hooks.
    let (scratch, p) = unsafe { (&mut *scratch, &mut *p) };
    let Some(n) = A::network(pkt, quote::<A>(), &mut scratch.quoted) else { return Revealed::No };
    // Errors go to whom they quote; anything else is forged.
    if n.fragment != Fragment::Whole || scratch.quoted.key.src != p.key.dst {
        return Revealed::No;
    }
    let found = if config::has(feature::DSR_OPT) {
        informed(pkt, &n, scratch)
    } else if p.key.dst != A::node_addr() || n.l4 != quote::<A>() + A::HEADER {
        Revealed::No
    } else if config::has(feature::DSR_IPIP) {
        wrapped(pkt, n.proto, scratch)
    } else {
        enclosed(pkt, n.proto, scratch)
    };
    if found == Revealed::Yes { shrink(pkt, p, scratch) } else { found }
}

/// Whether a packet is quoted with our option in it, of a flow whose packets have it.
#[inline(always)]
fn informed<P: Packet, A: Dispatch>(pkt: P, n: &Network, scratch: &mut Scratch<A>) -> Revealed {
    let Some(told) = A::informed(pkt, quote::<A>() + A::HEADER) else { return Revealed::No };
    let mut ports = [0u16; 2];
    if !pkt.load(bounded(n.l4), &mut ports) {
        return Revealed::Lost;
    }
    let sent = &scratch.quoted.key;
    scratch.reply = FlowKey {
        src: sent.src,
        dst: sent.dst,
        sport: PortBe(ports[0]),
        dport: PortBe(ports[1]),
        proto: u32::from(n.proto),
    };
    answered(scratch, told)
}

/// Whether a packet of a flow of ours is quoted inside another, on its way to where the flow goes.
#[inline(always)]
fn wrapped<P: Packet, A: Dispatch>(pkt: P, proto: u8, scratch: &mut Scratch<A>) -> Revealed {
    if proto != A::CARRIED {
        return Revealed::No;
    }
    if !A::peek(pkt, quote::<A>() + A::HEADER, &mut scratch.reply) {
        return Revealed::Lost;
    }
    let key = &scratch.reply;
    let Some(row) = A::flow(key) else { return Revealed::No };
    // SAFETY: a value of the flow map; the kernel keeps it in place while the program runs.
    let row = unsafe { &*row };
    if row.flags & (flow_flag::DSR | flow_flag::REPLY) != flow_flag::DSR || row.dst != scratch.quoted.key.dst
    {
        return Revealed::No;
    }
    // What is inside is as the client sent it.
    let told = &mut scratch.row;
    (told.src, told.dst, told.sport, told.dport) = (key.dst, key.src, key.dport, key.sport);
    (told.delta, told.flags) = (0, flow_flag::REPLY);
    Revealed::Yes
}

/// The same of a packet inside a tunnel, whose header must name the flow's service.
#[inline(always)]
fn enclosed<P: Packet, A: Dispatch>(pkt: P, proto: u8, scratch: &mut Scratch<A>) -> Revealed {
    let at = quote::<A>() + A::HEADER;
    if proto != geneve::UDP || !geneve::is_port(pkt, at) {
        return Revealed::No;
    }
    if pkt.len() < quote::<A>() + geneve::envelope::<A>() + A::HEADER + PORTS {
        return Revealed::Lost;
    }
    let Some(told) = geneve::told(pkt, at) else { return Revealed::No };
    if !A::peek(pkt, quote::<A>() + geneve::envelope::<A>(), &mut scratch.reply) {
        return Revealed::Lost;
    }
    if scratch.reply.dst != scratch.quoted.key.dst { Revealed::No } else { answered(scratch, told) }
}

/// Whether a packet that is rewritten already, whose tuple is in [`Scratch::reply`], belongs to a flow to the service that it
/// was told with.
#[inline(always)]
fn answered<A: Dispatch>(scratch: &mut Scratch<A>, (addr, port): (A, PortBe)) -> Revealed {
    const ANSWERS: u16 = flow_flag::DSR | flow_flag::REPLY;
    scratch.reply = scratch.reply.reversed();
    let Some(row) = A::flow(&scratch.reply) else { return Revealed::No };
    // SAFETY: a value of the flow map; the kernel keeps it in place while the program runs.
    let row = unsafe { &*row };
    if row.flags & ANSWERS != ANSWERS || row.src != addr || row.sport != port {
        return Revealed::No;
    }
    let told = &mut scratch.row;
    (told.src, told.dst, told.sport, told.dport) = (row.src, row.dst, row.sport, row.dport);
    (told.delta, told.flags) = (row.delta, flow_flag::REPLY);
    Revealed::Yes
}

/// What the client is told: type and code, and the word behind the sum. `None` when it is nothing of the client's.
#[inline(always)]
fn tell<A: Tell>(kind: u16, rest: u32, len: u32) -> Option<(u16, u32)> {
    if kind == A::TOO_BIG {
        Some((kind, A::less(rest, len)))
    } else if kind.to_ne_bytes()[0] > A::LAST {
        None
    } else if config::has(feature::DSR_OPT) {
        Some((kind, rest))
    } else {
        Some((A::UNREACHABLE, 0))
    }
}

/// Takes what is ours out of the quote. Sums follow by difference.
#[inline(always)]
fn shrink<P: Packet, A: Parse + Dispatch + Tell>(
    pkt: P,
    p: &mut Parsed<A>,
    scratch: &mut Scratch<A>,
) -> Revealed {
    let Ours { at, len } = ours::<A>();
    let mut icmp = [0u32; 2];
    if !pkt.load(ETH_LEN + A::HEADER, &mut icmp) {
        return Revealed::No;
    }
    let kind = icmp[0] as u16;
    let Some((told, rest)) = tell::<A>(kind, icmp[1], len) else { return Revealed::Own };
    if !reject::take_token() {
        return Revealed::Limited;
    }
    let Some((first, sum)) = sum(pkt, quote::<A>() + at, len) else { return Revealed::No };
    let words = csum::add(csum::delta(u32::from(kind), u32::from(told)), csum::delta(icmp[1], rest));
    let mut change = csum::add(words, !sum);
    // What stands in front of the bytes that go, and moves to where they end.
    let [header, quoted] = headers::<A>(&mut scratch.answer);
    if !pkt.load(ETH_LEN, header) || at != 0 && !pkt.load(quote::<A>(), quoted) {
        return Revealed::No;
    }
    change = csum::add(change, A::shorten(header, len as u16));
    if at != 0 {
        change = csum::add(change, A::strip(quoted, first, sum));
    }
    let check = csum::update((icmp[0] >> 16) as u16, change);
    icmp = [u32::from(told) | u32::from(check) << 16, rest];
    let written = pkt.close(len)
        && pkt.store_summed(ETH_LEN, header)
        && pkt.store_summed(ETH_LEN + A::HEADER, &icmp)
        && (at == 0 || pkt.store_summed(quote::<A>(), quoted));
    p.l4_len = p.l4_len.wrapping_sub(len);
    if written && icmp_error::read(pkt, p, &mut scratch.quoted) { Revealed::Yes } else { Revealed::Failed }
}

/// Room for two headers, for which there is none on the stack.
#[inline(always)]
fn headers<A: Family>(room: &mut [u32; 25]) -> [&mut A::Header; 2] {
    const { assert!(2 * A::HEADER as usize <= size_of::<[u32; 25]>()) };
    let first = room.as_mut_ptr().cast::<A::Header>();
    // SAFETY: both lie within the room, apart from each other; headers are plain words of four bytes, of any value.
    unsafe { [&mut *first, &mut *first.add(1)] }
}

/// The first of the words at an offset, and the sum of `len` bytes of them.
#[inline(always)]
fn sum<P: Packet>(pkt: P, from: u32, len: u32) -> Option<(u32, u32)> {
    let (mut first, mut sum, mut i) = (0, 0, 0);
    while i < len {
        let mut word = 0u32;
        if !pkt.load(from + i, &mut word) {
            return None;
        }
        first = if i == 0 { word } else { first };
        sum = csum::add(sum, word);
        i += 4;
    }
    Some((first, sum))
}

/// Type and code of ICMP, as they stand in memory.
const fn kind(kind: u8, code: u8) -> u16 {
    u16::from_ne_bytes([kind, code])
}

/// The least MTU of IPv4 (RFC 791 3.2) and of IPv6 (RFC 8200 5).
const LEAST: (u32, u32) = (68, 1280);

impl Tell for Ip4 {
    const TOO_BIG: u16 = kind(3, 4);
    const UNREACHABLE: u16 = kind(3, 1);
    const LAST: u8 = 11;

    #[inline(always)]
    fn less(rest: u32, by: u32) -> u32 {
        let mtu = u32::from(u16::from_be((rest >> 16) as u16));
        let less = if mtu == 0 { 0 } else { mtu.saturating_sub(by).max(LEAST.0) };
        u32::from((less as u16).to_be()) << 16
    }

    #[inline(always)]
    fn shorten(h: &mut Ip4Header, by: u16) -> u32 {
        let before = u32::from(h.total_len);
        h.total_len = u16::from_be(h.total_len).wrapping_sub(by).to_be();
        h.check = csum::update(h.check, csum::delta(before, u32::from(h.total_len)));
        0
    }

    #[inline(always)]
    fn strip(h: &mut Ip4Header, _: u32, sum: u32) -> u32 {
        let first = |h: &Ip4Header| u32::from(u16::from_ne_bytes([h.version_ihl, h.tos]));
        let before = csum::add(first(h), csum::add(u32::from(h.total_len), u32::from(h.check)));
        let was = first(h);
        h.version_ihl -= (Self::INFO / 4) as u8;
        h.check = csum::update(h.check, csum::add(csum::delta(was, first(h)), !sum));
        Self::shorten(h, Self::INFO as u16);
        csum::delta(before, csum::add(first(h), csum::add(u32::from(h.total_len), u32::from(h.check))))
    }
}

impl Tell for Ip6 {
    const TOO_BIG: u16 = kind(2, 0);
    const UNREACHABLE: u16 = kind(1, 3);
    const LAST: u8 = 3;

    #[inline(always)]
    fn less(rest: u32, by: u32) -> u32 {
        u32::from_be(rest).saturating_sub(by).max(LEAST.1).to_be()
    }

    #[inline(always)]
    fn shorten(h: &mut Ip6Header, by: u16) -> u32 {
        let before = u32::from(h.payload_len);
        h.payload_len = u16::from_be(h.payload_len).wrapping_sub(by).to_be();
        csum::delta(before, u32::from(h.payload_len))
    }

    #[inline(always)]
    fn strip(h: &mut Ip6Header, first: u32, _: u32) -> u32 {
        let word = |h: &Ip6Header| u32::from(u16::from_ne_bytes([h.next, h.hop_limit]));
        let before = word(h);
        // The option's header begins with the next one's number.
        h.next = first.to_ne_bytes()[0];
        csum::add(csum::delta(before, word(h)), Self::shorten(h, Self::INFO as u16))
    }
}
