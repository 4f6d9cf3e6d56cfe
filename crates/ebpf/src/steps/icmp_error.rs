//! ICMP errors about packets of our flows: whoever sent the packet gets the error, about the packet as it was sent.
//!
//! The error quotes the packet as it was on the wire where it failed. Seen from there the answer to it is one of our rows,
//! and that row knows who sent it and what it looked like (RFC 5508 4.2). This is the one lookup
//! more, and only errors pay it.

use crate::family::Family;
use crate::headers::{ETH_LEN, IcmpHeader, TcpHeader, UdpHeader};
use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::steps::parse::{Fragment, Parse, Parsed, bounded, reach};
use crate::steps::{forward, start};
use core::mem::offset_of;
use shunt_common::{Flow, Proto, Reason, csum, flow_flag};

/// Bytes of an ICMP error before the packet that it quotes (RFC 792, RFC 4443).
pub const BEFORE_QUOTE: u32 = 8;

/// Sends an error where the sender of the quoted packet is. `None` when it is no error, is about no flow of ours, or about
/// one that another hook serves, as `serves` says of its row's flags.
#[inline(always)]
pub fn relay<P: Packet, A: Parse>(
    pkt: P,
    p: &Parsed<A>,
    serves: impl FnOnce(u16) -> bool,
) -> Option<Outcome> {
    if !is_error(p) {
        return None;
    }
    let row = about(pkt, p)?;
    // At the far end of a DSR flow an error about what the pod sent is as the pod knows it.
    let is_as_sent = row.flags & (flow_flag::DSR_END | flow_flag::REPLY) == flow_flag::DSR_END;
    if is_as_sent || !serves(row.flags) {
        return None;
    }
    Some(if row.flags & flow_flag::FIB != 0 {
        by_route(pkt, p, row)
    } else if row.flags & flow_flag::HAIRPIN != 0 {
        start::turn_round(pkt, write(pkt, p, row, 0))
    } else if write(pkt, p, row, 0) {
        Outcome::Stack
    } else {
        Outcome::Drop(Reason::RewriteFailed)
    })
}

/// Whether an ICMP packet is an error that quotes another packet.
#[inline(always)]
pub fn is_error<A: Family>(p: &Parsed<A>) -> bool {
    p.tcp < 32 && A::ERRORS >> p.tcp & 1 != 0 && !p.fragment
}

/// The row of the answer to the quoted packet. What is quoted stays in this CPU's room.
#[inline(never)]
fn about<P: Packet, A: Parse>(pkt: P, p: &Parsed<A>) -> Option<&'static Flow<A>> {
    let scratch = A::scratch()?;
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let quoted = unsafe { &mut (*scratch).quoted };
    // Errors go to whom they quote; anything else is forged.
    if !read(pkt, p, quoted) || quoted.key.src != p.key.dst {
        return None;
    }
    let answer = quoted.key.reversed();
    // SAFETY: a value of the flow map; the kernel keeps it in place while the program runs.
    A::flow(&answer).map(|row| unsafe { &*row })
}

/// Reads the quoted packet's tuple; `false` when too little is quoted, or another protocol's.
#[inline(always)]
pub fn read<P: Packet, A: Parse>(pkt: P, p: &Parsed<A>, quoted: &mut Parsed<A>) -> bool {
    let Some(n) = A::network(pkt, bounded(p.l4) + BEFORE_QUOTE, quoted) else { return false };
    // Every router quotes 8 bytes of what it could not send on: ports are among them, but not TCP's sum.
    let mut head = [0u32; 2];
    if n.fragment == Fragment::Later || !pkt.load(n.l4, &mut head) {
        return false;
    }
    let proto = u32::from(n.proto);
    if proto != Proto::Tcp as u32 && proto != Proto::Udp as u32 && proto != Proto::Sctp as u32 {
        return false;
    }
    quoted.key.sport.0 = head[0] as u16;
    quoted.key.dport.0 = (head[0] >> 16) as u16;
    quoted.key.proto = proto;
    quoted.l4 = n.l4;
    true
}

/// Who the error comes from. The sender of the quoted packet knows the far end by another address, and a node may not be
/// able to send with a router's: so it is the one that replies have. A client that is not hidden sees the router's own.
#[inline(always)]
fn speaker<A: Family>(p: &Parsed<A>, row: &Flow<A>) -> A {
    if row.flags & (flow_flag::SNAT | flow_flag::REPLY) == 0 { p.key.src } else { row.src }
}

