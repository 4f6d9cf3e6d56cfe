//! The backend's node: a packet that another node balanced arrives, and says what its client asked for.
//!
//! Nothing is believed that is not in our own maps: the service must be one of ours, served by DSR, and the backend that
//! the packet is for one of its backends and on this node. Whoever forges such a packet gains no more than by a packet to
//! the service itself.

use crate::config;
use crate::headers::ETH_LEN;
use crate::maps::Scratch;
use crate::outcome::{Outcome, count};
use crate::packet::Packet;
use crate::steps::dsr::info::{self, Info};
use crate::steps::dsr::wrap::{self, Wrap};
use crate::steps::dsr::{ecn, fail_over, geneve};
use crate::steps::known::{self, Entered};
use crate::steps::parse::{Parse, Parsed};
use crate::steps::pick::slot_id;
use crate::steps::{admit, jiffies, ring, vip};
use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use shunt_common::{
    Direction, Egress, Flow, FlowKey, Frontend, FrontendKey, PortBe, Reason, Scope, csum, feature, flow_flag,
    frontend_flag, seen, tcp,
};

/// Whether a packet may carry information, or `carried` says that it has: its transport header begins later than it need.
/// Every other packet is told at the cost of this comparison.
#[inline(always)]
pub fn may_inform<A: Info>(p: &Parsed<A>, carried: u32) -> bool {
    config::has(feature::DSR_OPT) && p.l4 != ETH_LEN + A::HEADER
        || config::has(feature::DSR_GENEVE) && carried != 0
}

/// Whether a packet carries another, which takes no more than a look at its headers.
#[inline(always)]
pub fn may_carry<P: Packet, A: Wrap>(pkt: P) -> bool {
    config::has(feature::DSR_IPIP) && wrap::is_wrapped::<P, A>(pkt)
        || config::has(feature::DSR_GENEVE) && geneve::is_enclosed::<P, A>(pkt)
}

/// Takes the outer headers off a packet that carries a client's to a backend here: the backend's id. Zero when it is none of
/// ours, and stays as it is.
#[inline(never)]
pub fn uncover<P: Packet, A: Info + Wrap>(pkt: P) -> u32 {
    let Some(scratch) = A::scratch() else { return 0 };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let scratch = unsafe { &mut *scratch };
    let (found, outer) = if config::has(feature::DSR_GENEVE) {
        (enclosed(pkt, scratch), geneve::envelope::<A>())
    } else {
        (wrapped(pkt, &mut scratch.reply), A::HEADER)
    };
    let Some(id) = found else { return 0 };
    if id == 0 || !ecn::carry_over::<P, A>(pkt, ETH_LEN + outer) {
        count(Reason::DsrRefused, Direction::Ingress, pkt.len());
        return 0;
    }
    if pkt.uncover(outer) { id } else { 0 }
}

/// The backend that a packet inside an IP header is for, zero when it is none here; `None` when it is somebody else's
/// tunnel. `key` is room for its tuple.
#[inline(always)]
fn wrapped<P: Packet, A: Info + Wrap>(pkt: P, key: &mut FlowKey<A>) -> Option<u32> {
    let pod = A::target(pkt)?;
    if !A::peek(pkt, wrap::inside::<A>(), key) {
        return None;
    }
    if let Some(row) = A::flow(key) {
        // SAFETY: a value of the flow map; the kernel keeps it in place while the program runs.
        let row = unsafe { &*row };
        if row.dst == pod && row.flags & (flow_flag::REPLY | flow_flag::DSR) == 0 {
            return Some(row.backend);
        }
    }
    serving(key.proto as u8, key.dst, key.dport).map(|frontend| local(frontend, pod, PortBe(0)))
}

/// The same for a packet inside a tunnel; what the tunnel's header says is left in `scratch`.
#[inline(always)]
fn enclosed<P: Packet, A: Info + Wrap>(pkt: P, scratch: &mut Scratch<A>) -> Option<u32> {
    let (addr, port) = geneve::told(pkt, ETH_LEN + A::HEADER)?;
    let pod = A::target(pkt)?;
    let key = &mut scratch.reply;
    if !A::peek(pkt, geneve::inside::<A>(), key) || key.dst != pod {
        return Some(0);
    }
    scratch.told = (addr, port);
    let frontend = serving(key.proto as u8, addr, port);
    Some(frontend.map_or(0, |frontend| local(frontend, pod, key.dport)))
}

/// Takes the information off a packet, unless it was `carried` to that backend and has lost it already, and remembers what
/// it says. `None` when it carries none.
#[inline(always)]
pub fn arrive<P: Packet, A: Parse + Info>(pkt: P, p: &Parsed<A>, carried: u32) -> Option<Outcome> {
    let (addr, port) = match carried {
        0 => A::informed(pkt, info::at::<A>())?,
        // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
        _ => unsafe { (*A::scratch()?).told },
    };
    let frontend = serving(p.key.proto as u8, addr, port);
    let id = match carried {
        0 => frontend.map_or(0, |frontend| local(frontend, p.key.dst, p.key.dport)),
        id => id,
    };
    let Some(frontend) = frontend.filter(|_| id != 0) else {
        return Some(if carried == 0 {
            Outcome::Left(Reason::DsrRefused)
        } else {
            Outcome::Drop(Reason::DsrRefused)
        });
    };
    if p.fragment {
        return Some(Outcome::Drop(Reason::Fragment));
    }
    if !admit::admits(frontend, p.key.src) {
        return Some(Outcome::Drop(Reason::SourceRange));
    }
    if carried == 0 && !A::disinform(pkt) {
        return Some(Outcome::Drop(Reason::RewriteFailed));
    }
    Some(match follow(p, addr, port) {
        Following::Known => Outcome::Stack,
        Following::Other => Outcome::Drop(Reason::DsrCollision),
        Following::Nobody if fail_over::comes_past(p, addr, port) => Outcome::Stack,
        Following::Nobody => match remember(p, addr, port, frontend.service, id) {
            Ok(()) => Outcome::Stack,
            Err(reason) => Outcome::Drop(reason),
        },
    })
}

