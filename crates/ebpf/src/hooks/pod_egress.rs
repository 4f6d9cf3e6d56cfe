//! tc egress of a pod interface: replies to flows that began at [`super::pod_ingress`], and the node's own sockets that must
//! keep out of such a flow's way.

use crate::hooks::{by_family, leave};
use crate::outcome::{Outcome, tc_verdict};
use crate::packet::Packet;
use crate::steps::known;
use crate::steps::local_socket;
use crate::steps::parse::{Parse, Parsed, parse};
use crate::steps::{fragments, icmp_error};
use aya_ebpf::bindings::__sk_buff;
use shunt_common::{Direction, Ip4, Ip6, flow_flag};

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
extern "C" fn pod_egress(skb: *mut __sk_buff) -> i32 {
    by_family(skb, verdict::<_, Ip4>, verdict::<_, Ip6>)
}

#[inline(never)]
fn verdict<P: Packet, A: Parse>(pkt: P) -> i32 {
    tc_verdict(pkt, to_pod::<P, A>(pkt), Direction::Egress)
}

/// parse -> reply of a pod's flow, or a socket that was moved aside? -> rewrite.
#[inline(always)]
fn to_pod<P: Packet, A: Parse>(pkt: P) -> Outcome {
    let Some(p) = parse::<P, A>(pkt) else {
        return fragments::follow(pkt, serves, |_: &Parsed<A>| Outcome::Pass);
    };
    if p.is_icmp() {
        return icmp_error::relay(pkt, p, serves).unwrap_or(Outcome::Pass);
    }
    let Some(row) = known::find(p) else {
        // A packet of no flow: only a clash with a pod that reaches itself concerns us.
        return local_socket::move_aside_of_hairpin(pkt, p).unwrap_or(Outcome::Pass);
    };
    // The tuple is also that of the pod's own packets on their way back to it: those came by an interface.
    let moved_socket = row.has(flow_flag::LOCAL_SOCKET | flow_flag::HAIRPIN)
        && !row.has(flow_flag::REPLY)
        && pkt.ingress_ifindex() == 0;
    if !moved_socket && !serves(row.get().flags) {
        return Outcome::Pass;
    }
    leave(pkt, p, row, || local_socket::move_aside_of_hairpin(pkt, p))
}

/// Whether this hook serves flows with these flags: what pods hear from services.
#[inline(always)]
fn serves(flags: u16) -> bool {
    const HEARD: u16 = flow_flag::REPLY | flow_flag::POD;
    flags & HEARD == HEARD
}
