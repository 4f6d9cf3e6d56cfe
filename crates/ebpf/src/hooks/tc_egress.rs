//! tc egress of a device: the replies of local backends, and sockets of this node that meet a SNAT flow's port.

use crate::hooks::{by_family, leave};
use crate::outcome::{Outcome, tc_verdict};
use crate::packet::Packet;
use crate::steps::parse::{Parse, Parsed, parse};
use crate::steps::{fragments, icmp_error, known, local_socket, vip};
use aya_ebpf::bindings::__sk_buff;
use shunt_common::{Direction, Ip4, Ip6, flow_flag};

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
extern "C" fn tc_egress(skb: *mut __sk_buff) -> i32 {
    by_family(skb, verdict::<_, Ip4>, verdict::<_, Ip6>)
}

#[inline(never)]
pub fn verdict<P: Packet, A: Parse>(pkt: P) -> i32 {
    tc_verdict(pkt, egress::<P, A>(pkt), Direction::Egress)
}

/// parse -> known flow whose reply or socket this is? -> rewrite. What is none of ours leaves, if it may.
#[inline(always)]
fn egress<P: Packet, A: Parse>(pkt: P) -> Outcome {
    let Some(p) = parse::<P, A>(pkt) else {
        return fragments::follow(pkt, serves, |p: &Parsed<A>| vip::leave(p.key.dst));
    };
    if p.is_icmp() {
        return icmp_error::relay(pkt, p, serves).unwrap_or_else(|| vip::leave(p.key.dst));
    }
    let Some(row) = known::find(p) else {
        // A packet of no flow: a clash with a SNAT flow, or what should not leave.
        return local_socket::move_aside(pkt, p).unwrap_or_else(|| vip::leave(p.key.dst));
    };
    // The tuple is also that of the flow's own packets on the wire, for whose sake a socket was moved: those came by an
    // interface, as do the answers of a pod to a client that was moved.
    let moved = row.has(flow_flag::LOCAL_SOCKET) && !row.has(flow_flag::REPLY);
    let foreign = moved && pkt.ingress_ifindex() != 0;
    if foreign || !serves(row.get().flags) {
        return Outcome::Pass;
    }
    leave(pkt, p, row, || local_socket::move_aside(pkt, p))
}

/// Whether this hook serves flows with these flags: replies of local backends, and sockets of the node that were moved out of a
/// SNAT flow's way. Rows that SNAT or a pod interface serves are rewritten there, and so is who was moved where it came in;
/// a DSR flow's replies where the backend is.
#[inline(always)]
fn serves(flags: u16) -> bool {
    const REPLY_OF: u16 = flow_flag::REPLY | flow_flag::SNAT | flow_flag::POD | flow_flag::DSR;
    const MOVED: u16 = flow_flag::LOCAL_SOCKET | flow_flag::SNAT;
    flags & REPLY_OF == flow_flag::REPLY || flags & (MOVED | flow_flag::REPLY) == MOVED
}
