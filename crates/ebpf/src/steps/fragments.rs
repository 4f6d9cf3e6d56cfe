//! Fragments: the first of a datagram names its ports and is translated like any packet, those behind it follow.
//!
//! Only fragments look at the table. It keeps the newest datagrams: a flood of fragments makes other datagrams in
//! fragments lose some, and costs nobody else anything.

use crate::config;
use crate::family::Family;
use crate::headers::ETH_LEN;
use crate::maps::DEVICES;
use crate::outcome::{Outcome, count};
use crate::packet::Packet;
use crate::steps::parse::Parsed;
use crate::steps::{forward, jiffies, start, vip};
use shunt_common::{Direction, FRAGMENT_SECONDS, Flow, Fragment, FragmentKey, Reason, Scope, flow_flag};

#[inline(always)]
fn key<A: Family>(p: &Parsed<A>) -> FragmentKey<A> {
    FragmentKey { src: p.key.src, dst: p.key.dst, datagram: p.datagram }
}

/// The key of a note that a later fragment has been here before the first one, at an address of the node.
#[inline(always)]
fn early_key<A: Family>(p: &Parsed<A>) -> FragmentKey<A> {
    let [id, proto] = p.datagram;
    FragmentKey { src: p.key.src, dst: p.key.dst, datagram: [id, proto | 1 << 31] }
}

/// Notes where the fragments behind a first one go.
#[inline(never)]
pub fn remember<A: Family>(p: &Parsed<A>, row: &Flow<A>) {
    let fragment = Fragment {
        src: row.src,
        dst: row.dst,
        delta: row.delta,
        stamp: jiffies(),
        flags: u32::from(row.flags),
    };
    A::remember_fragment(&key(p), &fragment);
}

/// Takes up a packet that could not be parsed: a later fragment goes where the first one went, when this hook serves that
/// flow, as `serves` says of its flags. `orphan` judges one whose first fragment has not been here.
#[inline(always)]
pub fn follow<P: Packet, A: Family>(
    pkt: P,
    serves: impl FnOnce(u16) -> bool,
    orphan: impl FnOnce(&Parsed<A>) -> Outcome,
) -> Outcome {
    let Some(p) = A::parsed() else { return Outcome::Pass };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let p = unsafe { &*p };
    if !p.later {
        return Outcome::Pass;
    }
    match fresh(&key(p)) {
        Some(row) if serves(row.flags as u16) => go(pkt, p, row),
        Some(_) => Outcome::Pass,
        None => orphan(p),
    }
}

/// A later fragment whose first one has not been here. To a service's own address it is lost. The node puts together what is
/// for itself, and whether this is nobody knows yet: so a note of it is left for the first one.
#[inline(always)]
pub fn orphan<P: Packet, A: Family>(pkt: P, p: &Parsed<A>, scope: Scope) -> Outcome {
    if is_node_s(&p.key.dst, pkt.ifindex()) {
        note(p);
    } else if vip::is_vip(p.key.dst, scope) {
        return Outcome::Drop(Reason::FragmentOrphan);
    }
    Outcome::Pass
}

#[inline(never)]
fn note<A: Family>(p: &Parsed<A>) {
    let note = Fragment { src: A::ZERO, dst: A::ZERO, delta: 0, stamp: jiffies(), flags: 0 };
    A::remember_fragment(&early_key(p), &note);
}

/// Counts a datagram of ours that is lost because its first fragment, the packet that was just translated, did not come first:
/// only that one tells by its ports what the others were.
#[inline(never)]
pub fn mourn<A: Family>() {
    let Some(p) = A::parsed() else { return };
    // SAFETY: as in `follow`.
    let p = unsafe { &*p };
    if p.fragment && !p.later && fresh(&early_key(p)).is_some() {
        count(Reason::FragmentOrphan, Direction::Ingress, 0);
    }
}

/// Whether an address is the node's, or that of the device.
#[inline(never)]
fn is_node_s<A: Family>(dst: &A, ifindex: u32) -> bool {
    // SAFETY: a value of the device map; the kernel keeps it in place while the program runs.
    let device = DEVICES.get_ptr(ifindex).map(|row| A::device_addr(unsafe { &*row }));
    *dst == A::node_addr() || device == Some(*dst)
}

/// The row of a datagram, when it is not too old to be believed.
#[inline(never)]
fn fresh<A: Family>(key: &FragmentKey<A>) -> Option<&'static Fragment<A>> {
    // SAFETY: a value of the fragment map; the kernel keeps its memory in place while the program runs. Another datagram's
    // row may take the place of one that is evicted meanwhile, which costs this datagram.
    let row = unsafe { &*A::fragment(key)? };
    let age = jiffies().wrapping_sub(row.stamp);
    if age < config::hz() * FRAGMENT_SECONDS { Some(row) } else { None }
}

#[inline(never)]
fn go<P: Packet, A: Family>(pkt: P, p: &Parsed<A>, row: &Fragment<A>) -> Outcome {
    let flags = row.flags as u16;
    if flags & flow_flag::FIB == 0 {
        let written = write(pkt, row, 0);
        return match (flags & flow_flag::HAIRPIN != 0, written) {
            (true, _) => start::turn_round(pkt, written),
            (false, true) => Outcome::Stack,
            (false, false) => Outcome::Drop(Reason::RewriteFailed),
        };
    }
    // Nobody is told: errors are about first fragments only (RFC 1122 3.2.2).
    if p.ttl <= 1 {
        return Outcome::Drop(Reason::TtlExceeded);
    }
    let Some(scratch) = A::scratch() else { return Outcome::Drop(Reason::NoRoute) };
    // SAFETY: as in `follow`.
    let fib = unsafe { &mut (*scratch).fib };
    let code = forward::route(pkt, p.key.proto, row.src, row.dst, 0, fib);
    if !forward::is_way(code) {
        let too_big = forward::is_routed(code);
        return Outcome::Drop(if too_big { Reason::TooBig } else { Reason::NoRoute });
    }
    if !write(pkt, row, 1) {
        return Outcome::Drop(Reason::RewriteFailed);
    }
    forward::to_neighbour(pkt, fib)
}

/// The addresses are all that a later fragment has of its flow; the datagram's sum is in the first one.
#[inline(always)]
fn write<P: Packet, A: Family>(pkt: P, row: &Fragment<A>, hops: u8) -> bool {
    let Some(header) = pkt.at::<A::Header>(ETH_LEN) else { return false };
    // SAFETY: `at` checked the bounds.
    A::write_header(unsafe { &mut *header }, row.src, row.dst, row.delta, hops);
    true
}
