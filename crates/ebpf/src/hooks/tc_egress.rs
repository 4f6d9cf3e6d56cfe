//! tc egress of a device: the replies of local backends, and sockets of this node that meet a SNAT flow's port.

use crate::hooks::by_family;
use crate::outcome::{Outcome, tc_verdict};
use crate::packet::Packet;
use crate::steps::known::Entered;
use crate::steps::parse::{Parse, parse};
use crate::steps::rewrite::rewrite;
use crate::steps::{known, local_socket, vip};
use aya_ebpf::bindings::__sk_buff;
use shunt_common::{Direction, Ip4, Ip6, Reason, flow_flag};

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
extern "C" fn tc_egress(skb: *mut __sk_buff) -> i32 {
    by_family(skb, verdict::<_, Ip4>, verdict::<_, Ip6>)
}

#[inline(never)]
fn verdict<P: Packet, A: Parse>(pkt: P) -> i32 {
    tc_verdict(pkt, egress::<P, A>(pkt), Direction::Egress)
}

/// parse -> known flow whose reply or socket this is? -> rewrite. What is none of ours leaves, if it may.
#[inline(always)]
fn egress<P: Packet, A: Parse>(pkt: P) -> Outcome {
    let Some(p) = parse::<P, A>(pkt) else { return Outcome::Pass };
    if p.is_icmp() {
        return vip::leave(p.key.dst);
    }
    let Some(row) = known::find(p) else {
        // A packet of no flow: a clash with a SNAT flow, or what should not leave.
        return local_socket::move_aside(pkt, p).unwrap_or_else(|| vip::leave(p.key.dst));
    };
    // Rows that SNAT or a pod interface serves are rewritten there; a DSR flow's replies where the backend is.
    let reply_of_local = row.has(flow_flag::REPLY)
        && !row.has(flow_flag::SNAT)
        && !row.has(flow_flag::POD)
        && !row.has(flow_flag::DSR);
    let moved_socket = row.has(flow_flag::LOCAL_SOCKET) && !row.has(flow_flag::REPLY);
    if !reply_of_local && !moved_socket {
        return Outcome::Pass;
    }
    match known::enter(p, row) {
        Entered::Follow(row) if rewrite(pkt, p, row.get(), 0) => Outcome::Stack,
        Entered::Follow(_) => Outcome::Drop(Reason::RewriteFailed),
        Entered::Fragment => Outcome::Drop(Reason::Fragment),
        Entered::Anew => local_socket::move_aside(pkt, p).unwrap_or(Outcome::Pass),
    }
}
