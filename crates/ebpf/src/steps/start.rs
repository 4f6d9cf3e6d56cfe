//! A packet of no known flow to a frontend: it starts one.

use crate::family::Family;
use crate::maps::DEVICES;
use crate::outcome::Outcome;
use crate::packet::{Fib, Packet};
use crate::steps::parse::{Parse, Parsed};
use crate::steps::reserve::{Refused, Wanted, reserve};
use crate::steps::rewrite::rewrite;
use crate::steps::{forward, pick, reject};
use shunt_common::{Frontend, FrontendKey, Reason, Scope, flow_flag};

/// The row of the frontend that a packet is sent to.
#[inline(always)]
pub fn frontend<A: Family>(p: &Parsed<A>) -> Option<*const Frontend> {
    A::frontend(&FrontendKey::new(p.key.dst, p.key.dport, p.key.proto as u8))
}

/// Picks a backend, remembers the flow, rewrites and forwards. `flags` mark the flow's rows ([`flow_flag`]).
#[inline(always)]
pub fn start<P: Packet, A: Parse + reject::Reject>(
    pkt: P,
    p: &Parsed<A>,
    frontend: *const Frontend,
    scope: Scope,
    flags: u16,
) -> Outcome {
    if p.fragment {
        return Outcome::Drop(Reason::Fragment);
    }
    // SAFETY: a value of the frontend map; the kernel keeps it in place while the program runs.
    let (service, pool) = unsafe { ((*frontend).service, (*frontend).pool(scope)) };
    let picked = match pick::pick::<A>(pool, pick::random()) {
        Ok(picked) => picked,
        Err(Reason::NoBackend) => return reject::no_backend(pkt, p),
        Err(reason) => return Outcome::Drop(reason),
    };
    let Some(scratch) = A::scratch() else { return Outcome::Drop(Reason::FlowTableFull) };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let scratch = unsafe { &mut *scratch };
    scratch.wanted = Wanted { src: p.key.src, backend: picked.backend, id: picked.id, service, flags };
    if picked.backend.is_local() || matches!(scope, Scope::Internal) {
        return match reserve(pkt, p, scratch) {
            Ok(()) if rewrite(pkt, p, &scratch.row, 0) => Outcome::Stack,
            Ok(()) => Outcome::Drop(Reason::RewriteFailed),
            Err(refused) => refuse(refused),
        };
    }
    let code = forward::route(pkt, p.key.proto, picked.backend.addr, &mut scratch.fib);
    scratch.wanted.src = snat_source::<A>(&scratch.fib);
    scratch.wanted.flags |= flow_flag::SNAT | flow_flag::FIB;
    match reserve(pkt, p, scratch) {
        Ok(()) => forward::by_fib(pkt, p, &scratch.row, code, &scratch.fib),
        Err(refused) => refuse(refused),
    }
}

/// The address of the device that a route leaves by, or else the node's: replies come back the same way.
#[inline(always)]
fn snat_source<A: Family>(fib: &Fib) -> A {
    if let Some(device) = DEVICES.get_ptr(fib.ifindex) {
        // SAFETY: a value of the device map; the kernel keeps it in place while the program runs.
        let addr = A::device_addr(unsafe { &*device });
        if addr != A::ZERO {
            return addr;
        }
    }
    A::node_addr()
}

/// A lost race is dropped too: the sender's next packet finds the flow that won.
#[inline(always)]
fn refuse(refused: Refused) -> Outcome {
    match refused {
        Refused::Race | Refused::Full => Outcome::Drop(Reason::FlowTableFull),
        Refused::Exhausted => Outcome::Drop(Reason::SnatExhausted),
    }
}
