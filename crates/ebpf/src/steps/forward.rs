//! Sending a packet where its row says: up the stack, or out of the device that the FIB names.

use crate::config;
use crate::family::Family;
use crate::outcome::Outcome;
use crate::packet::{FIB_SOURCE, Fib, Packet};
use crate::steps::dsr::Dispatch;
use crate::steps::parse::Parsed;
use crate::steps::{dsr, pick, reject};
use shunt_common::{Egress, Flow, Reason, feature};

/// Codes of `bpf_fib_lookup` (include/uapi/linux/bpf.h).
const FIB_SUCCESS: i64 = 0;
const FIB_NO_NEIGH: i64 = 7;
const FIB_FRAG_NEEDED: i64 = 8;

/// Packets no longer than this fit every link that IPv6 runs on (RFC 8200 5), so their MTU need not be asked for.
pub const ALWAYS_FITS: u32 = 1280;

/// Asks the FIB where a packet from `src` to `dst` goes; the answer is left in `fib`. Nodes with several uplinks route by
/// source. `length` is as in `struct bpf_fib_lookup`: zero lets the kernel look at the packet.
#[inline(always)]
pub fn route<P: Packet, A: Family>(pkt: P, proto: u32, src: A, dst: A, length: u32, fib: &mut Fib) -> i64 {
    *fib = question(pkt, proto, src, dst);
    fib.mtu = length as u16;
    pkt.fib(fib, 0)
}

/// Asks the FIB where a packet of ours to `dst` goes, and from which address: that is left in `fib` where the kernel and
/// the route tell it, and zero otherwise.
#[inline(always)]
pub fn route_from_here<P: Packet, A: Family>(pkt: P, proto: u32, dst: A, fib: &mut Fib) -> i64 {
    *fib = question(pkt, proto, A::ZERO, dst);
    if config::has(feature::FIB_SOURCE) {
        let code = pkt.fib(fib, FIB_SOURCE);
        if is_routed(code) {
            return code;
        }
        // Perhaps only for want of an address that suits the route.
        *fib = question(pkt, proto, A::ZERO, dst);
    }
    pkt.fib(fib, 0)
}

#[inline(always)]
fn question<P: Packet, A: Family>(pkt: P, proto: u32, src: A, dst: A) -> Fib {
    Fib {
        family: A::AF,
        l4_proto: proto as u8,
        sport: 0,
        dport: 0,
        mtu: 0,
        ifindex: pkt.ifindex(),
        tos: 0,
        src: src.to_words(),
        dst: dst.to_words(),
        tbid: 0,
        smac: [0; 6],
        dmac: [0; 6],
    }
}

/// Rewrites and sends by the row's cached route: the common case of an established flow.
#[inline(always)]
pub fn by_cache<P: Packet, A: reject::Reject + Dispatch>(pkt: P, p: &Parsed<A>, row: &Flow<A>) -> Outcome {
    if p.ttl <= 1 {
        return reject::ttl_exceeded(pkt, p);
    }
    let egress = row.egress;
    if !pkt.reaches(egress.ifindex) || !pkt.can_grow(dsr::growth(pkt, p, row)) {
        return Outcome::Pass;
    }
    let mut mtu = 0;
    if pkt.len() > ALWAYS_FITS && pkt.exceeds_mtu(egress.ifindex, &mut mtu) {
        return reject::too_big(pkt, p, mtu);
    }
    by_macs(pkt, p, row, &egress)
}

/// Rewrites and sends to MAC addresses that are known.
#[inline(always)]
fn by_macs<P: Packet, A: Dispatch>(pkt: P, p: &Parsed<A>, row: &Flow<A>, egress: &Egress) -> Outcome {
    if !dsr::write(pkt, p, row) || !pkt.set_macs([egress.dmac, egress.smac]) {
        return Outcome::Drop(Reason::RewriteFailed);
    }
    if !pkt.send(egress.ifindex) {
        Outcome::Drop(Reason::NoRoute)
    } else if egress.ifindex == pkt.ifindex() {
        Outcome::Turned
    } else {
        Outcome::Redirected
    }
}

/// One new flow in so many goes up from XDP, so that next hops that only new flows use stay known to the kernel.
const NEW_FLOWS_UP: u32 = 64;

