//! Direct server return: a remote backend answers the client itself, from the service's address, so replies never pass
//! the node that balanced.
//!
//! The node that balances keeps the client's address and tells the backend's node what the client asked for (`info.rs`);
//! that node makes the replies come from there (`end.rs`). Packets go to the backend's address by whatever route a CNI
//! made, so nothing has to be known of other nodes.

pub mod ecn;
pub mod end;
pub mod error;
pub mod fail_over;
pub mod geneve;
pub mod info;
pub mod wrap;

use crate::config;
use crate::headers::{ETH_LEN, UdpHeader};
use crate::maps::Scratch;
use crate::outcome::{Outcome, count};
use crate::packet::Packet;
use crate::steps::parse::{Parse, Parsed};
use crate::steps::reserve::{Refused, reserve};
use crate::steps::rewrite::rewrite;
use crate::steps::{forward, reject, start};
use info::Info;
use shunt_common::{Direction, Flow, Frontend, Reason, feature, flow_flag, frontend_flag, tcp};
use wrap::Wrap;

/// An address family whose packets can be dispatched, in each of the ways; which one it is, is set at load.
pub trait Dispatch: Info + Wrap {}
impl<A: Info + Wrap> Dispatch for A {}

/// Whether a frontend's remote backends answer directly.
#[inline(always)]
pub fn serves(frontend: &Frontend) -> bool {
    config::has(feature::DSR_OPT | feature::DSR_IPIP | feature::DSR_GENEVE)
        && !config::has(feature::DSR_BY_SNAT)
        && frontend.flags & frontend_flag::DSR != 0
}

/// Whether a packet opens a connection whose later packets need not say what it was for. Nobody acknowledges a datagram,
/// so each of those says it.
#[inline(always)]
fn opens<A>(p: &Parsed<A>) -> bool {
    !p.is_udp() && tcp::opens(p.tcp)
}

/// Starts a flow to the remote backend in `scratch.wanted`. `None` when the client already talks to this backend from the
/// same port, for another service: two such flows look the same to the backend's node, so this one must be told apart by
/// another source, which is SNAT's business. `None` too when this node has no address to carry packets from.
#[inline(always)]
pub fn start<P: Packet, A: Parse + reject::Reject + Dispatch>(
    pkt: P,
    p: &Parsed<A>,
    scratch: &mut Scratch<A>,
) -> Option<Outcome> {
    if config::has(feature::DSR_IPIP | feature::DSR_GENEVE) && A::node_addr() == A::ZERO {
        return None;
    }
    let backend = scratch.wanted.backend.addr;
    let length = grown(pkt, p, full::<A>());
    let code = forward::route(pkt, p.key.proto, p.key.src, backend, length, &mut scratch.fib);
    if !forward::is_routed(code) {
        return Some(Outcome::Drop(Reason::NoRoute));
    }
    scratch.wanted.flags |= flow_flag::DSR | flow_flag::FIB;
    if !opens(p) {
        scratch.wanted.flags |= flow_flag::INFORM;
    }
    match reserve(pkt, p, scratch) {
        Ok(()) => Some(forward::begin(pkt, p, &scratch.row, code, &scratch.fib)),
        Err(Refused::Exhausted) => {
            count(Reason::DsrCollision, Direction::Ingress, 0);
            scratch.wanted.flags &= !(flow_flag::DSR | flow_flag::FIB | flow_flag::INFORM);
            None
        }
        Err(refused) => Some(start::refuse(refused)),
    }
}

/// Bytes by which a packet of a row grows on its way to the backend's node.
#[inline(always)]
pub fn growth<P: Packet, A: Dispatch>(pkt: P, p: &Parsed<A>, row: &Flow<A>) -> u32 {
    if informs(pkt, p, row) { full::<A>() } else { 0 }
}

