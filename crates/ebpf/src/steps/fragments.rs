//! Fragments: the first of a datagram names its ports and is translated like any packet, those behind it follow.
//!
//! Only fragments look at the table. It keeps the newest datagrams: a flood of fragments makes other datagrams in
//! fragments lose some, and costs nobody else anything.

use crate::config;
use crate::family::Family;
use crate::headers::ETH_LEN;
use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::steps::parse::Parsed;
use crate::steps::{forward, jiffies, start};
use shunt_common::{FRAGMENT_SECONDS, Flow, Fragment, FragmentKey, Reason, flow_flag};

#[inline(always)]
fn key<A: Family>(p: &Parsed<A>) -> FragmentKey<A> {
    FragmentKey { src: p.key.src, dst: p.key.dst, datagram: p.datagram }
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
    orphan: impl FnOnce(A) -> Outcome,
) -> Outcome {
    let Some(p) = A::parsed() else { return Outcome::Pass };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let p = unsafe { &*p };
    if !p.later {
        return Outcome::Pass;
    }
    match find(p) {
        Some(row) if serves(row.flags as u16) => go(pkt, p, row),
        Some(_) => Outcome::Pass,
        None => orphan(p.key.dst),
    }
}

#[inline(never)]
fn find<A: Family>(p: &Parsed<A>) -> Option<&'static Fragment<A>> {
    // SAFETY: a value of the fragment map; the kernel keeps its memory in place while the program runs. Another datagram's
    // row may take the place of one that is evicted meanwhile, which costs this datagram.
    let row = unsafe { &*A::fragment(&key(p))? };
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