/// Rewrites and sends a new flow's packet by a fresh FIB answer, but for those that XDP passes up.
#[inline(always)]
pub fn begin<P: Packet, A: reject::Reject + Dispatch>(
    pkt: P,
    p: &Parsed<A>,
    row: &Flow<A>,
    code: i64,
    fib: &Fib,
) -> Outcome {
    if P::AT_DRIVER && pick::random() % NEW_FLOWS_UP == 0 {
        return Outcome::Pass;
    }
    by_fib(pkt, p, row, code, fib)
}

/// Asks the FIB for a known flow's packet, as long as it will be, remembers the answer, and rewrites and sends by it.
#[inline(always)]
pub fn by_route<P: Packet, A: reject::Reject + Dispatch>(
    pkt: P,
    p: &Parsed<A>,
    row: *mut Flow<A>,
) -> Outcome {
    let Some(scratch) = A::scratch() else { return Outcome::Drop(Reason::NoRoute) };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks. The row is a value of the flow map; at
    // worst another CPU writes the answer it got at the same moment.
    let (fib, row) = unsafe { (&mut (*scratch).fib, &mut *row) };
    let length = dsr::grown(pkt, p, dsr::growth(pkt, p, row));
    let code = route(pkt, p.key.proto, row.src, row.dst, length, fib);
    row.egress = cacheable(code, fib);
    by_fib(pkt, p, row, code, fib)
}

/// Sends a packet from XDP by the MAC addresses of a fresh FIB answer, or passes it up.
#[inline(always)]
fn by_fib_at_driver<P: Packet, A: Dispatch>(
    pkt: P,
    p: &Parsed<A>,
    row: &Flow<A>,
    code: i64,
    fib: &Fib,
) -> Outcome {
    if code != FIB_SUCCESS || !pkt.reaches(fib.ifindex) || !pkt.can_grow(dsr::growth(pkt, p, row)) {
        return Outcome::Pass;
    }
    by_macs(pkt, p, row, &cacheable(code, fib))
}

/// Rewrites and sends by a fresh FIB answer.
///
/// The kernel's neighbour code sends it, not our copy of the MAC: that keeps the neighbour entry alive and finds out
/// when a next hop has moved. Flows come here once a second, and whenever a neighbour is not resolved yet.
#[inline(always)]
pub fn by_fib<P: Packet, A: reject::Reject + Dispatch>(
    pkt: P,
    p: &Parsed<A>,
    row: &Flow<A>,
    code: i64,
    fib: &Fib,
) -> Outcome {
    if p.ttl <= 1 {
        return reject::ttl_exceeded(pkt, p);
    }
    match code {
        _ if is_way(code) => {}
        FIB_FRAG_NEEDED => {
            return reject::too_big(pkt, p, u32::from(fib.mtu).wrapping_sub(dsr::growth(pkt, p, row)));
        }
        _ => return Outcome::Drop(Reason::NoRoute),
    }
    if P::AT_DRIVER {
        return by_fib_at_driver(pkt, p, row, code, fib);
    }
    if !dsr::write(pkt, p, row) {
        return Outcome::Drop(Reason::RewriteFailed);
    }
    to_neighbour(pkt, fib)
}

/// Leaves a packet to the kernel's neighbour code, at the next hop of a FIB answer.
#[inline(always)]
pub fn to_neighbour<P: Packet>(pkt: P, fib: &Fib) -> Outcome {
    if pkt.send_to_neighbour(fib.ifindex, fib.family, &fib.dst) {
        Outcome::Redirected
    } else {
        Outcome::Drop(Reason::NoRoute)
    }
}

/// Whether the FIB named a device, with or without a neighbour that is resolved.
#[inline(always)]
pub fn is_way(code: i64) -> bool {
    code == FIB_SUCCESS || code == FIB_NO_NEIGH
}

/// Whether the FIB knows the way at all: a packet too long for it can be told so, and the next may fit.
#[inline(always)]
pub fn is_routed(code: i64) -> bool {
    is_way(code) || code == FIB_FRAG_NEEDED
}

/// What to cache of a FIB answer: nothing unless the neighbour is known.
#[inline(always)]
pub fn cacheable(code: i64, fib: &Fib) -> Egress {
    if code == FIB_SUCCESS {
        Egress { ifindex: fib.ifindex, dmac: fib.dmac, smac: fib.smac }
    } else {
        Egress { ifindex: 0, dmac: [0; 6], smac: [0; 6] }
    }
}

/// Whether a row's stamp is due, that is a second old.
#[inline(always)]
pub fn due(now: u32, stamp: u32) -> bool {
    now.wrapping_sub(stamp) >= config::hz()
}
