//! A flow that comes to another node in its middle, at the node of its backend.
//!
//! By `opt` and `geneve` this node knows a flow that comes past another node by the client and the backend, and one that comes
//! directly by the client and the service. Answers are the same for both, and so is their row: it tells that a flow which
//! seems new is one that goes on (ADR 0008).

use crate::config;
use crate::family::Family;
use crate::maps::Scratch;
use crate::steps::known::{self, Entered};
use crate::steps::parse::Parsed;
use shunt_common::{FlowKey, PortBe, feature, flow_flag, tcp};

/// A flow that came past another node comes directly now: the reply row under `scratch.reply` is made that of the wanted flow,
/// whose row in `scratch` gets what has been seen. `false`, and nothing has changed, when it is another flow's.
///
/// Whoever forges such a packet changes under which key the client's side is remembered, and nothing that a packet undergoes:
/// those that still come past the other node are for the backend already, and answers leave as before.
#[inline(never)]
pub fn comes_directly<A: Family>(scratch: &mut Scratch<A>) -> bool {
    const END: u16 = flow_flag::DSR_END | flow_flag::REPLY;
    if !config::has(feature::DSR_OPT | feature::DSR_GENEVE) || scratch.wanted.flags != 0 {
        return false;
    }
    let Some(old) = A::flow(&scratch.reply) else { return false };
    // SAFETY: a value of the flow map; the kernel keeps it in place while the program runs. At worst another CPU notes what it
    // has seen at the same moment, and the next such packet notes it again.
    let old = unsafe { &mut *old };
    let row = &mut scratch.row;
    let same = old.src == row.src && old.dst == row.dst && old.sport == row.sport && old.dport == row.dport;
    if !same || old.flags & END != END {
        return false;
    }
    if tcp::phase(old.seen, old.peer_seen) != tcp::Phase::Closed {
        row.seen = old.seen;
        row.peer_seen |= old.peer_seen;
        row.flags |= old.flags & flow_flag::CONFIRMED;
    }
    (old.seen, old.peer_seen, old.flags) = (row.seen, row.peer_seen, row.flags);
    // Not on the stack, where this is one of the longest chain of calls.
    let (reply, forward) = (&scratch.reply, &mut scratch.quoted.key);
    (forward.src, forward.dst, forward.proto) = (reply.dst, reply.src, reply.proto);
    (forward.sport, forward.dport) = (reply.dport, reply.sport);
    A::remove_flow(forward);
    true
}

/// A flow that came directly comes past another node now, which says that it is for a service at `addr` and `port`: whether it
/// is that flow. Its rows stay, since they give the client's own packets their backend, whatever the pool is by now.
#[inline(never)]
pub fn comes_past<A: Family>(p: &Parsed<A>, addr: A, port: PortBe) -> bool {
    let reply = p.key.reversed();
    let Some(row) = A::flow(&reply) else { return false };
    // SAFETY: as above.
    let row = unsafe { &*row };
    if row.flags & !flow_flag::CONFIRMED != flow_flag::REPLY || row.src != addr || row.sport != port {
        return false;
    }
    let Some(scratch) = A::scratch() else { return false };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let asked = unsafe { &mut (*scratch).quoted };
    *asked = *p;
    asked.key =
        FlowKey { src: row.dst, dst: row.src, sport: row.dport, dport: row.sport, proto: p.key.proto };
    let Some(forward) = known::find(asked) else { return false };
    matches!(known::enter(asked, forward), Entered::Follow(_))
}