/// The frontend that the information names: a row of its own, or else, since the client may have asked a node whose address
/// is unknown here, the one that marks a NodePort.
#[inline(always)]
pub fn serving<A: Info>(proto: u8, addr: A, port: PortBe) -> Option<&'static Frontend> {
    if !addr.is_possible() {
        return None;
    }
    let mut row = A::frontend(&FrontendKey::new(addr, port, proto));
    if row.is_none() && !vip::is_vip(addr, Scope::Internal) {
        row = A::frontend(&FrontendKey::new(A::ZERO, port, proto));
    }
    // SAFETY: a value of the frontend map; the kernel keeps it in place while the program runs.
    let row = unsafe { &*row? };
    (row.flags & frontend_flag::DSR != 0).then_some(row)
}

/// The search for a backend by its address and port.
#[repr(C)]
struct Search<A> {
    addr: A,
    port: PortBe,
    pad: u16,
    offset: u32,
    found: u32,
}

/// The id of the frontend's backend on this node with an address and a port, any port when that is zero; zero when there is
/// none. Only packets that begin a flow here ask.
#[inline(always)]
fn local<A: Info>(frontend: &Frontend, addr: A, port: PortBe) -> u32 {
    let pool = frontend.pool(Scope::External);
    let mut search = Search { addr, port, pad: 0, offset: pool.offset, found: 0 };
    // SAFETY: the callback has the signature that bpf_loop wants, and the context outlives the call.
    unsafe {
        bpf_loop(pool.len, compare::<A> as *mut c_void, (&raw mut search).cast(), 0);
    }
    search.found
}

/// Looks at one slot; 1 ends the loop.
extern "C" fn compare<A: Info>(i: u32, search: *mut Search<A>) -> i64 {
    // SAFETY: the context of the loop.
    let search = unsafe { &mut *search };
    let Some(id) = slot_id(search.offset.wrapping_add(i)) else { return 1 };
    let Some(row) = A::backend(id) else { return 0 };
    // SAFETY: a row of an array map lives as long as the program.
    let row = unsafe { &*row };
    if row.addr != search.addr || (search.port.0 != 0 && row.port != search.port) {
        return 0;
    }
    if row.state != 0 && row.is_local() {
        search.found = id;
    }
    1
}

/// What is known of an informed packet's tuple.
enum Following {
    /// Its flow, which it has entered.
    Known,
    /// No flow.
    Nobody,
    /// Another flow, which lives.
    Other,
}

#[inline(always)]
fn follow<A: Info>(p: &Parsed<A>, addr: A, port: PortBe) -> Following {
    let Some(row) = known::find(p) else { return Following::Nobody };
    let same = row.has(flow_flag::DSR_END) && row.get().dst == addr && row.get().dport == port;
    if !same {
        let closed = tcp::phase(row.get().seen, row.get().peer_seen) == tcp::Phase::Closed;
        if p.is_udp() || !closed {
            return Following::Other;
        }
        known::end(p, row.get());
        return Following::Nobody;
    }
    match known::enter(p, row) {
        Entered::Follow(_) => Following::Known,
        Entered::Anew(_) => Following::Nobody,
        Entered::Refused(_) | Entered::Direct => Following::Other,
    }
}

/// Makes the flow's rows: the reply's first, which no other flow may have. A failure leaves nothing behind.
#[inline(always)]
fn remember<A: Info>(p: &Parsed<A>, addr: A, port: PortBe, service: u32, backend: u32) -> Result<(), Reason> {
    let Some(scratch) = A::scratch() else { return Err(Reason::FlowTableFull) };
    // SAFETY: a per-CPU value; programs of one CPU do not interleave at these hooks.
    let Scratch { row, reply, .. } = unsafe { &mut *scratch };
    let there = csum::delta_words(addr.words(), p.key.dst.words());
    *reply = p.key.reversed();
    *row = Flow {
        src: addr,
        dst: p.key.src,
        sport: port,
        dport: p.key.sport,
        delta: !there,
        stamp: jiffies(),
        service,
        backend,
        ring: 0,
        flags: flow_flag::DSR_END | flow_flag::REPLY,
        seen: 0,
        peer_seen: if p.is_udp() { seen::ACK } else { tcp::seen_by(p.tcp) },
        egress: Egress { ifindex: 0, dmac: [0; 6], smac: [0; 6] },
    };
    A::insert_flow(reply, row).map_err(|_| Reason::DsrCollision)?;
    (row.src, row.dst, row.sport, row.dport) = (p.key.src, addr, p.key.sport, port);
    (row.seen, row.peer_seen) = (row.peer_seen, 0);
    row.delta = there;
    row.flags = flow_flag::DSR_END;
    row.ring = ring::take(&p.key);
    A::insert_flow(&p.key, row).map_err(|_| {
        A::remove_flow(reply);
        Reason::FlowTableFull
    })
}