/// Rewrites and sends by the FIB. No error of ours tells that this failed: errors never beget errors (RFC 1122 3.2.2).
#[inline(never)]
pub fn by_route<P: Packet, A: Parse>(pkt: P, p: &Parsed<A>, row: &Flow<A>) -> Outcome {
    if p.ttl <= 1 {
        return Outcome::Drop(Reason::TtlExceeded);
    }
    let Some(scratch) = A::scratch() else { return Outcome::Drop(Reason::NoRoute) };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let fib = unsafe { &mut (*scratch).fib };
    let code = forward::route(pkt, A::ICMP as u32, row.src, row.dst, 0, fib);
    if !forward::is_way(code) {
        return Outcome::Drop(Reason::NoRoute);
    }
    if !write(pkt, p, row, 1) {
        return Outcome::Drop(Reason::RewriteFailed);
    }
    forward::to_neighbour(pkt, fib)
}

/// Writes the quoted packet as its sender knows it, and the addresses of the error itself. Sums follow by difference: one
/// that was wrong stays wrong by as much.
#[inline(never)]
fn write<P: Packet, A: Parse>(pkt: P, p: &Parsed<A>, row: &Flow<A>, hops: u8) -> bool {
    let Some(scratch) = A::scratch() else { return false };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let quoted = unsafe { &(*scratch).quoted };
    let Some(mut change) = write_transport(pkt, p, quoted, row) else { return false };
    let from = speaker(p, row);
    let outer = csum::add(
        csum::delta_words(p.key.src.words(), from.words()),
        csum::delta_words(p.key.dst.words(), row.dst.words()),
    );
    if A::ICMP_COVERS_ADDRESSES {
        // The quoted header has no sum of its own that would make up for its addresses, and the pseudo-header counts too.
        change = csum::add(change, csum::add(row.delta, outer));
    }
    let at = p.l4 + offset_of!(IcmpHeader, check) as u32;
    let mut check = 0u16;
    if !pkt.load(at, &mut check) || !pkt.store(at, &csum::update(check, change)) {
        return false;
    }
    let Some(header) = reach::<P, A::Header>(pkt, bounded(p.l4) + BEFORE_QUOTE) else { return false };
    // SAFETY: `reach` gave a pointer to a whole header.
    A::write_header(unsafe { &mut *header }, row.dst, row.src, row.delta, 0);
    let Some(header) = pkt.at::<A::Header>(ETH_LEN) else { return false };
    // SAFETY: `at` checked the bounds.
    A::write_header(unsafe { &mut *header }, from, row.dst, outer, hops);
    true
}

/// Writes the quoted ports, and the quoted sum where there is one; says what that adds to the sum of the error.
#[inline(always)]
fn write_transport<P: Packet, A: Family>(
    pkt: P,
    p: &Parsed<A>,
    quoted: &Parsed<A>,
    row: &Flow<A>,
) -> Option<u32> {
    let old = u32::from(quoted.key.sport.0) | u32::from(quoted.key.dport.0) << 16;
    let new = u32::from(row.dport.0) | u32::from(row.sport.0) << 16;
    let ports = csum::delta(old, new);
    let mut change = ports;
    if !pkt.store(quoted.l4, &new) {
        return None;
    }
    // SCTP's sum covers what is not quoted.
    if quoted.is_sctp() {
        return Some(change);
    }
    let udp = quoted.is_udp();
    let at = quoted.l4 + if udp { offset_of!(UdpHeader, check) } else { offset_of!(TcpHeader, check) } as u32;
    let mut check = 0u16;
    let is_there = at + 2 <= p.l4 + p.l4_len && pkt.load(at, &mut check);
    // Zero: a UDP datagram without a sum (RFC 768).
    if is_there && !(udp && check == 0) {
        let mut now = csum::update(check, csum::add(row.delta, ports));
        if udp && now == 0 {
            now = 0xffff;
        }
        if !pkt.store(at, &now) {
            return None;
        }
        change = csum::add(change, csum::delta(u32::from(check), u32::from(now)));
    }
    Some(change)
}
