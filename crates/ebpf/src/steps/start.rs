//! A packet of no known flow to a frontend: it starts one.

use crate::family::Family;
use crate::maps::DEVICES;
use crate::outcome::Outcome;
use crate::packet::{Fib, Packet};
use crate::steps::dsr::Dispatch;
use crate::steps::parse::{Parse, Parsed};
use crate::steps::reserve::{Refused, Wanted, reserve};
use crate::steps::rewrite::rewrite;
use crate::steps::{admit, affinity, dsr, forward, maglev, pick, reject};
use shunt_common::{Frontend, FrontendKey, Reason, Scope, flow_flag, frontend_flag};

/// The row of the frontend that a packet is sent to.
#[inline(always)]
pub fn frontend<A: Family>(p: &Parsed<A>) -> Option<&'static Frontend> {
    let row = A::frontend(&FrontendKey::new(p.key.dst, p.key.dport, p.key.proto as u8))?;
    // SAFETY: a value of the frontend map; the kernel keeps it in place while the program runs.
    Some(unsafe { &*row })
}

/// Picks a backend, remembers the flow, rewrites and forwards. `flags` mark the flow's rows ([`flow_flag`]). `carried`, when
/// not zero, is the backend that another node has picked.
#[inline(always)]
pub fn start<P: Packet, A: Parse + reject::Reject + Dispatch>(
    pkt: P,
    p: &Parsed<A>,
    frontend: &Frontend,
    scope: Scope,
    flags: u16,
    carried: u32,
) -> Outcome {
    // Packets that name a loopback address have no business here, whatever listens on it.
    if frontend.flags & frontend_flag::HOST_ONLY != 0 {
        return Outcome::Pass;
    }
    // Its sum covers what is not in it.
    if p.fragment && p.is_sctp() {
        return Outcome::Drop(Reason::Fragment);
    }
    if !admit::admits(frontend, p.key.src) {
        return Outcome::Drop(Reason::SourceRange);
    }
    let pool = frontend.pool(scope);
    let hashed = frontend.flags & frontend_flag::MAGLEV != 0;
    let basis = affinity::Basis { hashed, hash: if hashed { maglev::flow_hash(p) } else { 0 } };
    let choice = match carried {
        0 => affinity::choose::<A>(frontend, pool, p.key.src.words(), A::CLIENT.0, basis),
        id => pick::by_id(id),
    };
    let picked = match choice {
        Ok(picked) => picked,
        Err(Reason::NoBackend) if frontend.flags & drops(scope) != 0 => {
            return Outcome::Drop(Reason::NoLocalBackend);
        }
        Err(Reason::NoBackend) => return reject::nobody_listens(pkt, p, Reason::NoBackend),
        Err(reason) => return Outcome::Drop(reason),
    };
    let Some(scratch) = A::scratch() else { return Outcome::Drop(Reason::FlowTableFull) };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let scratch = unsafe { &mut *scratch };
    let service = frontend.service;
    scratch.wanted = Wanted { src: p.key.src, backend: picked.backend, id: picked.id, service, flags };
    if matches!(scope, Scope::Internal) && picked.backend.addr == p.key.src && A::node_addr() != A::ZERO {
        // To itself: it would answer itself directly, so it must see another's address.
        scratch.wanted.src = A::node_addr();
        scratch.wanted.flags |= flow_flag::SNAT | flow_flag::HAIRPIN;
        return match reserve(pkt, p, scratch) {
            Ok(()) => turn_round(pkt, rewrite(pkt, p, &scratch.row, 0)),
            Err(refused) => refuse(refused),
        };
    }
    if picked.backend.is_local() || matches!(scope, Scope::Internal) {
        return match reserve(pkt, p, scratch) {
            // tc, on its way up, finds the flow.
            Ok(()) if P::AT_DRIVER => Outcome::Pass,
            Ok(()) if rewrite(pkt, p, &scratch.row, 0) => Outcome::Stack,
            Ok(()) => Outcome::Drop(Reason::RewriteFailed),
            Err(refused) => refuse(refused),
        };
    }
    if dsr::serves(frontend)
        && !dsr::goes_plainly(pkt, p)
        && let Some(outcome) = dsr::start(pkt, p, scratch)
    {
        return outcome;
    }
    let code = forward::route_from_here(pkt, p.key.proto, picked.backend.addr, &mut scratch.fib);
    scratch.wanted.src = snat_source::<A>(&scratch.fib);
    if !forward::is_routed(code) || scratch.wanted.src == A::ZERO {
        return Outcome::Drop(Reason::NoRoute);
    }
    scratch.wanted.flags |= flow_flag::SNAT | flow_flag::FIB;
    match reserve(pkt, p, scratch) {
        Ok(()) => forward::begin(pkt, p, &scratch.row, code, &scratch.fib),
        Err(refused) => refuse(refused),
    }
}

/// The flag by which an empty pool of a scope drops silently.
#[inline(always)]
pub const fn drops(scope: Scope) -> u32 {
    match scope {
        Scope::External => frontend_flag::DROP_EXTERNAL,
        Scope::Internal => frontend_flag::DROP_INTERNAL,
    }
}

/// A packet of a pod to itself goes back out of its own interface.
#[inline(always)]
pub fn turn_round<P: Packet>(pkt: P, rewritten: bool) -> Outcome {
    if rewritten && reject::send_back(pkt) {
        Outcome::Redirected
    } else {
        Outcome::Drop(Reason::RewriteFailed)
    }
}

/// The source that the route asks for, or else the address of the device that it leaves by, or else the node's: replies
/// come back the same way. For IPv6 the device's comes first, see [`Family::ROUTE_NAMES_SOURCE`].
#[inline(always)]
fn snat_source<A: Family>(fib: &Fib) -> A {
    let asked = A::from_words(&fib.src);
    if A::ROUTE_NAMES_SOURCE && asked != A::ZERO {
        return asked;
    }
    if let Some(device) = DEVICES.get_ptr(fib.ifindex) {
        // SAFETY: a value of the device map; the kernel keeps it in place while the program runs.
        let addr = A::device_addr(unsafe { &*device });
        if addr != A::ZERO {
            return addr;
        }
    }
    if asked != A::ZERO { asked } else { A::node_addr() }
}

/// A lost race is dropped too: the sender's next packet finds the flow that won.
#[inline(always)]
pub fn refuse(refused: Refused) -> Outcome {
    match refused {
        Refused::Race | Refused::Full => Outcome::Drop(Reason::FlowTableFull),
        Refused::Exhausted => Outcome::Drop(Reason::SnatExhausted),
    }
}