/// Whether a packet of a row grows so much that it may be too long for a way that its like took before.
#[inline(always)]
pub fn may_exceed<P: Packet, A: Dispatch>(pkt: P, p: &Parsed<A>, row: &Flow<A>) -> bool {
    let growth = growth(pkt, p, row);
    growth != 0 && pkt.len() + growth > forward::ALWAYS_FITS
}

/// Bytes by which a packet grows that is dispatched.
#[inline(always)]
fn full<A: Dispatch>() -> u32 {
    if config::has(feature::DSR_IPIP) {
        A::HEADER
    } else if config::has(feature::DSR_GENEVE) {
        geneve::envelope::<A>()
    } else {
        A::INFO
    }
}

/// Length from the IP header on, as it will be on the wire, of a packet that grows by so many bytes. Zero when it does not
/// grow, or makes room for that by itself as a stream's segments do.
#[inline(always)]
pub fn grown<P: Packet, A>(pkt: P, p: &Parsed<A>, growth: u32) -> u32 {
    let segment = pkt.segment();
    if growth == 0 || (segment != 0 && !p.is_udp()) {
        return 0;
    }
    let datagram = p.l4 + size_of::<UdpHeader>() as u32 + segment;
    (if segment == 0 { pkt.len() } else { datagram }) - ETH_LEN + growth
}

/// Whether a packet cannot be dispatched whatever its flow is: it goes to the backend plainly, whose node knows the flow by
/// what went before, and a flow that begins with it goes by SNAT.
///
/// The fragments behind a first one are as long as their link carries. A batch of datagrams (`UDP_SEGMENT`, GRO) in a tunnel of
/// UDP cannot be taken out of it whole: the kernel goes on believing in a tunnel (`SKB_GSO_UDP_TUNNEL`) that it is not told the
/// end of, and whoever cuts the batch behind that, be it for a socket, finds none and drops it. And where there is no room for
/// an option there is none.
#[inline(always)]
pub fn goes_plainly<P: Packet, A: Info>(pkt: P, p: &Parsed<A>) -> bool {
    p.fragment
        || config::has(feature::DSR_GENEVE) && p.is_udp() && pkt.segment() != 0
        || config::has(feature::DSR_OPT) && !A::has_room(pkt)
}

/// Whether a packet of a row is dispatched.
#[inline(always)]
fn dispatches<P: Packet, A: Info>(pkt: P, p: &Parsed<A>, row: &Flow<A>) -> bool {
    row.flags & flow_flag::DSR != 0 && !goes_plainly(pkt, p)
}

/// Whether a packet of a row says what its client asked for. With ipip each does: that is what is carried.
#[inline(always)]
fn informs<P: Packet, A: Info>(pkt: P, p: &Parsed<A>, row: &Flow<A>) -> bool {
    let told = config::has(feature::DSR_OPT | feature::DSR_GENEVE)
        && (row.flags & flow_flag::INFORM != 0 || opens(p));
    (told || config::has(feature::DSR_IPIP)) && dispatches(pkt, p, row)
}

/// Gives a packet that is forwarded its row's tuple, takes a hop, and adds what the backend's node must know. `false` when
/// the packet must be dropped, since it may be half written.
#[inline(always)]
pub fn write<P: Packet, A: Dispatch>(pkt: P, p: &Parsed<A>, row: &Flow<A>) -> bool {
    if config::has(feature::DSR_IPIP) && dispatches(pkt, p, row) {
        return wrap::wrap(pkt, p, row.dst);
    }
    rewrite(pkt, p, row, 1) && (!informs(pkt, p, row) || tell(pkt, p, row))
}

/// Adds what the backend's node must know to a packet that is rewritten.
#[inline(always)]
fn tell<P: Packet, A: Dispatch>(pkt: P, p: &Parsed<A>, row: &Flow<A>) -> bool {
    if config::has(feature::DSR_GENEVE) { geneve::enclose(pkt, p, row.dst) } else { A::inform(pkt, p) }
}
